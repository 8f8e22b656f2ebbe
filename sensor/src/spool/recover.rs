//! Finds what an earlier start of the sensor left in the spool's directory.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use wire::batch::Lane;

use super::segment::{SEQ_MAX, Segment};
use super::{Part, Piece};
use crate::ledger::Events;

/// Files that are believed to be a spool's; more than any size limit makes.
const FILES_MAX: usize = 100_000;

/// What was found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The lanes' queues, oldest first.
    pub lanes: [VecDeque<Piece>; 2],
    /// Events that wait there.
    pub events: Events,
    /// The latest start that left something.
    pub newest_epoch: u64,
    /// Bytes that were not whole and so were cut off.
    pub torn_bytes: u64,
}

/// A name, parsed. Ordered by epoch, then by sequence number.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    epoch: u64,
    first: u64,
    /// Of a gap, its last number; of frames, nothing.
    last: Option<u64>,
    lane: Lane,
}

/// Returns the name of a segment's file.
pub fn segment_name(epoch: u64, lane: Lane, first: u64) -> String {
    format!("{epoch:020}-{}-{first:020}.frames", lane.name())
}

/// Returns the name of the empty file that remembers a gap.
pub fn gap_name(epoch: u64, lane: Lane, first: u64, last: u64) -> String {
    format!("{epoch:020}-{}-{first:020}-{last:020}.gap", lane.name())
}

/// Reads all files of a spool.
pub fn recover(directory: &Path) -> io::Result<Recovered> {
    let mut names = Vec::new();
    for entry in directory.read_dir()?.take(FILES_MAX) {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|text| Some((parse(text)?, text.to_owned()))));
    }
    names.sort();
    let mut recovered = Recovered::default();
    for (name, text) in names {
        if let Err(error) = recover_file(&mut recovered, &name, &directory.join(&text)) {
            tracing::warn!(file = text, %error, "a spool file cannot be read and is left alone");
        }
    }
    Ok(recovered)
}

fn recover_file(recovered: &mut Recovered, name: &Name, path: &Path) -> io::Result<()> {
    recovered.newest_epoch = recovered.newest_epoch.max(name.epoch);
    let part = match name.last {
        Some(last) => Part::Gap { first: name.first, last, sent: name.first - 1 },
        None => {
            let (segment, torn_bytes) = Segment::recover(path)?;
            recovered.torn_bytes += torn_bytes;
            if segment.len == 0 {
                return std::fs::remove_file(path);
            }
            recovered.events.add(&segment.waiting());
            Part::Frames(segment)
        }
    };
    let queue = &mut recovered.lanes[name.lane as usize];
    bridge(queue, name.epoch, &part);
    queue.push_back(Piece { epoch: name.epoch, part });
    Ok(())
}

/// Numbers missing between two parts were torn off with the end of the first: a gap stands in.
fn bridge(queue: &mut VecDeque<Piece>, epoch: u64, next: &Part) {
    let Some(before) = queue.back().filter(|before| before.epoch == epoch) else { return };
    let (end, begin) = (span(&before.part).1, span(next).0);
    if begin > end + 1 {
        let gap = Part::Gap { first: end + 1, last: begin - 1, sent: end };
        queue.push_back(Piece { epoch, part: gap });
    }
}

/// Returns the first and the last number of a part.
pub(super) fn span(part: &Part) -> (u64, u64) {
    match part {
        Part::Frames(segment) => (segment.first, segment.last),
        Part::Gap { first, last, .. } => (*first, *last),
    }
}

fn parse(text: &str) -> Option<Name> {
    let (stem, kind) = text.split_once('.')?;
    let mut words = stem.split('-');
    let epoch = words.next()?.parse().ok()?;
    let lane = words.next()?;
    let lane = Lane::ALL.into_iter().find(|l| l.name() == lane)?;
    let first = words.next()?.parse().ok().filter(|first| (1..=SEQ_MAX).contains(first))?;
    let last = match (kind, words.next()) {
        ("frames", None) => None,
        ("gap", Some(last)) => {
            Some(last.parse().ok().filter(|last| (first..=SEQ_MAX).contains(last))?)
        }
        _ => return None,
    };
    words.next().is_none().then_some(Name { epoch, first, last, lane })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let name = parse(&gap_name(7, Lane::Bulk, 3, 9)).unwrap();
        assert_eq!(name, Name { epoch: 7, first: 3, last: Some(9), lane: Lane::Bulk });
        let name = parse(&segment_name(7, Lane::Security, 3)).unwrap();
        assert_eq!(name, Name { epoch: 7, first: 3, last: None, lane: Lane::Security });
        for text in ["", "x.frames", "1-bulk-0.frames", "1-bulk-9-3.gap", "1-bulk-9-3.frames"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
