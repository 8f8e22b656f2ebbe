//! Times as logs write them, and what moment they mean.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::scan::number;

/// Seconds and nanoseconds.
const SECOND_NS: i128 = 1_000_000_000;
/// A line may be so far ahead of our clock before its year is taken to be the one before.
const AHEAD_NS: i128 = 24 * 3600 * SECOND_NS;
/// Years that are tried for a date without one; 29 February is there once in four, or eight.
const YEARS_TRIED: i16 = 9;

/// A time as a line writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    year: Option<i16>,
    month: i8,
    day: i8,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    /// Seconds east of Greenwich; `None` for the host's own zone.
    offset: Option<i32>,
}

/// What is needed to say what moment a line's time means.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    now_ns: u64,
}

impl Calendar {
    /// Takes the host's zone as the content of `/etc/localtime`; without one it is UTC.
    pub fn new(localtime: Option<&[u8]>) -> Self {
        let zone = localtime.and_then(|data| TimeZone::tzif("host", data).ok());
        Self { zone: zone.unwrap_or(TimeZone::UTC), now_ns: 0 }
    }

    /// Sets the present time, nanoseconds since the Unix epoch.
    pub fn set_now(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Returns the moment in nanoseconds since the Unix epoch. A date without a year is the last
    /// such date that is not ahead of now.
    pub fn moment(&self, stamp: Option<Stamp>) -> u64 {
        stamp.and_then(|stamp| self.of(stamp)).unwrap_or(self.now_ns)
    }

    fn of(&self, stamp: Stamp) -> Option<u64> {
        if let Some(year) = stamp.year {
            return u64::try_from(self.in_year(stamp, year)?).ok();
        }
        let now = i128::from(self.now_ns);
        let today = jiff::Timestamp::from_nanosecond(now).ok()?.to_zoned(self.zone.clone());
        let newest = today.year().checked_add(1)?;
        let moments = (0..YEARS_TRIED).filter_map(|back| self.in_year(stamp, newest - back));
        let past = moments.into_iter().find(|&moment| moment <= now + AHEAD_NS)?;
        u64::try_from(past).ok()
    }

    fn in_year(&self, stamp: Stamp, year: i16) -> Option<i128> {
        let Stamp { month, day, hour, minute, nanos, .. } = stamp;
        // A leap second is the last one of its minute.
        let second = stamp.second.min(59);
        let civil = DateTime::new(year, month, day, hour, minute, second, nanos).ok()?;
        match stamp.offset {
            Some(offset) => {
                let utc = TimeZone::UTC.to_timestamp(civil).ok()?.as_nanosecond();
                Some(utc - i128::from(offset) * SECOND_NS)
            }
            None => Some(self.zone.to_timestamp(civil).ok()?.as_nanosecond()),
        }
    }
}

/// Reads the time at the beginning of a line; returns the rest as well.
pub fn read(line: &[u8]) -> Option<(Stamp, &[u8])> {
    traditional(line).or_else(|| iso(line))
}

/// `Mmm dd [yyyy ]HH:MM:SS[.fraction]`, the day with a space or a zero before one digit or neither.
fn traditional(line: &[u8]) -> Option<(Stamp, &[u8])> {
    const MONTHS: [&[u8; 3]; 12] = [
        b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov",
        b"Dec",
    ];
    let (name, rest) = line.split_first_chunk::<3>()?;
    let month = 1 + MONTHS.iter().position(|month| *month == name)? as i8;
    let rest = rest.strip_prefix(b" ")?.trim_ascii_start();
    let (day, rest) = digits(rest, 1, 2)?;
    let mut rest = rest.strip_prefix(b" ")?;
    let mut year = None;
    if let Some((digits, behind)) = digits(rest, 4, 4)
        && let Some(behind) = behind.strip_prefix(b" ")
    {
        (year, rest) = (i16::try_from(digits).ok(), behind);
    }
    let (mut stamp, rest) = clock(rest)?;
    (stamp.year, stamp.month, stamp.day) = (year, month, i8::try_from(day).ok()?);
    Some((stamp, rest))
}

/// `YYYY-MM-DDTHH:MM:SS[.fraction][Z|±HH:MM]`, as RFC 3339 and ISO 8601 say.
fn iso(line: &[u8]) -> Option<(Stamp, &[u8])> {
    let (year, rest) = digits(line, 4, 4)?;
    let (month, rest) = digits(rest.strip_prefix(b"-")?, 2, 2)?;
    let (day, rest) = digits(rest.strip_prefix(b"-")?, 2, 2)?;
    let rest = rest.strip_prefix(b"T").or_else(|| rest.strip_prefix(b" "))?;
    let (mut stamp, rest) = clock(rest)?;
    stamp.year = Some(i16::try_from(year).ok()?);
    (stamp.month, stamp.day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    if let Some(rest) = rest.strip_prefix(b"Z") {
        stamp.offset = Some(0);
        return Some((stamp, rest));
    }
    let east = match rest.first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return Some((stamp, rest)),
    };
    let (hours, rest) = digits(&rest[1..], 2, 2)?;
    let (minutes, rest) = digits(rest.strip_prefix(b":").unwrap_or(rest), 2, 2)?;
    stamp.offset = Some(east * i32::try_from(hours * 3600 + minutes * 60).ok()?);
    Some((stamp, rest))
}

/// `HH:MM:SS[.fraction]`.
fn clock(text: &[u8]) -> Option<(Stamp, &[u8])> {
    let (hour, rest) = digits(text, 2, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(b":")?, 2, 2)?;
    let (second, rest) = digits(rest.strip_prefix(b":")?, 2, 2)?;
    let (nanos, rest) = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let length = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            let kept = &fraction[..length.min(9)];
            let scale = 10_u32.pow(9 - kept.len() as u32);
            (number(kept)?.checked_mul(scale)?, &fraction[length..])
        }
        None => (0, rest),
    };
    let stamp = Stamp {
        year: None,
        month: 0,
        day: 0,
        hour: i8::try_from(hour).ok()?,
        minute: i8::try_from(minute).ok()?,
        second: i8::try_from(second).ok()?,
        nanos: i32::try_from(nanos).ok()?,
        offset: None,
    };
    Some((stamp, rest))
}

fn digits(text: &[u8], min: usize, max: usize) -> Option<(u32, &[u8])> {
    let length = text.iter().take(max).take_while(|b| b.is_ascii_digit()).count();
    (length >= min).then(|| number(&text[..length]).map(|n| (n, &text[length..])))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2024-03-05T10:00:00Z.
    const NOW_NS: u64 = 1_709_632_800_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn moment(text: &str) -> u64 {
        let mut calendar = Calendar::new(None);
        calendar.set_now(NOW_NS);
        calendar.moment(read(text.as_bytes()).map(|(stamp, _)| stamp))
    }

    #[test]
    fn every_form_means_the_same_moment() {
        for text in [
            "Mar  5 09:00:00 host",
            "Mar 05 09:00:00 host",
            "Mar 5 2024 09:00:00 host",
            "2024-03-05T09:00:00Z host",
            "2024-03-05T10:00:00.000000+01:00 host",
            "2024-03-05T03:30:00-05:30 host",
            "2024-03-05 09:00:00 host",
        ] {
            assert_eq!(moment(text), NOW_NS - 3600 * SECOND, "{text}");
        }
        assert_eq!(moment("2024-03-05T09:00:00.25Z"), NOW_NS - 3600 * SECOND + SECOND / 4);
    }

    #[test]
    fn a_date_without_a_year_is_the_last_that_was() {
        let day = 24 * 3600 * SECOND;
        assert_eq!(moment("Dec 31 10:00:00"), NOW_NS - 65 * day);
        assert_eq!(moment("Feb 29 10:00:00"), NOW_NS - 5 * day);
        // The host that wrote it may be a little ahead of ours.
        assert_eq!(moment("Mar  6 09:00:00"), NOW_NS + day - 3600 * SECOND);
        assert_eq!(moment("no time at all"), NOW_NS);
        assert_eq!(moment("Feb 31 10:00:00"), NOW_NS);
    }

    #[test]
    fn the_hosts_zone_counts_where_the_line_has_none() {
        // Version 1 file with one type: an hour east, named "A".
        let mut tzif = b"TZif\0".to_vec();
        tzif.extend([0; 15]);
        for count in [0_u32, 0, 0, 0, 1, 2] {
            tzif.extend(count.to_be_bytes());
        }
        tzif.extend(3600_i32.to_be_bytes());
        tzif.extend([0, 0, b'A', 0]);
        let mut calendar = Calendar::new(Some(&tzif));
        calendar.set_now(NOW_NS);
        let stamp = |text: &[u8]| Some(read(text).unwrap().0);
        assert_eq!(calendar.moment(stamp(b"Mar  5 11:00:00")), NOW_NS);
        assert_eq!(calendar.moment(stamp(b"2024-03-05T10:00:00Z")), NOW_NS);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(any::<u8>(), 0..40), now: u64) {
            let mut calendar = Calendar::new(Some(&text));
            calendar.set_now(now);
            let _ = calendar.moment(read(&text).map(|(stamp, _)| stamp));
        }

        #[test]
        fn any_digits_are_safe(text in "[A-Z][a-z]{2} [0-9]{1,2} [0-9]{2}:[0-9]{2}:[0-9]{2}\
            (\\.[0-9]{0,12})?|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}[+-][0-9]{4}",
            now: u64) {
            let mut calendar = Calendar::new(None);
            calendar.set_now(now);
            let _ = calendar.moment(read(text.as_bytes()).map(|(stamp, _)| stamp));
        }
    }
}
