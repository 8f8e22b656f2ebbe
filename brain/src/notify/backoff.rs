//! Waits that grow, with jitter so that many senders do not come back together. Pure.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);

/// A receiver that was down for an hour is tried again soon after it is back.
const LONGEST: Duration = Duration::from_secs(120);

/// Counts failures and says how long to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the next wait: half of it fixed, half of it by `chance`, which lies between 0 and 1.
    pub(super) fn next(&mut self, chance: f64) -> Duration {
        let full = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }

    /// Returns how often it has failed so far.
    pub(super) fn failures(self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_stay() {
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..20).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits[..4], [1, 2, 4, 8]);
        assert_eq!(waits[19], 120);
        assert_eq!(backoff.next(0.0).as_secs(), 60);
    }
}
