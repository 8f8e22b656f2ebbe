//! Token buckets per key, such as an address: a burst, then a steady rate. Pure: time is an
//! argument.

use std::collections::HashMap;
use std::hash::Hash;

use crate::clock::SECOND_NS;

/// Keys that are told apart. When more are active at once, the bucket of the one that was quiet for
/// longest is given up; a flood from so many addresses is limited by other means.
const KEYS_MAX: usize = 8192;

/// Limits how often each key may do something.
#[derive(Clone, Debug)]
pub struct RateLimit<K> {
    burst: f64,
    per_second: f64,
    buckets: HashMap<K, Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at_ns: u64,
}

impl<K: Hash + Eq + Copy> RateLimit<K> {
    /// Allows `burst` at once, and `per_second` on average.
    pub fn new(burst: u32, per_second: f64) -> Self {
        Self { burst: f64::from(burst), per_second, buckets: HashMap::new() }
    }

    /// Takes one, or says how many nanoseconds to wait.
    pub fn take(&mut self, key: K, now_ns: u64) -> Result<(), u64> {
        self.check(key, now_ns)?;
        if self.buckets.len() >= KEYS_MAX && !self.buckets.contains_key(&key) {
            self.forget_quiet(now_ns);
        }
        let full = Bucket { tokens: self.burst, at_ns: now_ns };
        let bucket = self.buckets.entry(key).or_insert(full);
        bucket.tokens = filled(*bucket, now_ns, self.burst, self.per_second) - 1.0;
        bucket.at_ns = now_ns;
        Ok(())
    }

    /// Says whether one could be taken, without taking it.
    pub fn check(&self, key: K, now_ns: u64) -> Result<(), u64> {
        let Some(bucket) = self.buckets.get(&key) else { return Ok(()) };
        let tokens = filled(*bucket, now_ns, self.burst, self.per_second);
        if tokens >= 1.0 {
            return Ok(());
        }
        Err(((1.0 - tokens) / self.per_second * SECOND_NS as f64) as u64)
    }

    fn forget_quiet(&mut self, now_ns: u64) {
        let (burst, per_second) = (self.burst, self.per_second);
        // A full bucket and a forgotten one behave alike.
        self.buckets.retain(|_, bucket| filled(*bucket, now_ns, burst, per_second) < burst);
        let oldest =
            self.buckets.iter().min_by_key(|(_, bucket)| bucket.at_ns).map(|(key, _)| *key);
        if self.buckets.len() >= KEYS_MAX
            && let Some(key) = oldest
        {
            self.buckets.remove(&key);
        }
    }
}

fn filled(bucket: Bucket, now_ns: u64, burst: f64, per_second: f64) -> f64 {
    let elapsed = now_ns.saturating_sub(bucket.at_ns) as f64 / SECOND_NS as f64;
    (bucket.tokens + elapsed * per_second).min(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut limit = RateLimit::new(2, 1.0);
        assert_eq!(limit.take("a", 0), Ok(()));
        assert_eq!(limit.take("a", 0), Ok(()));
        assert_eq!(limit.take("a", 0), Err(SECOND_NS));
        assert_eq!(limit.take("b", 0), Ok(()));
        assert_eq!(limit.take("a", SECOND_NS), Ok(()));
        assert!(limit.take("a", SECOND_NS).is_err());
    }

    #[test]
    fn keys_are_bounded() {
        let mut limit = RateLimit::new(1, 0.001);
        for key in 0..3 * KEYS_MAX {
            limit.take(key, key as u64).unwrap();
        }
        assert_eq!(limit.buckets.len(), KEYS_MAX);
    }
}
