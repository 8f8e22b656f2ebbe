//! What was parsed, on its way to the brain: JSON, batches, frames, and back.

use std::rc::Rc;

use sensor::batch::Batcher;
use sensor::clock::ClockPair;
use sensor::ledger::Signal;
use sensor::observation::{Observation, Record};
use sensor::process::Process;
use sensor::watch;
use wire::batch::Lane;
use wire::codec;

/// Bits of the last line's checksum that must be zero for a full delivery.
const SKIPPED: u32 = 0x0f;

/// A record without processes.
pub fn alone(signal: Signal, record: Record) -> Observation {
    Observation { lineage: Vec::new(), target: Vec::new(), signal, events: 1, record }
}

/// A record that a process is named by.
pub fn by(process: Process, signal: Signal, record: Record) -> Observation {
    Observation { lineage: vec![Rc::new(process)], ..alone(signal, record) }
}

/// Sends observations as the sensor does and receives them as the brain does.
///
/// # Panics
/// When a batch, of a choice that depends on what is in it, cannot be encoded, does not arrive as
/// it was, or records are missing; when a line of JSON is more than one line.
pub fn check(observations: &[Observation]) {
    let clock = ClockPair { boot_ns: 1, unix_ns: 2 };
    let mut batcher = Batcher::new(1, ClockPair::default());
    let mut cuts = Vec::new();
    let mut text = String::new();
    for observation in observations {
        text.clear();
        watch::json::write(&mut text, observation, ClockPair::default());
        assert!(is_one_line(&text), "{text:?} is not one line");
        text.clear();
        watch::line::write(&mut text, observation);
        assert!(is_harmless(&text), "{text:?} could move a terminal's cursor");
        cuts.extend(batcher.add(observation, || clock));
    }
    cuts.extend(Lane::ALL.into_iter().filter_map(|lane| batcher.cut(lane, clock)));
    // Compression takes a hundred times as long as all the rest, so that only some get further.
    if crc32c::crc32c(text.as_bytes()) & SKIPPED != 0 {
        return;
    }
    let mut arrived = 0;
    for cut in &cuts {
        let frame = codec::encode_batch(&cut.batch).expect("a batch is within the limits");
        let batch = codec::decode_batch_frame(&frame).expect("a batch is taken by the brain");
        assert_eq!(batch, cut.batch, "a batch arrives as it was");
        arrived += batch.record_count();
    }
    assert_eq!(arrived, observations.len(), "every record arrives");
}

fn is_one_line(text: &str) -> bool {
    text.ends_with('\n') && text.matches('\n').count() == 1
}

/// Each line may end, and nothing else may control a terminal.
fn is_harmless(text: &str) -> bool {
    !text.chars().any(|c| c.is_control() && c != '\n')
}
