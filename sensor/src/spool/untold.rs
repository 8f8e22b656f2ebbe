//! What coverage said in batches that are given up. Its lines are differences, so that whoever
//! keeps the ledger has to tell them again.

use wire::batch::{Batch, Position};
use wire::codec;

use super::segment::Segment;
use crate::ledger::Line;

/// A batch's place, and what its coverage said of the ledger.
pub type Told = (Position, Vec<Line>);

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
