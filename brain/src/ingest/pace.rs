//! How much one sensor may send: past its share it is read more slowly, and QUIC's flow control
//! makes it wait. Nothing is refused, since its spool holds what waits.
//!
//! What counts is the work that a batch makes, not its bytes on the wire: those of a hostile one
//! may be few.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use wire::batch::Batch;

use super::frame::Frame;
use crate::clock::SECOND_NS;

/// Seconds' worth of bytes that may come at once, such as the spool of a host that was away.
const BURST_S: u64 = 4;

/// What a batch counts for besides its bytes: its way through channels, checks and the journal.
const BATCH_COST: usize = 4096;

/// What a record or process counts for: columns write thousands that are alike in a few bytes.
const RECORD_COST: usize = 64;

/// Returns the bytes that a batch counts for.
pub(super) fn weight(batch: &Batch, frame: &Frame) -> usize {
    let rows = batch.record_count() + batch.processes.len();
    frame.bytes.len().max(frame.header.full_len()) + BATCH_COST + rows * RECORD_COST
}

/// The share of one session.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    /// Bytes beyond the share, and when that was so.
    debt: Mutex<(u64, u64)>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), debt: Mutex::new((0, 0)) }
    }

    /// Takes bytes in; returns how long to wait before the next are read.
    pub(super) fn spend(&self, bytes: usize, now_ns: u64) -> Duration {
        let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        let (owed, at_ns) = *debt;
        let elapsed = u128::from(now_ns.saturating_sub(at_ns));
        let paid = elapsed * u128::from(self.bytes_per_second) / u128::from(SECOND_NS);
        let owed = owed.saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX));
        *debt = (owed.saturating_add(bytes as u64), now_ns);
        let beyond = debt.0.saturating_sub(self.bytes_per_second.saturating_mul(BURST_S));
        Duration::from_secs_f64(beyond as f64 / self.bytes_per_second as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_share_holds() {
        let pace = Pace::new(1000);
        assert_eq!(pace.spend(4000, SECOND_NS), Duration::ZERO);
        assert_eq!(pace.spend(500, SECOND_NS), Duration::from_millis(500));
        assert_eq!(pace.spend(500, SECOND_NS * 2), Duration::ZERO);
        assert_eq!(pace.spend(2000, SECOND_NS * 2), Duration::from_secs(2));
        assert_eq!(pace.spend(4000, SECOND_NS * 60), Duration::ZERO);
    }
}
