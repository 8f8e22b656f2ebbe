//! What coverage said in batches that are given up. Its lines are differences, so that whoever
//! keeps the ledger has to tell them again.

use wire::codec;

use super::segment::Segment;
use crate::ledger::Line;

/// Returns the lines of all frames that the brain does not have. What cannot be read or decoded
/// tells nothing.
pub(super) fn lines(segment: &Segment) -> Vec<Line> {
    let coverages = segment.waiting_frames().filter_map(|frame| {
        let batch = codec::decode_batch_frame(&frame).ok()?;
        let coverage = batch.coverage?;
        let text = |id| String::from_utf8_lossy(batch.strings.bytes(id)).into_owned();
        let line =
            |line: &wire::record::LedgerLine| (text(line.signal), text(line.outcome), line.count);
        Some(coverage.ledger.iter().map(line).collect::<Vec<Line>>())
    });
    coverages.flatten().collect()
}
