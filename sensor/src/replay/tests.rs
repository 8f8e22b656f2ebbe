//! Captures in memory, from the first byte to the records.

use super::*;
use crate::observation::Record;

/// A classic capture of Ethernet frames, each a second and a half after the one before.
fn capture(frames: usize) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for number in 0..frames as u32 {
        let ms = 1500 * number;
        for word in [1000 + ms / 1000, ms % 1000 * 1000, 42, 42] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend([0; 12]);
        file.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        file.extend([10, 0, 0, 1, 192, 0, 2, 9, 0x9c, 0x40, 0, 7, 0, 8, 0, 0]);
    }
    file
}

fn options() -> Options {
    Options { file: PathBuf::new(), local: Vec::new(), tunnels: false, json: true, send: false }
}

fn all(file: &[u8]) -> (Replay, bool) {
    let mut replay = Replay::new(&options(), 1_000_000_000);
    let mut capture = Capture::read(file).expect("it is a capture");
    loop {
        match replay.step(&mut capture) {
            Ok(true) => {}
            Ok(false) => return (replay, true),
            Err(_) => return (replay, false),
        }
    }
}

fn packets(replay: &Replay) -> Vec<(u64, u64)> {
    let flows = replay.observed.iter().filter_map(|observation| match &observation.record {
        Record::Flow(flow) => Some((flow.first_ns, flow.ingress.packets + flow.egress.packets)),
        _ => None,
    });
    flows.collect()
}

#[test]
fn ticks_are_those_of_the_capture() {
    let (replay, whole) = all(&capture(3));
    let second = 1_000_000_000;
    let expected = [(1000 * second, 1), (1001 * second + second / 2, 1), (1003 * second, 1)];
    assert_eq!((packets(&replay), whole), (expected.to_vec(), true));
    assert_eq!((replay.counter.totals.packets, replay.counter.totals.bytes), (3, 126));
}

#[test]
fn a_cut_capture_gives_what_there_was() {
    let file = capture(3);
    let (replay, whole) = all(&file[..file.len() - 5]);
    assert_eq!((packets(&replay).len(), whole), (2, false));
}
