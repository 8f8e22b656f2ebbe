//! Strings from hosts, made safe to show.
//!
//! Paths, arguments and names are chosen by whoever runs programs on a host. Control characters
//! could rewrite a terminal, and invisible or direction-changing characters could make one command
//! look like another, so each becomes a visible escape. What is escaped once is left as it is by a
//! second pass, so callers need not know whether a string has been here before.

use std::fmt::Write as _;

/// Bytes of one shown string; longer ones are cut. An argument list can be 4 KiB, a line need not.
pub const SHOWN_MAX: usize = 4096;

/// Mark at the end of a string that was cut.
const CUT: char = '…';

/// Returns `bytes` as text: invalid UTF-8 becomes U+FFFD, unsafe characters visible escapes.
pub fn visible(bytes: &[u8]) -> String {
    visible_str(&String::from_utf8_lossy(bytes))
}

/// Returns `text` with unsafe characters as visible escapes.
pub fn visible_str(text: &str) -> String {
    cut(text, SHOWN_MAX)
}

/// Returns `bytes` as [`visible`] does, in at most `max` bytes and a mark when something was cut.
pub fn visible_cut(bytes: &[u8], max: usize) -> String {
    cut(&String::from_utf8_lossy(bytes), max)
}

fn cut(text: &str, max: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(max));
    for character in text.chars() {
        let before = shown.len();
        if is_unsafe(character) {
            escape(character, &mut shown);
        } else {
            shown.push(character);
        }
        if shown.len() > max {
            shown.truncate(before);
            shown.push(CUT);
            break;
        }
    }
    shown
}

fn escape(character: char, out: &mut String) {
    let code = character as u32;
    // Writing to a String cannot fail.
    let _ =
        if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{{{code:x}}}") };
}

/// Returns whether a character is invisible, moves the cursor, or changes the order of others:
/// C0 and C1 controls, and Unicode's format characters that render as nothing.
pub fn is_unsafe(character: char) -> bool {
    matches!(character,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
        | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

/// Writes a time as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(ns: u64) -> String {
    let stamp = jiff::Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default();
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unsafe_characters_become_visible() {
        assert_eq!(visible(b"a\x1b[31mb\0c"), "a\\x1b[31mb\\x00c");
        assert_eq!(visible("x\u{202e}y\u{200b}".as_bytes()), "x\\u{202e}y\\u{200b}");
        assert_eq!(visible(b"\xff/bin"), "\u{fffd}/bin");
        assert_eq!(visible("日本語 ok".as_bytes()), "日本語 ok");
    }

    #[test]
    fn long_strings_are_cut_with_a_mark() {
        assert_eq!(visible_cut(b"abcdef", 3), "abc…");
        assert_eq!(visible_cut(b"abc", 3), "abc");
        assert_eq!(visible_cut(b"ab\x01", 3), "ab…");
    }

    proptest! {
        #[test]
        fn nothing_unsafe_is_left_and_a_second_pass_changes_nothing(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let once = visible(&bytes);
            prop_assert!(!once.chars().any(is_unsafe));
            prop_assert_eq!(visible_str(&once), once);
        }
    }

    #[test]
    fn times_have_milliseconds_and_are_in_utc() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123Z");
    }
}
