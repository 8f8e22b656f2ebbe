//! Parts of dates as logs write them. Time zones are left as they are: the specification asks for
//! no conversion.

use super::modifier::TimePart;

/// Seconds since the epoch that are told from milliseconds by their size: the year 5138.
const SECONDS_MAX: i64 = 100_000_000_000;

/// Returns a part of the date: `2026-11-30 03:47:52`, with `T` or a space, whatever stands behind;
/// or a number of seconds or milliseconds since the epoch.
pub(super) fn part(text: &[u8], part: TimePart) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let (date, time) = match text.parse::<i64>() {
        Ok(number) => from_epoch(number)?,
        Err(_) => written(text)?,
    };
    Some(match part {
        TimePart::Minute => i64::from(time?.minute()),
        TimePart::Hour => i64::from(time?.hour()),
        TimePart::Day => i64::from(date.day()),
        TimePart::Week => i64::from(date.iso_week_date().week()),
        TimePart::Month => i64::from(date.month()),
        TimePart::Year => i64::from(date.year()),
    })
}

fn from_epoch(number: i64) -> Option<(jiff::civil::Date, Option<jiff::civil::Time>)> {
    let seconds = if number.abs() > SECONDS_MAX { number / 1000 } else { number };
    let moment = jiff::Timestamp::from_second(seconds).ok()?;
    let moment = moment.to_zoned(jiff::tz::TimeZone::UTC);
    Some((moment.date(), Some(moment.time())))
}

fn written(text: &str) -> Option<(jiff::civil::Date, Option<jiff::civil::Time>)> {
    let date: jiff::civil::Date = text.get(..10)?.parse().ok()?;
    let rest = text.get(11..).unwrap_or("");
    let time = |text: &str| text.parse::<jiff::civil::Time>().ok();
    let time = rest.get(..8).and_then(time).or_else(|| rest.get(..5).and_then(time));
    Some((date, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_what_the_log_says() {
        for (text, which, expected) in [
            ("2026-11-30T23:47:52.123+09:00", TimePart::Hour, Some(23)),
            ("2026-11-30 03:47:52.123", TimePart::Minute, Some(47)),
            ("2026-11-30 03:47", TimePart::Minute, Some(47)),
            ("2026-11-30", TimePart::Day, Some(30)),
            ("2026-11-30", TimePart::Hour, None),
            ("2026-01-01", TimePart::Week, Some(1)),
            ("1764474472", TimePart::Year, Some(2025)),
            ("1764474472000", TimePart::Month, Some(11)),
            ("yesterday", TimePart::Year, None),
        ] {
            assert_eq!(part(text.as_bytes(), which), expected, "{text} {which:?}");
        }
    }
}
