//! Where finished batches meet the uplink: the spool, the ledger, and who wakes whom. One thread
//! uses it, so cells suffice; none is held across an await.

use std::cell::RefCell;

use tokio::sync::Notify;
use wire::batch::{Lane, Position};
use wire::codec;

use crate::batch::Cut;
use crate::clock::ClockPair;
use crate::ledger::memory::Memory;
use crate::ledger::{Events, Ledger};
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
                let mut waiting = *carried;
                for position in memory.positions() {
                    waiting.subtract(&spool.acknowledge(position));
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
        self.arrived[position.lane as usize].notify_one();
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
        self.ledger.borrow_mut().tell_again(&untold);
        for (reason, events) in losses {
            tracing::warn!(reason, events = events.total(), "batches were given up");
            self.ledger.borrow_mut().lose(reason, events);
        }
    }
}
