//! What hostile bytes cost: time and memory of each decoder, for the worst that could be thought
//! of. One test at a time, because memory is counted for the whole process.

use std::mem::size_of;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fuzz::memory;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, FrameError, HEADER_LEN, Header};
use wire::control::{Control, EnrolRequest};
use wire::limits;
use wire::record;
use wire::text::StringTableBuilder;

const BATCH: u8 = 2;
const CONTROL: u8 = 1;
const ROWS: u8 = 1;
const ROWS_ZSTD: u8 = 2;
const COLUMNS: u8 = 3;
const COLUMNS_ZSTD: u8 = 4;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn batch(seq: u64) -> Batch {
    let position = Position { epoch: 7, lane: Lane::Bulk, seq };
    Batch::empty(position, Clock { boot_ns: 1, unix_ns: 2 })
}

/// A frame around a body, with a checksum that fits.
fn wrap(kind: u8, codec_number: u8, full_len: usize, body: &[u8]) -> Vec<u8> {
    let mut frame = codec::encode_batch(&batch(1)).unwrap();
    frame.truncate(6);
    frame.extend([kind, codec_number]);
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend((full_len as u32).to_le_bytes());
    frame.extend(crc32c::crc32c_append(crc32c::crc32c(&frame), body).to_le_bytes());
    frame.extend(body);
    frame
}

/// What a decoder made of a frame, and what it took for it.
struct Cost {
    result: Result<(), FrameError>,
    memory: usize,
    time: Duration,
}

fn decode(frame: &[u8]) -> Cost {
    let mut result = Ok(());
    let begun = Instant::now();
    let memory = memory::peak_of(|| {
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
        result = Header::parse(header).and_then(|header| match frame[6] {
            CONTROL => codec::decode_control(&header, body).map(drop),
            _ => codec::decode_batch(&header, body).map(drop),
        });
    });
    Cost { result, memory, time: begun.elapsed() }
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A length as bincode writes it.
fn long(number: u64) -> Vec<u8> {
    [&[253][..], &number.to_le_bytes()].concat()
}

/// Announces enormous lengths in every container that bytes can get to: after each prefix of a
/// valid body, in each way of writing.
#[test]
fn lengths_that_lie_cost_next_to_nothing() {
    let _alone = alone();
    let whole = codec::encode_batch(&batch(1)).unwrap();
    let (columns, rows) = (columns_of_nothing(), rows_of_nothing());
    let request = Control::EnrolRequest(EnrolRequest {
        token: "t".to_owned(),
        hostname: "h".to_owned(),
        csr_der: vec![7; 9],
    });
    let said = codec::encode_control(&request).unwrap();
    // Frames are decoded once before: threads make their tables then.
    decode(&whole);
    let (mut bombs, mut slowest, mut taken) = (0, Duration::ZERO, 0);
    // Lists of rows are made room for as serde does it: a mebibyte at most before any is there.
    let bodies = [
        ("columns", BATCH, COLUMNS, &*columns, 64 << 10),
        ("rows", BATCH, ROWS, &*rows, (1 << 20) + (64 << 10)),
        ("a control message", CONTROL, ROWS, &said[HEADER_LEN..], 64 << 10),
    ];
    for (what, kind, codec_number, body, memory_max) in bodies {
        let mut most = 0;
        for at in 0..body.len() {
            for length in [u64::MAX, u64::from(u32::MAX), limits::BODY_MAX as u64 - 64] {
                for bytes in [varint(length), long(length)] {
                    let bent = [&body[..at], &bytes, &[0; 8]].concat();
                    let Cost { result, memory, time } =
                        decode(&wrap(kind, codec_number, bent.len(), &bent));
                    bombs += 1;
                    taken += usize::from(result.is_ok());
                    most = most.max(memory);
                    slowest = slowest.max(time);
                }
            }
        }
        println!("figure D-01: a length bomb in {what}: at most {most} bytes of memory");
        assert!(most <= memory_max, "{what}: {most}");
    }
    println!(
        "figure D-01: {bombs} length bombs, {taken} taken, at most {:.0} µs each",
        slowest.as_secs_f64() * 1e6
    );
    assert!(slowest < Duration::from_millis(50), "{slowest:?}");
}

/// The body of an empty batch as rows: position and clocks, then lengths that are 0.
fn rows_of_nothing() -> Vec<u8> {
    let rows = codec::in_rows(&codec::encode_batch(&batch(1)).unwrap()).unwrap().into_owned();
    assert_eq!(rows[7], ROWS_ZSTD);
    let full = u32::from_le_bytes([rows[12], rows[13], rows[14], rows[15]]) as usize;
    let mut body = vec![7, Lane::Bulk as u8, 1, 1, 2];
    body.resize(full, 0);
    assert!(decode(&wrap(BATCH, ROWS, full, &body)).result.is_ok());
    body
}

/// The same as columns: zeros, as many as there are tables and signals.
fn columns_of_nothing() -> Vec<u8> {
    let of = |length: usize| vec![0; length];
    let is_whole =
        |length: &usize| decode(&wrap(BATCH, COLUMNS, *length, &of(*length))).result.is_ok();
    of((1..100).find(is_whole).unwrap())
}

/// As many of the smallest things as may be: what one byte on the wire becomes in memory.
#[test]
fn few_bytes_become_no_more_than_the_limits_allow() {
    let _alone = alone();
    let mut rows = batch(1);
    rows.exits = vec![record::Exit::default(); limits::RECORDS_MAX];
    rows.processes = vec![record::Process::default(); limits::PROCESSES_MAX];
    let mut strings = StringTableBuilder::default();
    for number in 0..limits::STRINGS_MAX as u32 {
        strings.add(&number.to_le_bytes()[..3]);
    }
    let mut names = batch(1);
    names.strings = strings.finish();
    let mut worst = (0.0, 0);
    for (what, batch) in [("rows", rows), ("strings", names)] {
        let frame = codec::encode_batch(&batch).unwrap();
        let Cost { result, memory, time } = decode(&frame);
        assert!(result.is_ok(), "{what}: {result:?}");
        assert!(memory < 3 * limits::BODY_MAX, "{what}: {memory}");
        assert!(time < Duration::from_millis(500), "{what}: {time:?}");
        let times = memory as f64 / frame.len() as f64;
        if times > worst.0 {
            worst = (times, memory);
        }
        println!(
            "figure D-02: as many {what} as may be: {} bytes become {} KiB in {:.1} ms",
            frame.len(),
            memory >> 10,
            time.as_secs_f64() * 1e3
        );
    }
    // One more of each is refused, however it is written.
    let too_many = |count: usize| [&[0; 9][..], &varint(count as u64 + 1), &[0; 8]].concat();
    let body = too_many(limits::RECORDS_MAX);
    let Cost { result, memory, .. } = decode(&wrap(BATCH, COLUMNS, body.len(), &body));
    assert!(matches!(result, Err(FrameError::Body(_))), "{result:?}");
    println!(
        "figure D-02: one more than may be is refused with {memory} bytes of memory; {:.0} times \
         the bytes of a frame at the most, {} KiB",
        worst.0,
        worst.1 >> 10
    );
}

/// No record of the wire takes no memory: a list of those could be as long as a number is large.
macro_rules! none_is_empty {
    ($($kind:ident)*) => {
        const _: () = { $(assert!(size_of::<record::$kind>() > 0);)* };
        const KINDS: usize = [$(size_of::<record::$kind>()),*].len();
    };
}
none_is_empty!(
    Process Exec Exit Flow Connection Privilege Syscalls Activity Use Sweep Dns DnsAnswer Tls File
    Memory Uring Login Inventory Scan Coverage LedgerLine
);

#[test]
fn nothing_on_the_wire_is_empty_or_contains_itself() {
    let _alone = alone();
    println!("figure D-03: {KINDS} kinds of records, 0 without a size (checked by the compiler)");
    // A type that contains itself would need a box, or a list of itself.
    let mut files = 0;
    let wire = std::path::Path::new("../../wire/src");
    let records = std::fs::read_dir(wire.join("record")).unwrap();
    let records = records.map(|entry| entry.unwrap().path());
    for path in records.chain(["batch.rs", "control.rs"].map(|file| wire.join(file))) {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("Box<"), "{}: a box on the wire", path.display());
        files += 1;
    }
    // A million levels of whatever a byte could open end at once, on a small stack.
    let deep = |byte: u8| move || decode(&wrap(BATCH, ROWS, 1 << 20, &vec![byte; 1 << 20])).time;
    let slowest = (0..=255).map(|byte| {
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        thread.spawn(deep(byte)).unwrap().join().unwrap()
    });
    let slowest = slowest.max().unwrap();
    println!(
        "figure D-04: 256 bodies of a million equal bytes end within {:.0} µs on a stack of 128 \
         KiB; no box in {files} files of the protocol",
        slowest.as_secs_f64() * 1e6
    );
}

/// Bits and ends of many frames of all kinds.
#[test]
fn no_flipped_bit_and_no_cut_passes_for_something_else() {
    let _alone = alone();
    let (mut frames, mut flips, mut cuts, mut undetected) = (0, 0, 0, 0);
    for seq in 1..=1_000_u64 {
        let mut batch = batch(seq);
        let mut strings = StringTableBuilder::default();
        strings.add(format!("/usr/bin/program-{seq}").as_bytes());
        batch.strings = strings.finish();
        batch.exits = vec![record::Exit { time_ns: seq, ..Default::default() }; seq as usize % 7];
        let whole = codec::encode_batch(&batch).unwrap();
        let frame = if seq % 2 == 0 { codec::in_rows(&whole).unwrap().into_owned() } else { whole };
        frames += 1;
        for bit in 0..frame.len() * 8 {
            let mut bent = frame.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            flips += 1;
            undetected += usize::from(codec::decode_batch_frame(&bent).is_ok());
        }
        for end in 0..frame.len() {
            cuts += 1;
            undetected += usize::from(codec::decode_batch_frame(&frame[..end]).is_ok());
        }
    }
    println!(
        "figure D-06: {frames} frames, {flips} flipped bits and {cuts} cuts: {undetected} \
         undetected"
    );
    assert_eq!(undetected, 0);
    // The known-bad run: with a checksum that fits, bent bytes do pass for something else.
    let body = rows_of_nothing();
    let passes = (0..body.len() * 8).filter(|bit| {
        let mut bent = body.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        decode(&wrap(BATCH, ROWS, bent.len(), &bent)).result.is_ok()
    });
    assert!(passes.count() > 0, "the checksum would not be needed");
}

/// Compressed bytes that say more, less or nothing of what becomes of them.
#[test]
fn a_bomb_stops_where_its_header_says() {
    let _alone = alone();
    // Blocks that repeat a byte (RFC 8878), 128 KiB each.
    let bomb = |blocks: usize| {
        let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0, 7 << 3];
        for number in 1..=blocks {
            let head = u32::from(number == blocks) | 1 << 1 | (128 << 10) << 3;
            bytes.extend_from_slice(&head.to_le_bytes()[..3]);
            bytes.push(0);
        }
        bytes
    };
    let gigabyte = bomb(8 << 10);
    let twice = [bomb(16), bomb(16)].concat();
    let cut = gigabyte[..gigabyte.len() / 2].to_vec();
    let (mut most, mut slowest) = (0, Duration::ZERO);
    for body in [&gigabyte, &twice, &cut] {
        for codec_number in [ROWS_ZSTD, COLUMNS_ZSTD] {
            for full in [0, 10, 128 << 10, limits::BODY_MAX] {
                let Cost { result, memory, time } = decode(&wrap(BATCH, codec_number, full, body));
                assert!(result.is_err());
                assert!(memory <= 2 * full + (256 << 10), "{memory} bytes for {full}");
                most = most.max(memory);
                slowest = slowest.max(time);
            }
        }
    }
    println!(
        "figure D-05: {} bytes that become 1 GiB, the same cut, and frames behind each other: at \
         most {} KiB of memory and {:.1} ms",
        gigabyte.len(),
        most >> 10,
        slowest.as_secs_f64() * 1e3
    );
}
