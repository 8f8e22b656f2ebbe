//! Times at which something ends.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Reads a time such as `2027-01-31T18:00:00Z`, or a day, which is meant to its end in UTC.
pub(super) fn end_ns(text: &str) -> Option<u64> {
    let stamp = match text.parse::<Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) if text.len() == "2027-01-31".len() => {
            let day: Date = text.parse().ok()?;
            day.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()
        }
        Err(_) => return None,
    };
    u64::try_from(stamp.as_nanosecond()).ok()
}

/// Returns a time in UTC, to the minute.
pub(super) fn shown(ns: u64) -> String {
    let stamp = Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    stamp.strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_lasts_until_its_end() {
        let shown = |text: &str| end_ns(text).map(super::shown);
        assert_eq!(shown("2027-01-31").as_deref(), Some("2027-02-01 00:00"));
        let time = shown("2027-01-31T18:00:00+02:00");
        assert_eq!(time.as_deref(), Some("2027-01-31 16:00"));
        for wrong in ["2027-02-30", "tomorrow", "2027-01-31 18:00", "1960-01-01", ""] {
            assert_eq!(end_ns(wrong), None, "{wrong}");
        }
    }
}
