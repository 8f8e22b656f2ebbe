//! What coverage said in batches that are given up. Its lines are differences, so none may be
//! missed, and none told twice.

use wire::batch::{Batch, Clock, Position};
use wire::codec;
use wire::record::{Coverage, LedgerLine};
use wire::text::StringTableBuilder;

use super::segment::Segment;
use crate::clock::ClockPair;
use crate::ledger::{Line, Told};

/// Returns what all frames tell that the brain does not have. What cannot be read or decoded tells
/// nothing.
pub(super) fn lines(segment: &Segment) -> Vec<Told> {
    let batches =
        segment.waiting_frames().filter_map(|frame| codec::decode_batch_frame(&frame).ok());
    batches.map(|batch| (batch.position, of(&batch))).filter(|told| !told.1.is_empty()).collect()
}

/// Returns what a batch tells.
pub fn of(batch: &Batch) -> Vec<Line> {
    let text = |id| String::from_utf8_lossy(batch.strings.bytes(id)).into_owned();
    let lines = batch.coverage.iter().flat_map(|coverage| &coverage.ledger);
    lines.map(|line| (text(line.signal), text(line.outcome), line.count)).collect()
}

/// Returns the frame that stands in for a batch that was given up: it tells what that one told, if
/// anything, and holds nothing else.
pub(super) fn stand_in(position: Position, clock: ClockPair, lines: &[Line]) -> Vec<u8> {
    let clock = Clock { boot_ns: clock.boot_ns, unix_ns: clock.unix_ns };
    let mut batch = Batch::empty(position, clock);
    if !lines.is_empty() {
        let mut strings = StringTableBuilder::default();
        let line = |(signal, outcome, count): &Line| {
            let signal = strings.add(signal.as_bytes())?;
            let outcome = strings.add(outcome.as_bytes())?;
            Some(LedgerLine { signal, outcome, count: *count })
        };
        let ledger = lines.iter().filter_map(line).collect();
        let (start_ns, end_ns) = (clock.unix_ns, clock.unix_ns);
        batch.coverage = Some(Coverage { start_ns, end_ns, ledger, ..Coverage::default() });
        batch.strings = strings.finish();
    }
    // The names of signals and outcomes are far below every limit, so encoding cannot fail.
    codec::encode_batch(&batch).unwrap_or_default()
}
