//! Small readers over bytes that an attacker may have written. All are total: what does not fit is
//! `None`, never a panic.

use std::net::IpAddr;

/// Returns where `needle` first begins.
pub fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len().max(1)).position(|window| window == needle)
}

/// Returns where `needle` last begins.
pub fn find_last(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len().max(1)).rposition(|window| window == needle)
}

/// Divides at the first `needle`.
pub fn split<'a>(text: &'a [u8], needle: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(text, needle)?;
    Some((&text[..at], &text[at + needle.len()..]))
}

/// Divides at the last `needle`.
pub fn split_last<'a>(text: &'a [u8], needle: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find_last(text, needle)?;
    Some((&text[..at], &text[at + needle.len()..]))
}

/// Returns what stands between a beginning and an end.
pub fn between<'a>(text: &'a [u8], before: &[u8], behind: &[u8]) -> Option<&'a [u8]> {
    text.strip_prefix(before)?.strip_suffix(behind)
}

/// Returns the first word and what follows the spaces behind it.
pub fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&b| b == b' ').unwrap_or(text.len());
    (&text[..end], text[end..].trim_ascii_start())
}

/// Removes one pair of quotes of either kind, where there is one.
pub fn unquoted(text: &[u8]) -> &[u8] {
    for quote in [b"'", b"\"", b"`"] {
        let closing: &[u8] = if quote == b"`" { b"'" } else { quote };
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(closing)) {
            return inner;
        }
    }
    text
}

/// Reads a whole number of at most nine digits.
pub fn number(text: &[u8]) -> Option<u32> {
    let digits = (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

/// Reads a port.
pub fn port(text: &[u8]) -> Option<u16> {
    number(text).and_then(|port| u16::try_from(port).ok())
}

/// Reads an address; one with a zone (`fe80::1%eth0`) is the address without it.
pub fn address(text: &[u8]) -> Option<IpAddr> {
    let text = text.split(|&b| b == b'%').next()?;
    let ip: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(ip.to_canonical())
}

/// Returns whether the text can be an address or the name of a host: one word without quotes.
pub fn is_host(text: &[u8]) -> bool {
    let letter = |b: &u8| b.is_ascii_alphanumeric() || b".:-_%".contains(b);
    !text.is_empty() && text.len() <= 255 && text.iter().all(letter)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_and_the_first_are_told_apart() {
        assert_eq!(split(b"a-b-c", b"-"), Some((&b"a"[..], &b"b-c"[..])));
        assert_eq!(split_last(b"a-b-c", b"-"), Some((&b"a-b"[..], &b"c"[..])));
        assert_eq!(between(b"<x>", b"<", b">"), Some(&b"x"[..]));
        assert_eq!(word(b"one  two"), (&b"one"[..], &b"two"[..]));
        assert_eq!(
            (unquoted(b"'a'"), unquoted(b"`a'"), unquoted(b"'")),
            (&b"a"[..], &b"a"[..], &b"'"[..])
        );
    }

    #[test]
    fn numbers_and_addresses_are_checked() {
        assert_eq!((number(b"22"), number(b""), number(b"9999999999")), (Some(22), None, None));
        assert_eq!((port(b"65535"), port(b"65536")), (Some(65535), None));
        assert_eq!(address(b"::ffff:1.2.3.4"), Some([1, 2, 3, 4].into()));
        assert!(address(b"fe80::1%eth0").is_some() && address(b"UNKNOWN").is_none());
        assert!(is_host(b"a.example") && !is_host(b"a b") && !is_host(b"\"a\""));
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(
            text in proptest::collection::vec(any::<u8>(), 0..40),
            needle in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            let _ = (find(&text, &needle), find_last(&text, &needle));
            let _ = (word(&text), unquoted(&text), number(&text), address(&text));
            let _ = (split(&text, &needle), split_last(&text, &needle), is_host(&text));
        }
    }
}
