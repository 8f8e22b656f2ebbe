//! Spans of time as people write them.

/// Returns the seconds of `90s`, `30m`, `24h` or `7d`.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || "write a number and a unit, such as 30m, 24h or 7d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn units_count() {
        assert_eq!(
            [seconds("90s"), seconds("2m"), seconds("24h"), seconds("7d")],
            [Ok(90), Ok(120), Ok(86400), Ok(604800)]
        );
        for wrong in ["", "h", "5", "5w", "-1h", "1é", "99999999999999999999d"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
