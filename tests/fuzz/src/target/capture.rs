//! A capture file → frames → flows and messages, as `replay` reads it.

use std::path::PathBuf;

use sensor::observation::Record;
use sensor::replay::capture::Capture;
use sensor::replay::{Options, Replay};

use super::{KIB, MIB, Target};
use crate::{delivery, seed};

pub(super) const TARGET: Target = Target {
    name: "capture",
    what: "a capture file, pcap or pcapng, in either byte order",
    input_max: 16 * KIB,
    // A block may be a mebibyte, and is read into memory before it is looked at.
    memory_max: 24 * MIB,
    control: false,
    check,
    seeds,
};

const TICK_NS: u64 = 1_000_000_000;

fn check(input: &[u8]) {
    let options =
        Options { file: PathBuf::new(), local: Vec::new(), tunnels: true, json: true, send: false };
    let mut replay = Replay::new(&options, TICK_NS);
    let Ok(mut capture) = Capture::read(input) else { return };
    let mut observed = Vec::new();
    loop {
        let step = replay.step(&mut capture);
        observed.append(&mut replay.observed);
        if !matches!(step, Ok(true)) {
            break;
        }
    }
    let (mut packets, mut bytes) = (0, 0_u64);
    for observation in &observed {
        if let Record::Flow(flow) = &observation.record {
            packets += flow.ingress.packets + flow.egress.packets;
            bytes = bytes.wrapping_add(flow.ingress.bytes).wrapping_add(flow.egress.bytes);
        }
    }
    let totals = replay.totals();
    assert_eq!((packets, bytes), (totals.packets, totals.bytes), "flows hold every frame");
    delivery::check(&observed);
}

fn seeds() -> Vec<Vec<u8>> {
    let frames = seed::frames();
    let mut seeds = Vec::new();
    for big in [false, true] {
        seeds.push(seed::pcap(big, 0xa1b2_c3d4, &frames));
        seeds.push(seed::pcap(big, 0xa1b2_3c4d, &frames));
        seeds.push(seed::pcapng(big, &frames));
    }
    seeds
}
