//! The queue of encoded batches that the brain does not have yet: bounded, on disk, one per lane.
//!
//! A full spool gives up its oldest bulk batches, then its oldest security batches, and says which
//! events went with them. In place of a batch that was given up, an empty one with the same number
//! is sent: the brain sees sequences without gaps, so that a gap is always a fault. One that had
//! been sent already may have arrived; then the empty one tells what its coverage told, and the
//! brain takes it from whichever comes first. When the disk fails, a small queue in memory stands
//! in.
//!
//! Frames are in the page cache at once and on the disk when a segment is full and at shutdown: a
//! killed sensor loses nothing, a host that loses power loses what the kernel's counters lost too.

use std::collections::VecDeque;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use wire::batch::{Lane, Position};

use crate::clock::ClockPair;
use crate::ledger::{Events, Told};

mod held;
mod recover;
mod segment;
pub mod untold;

use segment::Segment;

/// Bytes after which a segment is closed: the grain in which a full spool gives up batches.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// Bytes kept in memory while the disk fails: some minutes of a quiet host, within the memory
/// budget.
const MEMORY_MAX: u64 = 4 * 1024 * 1024;
/// Bytes after which a segment in memory is closed and the disk is tried again.
const MEMORY_SEGMENT_BYTES: u64 = 256 * 1024;
/// Smallest spool: room for both lanes' open segments.
pub const BYTES_MIN: u64 = 4 * SEGMENT_BYTES;

/// Why events of a spool are lost, as the ledger names it.
pub const REASON_FULL: &str = "spool_full";
/// Frames that could not be read back.
pub const REASON_DAMAGED: &str = "spool_damaged";

/// A part of a lane's queue.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all parts are segments, and they are few")]
enum Part {
    Frames(Segment),
    /// Batches that were given up; `sent` is the highest number in whose place an empty one went.
    Gap {
        first: u64,
        last: u64,
        sent: u64,
    },
}

/// A part and the start of the sensor that it belongs to.
#[derive(Debug)]
struct Piece {
    epoch: u64,
    part: Part,
}

/// Events that a spool had to give up, and why.
pub type Loss = (&'static str, Events);

/// How full the spool is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Bytes waiting, on disk and in memory.
    pub bytes: u64,
    /// Bytes of these that only memory has.
    pub memory_bytes: u64,
    /// Failures of the disk.
    pub disk_errors: u64,
    /// Bytes cut off the files of an earlier start because they were not whole.
    pub torn_bytes: u64,
}

/// The queue. The newest piece of each lane is the one that is appended to.
#[derive(Debug)]
pub struct Spool {
    directory: PathBuf,
    epoch: u64,
    bytes_max: u64,
    lanes: [VecDeque<Piece>; 2],
    /// Whether the newest piece of a lane may be appended to.
    open: [bool; 2],
    disk_errors: u64,
    torn_bytes: u64,
    /// What coverage said in batches that were given up.
    untold: Vec<Told>,
    /// Segments that were given up and are still on disk.
    given_up: Vec<Segment>,
    /// What coverage said in batches that an empty one stands in for, or may come to.
    held: Vec<Told>,
    /// Epoch and number up to which each lane was sent, at one time or another.
    sent: [(u64, u64); 2],
}

impl Spool {
    /// Opens the spool in `directory` and takes over what an earlier start left there. The epoch is
    /// `now_ns`, or later than every epoch found. Returns the events taken over as well.
    pub fn open(directory: &Path, bytes_max: u64, now_ns: u64) -> (Self, Events) {
        let mut spool = Self {
            directory: directory.to_owned(),
            epoch: now_ns,
            bytes_max: bytes_max.max(BYTES_MIN),
            lanes: Default::default(),
            open: [false; 2],
            disk_errors: 0,
            torn_bytes: 0,
            untold: Vec::new(),
            given_up: Vec::new(),
            held: Vec::new(),
            sent: Default::default(),
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        let recovered = made.and_then(|()| recover::recover(directory));
        let events = match recovered {
            Ok(recovered) => {
                spool.epoch = now_ns.max(recovered.newest_epoch.saturating_add(1));
                spool.torn_bytes = recovered.torn_bytes;
                spool.lanes = recovered.lanes;
                recovered.events
            }
            Err(error) => {
                spool.disk_failed(&error);
                Events::default()
            }
        };
        // What earlier starts sent is not known until somebody says so.
        spool.sent = [(spool.epoch, 0); 2];
        (spool, events)
    }

    /// Returns the epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Appends a frame of this epoch, and returns what had to be given up for it.
    pub fn push(&mut self, lane: Lane, seq: u64, events: &Events, frame: &[u8]) -> Vec<Loss> {
        let size = (segment::ENTRY_HEADER + frame.len()) as u64;
        let mut losses = self.make_room(size);
        if !self.is_open(lane) {
            self.start_segment(lane, seq);
        }
        if let Err(error) = self.append(lane, seq, events, frame) {
            self.disk_failed(&error);
            self.lanes[lane as usize]
                .push_back(Piece { epoch: self.epoch, part: Part::Frames(Segment::in_memory()) });
            losses.extend(self.make_room(size));
            if self.append(lane, seq, events, frame).is_err() {
                losses.push((REASON_FULL, *events));
            }
        }
        losses
    }

    /// Returns the lane's next frame to send. Frames that cannot be read back are given up.
    pub fn next_unsent(&mut self, lane: Lane, clock: ClockPair) -> (Option<Vec<u8>>, Vec<Loss>) {
        let (frame, losses) = self.take_unsent(lane, clock);
        let Some((position, frame)) = frame else { return (None, losses) };
        let sent = &mut self.sent[lane as usize];
        *sent = (position.epoch, position.seq).max(*sent);
        (Some(frame), losses)
    }

    fn take_unsent(
        &mut self,
        lane: Lane,
        clock: ClockPair,
    ) -> (Option<(Position, Vec<u8>)>, Vec<Loss>) {
        let mut losses = Vec::new();
        let mut at = 0;
        while let Some(piece) = self.lanes[lane as usize].get_mut(at) {
            let epoch = piece.epoch;
            match &mut piece.part {
                Part::Gap { first, last, sent } => {
                    if *sent < *last {
                        *sent = (*sent).max(*first - 1) + 1;
                        let position = Position { epoch, lane, seq: *sent };
                        let frame = untold::stand_in(position, clock, self.held_at(position));
                        return (Some((position, frame)), losses);
                    }
                }
                Part::Frames(segment) if segment.has_unsent() => match segment.next_unsent() {
                    Ok(Some((entry, frame))) => {
                        return (Some((Position { epoch, lane, seq: entry.seq }, frame)), losses);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        self.disk_failed(&error);
                        losses.extend(self.give_up(lane, at, REASON_DAMAGED));
                        continue;
                    }
                },
                Part::Frames(_) => {}
            }
            at += 1;
        }
        (None, losses)
    }

    /// Notes that the brain has everything of a lane's epoch up to a position, and returns the
    /// events of it. When that is of this start, it has all of earlier ones, too: they went first.
    pub fn acknowledge(&mut self, position: Position) -> Events {
        let mut events = Events::default();
        let ends_earlier = position.epoch == self.epoch && position.seq > 0;
        let reached = |epoch: u64| match epoch == position.epoch {
            true => Some(position.seq),
            false => ends_earlier.then_some(u64::MAX),
        };
        self.held.retain(|(at, _)| {
            at.lane != position.lane || reached(at.epoch).is_none_or(|last| at.seq > last)
        });
        let lane = position.lane as usize;
        let newest = self.lanes[lane].len().saturating_sub(1);
        let pieces = std::mem::take(&mut self.lanes[lane]);
        for (at, mut piece) in pieces.into_iter().enumerate() {
            let open = at == newest && self.open[lane];
            let last = reached(piece.epoch);
            if last.is_some_and(|l| self.acknowledge_part(&mut piece.part, l, open, &mut events)) {
                self.open[lane] &= !open;
                self.delete(position.lane, &piece);
            } else {
                self.lanes[lane].push_back(piece);
            }
        }
        events
    }

    /// Returns whether the part is no longer needed; adds the events that the brain has of it.
    fn acknowledge_part(
        &mut self,
        part: &mut Part,
        seq: u64,
        open: bool,
        events: &mut Events,
    ) -> bool {
        let segment = match part {
            Part::Gap { last, .. } => return *last <= seq,
            Part::Frames(segment) => segment,
        };
        match segment.acknowledge(seq) {
            Ok(delivered) => events.add(&delivered),
            Err(error) => self.disk_failed(&error),
        }
        // The open segment is emptied and used again: on a quiet link no file comes or goes. One in
        // memory ends, so that the disk is tried again.
        let reused = open && !segment.is_in_memory();
        let emptied = reused && segment.is_acknowledged() && segment.clear().is_ok();
        segment.is_acknowledged() && !emptied
    }

    /// Makes everything that the brain has not acknowledged be sent again.
    pub fn rewind(&mut self) {
        for piece in self.lanes.iter_mut().flatten() {
            match &mut piece.part {
                Part::Frames(segment) => segment.rewind(),
                Part::Gap { first, sent, .. } => *sent = *first - 1,
            }
        }
    }

    /// Returns whether the brain has everything.
    pub fn is_empty(&self) -> bool {
        self.lanes.iter().flatten().all(|piece| match &piece.part {
            Part::Frames(segment) => segment.is_acknowledged(),
            Part::Gap { .. } => false,
        })
    }

    /// Closes all segments and waits until the disk has them. What only memory has goes with the
    /// process.
    pub fn close(&mut self) {
        self.open = [false; 2];
        for lane in Lane::ALL {
            for piece in std::mem::take(&mut self.lanes[lane as usize]) {
                match &piece.part {
                    Part::Frames(segment) if segment.is_acknowledged() => self.delete(lane, &piece),
                    Part::Frames(segment) => {
                        if let Err(error) = segment.sync() {
                            self.disk_failed(&error);
                        }
                        self.lanes[lane as usize].push_back(piece);
                    }
                    Part::Gap { .. } => self.lanes[lane as usize].push_back(piece),
                }
            }
        }
    }

    /// Returns what coverage said in batches that were given up since the last call; it has to be
    /// said again, or held.
    pub fn take_untold(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.untold)
    }

    /// Deletes what was given up, once what its coverage said is safe.
    pub fn delete_given_up(&mut self) {
        for segment in std::mem::take(&mut self.given_up) {
            self.deleted(segment.delete());
        }
    }

    /// Returns whether the lane's newest frame would go with a killed process.
    pub fn is_in_memory(&self, lane: Lane) -> bool {
        self.lanes[lane as usize].back().is_some_and(Piece::is_in_memory)
    }

    /// Returns how full the spool is.
    pub fn stats(&self) -> SpoolStats {
        let pieces = || self.lanes.iter().flatten();
        SpoolStats {
            bytes: pieces().map(Piece::bytes).sum(),
            memory_bytes: pieces().filter(|p| p.is_in_memory()).map(Piece::bytes).sum(),
            disk_errors: self.disk_errors,
            torn_bytes: self.torn_bytes,
        }
    }

    fn append(&mut self, lane: Lane, seq: u64, events: &Events, frame: &[u8]) -> io::Result<()> {
        match self.lanes[lane as usize].back_mut().map(|piece| &mut piece.part) {
            Some(Part::Frames(segment)) => segment.append(seq, events, frame),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Returns whether the lane's newest segment takes more; closes it when it is full.
    fn is_open(&mut self, lane: Lane) -> bool {
        if !self.open[lane as usize] {
            return false;
        }
        let Some(Part::Frames(segment)) = self.lanes[lane as usize].back().map(|p| &p.part) else {
            return false;
        };
        let most = if segment.is_in_memory() { MEMORY_SEGMENT_BYTES } else { SEGMENT_BYTES };
        if segment.len < most {
            return true;
        }
        self.open[lane as usize] = false;
        if let Err(error) = segment.sync() {
            self.disk_failed(&error);
        }
        false
    }

    fn start_segment(&mut self, lane: Lane, seq: u64) {
        let path = self.directory.join(recover::segment_name(self.epoch, lane, seq));
        let segment = Segment::create(path).unwrap_or_else(|error| {
            self.disk_failed(&error);
            Segment::in_memory()
        });
        let piece = Piece { epoch: self.epoch, part: Part::Frames(segment) };
        self.lanes[lane as usize].push_back(piece);
        self.open[lane as usize] = true;
    }

    /// Gives up batches until `size` more bytes fit: oldest bulk first, security last.
    fn make_room(&mut self, size: u64) -> Vec<Loss> {
        let mut losses = Vec::new();
        loop {
            let SpoolStats { bytes, memory_bytes, .. } = self.stats();
            let full = bytes + size > self.bytes_max;
            let memory_full = memory_bytes + size > MEMORY_MAX;
            if !full && !memory_full {
                return losses;
            }
            let victim = [Lane::Bulk, Lane::Security].into_iter().find_map(|lane| {
                let fits = |p: &Piece| p.bytes() > 0 && (full || p.is_in_memory());
                Some((lane, self.lanes[lane as usize].iter().position(fits)?))
            });
            let Some((lane, at)) = victim else { return losses };
            losses.extend(self.give_up(lane, at, REASON_FULL));
        }
    }

    /// Replaces a segment by a gap, and returns the events that went with it.
    fn give_up(&mut self, lane: Lane, at: usize, reason: &'static str) -> Option<Loss> {
        let pieces = &mut self.lanes[lane as usize];
        if at + 1 == pieces.len() {
            self.open[lane as usize] = false;
        }
        let piece = pieces.remove(at)?;
        let Part::Frames(segment) = &piece.part else { return None };
        let events = segment.waiting();
        self.untold.extend(untold::lines(segment));
        if !segment.is_acknowledged() {
            let (first, last) = (segment.first_waiting(), segment.last);
            let sent = segment.last_sent().clamp(first - 1, last);
            self.put_gap(lane, at, piece.epoch, Part::Gap { first, last, sent });
        }
        if let Part::Frames(segment) = piece.part {
            self.given_up.push(segment);
        }
        Some((reason, events))
    }

    /// Puts a gap in place, joined with the one before it.
    fn put_gap(&mut self, lane: Lane, mut at: usize, epoch: u64, mut gap: Part) {
        let before = at.checked_sub(1).and_then(|i| self.lanes[lane as usize].get(i));
        if let (Some(before), Part::Gap { first, sent, .. }) = (before, &mut gap)
            && let Part::Gap { first: begin, last: end, sent: sent_before } = before.part
            && before.epoch == epoch
            && end + 1 == *first
        {
            *first = begin;
            // Numbers go out in order: when the first gap is not sent, nothing of the second is.
            *sent = if sent_before < end { sent_before } else { *sent };
            at -= 1;
            if let Some(before) = self.lanes[lane as usize].remove(at) {
                self.delete(lane, &before);
            }
        }
        if let Part::Gap { first, last, .. } = gap {
            let path = self.directory.join(recover::gap_name(epoch, lane, first, last));
            if let Err(error) = std::fs::write(path, b"") {
                self.disk_failed(&error);
            }
        }
        self.lanes[lane as usize].insert(at, Piece { epoch, part: gap });
    }

    fn delete(&mut self, lane: Lane, piece: &Piece) {
        let result = match &piece.part {
            Part::Frames(segment) => segment.delete(),
            Part::Gap { first, last, .. } => {
                let name = recover::gap_name(piece.epoch, lane, *first, *last);
                std::fs::remove_file(self.directory.join(name))
            }
        };
        self.deleted(result);
    }

    fn deleted(&mut self, result: io::Result<()>) {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => self.disk_failed(&error),
            _ => {}
        }
    }

    fn disk_failed(&mut self, error: &io::Error) {
        self.disk_errors += 1;
        // A disk that stays broken would say so with every batch.
        if self.disk_errors.is_power_of_two() {
            let directory = self.directory.display();
            tracing::warn!(%directory, %error, times = self.disk_errors, "spool cannot use its disk");
        }
    }
}

impl Piece {
    fn bytes(&self) -> u64 {
        match &self.part {
            Part::Frames(segment) => segment.len,
            Part::Gap { .. } => 0,
        }
    }

    fn is_in_memory(&self) -> bool {
        matches!(&self.part, Part::Frames(segment) if segment.is_in_memory())
    }
}

#[cfg(test)]
mod tests;
