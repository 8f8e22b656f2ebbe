//! Hostile bytes never panic, never allocate past the limits, and never pass as something else.

use proptest::prelude::*;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, FrameError, HEADER_LEN, Header};
use wire::control::{Ack, Control};
use wire::limits;
use wire::record::{Exit, Process, ProcessRef};
use wire::text::StringTableBuilder;

fn sample() -> Batch {
    let position = Position { epoch: 1_700_000_000_000_000_000, lane: Lane::Security, seq: 7 };
    let mut batch = Batch::empty(position, Clock { boot_ns: 5, unix_ns: 6 });
    let mut strings = StringTableBuilder::default();
    let exe = strings.add(b"/usr/bin/bash").unwrap();
    let args = strings.add(b"bash\0-i\0").unwrap();
    batch.strings = strings.finish();
    batch.processes = vec![Process { pid: 42, start_ns: 9, exe, args, ..Process::default() }];
    batch.exits = vec![Exit { time_ns: 10, process: ProcessRef(1), code: 256, duration_ns: 5 }];
    batch
}

fn parse(frame: &[u8]) -> Result<Batch, FrameError> {
    codec::decode_batch_frame(frame)
}

#[test]
fn a_batch_survives_the_round_trip() {
    let batch = sample();
    assert_eq!(parse(&codec::encode_batch(&batch).unwrap()).unwrap(), batch);
}

#[test]
fn a_control_frame_is_not_a_batch() {
    let ack = Control::Ack(Ack { position: sample().position });
    let frame = codec::encode_control(&ack).unwrap();
    assert!(matches!(parse(&frame), Err(FrameError::Kind(1))));
    let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
    assert_eq!(codec::decode_control(&Header::parse(header).unwrap(), body).unwrap(), ack);
}

#[test]
fn every_truncation_and_every_flipped_bit_is_an_error() {
    let frame = codec::encode_batch(&sample()).unwrap();
    for length in 0..frame.len() {
        assert!(parse(&frame[..length]).is_err(), "cut to {length}");
    }
    for bit in 0..frame.len() * 8 {
        let mut bent = frame.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        assert!(parse(&bent).is_err(), "bit {bit}");
    }
}

#[test]
fn a_huge_length_is_refused_from_the_header_alone() {
    let mut frame = codec::encode_batch(&sample()).unwrap();
    frame[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let header = frame.first_chunk::<HEADER_LEN>().unwrap();
    let error = Header::parse(header).unwrap_err();
    assert_eq!(error.reason(), "too_large");
}

#[test]
fn an_unknown_version_is_named() {
    let mut frame = codec::encode_batch(&sample()).unwrap();
    frame[4..6].copy_from_slice(&9u16.to_le_bytes());
    assert!(matches!(parse(&frame), Err(FrameError::Version { theirs: 9 })));
}

/// Wraps bytes as the body of a frame whose checksum fits.
fn wrap(codec_id: u8, full_len: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = b"SKRM".to_vec();
    frame.extend_from_slice(&wire::VERSION.to_le_bytes());
    frame.extend_from_slice(&[2, codec_id]);
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&full_len.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), body);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(body);
    frame
}

#[test]
fn a_compression_bomb_stops_at_the_announced_length() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(bomb.len() < limits::FRAME_MAX);
    assert!(matches!(parse(&wrap(2, limits::BODY_MAX as u32, &bomb)), Err(FrameError::Length)));
    assert!(matches!(parse(&wrap(2, 10, &bomb)), Err(FrameError::Length)));
}

#[test]
fn a_length_bomb_inside_the_body_is_an_error() {
    // 253 announces a 64-bit length in bincode's variable-length integers.
    let mut body = vec![0, 0, 0, 0, 0, 253];
    body.extend_from_slice(&u64::MAX.to_le_bytes());
    assert!(parse(&wrap(1, body.len() as u32, &body)).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = parse(&bytes);
        let _ = parse(&wrap(1, bytes.len() as u32, &bytes));
        let _ = parse(&wrap(2, bytes.len() as u32, &bytes));
    }

    #[test]
    fn any_bent_body_is_safe(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let frame = codec::encode_batch(&sample()).unwrap();
        let mut full = zstd::bulk::decompress(&frame[HEADER_LEN..], limits::BODY_MAX).unwrap();
        let at = at.index(full.len());
        full[at] = value;
        if let Ok(batch) = parse(&wrap(1, full.len() as u32, &full)) {
            prop_assert_eq!(batch.check(), Ok(()));
        }
    }
}
