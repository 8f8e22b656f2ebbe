//! A frame of the protocol → batch or control message, as the brain takes it from a sensor.

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::{Ack, Control, Refusal, Settings};
use wire::limits;
use wire::record::{Dns, DnsAnswer, Exec, Flow, Login, Process, ProcessRef, Syscalls};
use wire::text::{StrId, StringTableBuilder};

use super::{KIB, MIB, Target, choice};

pub(super) const TARGET: Target = Target {
    name: "frame",
    what: "a frame of the protocol: header, batch, control message, compressed or not",
    input_max: 8 * KIB,
    // A whole body after decompression, and once more as records.
    memory_max: 4 * limits::BODY_MAX + MIB,
    control: false,
    check,
    seeds,
};

/// Where a header says things.
const KIND_AT: usize = 6;
const CODEC_AT: usize = 7;
/// Kinds and codecs.
const CONTROL: u8 = 1;
const BATCH: u8 = 2;
const PLAIN: u8 = 1;
const ZSTD: u8 = 2;
const COLUMNS: u8 = 3;

const POSITION: Position =
    Position { epoch: 1_700_000_000_000_000_000, lane: Lane::Security, seq: 7 };
const ACK: Ack = Ack { position: POSITION };

fn check(input: &[u8]) {
    let Some((choice, bytes)) = choice(input, 5) else { return };
    match choice {
        // As it is: nearly always the checksum refuses it.
        0 => decode(bytes),
        1 => decode(&signed(BATCH, PLAIN, bytes.len() as u32, bytes)),
        2 => decode(&signed(CONTROL, PLAIN, bytes.len() as u32, bytes)),
        3 => decode(&signed(BATCH, COLUMNS, bytes.len() as u32, bytes)),
        // The first four bytes say how much comes out.
        _ => {
            if let Some((full, body)) = bytes.split_first_chunk() {
                decode(&signed(BATCH, ZSTD, u32::from_le_bytes(*full), body));
            }
        }
    }
}

/// A frame whose checksum is right: a hostile sensor can compute it as well.
fn signed(kind: u8, codec: u8, full: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = codec::encode_control(&Control::Ack(ACK)).expect("it is short");
    frame.truncate(8);
    (frame[KIND_AT], frame[CODEC_AT]) = (kind, codec);
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(full.to_le_bytes());
    frame.extend(crc32c::crc32c_append(crc32c::crc32c(&frame), body).to_le_bytes());
    frame.extend(body);
    frame
}

fn decode(frame: &[u8]) {
    let Some((header, body)) = frame.split_first_chunk::<HEADER_LEN>() else { return };
    let Ok(header) = Header::parse(header) else { return };
    assert!(header.body_len() <= limits::FRAME_MAX);
    let batch = codec::decode_batch(&header, body);
    let control = codec::decode_control(&header, body);
    assert!(batch.is_err() || control.is_err(), "a frame is one of them");
    if let Ok(batch) = batch {
        assert!(batch.record_count() <= limits::RECORDS_MAX);
        assert!(batch.strings.len() <= limits::STRINGS_MAX);
        // A batch may be too large to be sent on compressed; it need not be.
        if let Ok(frame) = codec::encode_batch(&batch) {
            let again = codec::decode_batch_frame(&frame).expect("it was taken before");
            assert_eq!(again, batch);
        }
    }
    if let Ok(control) = control {
        // A number may have been written in more bytes than it needs, so a frame only shrinks.
        let frame = codec::encode_control(&control).expect("it was short enough before");
        assert!(frame.len() <= HEADER_LEN + body.len());
        let (header, body) = frame.split_first_chunk().expect("a frame has a header");
        let again = Header::parse(header).and_then(|h| codec::decode_control(&h, body));
        assert_eq!(again.expect("it was taken before"), control);
    }
}

fn batch() -> Batch {
    let mut batch = Batch::empty(POSITION, Clock { boot_ns: 5, unix_ns: 6 });
    let mut strings = StringTableBuilder::default();
    let exe = strings.add(b"/usr/bin/bash").unwrap_or_default();
    let name = strings.add(b"example.test").unwrap_or_default();
    batch.strings = strings.finish();
    let process = ProcessRef(1);
    batch.processes = vec![Process { pid: 42, start_ns: 9, exe, ..Process::default() }];
    batch.execs.push(Exec { process, ..Exec::default() });
    batch.flows.push(Flow { process, ..Flow::default() });
    let answers = vec![DnsAnswer { kind: 1, ttl: 2, data: StrId(1) }];
    batch.dns.push(Dns { process, name, answers, ..Default::default() });
    batch.logins.push(Login { process, user: name, ..Default::default() });
    batch.syscalls.push(Syscalls { process, latency: vec![1; 64], ..Default::default() });
    batch
}

fn seeds() -> Vec<Vec<u8>> {
    let whole = codec::encode_batch(&batch()).expect("it is short");
    let rows = codec::in_rows(&whole).expect("it is short");
    let full = &rows[12..16];
    let text = || "some text".to_owned();
    let controls = [
        Control::Ack(ACK),
        Control::Refusal(Refusal { reason: text(), message: text() }),
        Control::Settings(Settings { revision: text(), text: text() }),
    ];
    let mut seeds = vec![
        [&[0], &whole[..]].concat(),
        [&[4], full, &rows[HEADER_LEN..]].concat(),
        // Bodies of an empty batch without compression: numbers that are mostly zero.
        [&[1][..], &[0; 48]].concat(),
        [&[3][..], &[0; 27]].concat(),
    ];
    for control in controls {
        let frame = codec::encode_control(&control).expect("it is short");
        seeds.push([&[2], &frame[HEADER_LEN..]].concat());
    }
    seeds
}
