//! The only place that asks what time it is. Everything else takes the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Returns nanoseconds since the Unix epoch.
///
/// A clock set before 1970 reads as 0, one past the year 2554 as the largest value: both are
/// misconfigured machines, and a wrong time is better than a stopped brain.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
