//! Hostile bytes never panic, never allocate past the limits, and never pass as something else.

use proptest::prelude::*;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, FrameError, HEADER_LEN, Header};
use wire::control::{Ack, Control};
use wire::limits;
use wire::record::{
    Dns, DnsAnswer, Exit, File, Inventory, Login, Memory, Privilege, Process, ProcessRef, Sweep,
    Syscalls, Tls, Uring, Use,
};
use wire::text::{StrId, StringTableBuilder};

/// What compressed columns refer to.
const DICTIONARY: &[u8] = include_bytes!("../src/codec/dictionary.txt");

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

/// A batch with one of each record that names a string or a process.
fn full() -> Batch {
    let mut batch = sample();
    let (process, id) = (ProcessRef(1), StrId(1));
    batch.privileges.push(Privilege { process, target: process, name: id, ..Default::default() });
    batch.memory.push(Memory { process, target: process, name: id, ..Default::default() });
    batch.files.push(File { process, path: id, target: id, ..Default::default() });
    let answers = vec![DnsAnswer { kind: 1, ttl: 2, data: id }];
    batch.dns.push(Dns { process, name: id, answers, ..Default::default() });
    batch.tls.push(Tls { process, server_name: id, ja4: id, ..Default::default() });
    batch.sweeps.push(Sweep { process, addresses: id, ports: id, ..Default::default() });
    batch.uses.push(Use { process, ..Default::default() });
    batch.urings.push(Uring { process, opcode: 255, ..Default::default() });
    batch.logins.push(Login { process, user: id, message: id, ..Default::default() });
    batch.inventory.push(Inventory { name: id, detail: id, ..Default::default() });
    batch.syscalls.push(Syscalls { process, latency: vec![1; 64], ..Default::default() });
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
fn every_kind_of_record_survives_the_round_trip() {
    let batch = full();
    assert_eq!(parse(&codec::encode_batch(&batch).unwrap()).unwrap(), batch);
}

/// A batch after a change, as a sensor that does not check itself would send it.
fn bent(bend: impl FnOnce(&mut Batch)) -> Result<Batch, FrameError> {
    let mut batch = full();
    bend(&mut batch);
    parse(&codec::encode_batch(&batch).unwrap())
}

#[test]
fn an_index_that_leads_nowhere_is_refused_in_every_record() {
    let (string, process) = (StrId(3), ProcessRef(2));
    let bends: [fn(&mut Batch, StrId); 13] = [
        |b, s| b.processes[0].sha256 = s,
        |b, s| b.privileges[0].type_name = s,
        |b, s| b.memory[0].name = s,
        |b, s| b.files[0].target = s,
        |b, s| b.dns[0].name = s,
        |b, s| b.dns[0].answers[0].data = s,
        |b, s| b.tls[0].alpn = s,
        |b, s| b.sweeps[0].ports = s,
        |b, s| b.logins[0].user = s,
        |b, s| b.logins[0].detail = s,
        |b, s| b.logins[0].message = s,
        |b, s| b.inventory[0].name = s,
        |b, s| b.inventory[0].detail = s,
    ];
    for (at, bend) in bends.into_iter().enumerate() {
        assert!(bent(|batch| bend(batch, string)).is_err(), "string {at}");
    }
    let bends: [fn(&mut Batch, ProcessRef); 11] = [
        |b, p| b.privileges[0].process = p,
        |b, p| b.privileges[0].target = p,
        |b, p| b.memory[0].target = p,
        |b, p| b.files[0].process = p,
        |b, p| b.dns[0].process = p,
        |b, p| b.tls[0].process = p,
        |b, p| b.sweeps[0].process = p,
        |b, p| b.uses[0].process = p,
        |b, p| b.urings[0].process = p,
        |b, p| b.logins[0].process = p,
        |b, p| b.syscalls[0].process = p,
    ];
    for (at, bend) in bends.into_iter().enumerate() {
        assert!(bent(|batch| bend(batch, process)).is_err(), "process {at}");
    }
}

#[test]
fn lists_inside_records_have_their_limits() {
    let answer = DnsAnswer { kind: 1, ttl: 2, data: StrId(1) };
    assert!(bent(|b| b.dns[0].answers = vec![answer.clone(); limits::ANSWERS_MAX]).is_ok());
    assert!(bent(|b| b.dns[0].answers = vec![answer.clone(); limits::ANSWERS_MAX + 1]).is_err());
    assert!(bent(|b| b.syscalls[0].latency = vec![0; limits::LATENCY_MAX + 1]).is_err());
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
    assert!(matches!(parse(&wrap(4, limits::BODY_MAX as u32, &bomb)), Err(FrameError::Length)));
    assert!(matches!(parse(&wrap(4, 10, &bomb)), Err(FrameError::Length)));
}

#[test]
fn counts_of_columns_are_refused_before_there_is_room_made() {
    // Empty tables, then as many executions as no batch may have, all the same.
    let mut body = vec![0; 9];
    body.extend_from_slice(&[0xff, 0xff, 0x7f, 1, 0]);
    assert!(matches!(parse(&wrap(3, body.len() as u32, &body)), Err(FrameError::Body(_))));
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
        let _ = parse(&wrap(3, bytes.len() as u32, &bytes));
        let _ = parse(&wrap(4, bytes.len() as u32, &bytes));
    }

    #[test]
    fn any_bent_body_is_safe(at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let columns = codec::encode_batch(&full()).unwrap();
        let rows = codec::in_rows(&columns).unwrap();
        let mut by_dictionary = zstd::bulk::Decompressor::with_dictionary(DICTIONARY).unwrap();
        let columns = by_dictionary.decompress(&columns[HEADER_LEN..], limits::BODY_MAX).unwrap();
        let rows = zstd::bulk::decompress(&rows[HEADER_LEN..], limits::BODY_MAX).unwrap();
        for (codec_id, mut full) in [(1, rows), (3, columns)] {
            let at = at.index(full.len());
            full[at] = value;
            if let Ok(batch) = parse(&wrap(codec_id, full.len() as u32, &full)) {
                prop_assert_eq!(batch.check(), Ok(()));
            }
        }
    }
}
