//! How many records a CPU may write per second.

/// Nanoseconds per second.
const SECOND: u64 = 1_000_000_000;

/// A bucket that fills evenly and is taken from. All zero is a bucket that was never used.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it was filled last, nanoseconds since boot.
    pub filled_ns: u64,
    /// What it holds, in nanoseconds of filling.
    pub held_ns: u64,
}

impl Bucket {
    /// Nothing in it.
    pub const ZERO: Self = Self { filled_ns: 0, held_ns: 0 };

    /// Takes one out if there is one. The bucket fills with `rate` per second and holds at most a
    /// second's worth, so one that was not used for a second is full.
    #[inline(always)]
    pub fn take(&mut self, now_ns: u64, rate: u64) -> bool {
        let one = SECOND / rate;
        let filled = self.held_ns + now_ns.saturating_sub(self.filled_ns);
        let held = if filled > SECOND { SECOND } else { filled };
        self.filled_ns = now_ns;
        if held < one {
            self.held_ns = held;
            return false;
        }
        self.held_ns = held - one;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 100;

    fn taken(bucket: &mut Bucket, now_ns: u64, tries: usize) -> usize {
        (0..tries).filter(|_| bucket.take(now_ns, RATE)).count()
    }

    #[test]
    fn a_burst_gets_a_second_s_worth_then_the_rate() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 5 * SECOND, 1_000), 100);
        assert_eq!(taken(&mut bucket, 5 * SECOND + SECOND / 10, 1_000), 10);
        assert_eq!(taken(&mut bucket, 60 * SECOND, 1_000), 100);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_gives_nothing() {
        let mut bucket = Bucket::default();
        taken(&mut bucket, 5 * SECOND, 1_000);
        assert_eq!(taken(&mut bucket, 5 * SECOND, 10), 0);
        assert_eq!(taken(&mut bucket, 4 * SECOND, 10), 0);
    }

    #[test]
    fn an_even_stream_below_the_rate_is_let_through() {
        let mut bucket = Bucket::default();
        let even = |n: u64| 9 * SECOND + n * SECOND / 90;
        assert!((0..1_000).all(|n| bucket.take(even(n), RATE)));
    }
}
