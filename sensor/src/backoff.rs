//! Jittered, growing delays between attempts. Pure: randomness is an argument.

use std::time::Duration;

/// First delay: a brain that restarts is back within a second.
const FIRST: Duration = Duration::from_millis(500);
/// Longest delay: a brain that was away for a day is found again within a minute.
const LONGEST: Duration = Duration::from_secs(60);

/// Delays that double up to [`LONGEST`], each drawn from the upper half of its range so that a
/// fleet that lost its brain at one moment does not come back at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the delay after one more failure. `random` is uniform in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        // Past 2^16 times the first delay the ceiling holds anyway.
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut backoff = Backoff::default();
        let delays: Vec<u128> = (0..9).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FIRST);
    }

    proptest! {
        #[test]
        fn every_delay_lies_in_the_upper_half(failures in 0u32..100_000, random in 0.0f64..1.0) {
            let delay = Backoff { failures }.next(random);
            prop_assert!(delay >= FIRST / 2 && delay <= LONGEST);
        }
    }
}
