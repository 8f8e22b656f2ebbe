//! A file of the spool that an earlier start of the sensor left, as it is read back: whole, cut,
//! bent or made up.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use sensor::clock::ClockPair;
use sensor::ledger::Events;
use sensor::spool::Spool;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec;

use super::batch::sample;
use super::{KIB, Target, choice};

pub(super) const TARGET: Target = Target {
    name: "spool",
    what: "a file of the sensor's spool",
    input_max: 4 * KIB,
    // Some copies of a file, and the empty batches that stand in for what is lost: their
    // compression takes most of it.
    memory_max: 512 * KIB,
    control: false,
    check,
    seeds,
};

const EPOCH: u64 = 5;
/// The size of a spool in which anything here finds room.
const BYTES_MAX: u64 = 4 << 20;
const CLOCK: ClockPair = ClockPair { boot_ns: 1, unix_ns: 2 };
/// Bytes of an entry before its frame.
const HEAD_LEN: usize = 16 + 8 * Events::LEN;

/// A folder in memory, of this process alone; it is empty between inputs.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = base.join(format!("sakuramori-fuzz-spool-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder can be made");
        folder
    })
}

fn check(input: &[u8]) {
    let Some((choice, bytes)) = choice(input, 3) else { return };
    let file = match choice {
        0 => bytes.to_vec(),
        // Entries whose checksums fit, so that what they say is looked at.
        1 => entries(bytes),
        // The same behind an entry that is whole.
        _ => [entry(1, &Events::default(), b"frame"), entries(bytes)].concat(),
    };
    let path = folder().join(format!("{EPOCH:020}-bulk-{:020}.frames", 1));
    fs::write(&path, &file).expect("the folder can be written");
    read_back(file.len());
    fs::remove_dir_all(folder()).and_then(|()| fs::create_dir(folder())).expect("it is our own");
}

/// Opens the spool, sends all that there is and acknowledges it.
fn read_back(length: usize) {
    let (mut spool, carried) = Spool::open(folder(), BYTES_MAX, EPOCH);
    let stats = spool.stats();
    assert!(spool.epoch() > EPOCH || length == 0 || stats.bytes == 0, "a start has a new epoch");
    assert_eq!(stats.bytes + stats.torn_bytes, length as u64, "what is not used is counted");
    let mut sent = Vec::new();
    loop {
        let (frame, losses) = spool.next_unsent(Lane::Bulk, CLOCK);
        assert!(losses.is_empty(), "what was whole when it was opened can be read");
        let Some(frame) = frame else { break };
        sent.push(frame);
    }
    let bytes: usize = sent.iter().map(|frame| HEAD_LEN + frame.len()).sum();
    assert_eq!(bytes as u64, stats.bytes, "all that was found whole is sent");
    let all = Position { epoch: EPOCH, lane: Lane::Bulk, seq: u64::MAX };
    assert_eq!(spool.acknowledge(all), carried, "what was carried over is delivered");
    assert!(spool.is_empty());
    spool.close();
}

/// Takes entries from the input: a number, a length, events of one signal, and the frame.
fn entries(mut bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<18>() {
        let long = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
        let length = usize::from(u16::from_le_bytes([head[16], head[17]])).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        let mut numbers = Events::default().numbers();
        numbers[0] = long(8);
        file.extend(entry(long(0), &Events::new(numbers), frame));
        bytes = rest;
    }
    file
}

/// An entry as the spool writes it.
fn entry(seq: u64, events: &Events, frame: &[u8]) -> Vec<u8> {
    let mut rest = seq.to_le_bytes().to_vec();
    events.numbers().iter().for_each(|number| rest.extend(number.to_le_bytes()));
    rest.extend_from_slice(frame);
    let mut entry = (frame.len() as u32).to_le_bytes().to_vec();
    entry.extend(crc32c::crc32c(&rest).to_le_bytes());
    entry.extend(rest);
    entry
}

fn seeds() -> Vec<Vec<u8>> {
    let frame = |seq: u64| {
        let position = Position { epoch: EPOCH, lane: Lane::Bulk, seq };
        let batch = Batch { position, ..sample() };
        codec::encode_batch(&batch).expect("it is short")
    };
    let empty = |seq: u64| {
        let position = Position { epoch: EPOCH, lane: Lane::Bulk, seq };
        codec::encode_batch(&Batch::empty(position, Clock::default())).expect("it is short")
    };
    let file: Vec<u8> =
        (1..=3).flat_map(|seq| entry(seq, &Events::default(), &empty(seq))).collect();
    let made = |seq: u64, frame: &[u8]| {
        let length = (frame.len() as u16).to_le_bytes();
        [&seq.to_le_bytes()[..], &7_u64.to_le_bytes(), &length, frame].concat()
    };
    vec![
        [&[0], &file[..]].concat(),
        [&[1], &made(1, &frame(1))[..], &made(2, &frame(2))].concat(),
        [&[2], &made(2, &empty(2))[..]].concat(),
        [&[1], &made(u64::MAX, b"x")[..]].concat(),
    ]
}
