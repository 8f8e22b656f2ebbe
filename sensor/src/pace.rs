//! Holds work to a rate of bytes, after a burst that is free.

use std::thread;
use std::time::Duration;

use crate::clock;

const SECOND_NS: u64 = 1_000_000_000;

/// An allowance that grows with time.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    burst_bytes: u64,
    /// Bytes of the allowance that are spent.
    spent: u64,
    since_ns: u64,
}

impl Pace {
    /// Starts with the whole burst.
    pub fn new(bytes_per_second: u64, burst_bytes: u64) -> Self {
        Self { bytes_per_second, burst_bytes, spent: 0, since_ns: clock::boot_ns() }
    }

    /// Spends bytes, and sleeps when that was too much.
    pub fn keep(&mut self, bytes: u64) {
        if let Some(wait_ns) = self.spend(bytes, clock::boot_ns()) {
            thread::sleep(Duration::from_nanos(wait_ns));
        }
    }

    /// Returns how long to wait, once the burst is used up.
    fn spend(&mut self, bytes: u64, now_ns: u64) -> Option<u64> {
        let rate = u128::from(self.bytes_per_second);
        let passed = u128::from(now_ns.saturating_sub(self.since_ns));
        let earned = passed * rate / u128::from(SECOND_NS);
        self.spent = self.spent.saturating_sub(u64::try_from(earned).unwrap_or(u64::MAX)) + bytes;
        self.since_ns = now_ns;
        let over = self.spent.checked_sub(self.burst_bytes)?;
        Some((u128::from(over) * u128::from(SECOND_NS) / rate) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_the_rate_holds() {
        let (rate, burst) = (32 << 20, 64 << 20);
        let mut pace = Pace { since_ns: 0, ..Pace::new(rate, burst) };
        assert_eq!(pace.spend(burst - 1, 0), None);
        assert_eq!(pace.spend(1 + rate, 0), Some(SECOND_NS));
        assert_eq!(pace.spend(0, 10 * SECOND_NS), None);
    }
}
