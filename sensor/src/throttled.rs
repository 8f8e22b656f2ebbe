//! When the kernel programs throttle a storm: its begin and its end, from their totals. Pure.

use sensor_abi::loss::Loss;

use crate::ledger::{KernelLosses, Signal};

/// A storm that goes on, or the quiet between two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Throttled {
    /// Events that were throttled so far.
    total: u64,
    /// How many there were when the storm began.
    before: Option<u64>,
}

/// What has changed since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cgroup has used up what it may report; what goes beyond is only counted.
    Began,
    /// Nothing was throttled since the last look; so many events were in the storm.
    Ended(u64),
}

impl Throttled {
    /// Takes the totals of a tick.
    pub fn look(&mut self, losses: &KernelLosses) -> Option<Change> {
        let of = |signal| losses[Loss::Throttled.slot(signal)];
        let total = Signal::ALL.into_iter().map(of).fold(0, u64::saturating_add);
        let last = std::mem::replace(&mut self.total, total);
        match (self.before, total > last) {
            (None, true) => {
                self.before = Some(last);
                Some(Change::Began)
            }
            (Some(before), false) => {
                self.before = None;
                Some(Change::Ended(total.saturating_sub(before)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_begins_and_ends_once() {
        let mut throttled = Throttled::default();
        let mut losses = [0; Loss::SLOTS];
        assert_eq!(throttled.look(&losses), None);
        losses[Loss::Throttled.slot(Signal::Fork)] = 10;
        assert_eq!(throttled.look(&losses), Some(Change::Began));
        losses[Loss::Throttled.slot(Signal::Exit)] = 5;
        losses[Loss::RingFull.slot(Signal::Exit)] = 900;
        assert_eq!(throttled.look(&losses), None);
        assert_eq!(throttled.look(&losses), Some(Change::Ended(15)));
        assert_eq!(throttled.look(&losses), None);
    }
}
