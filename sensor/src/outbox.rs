//! Where finished batches meet the uplink: the spool, the ledger, and who wakes whom. One thread
//! uses it, so cells suffice; none is held across an await.

use std::cell::RefCell;

use tokio::sync::Notify;
use wire::batch::{Lane, Position};
use wire::codec;

use crate::batch::Cut;
use crate::clock::ClockPair;
use crate::ledger::memory::Memory;
use crate::ledger::{Events, Ledger, Told};
use crate::spool::untold;
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
                let (mut waiting, known) = (*carried, memory.positions());
                memory.held().release(|at| known.iter().any(|known| at.is_up_to(*known)));
                memory.count_held();
                let held = memory.held().all();
                waiting.subtract(&spool.resume(&known, &memory.sent_positions(), held));
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
        }
    }

    /// Returns the epoch of this start.
    pub fn epoch(&self) -> u64 {
        self.spool.borrow().epoch()
    }

    /// Spools a batch and wakes the uplink.
    pub fn push(&self, cut: &Cut) {
        let position = cut.batch.position;
        let told = (position, untold::of(&cut.batch));
        // Before the batch is on disk: a worker that is killed in between has told it, too, as its
        // number goes out with it.
        let is_held = told.1.is_empty() || self.ledger.borrow().begin_telling(&told);
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
        self.told(told, is_held);
        self.arrived[position.lane as usize].notify_one();
    }

    /// What coverage told on disk need not be held any longer.
    fn told(&self, told: Told, is_held: bool) {
        if told.1.is_empty() {
            return;
        }
        let (mut spool, ledger) = (self.spool.borrow_mut(), self.ledger.borrow());
        ledger.end_telling(&told);
        let position = told.0;
        if !spool.is_in_memory(position.lane) {
            ledger.release(|at| at != position);
        } else if !(is_held && spool.hold(told)) {
            tracing::warn!("too much is held: a killed sensor's losses may stay untold");
        }
    }

    /// Waits for the lane's next frame.
    pub async fn next(&self, lane: Lane) -> Vec<u8> {
        loop {
            match self.next_unsent(lane) {
                Some(frame) => return frame,
                None => self.arrived[lane as usize].notified().await,
            }
        }
    }

    fn next_unsent(&self, lane: Lane) -> Option<Vec<u8>> {
        let (frame, losses) = self.spool.borrow_mut().next_unsent(lane, ClockPair::now());
        self.lose(&losses);
        if frame.is_some() {
            self.ledger.borrow().keep_sent(self.spool.borrow().sent(lane));
        }
        frame
    }

    /// Notes what the brain has.
    pub fn acknowledge(&self, position: Position) {
        let events = self.spool.borrow_mut().acknowledge(position);
        self.ledger.borrow_mut().deliver(&events, position);
        self.ledger.borrow().release(|at| self.spool.borrow().holds(at));
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

    /// A batch that told something was given up. If it was never sent, that is told again.
    /// Otherwise the brain may have it, and only the batch's number can tell.
    fn untell(&self, told: Told) {
        let (mut spool, mut ledger) = (self.spool.borrow_mut(), self.ledger.borrow_mut());
        let position = told.0;
        let is_held = spool.release(position);
        if spool.was_sent(position) {
            if (is_held || ledger.hold(&told)) && spool.hold(told.clone()) {
                return;
            }
            tracing::warn!(?position, "too much is held: coverage may be told twice");
        }
        ledger.release(|at| at != position);
        ledger.forget_told(&told.1);
        ledger.tell_again(&told.1);
    }

    fn lose(&self, losses: &[Loss]) {
        let untold = self.spool.borrow_mut().take_untold();
        untold.into_iter().for_each(|told| self.untell(told));
        // What was told is safe by now. What is lost is counted last: what a worker that is killed
        // before it has neither spooled nor lost, the next one counts as lost.
        self.spool.borrow_mut().delete_given_up();
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
    use crate::ledger::{Line, Signal};
    use crate::spool::BYTES_MIN;

    const LOAD: u64 = 7;
    const CLOCK: ClockPair = ClockPair { boot_ns: 1, unix_ns: 1 };
    const SEEN: [(&str, &str, u64); 1] = [("exec", "seen", 5)];

    fn open(state: &std::path::Path, now_ns: u64) -> Outbox {
        let (spool, carried) = Spool::open(&state.join("spool"), BYTES_MIN, now_ns);
        Outbox::kept(spool, &carried, Memory::open(&state.join("ledger"), LOAD).unwrap())
    }

    /// Tells what the ledger has to say, and returns where.
    fn cover(outbox: &Outbox, batcher: &mut Batcher) -> (Vec<Line>, Position) {
        let ledger = outbox.ledger.borrow_mut().report();
        let coverage = CoverageText { ledger, ..CoverageText::default() };
        assert!(batcher.add_coverage(&coverage, CLOCK).is_none());
        let cut = batcher.cut(Lane::Bulk, CLOCK).unwrap();
        outbox.push(&cut);
        (untold::of(&cut.batch), cut.batch.position)
    }

    fn begin(outbox: &Outbox) -> Batcher {
        see(outbox, 5);
        Batcher::new(outbox.epoch(), CLOCK)
    }

    fn see(outbox: &Outbox, events: u64) {
        let mut seen = Events::default();
        seen.count(Signal::Exec, events);
        outbox.ledger.borrow_mut().kernel(seen, &[0; sensor_abi::loss::Loss::SLOTS]);
    }

    fn lines(lines: &[(&str, &str, u64)]) -> Vec<Line> {
        lines.iter().map(|&(signal, outcome, n)| (signal.into(), outcome.into(), n)).collect()
    }

    /// Sends all that waits, and returns number and lines of each.
    fn send(outbox: &Outbox) -> Vec<(Position, Vec<Line>)> {
        let mut sent = Vec::new();
        while let Some(frame) = outbox.next_unsent(Lane::Bulk) {
            // What the flood is made of is no batch.
            let batch = codec::decode_batch_frame(&frame).ok();
            sent.extend(batch.map(|batch| (batch.position, untold::of(&batch))));
        }
        sent
    }

    /// Fills the spool until all that waited in it is given up.
    fn flood(outbox: &Outbox, from_seq: u64) {
        let frame = vec![0; 400_000];
        for seq in from_seq..from_seq + 20 {
            let losses =
                outbox.spool.borrow_mut().push(Lane::Bulk, seq, &Events::default(), &frame);
            outbox.lose(&losses);
        }
    }

    #[test]
    fn what_coverage_told_on_disk_is_not_told_again_by_the_next_worker() {
        let state = tempfile::tempdir().unwrap();
        let outbox = open(state.path(), 5);
        assert_eq!(cover(&outbox, &mut begin(&outbox)).0, lines(&SEEN));
        drop(outbox);
        let outbox = open(state.path(), 6);
        assert_eq!(cover(&outbox, &mut begin(&outbox)).0, []);
    }

    #[test]
    fn what_coverage_told_in_memory_goes_out_under_its_number_by_the_next_worker() {
        let state = tempfile::tempdir().unwrap();
        // No folder can be made where a file is: the disk fails.
        std::fs::write(state.path().join("spool"), b"").unwrap();
        let outbox = open(state.path(), 5);
        let mut batcher = begin(&outbox);
        let first = cover(&outbox, &mut batcher);
        see(&outbox, 7);
        let second = cover(&outbox, &mut batcher);
        assert_eq!(second.0, lines(&[("exec", "seen", 2)]));
        drop(outbox);
        for now_ns in [6, 7] {
            let outbox = open(state.path(), now_ns);
            see(&outbox, 7);
            assert_eq!(outbox.ledger.borrow_mut().report(), []);
            let told = send(&outbox);
            match now_ns {
                6 => assert_eq!(told, [(first.1, first.0.clone()), (second.1, second.0.clone())]),
                _ => assert_eq!(told, [(second.1, second.0.clone())]),
            }
            outbox.acknowledge(Position { seq: now_ns - 5, ..first.1 });
        }
        assert_eq!(send(&open(state.path(), 8)), []);
    }

    #[test]
    fn coverage_that_may_have_arrived_keeps_its_number_when_it_is_given_up() {
        let state = tempfile::tempdir().unwrap();
        let outbox = open(state.path(), 5);
        let (told, position) = cover(&outbox, &mut begin(&outbox));
        assert_eq!(send(&outbox), [(position, told.clone())]);
        flood(&outbox, 2);
        assert_eq!(outbox.ledger.borrow_mut().report(), []);
        outbox.rewind();
        assert_eq!(send(&outbox)[..2], [(position, told.clone()), (at(position, 2), vec![])]);
        // A killed worker's successor knows it, too.
        drop(outbox);
        let outbox = open(state.path(), 6);
        see(&outbox, 5);
        assert_eq!(outbox.ledger.borrow_mut().report(), []);
        assert_eq!(send(&outbox)[..2], [(position, told), (at(position, 2), vec![])]);
        outbox.acknowledge(position);
        outbox.rewind();
        assert_eq!(send(&outbox)[0], (position, vec![]));
    }

    #[test]
    fn coverage_that_was_never_sent_is_told_again_when_it_is_given_up() {
        let state = tempfile::tempdir().unwrap();
        let outbox = open(state.path(), 5);
        let (_, position) = cover(&outbox, &mut begin(&outbox));
        flood(&outbox, 2);
        assert_eq!(send(&outbox)[0], (position, vec![]));
        assert_eq!(outbox.ledger.borrow_mut().report(), SEEN);
    }

    fn at(position: Position, seq: u64) -> Position {
        Position { seq, ..position }
    }
}
