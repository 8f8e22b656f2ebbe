//! Where finished batches meet the uplink: the spool, the ledger, and who wakes whom. One thread
//! uses it, so cells suffice; none is held across an await.

use std::cell::RefCell;

use tokio::sync::Notify;
use wire::batch::{Lane, Position};
use wire::codec;

use crate::batch::Cut;
use crate::clock::ClockPair;
use crate::ledger::memory::Memory;
use crate::ledger::{Events, Ledger, Line};
use crate::spool::untold::{self, Told};
use crate::spool::{Loss, Spool, SpoolStats};

/// A batch that could not be encoded; the batcher's limits make it impossible, so it is counted.
const REASON_UNENCODABLE: &str = "unencodable";

/// The spool and the ledger.
#[derive(Debug)]
pub struct Outbox {
    spool: RefCell<Spool>,
    /// What became of every event.
    pub ledger: RefCell<Ledger>,
    arrived: [Notify; 2],
    acknowledged: Notify,
    /// What coverage told in batches that only memory has: until the brain has them, a killed
    /// worker's successor would have to tell it again.
    unsure: RefCell<Vec<Told>>,
}

impl Outbox {
    /// Builds it around a spool; `carried` is what the spool took over from an earlier start.
    pub fn new(spool: Spool, carried: &Events) -> Self {
        let mut ledger = Ledger::default();
        ledger.carry(carried);
        Self::with(spool, ledger)
    }

    /// Builds it for a worker: goes on with the ledger of one that was killed, or keeps totals for
    /// the next one. `memory` says whether it holds any.
    pub fn kept(mut spool: Spool, carried: &Events, memory: (Memory, bool)) -> Self {
        let ledger = match memory {
            (memory, true) => {
                // What the brain has is not what the spool still has to deliver.
                let mut waiting = *carried;
                for position in memory.positions() {
                    waiting.subtract(&spool.acknowledge(position));
                    spool.bridge(position);
                }
                Ledger::resume(memory, &waiting)
            }
            (memory, false) => {
                let mut ledger = Ledger::kept(memory);
                ledger.carry(carried);
                ledger
            }
        };
        Self::with(spool, ledger)
    }

    fn with(spool: Spool, ledger: Ledger) -> Self {
        Self {
            spool: RefCell::new(spool),
            ledger: RefCell::new(ledger),
            arrived: Default::default(),
            acknowledged: Notify::new(),
            unsure: RefCell::default(),
        }
    }

    /// Returns the epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.spool.borrow().epoch()
    }

    /// Spools a batch and wakes the uplink.
    pub fn push(&self, cut: &Cut) {
        let position = cut.batch.position;
        let losses = match codec::encode_batch(&cut.batch) {
            Ok(frame) => {
                self.spool.borrow_mut().push(position.lane, position.seq, &cut.events, &frame)
            }
            Err(error) => {
                tracing::error!(%error, seq = position.seq, "a batch cannot be encoded");
                vec![(REASON_UNENCODABLE, cut.events)]
            }
        };
        self.lose(&losses);
        self.told(position, untold::of(&cut.batch));
        self.arrived[position.lane as usize].notify_one();
    }

    fn told(&self, position: Position, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        if self.spool.borrow().is_in_memory(position.lane) {
            self.unsure.borrow_mut().push((position, lines));
        } else {
            self.ledger.borrow().keep_told(&lines);
        }
    }

    /// Waits for the lane's next frame.
    pub async fn next(&self, lane: Lane) -> Vec<u8> {
        loop {
            let (frame, losses) = self.spool.borrow_mut().next_unsent(lane, ClockPair::now());
            self.lose(&losses);
            match frame {
                Some(frame) => return frame,
                None => self.arrived[lane as usize].notified().await,
            }
        }
    }

    /// Notes what the brain has.
    pub fn acknowledge(&self, position: Position) {
        let events = self.spool.borrow_mut().acknowledge(position);
        self.ledger.borrow_mut().deliver(&events, position);
        self.unsure.borrow_mut().retain(|(at, lines)| {
            let is_there =
                (at.epoch, at.lane) == (position.epoch, position.lane) && at.seq <= position.seq;
            if is_there {
                self.ledger.borrow().keep_told(lines);
            }
            !is_there
        });
        self.acknowledged.notify_one();
    }

    /// Makes everything unacknowledged be sent again: a new session knows nothing of the old one.
    pub fn rewind(&self) {
        self.spool.borrow_mut().rewind();
    }

    /// Waits until the brain has everything.
    pub async fn emptied(&self) {
        while !self.spool.borrow().is_empty() {
            self.acknowledged.notified().await;
        }
    }

    /// Returns how full the spool is.
    pub fn stats(&self) -> SpoolStats {
        self.spool.borrow().stats()
    }

    /// Closes the spool; what the brain lacks is on disk for the next start.
    pub fn close(&self) {
        self.spool.borrow_mut().close();
    }

    fn lose(&self, losses: &[Loss]) {
        let untold = self.spool.borrow_mut().take_untold();
        for (position, lines) in untold {
            let mut unsure = self.unsure.borrow_mut();
            let mut ledger = self.ledger.borrow_mut();
            match unsure.iter().position(|(at, _)| *at == position) {
                Some(at) => drop(unsure.swap_remove(at)),
                None => ledger.forget_told(&lines),
            }
            ledger.tell_again(&lines);
        }
        for (reason, events) in losses {
            tracing::warn!(reason, events = events.total(), "batches were given up");
            self.ledger.borrow_mut().lose(reason, events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Batcher, CoverageText};
    use crate::ledger::Signal;
    use crate::spool::BYTES_MIN;

    const LOAD: u64 = 7;
    const SEEN: [(&str, &str, u64); 1] = [("exec", "seen", 5)];

    fn open(state: &std::path::Path, now_ns: u64) -> Outbox {
        let (spool, carried) = Spool::open(&state.join("spool"), BYTES_MIN, now_ns);
        Outbox::kept(spool, &carried, Memory::open(&state.join("ledger"), LOAD).unwrap())
    }

    /// Tells what the ledger has to say, and returns where.
    fn cover(outbox: &Outbox) -> (Vec<(&'static str, &'static str, u64)>, Position) {
        let now = ClockPair { boot_ns: 1, unix_ns: 1 };
        let mut batcher = Batcher::new(outbox.epoch(), now);
        let ledger = outbox.ledger.borrow_mut().report();
        let coverage = CoverageText { ledger: ledger.clone(), ..CoverageText::default() };
        assert!(batcher.add_coverage(&coverage, now).is_none());
        let cut = batcher.cut(Lane::Bulk, now).unwrap();
        outbox.push(&cut);
        (ledger, cut.batch.position)
    }

    fn see(outbox: &Outbox) {
        let mut seen = Events::default();
        seen.count(Signal::Exec, 5);
        outbox.ledger.borrow_mut().kernel(seen, &[0; sensor_abi::loss::Loss::SLOTS]);
    }

    #[test]
    fn what_coverage_told_on_disk_is_not_told_again_by_the_next_worker() {
        let state = tempfile::tempdir().unwrap();
        let outbox = open(state.path(), 5);
        see(&outbox);
        assert_eq!(cover(&outbox).0, SEEN);
        drop(outbox);
        let outbox = open(state.path(), 6);
        see(&outbox);
        assert_eq!(cover(&outbox).0, []);
    }

    #[test]
    fn what_coverage_told_in_memory_is_told_again_unless_the_brain_has_it() {
        let state = tempfile::tempdir().unwrap();
        // No folder can be made where a file is: the disk fails.
        std::fs::write(state.path().join("spool"), b"").unwrap();
        for now_ns in [5, 6] {
            let outbox = open(state.path(), now_ns);
            see(&outbox);
            let (told, position) = cover(&outbox);
            assert_eq!(told, SEEN);
            if now_ns == 6 {
                outbox.acknowledge(position);
            }
        }
        let outbox = open(state.path(), 7);
        see(&outbox);
        assert_eq!(cover(&outbox).0, []);
    }
}
