//! What coverage said in batches that have no frame on disk, and how a spool goes on where a killed
//! process held some of it.

use wire::batch::{Lane, Position};

use super::{Part, Spool, recover};
use crate::ledger::{Events, Line, Told};

/// Batches whose coverage is held: as many as the ledger's file has slots for.
const HELD_MAX: usize = 64;

impl Spool {
    /// Holds what a batch's coverage said until the brain has its number. Returns whether there was
    /// room.
    pub fn hold(&mut self, told: Told) -> bool {
        let has_room = self.held.len() < HELD_MAX;
        self.held.extend(has_room.then_some(told));
        has_room
    }

    /// Returns whether it is held.
    pub fn holds(&self, position: Position) -> bool {
        self.held.iter().any(|(at, _)| *at == position)
    }

    /// Holds it no longer, and returns whether it did.
    pub fn release(&mut self, position: Position) -> bool {
        let before = self.held.len();
        self.held.retain(|(at, _)| *at != position);
        self.held.len() < before
    }

    /// Returns whether a batch has ever been handed out to be sent.
    pub fn was_sent(&self, Position { epoch, lane, seq }: Position) -> bool {
        (epoch, seq) <= self.sent[lane as usize]
    }

    /// Returns up to where a lane was sent.
    pub fn sent(&self, lane: Lane) -> Position {
        let (epoch, seq) = self.sent[lane as usize];
        Position { epoch, lane, seq }
    }

    /// Goes on where a process was killed: what the brain had by then, what was sent, and what was
    /// held. Returns the events that the brain has.
    pub fn resume(&mut self, known: &[Position], sent: &[Position], held: Vec<Told>) -> Events {
        let mut events = Events::default();
        for position in known {
            events.add(&self.acknowledge(*position));
            self.bridge(*position);
        }
        for position in sent {
            self.sent[position.lane as usize] = (position.epoch, position.seq);
        }
        for (position, _) in &held {
            let of_same =
                |known: &&Position| (known.epoch, known.lane) == (position.epoch, position.lane);
            self.span(*position, known.iter().find(of_same).map_or(0, |known| known.seq));
        }
        self.held = held;
        events
    }

    pub(super) fn held_at(&self, position: Position) -> &[Line] {
        self.held.iter().find(|(at, _)| *at == position).map_or(&[], |(_, lines)| lines)
    }

    /// Puts a gap between what the brain has and what is here: what was in between was only in the
    /// memory of a process that was killed.
    fn bridge(&mut self, known: Position) {
        let pieces = &self.lanes[known.lane as usize];
        let Some(at) = pieces.iter().position(|piece| piece.epoch == known.epoch) else { return };
        let (first, _) = recover::span(&pieces[at].part);
        self.put_numbers(known.lane, at, known.epoch, (known.seq + 1, first.saturating_sub(1)));
    }

    /// Makes sure that a number goes out, and each between it and those that the brain has.
    fn span(&mut self, Position { epoch, lane, seq }: Position, known: u64) {
        let pieces = &self.lanes[lane as usize];
        let begin = pieces.partition_point(|piece| piece.epoch < epoch);
        let end = pieces.partition_point(|piece| piece.epoch <= epoch);
        let last = end.checked_sub(1).filter(|last| *last >= begin);
        let last = last.map_or(known, |last| recover::span(&pieces[last].part).1);
        self.put_numbers(lane, end, epoch, (last + 1, seq));
        let first = self.lanes[lane as usize].get(begin).filter(|piece| piece.epoch == epoch);
        let first = first.map_or(0, |piece| recover::span(&piece.part).0);
        self.put_numbers(lane, begin, epoch, (known + 1, first.saturating_sub(1)));
    }

    /// Puts a gap of these numbers in place, if there are any.
    fn put_numbers(&mut self, lane: Lane, at: usize, epoch: u64, (first, last): (u64, u64)) {
        if first <= last {
            self.put_gap(lane, at, epoch, Part::Gap { first, last, sent: first - 1 });
        }
    }
}
