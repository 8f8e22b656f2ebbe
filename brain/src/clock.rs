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

/// Writes a time as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(ns: u64) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_are_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
    }
}
