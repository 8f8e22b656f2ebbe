//! One value of a rule, compiled: what it asks of a field.

use std::net::IpAddr;

use ipnet::IpNet;
use memchr::memmem;

use super::date;
use super::glob::Glob;
use super::modifier::{Compare, Place, TimePart};
use super::regex::Expression;

/// What a rule asks of one value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Pattern {
    /// There is text, whatever it is.
    Any,
    /// The text is this, or has it at a place.
    Literal(Literal),
    /// It has these pieces.
    Glob(Glob),
    /// It matches.
    Regex(Box<Expression>),
    /// As a number it compares so.
    Number(Compare, Number),
    /// Read as a date, a part of it compares so.
    Time(TimePart, Compare, Number),
    /// It is an address of this block.
    Cidr(IpNet),
    /// The field has no value.
    Null,
    /// The field is there, or is not.
    Exists(bool),
    /// Another field has the same text, or text that lies so within this one.
    FieldRef(FieldRef),
}

/// Fixed text; in lower case unless case counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Literal {
    pub(super) bytes: Box<[u8]>,
    pub(super) place: Place,
    pub(super) cased: bool,
}

/// Another field to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldRef {
    pub(super) name: Box<str>,
    pub(super) place: Place,
    pub(super) cased: bool,
}

/// A number of a rule or an event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Whole(i64),
    Broken(f64),
}

impl Number {
    /// Reads a number as text has it.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        if let Ok(whole) = text.parse() {
            return Some(Self::Whole(whole));
        }
        // Rust reads words such as `inf` as numbers; no log means them.
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
        text.parse().ok().filter(|_| plain).map(Self::Broken)
    }

    fn value(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Broken(broken) => broken,
        }
    }

    /// Returns whether `self` compares so with `other`.
    pub(super) fn compares(self, compare: Compare, other: Self) -> bool {
        let order = match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => Some(a.cmp(&b)),
            (a, b) => a.value().partial_cmp(&b.value()),
        };
        let Some(order) = order else { return false };
        match compare {
            Compare::Equal => order.is_eq(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::Greater => order.is_gt(),
            Compare::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Broken(broken) => broken.fmt(f),
        }
    }
}

impl Literal {
    /// Returns whether the value has the text at its place.
    pub(super) fn matches(&self, plain: &[u8], lower: &[u8]) -> bool {
        lies(self.place, if self.cased { plain } else { lower }, &self.bytes)
    }
}

/// Returns whether `text` lies at `place` in `value`.
pub(super) fn lies(place: Place, value: &[u8], text: &[u8]) -> bool {
    match (place.before, place.behind) {
        (false, false) => value == text,
        (false, true) => value.starts_with(text),
        (true, false) => value.ends_with(text),
        (true, true) => memmem::find(value, text).is_some(),
    }
}

impl Pattern {
    /// Returns whether one value has what is asked; `lower` is `plain` with ASCII's letters in
    /// lower case. What a field as a whole is asked, that it be absent or like another one, its
    /// reader decides.
    pub(super) fn matches(&self, plain: &[u8], lower: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Literal(literal) => literal.matches(plain, lower),
            Self::Glob(glob) => glob.matches(plain, lower),
            Self::Regex(expression) => expression.matches(plain),
            Self::Number(compare, number) => {
                Number::parse(plain).is_some_and(|value| value.compares(*compare, *number))
            }
            Self::Time(part, compare, number) => date::part(plain, *part)
                .is_some_and(|value| Number::Whole(value).compares(*compare, *number)),
            Self::Cidr(block) => address(plain).is_some_and(|address| block.contains(&address)),
            Self::Null | Self::Exists(_) | Self::FieldRef(_) => false,
        }
    }
}

/// Reads an address; one of IPv4 that travels in IPv6 counts as itself.
fn address(text: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_numbers() {
        let whole = |text: &str| Number::parse(text.as_bytes());
        assert_eq!(whole("42"), Some(Number::Whole(42)));
        assert_eq!(whole("4.5"), Some(Number::Broken(4.5)));
        for text in ["inf", "nan", "", "0x10", "1_000", ".1 ", " 1"] {
            assert_eq!(whole(text), None, "{text}");
        }
        let less = Pattern::Number(Compare::Less, Number::Broken(10.5));
        assert!(less.matches(b"10", b"10") && !less.matches(b"11", b"11"));
        let most = Pattern::Number(Compare::GreaterOrEqual, Number::Whole(i64::MAX));
        assert!(
            most.matches(b"9223372036854775807", b"") && !most.matches(b"9223372036854775806", b"")
        );
    }

    #[test]
    fn addresses_lie_in_blocks() {
        for (block, address, within) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("fe80::/10", "fe80::1", true),
            ("fe80::/10", "10.0.0.1", false),
            ("10.0.0.0/8", "host", false),
        ] {
            let pattern = Pattern::Cidr(block.parse().unwrap());
            assert_eq!(pattern.matches(address.as_bytes(), b""), within, "{block} {address}");
        }
    }
}
