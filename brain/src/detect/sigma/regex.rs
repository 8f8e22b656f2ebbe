//! Regular expressions: compiled within bounds, and the fixed text that a match must have within.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Bytes that one compiled regular expression may take. Honest ones in public rules stay below a
/// tenth of it; a pathological one is refused when it is loaded, not when it matches.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of the expression itself.
const SOURCE_BYTES_MAX: usize = 16 * 1024;

/// Alternatives of required text that are told apart; with more, the expression is looked at
/// whenever the rest of its rule holds.
const REQUIRED_MAX: usize = 64;

/// Bytes from which on required text tells events apart.
const REQUIRED_BYTES_MIN: usize = 2;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Expression {
    regex: Regex,
    source: Box<str>,
    flags: Box<[char]>,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.flags == other.flags
    }
}

impl Expression {
    /// Compiles `text` with Sigma's flags.
    pub(super) fn new(text: &str, flags: &[char]) -> Result<Self, String> {
        if text.len() > SOURCE_BYTES_MAX {
            return Err(format!("the regular expression is longer than {SOURCE_BYTES_MAX} bytes"));
        }
        let has = |flag| flags.contains(&flag);
        let regex = RegexBuilder::new(text)
            .case_insensitive(has('i'))
            .multi_line(has('m'))
            .dot_matches_new_line(has('s'))
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
            .map_err(|error| {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or("").trim_start_matches("error: ");
                format!("the regular expression is refused: {last}")
            })?;
        Ok(Self { regex, source: text.into(), flags: flags.into() })
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        self.regex.is_match(value)
    }

    /// Returns texts in lower case of which every match has at least one within, whatever the
    /// case; `None` when there are none that would help.
    pub(super) fn required(&self) -> Option<Vec<Vec<u8>>> {
        let has = |flag| self.flags.contains(&flag);
        let hir = regex_syntax::ParserBuilder::new()
            .utf8(false)
            .case_insensitive(has('i'))
            .multi_line(has('m'))
            .dot_matches_new_line(has('s'))
            .build()
            .parse(&self.source)
            .ok()?;
        let found = required(&hir)?;
        let short = found.iter().any(|text| text.len() < REQUIRED_BYTES_MIN);
        (!short && found.len() <= REQUIRED_MAX).then_some(found)
    }
}

/// Returns a set of texts of which a match of `hir` has at least one within.
fn required(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => folded(class).map(|byte| vec![vec![byte]]),
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => required(&repetition.sub),
        HirKind::Concat(parts) => best_of(parts),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(required(part)?);
            }
            Some(all)
        }
        _ => None,
    }
}

/// The best of what the parts require, where neighbours that are one character each are joined.
fn best_of(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let (mut candidates, mut run) = (Vec::new(), Vec::new());
    for part in parts {
        let joined = match part.kind() {
            HirKind::Literal(literal) => Some(literal.0.to_ascii_lowercase()),
            HirKind::Class(class) => folded(class).map(|byte| vec![byte]),
            _ => None,
        };
        match joined {
            Some(bytes) => run.extend(bytes),
            None => {
                candidates.push(vec![std::mem::take(&mut run)]);
                candidates.extend(required(part));
            }
        }
    }
    candidates.push(vec![run]);
    let worth = |texts: &Vec<Vec<u8>>| {
        let shortest = texts.iter().map(Vec::len).min().unwrap_or(0);
        (shortest.min(8), usize::MAX - texts.len())
    };
    let best = candidates.into_iter().max_by_key(worth)?;
    best.iter().all(|text| !text.is_empty()).then_some(best)
}

/// Returns the lower-case letter of a class that is one letter in both cases and nothing else. A
/// class that also has a letter outside of ASCII, as those of `k` and `s` have, is not.
fn folded(class: &Class) -> Option<u8> {
    let mut letters: Vec<u32> = Vec::new();
    match class {
        Class::Unicode(class) => {
            for range in class.ranges() {
                letters.extend((u32::from(range.start())..=u32::from(range.end())).take(3));
            }
        }
        Class::Bytes(class) => {
            for range in class.ranges() {
                letters.extend((u32::from(range.start())..=u32::from(range.end())).take(3));
            }
        }
    }
    let lower: Option<Vec<u8>> = (letters.iter())
        .map(|letter| u8::try_from(*letter).ok().filter(u8::is_ascii))
        .map(|letter| letter.map(|letter| letter.to_ascii_lowercase()))
        .collect();
    let lower = lower?;
    let first = *lower.first()?;
    lower.iter().all(|letter| *letter == first).then_some(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn required(text: &str, flags: &[char]) -> Vec<String> {
        let found = Expression::new(text, flags).unwrap().required().unwrap_or_default();
        found.into_iter().map(|text| String::from_utf8(text).unwrap()).collect()
    }

    #[test]
    fn what_must_be_within_is_found() {
        assert_eq!(required(r"\bcurl\s+-o", &[]), ["curl"]);
        assert_eq!(required("(?:curl|WGET).*x", &[]), ["curl", "wget"]);
        assert_eq!(required("^(abc)+d?$", &[]), ["abc"]);
        assert_eq!(required("^Curl", &['i']), ["curl"]);
        assert_eq!(required(r"a?\d*", &[]), Vec::<String>::new());
        assert_eq!(required("x|yyy", &[]), Vec::<String>::new());
        // A Kelvin sign is a `k` when case is ignored, and not when ASCII is folded.
        assert_eq!(required("abckd", &['i']), ["abc"]);
    }

    #[test]
    fn a_pathological_expression_is_refused() {
        assert!(Expression::new(r"(?:a{1000}){1000}", &[]).is_err());
        assert!(Expression::new(r"(a)\1", &[]).is_err());
        assert!(Expression::new(r"(?=a)", &[]).unwrap_err().contains("look-around"));
        assert!(Expression::new(&"a".repeat(SOURCE_BYTES_MAX + 1), &[]).is_err());
        assert!(Expression::new("x", &['i']).unwrap().matches(b"X"));
    }

    proptest! {
        #[test]
        fn every_match_has_one_of_the_required_texts(
            source in "(a|b|ab|\\(a\\|bc\\)|a\\?|\\[ab\\]|c\\+|\\.|K|s){1,6}",
            value in "[abckKsſX]{0,12}",
            fold in any::<bool>(),
        ) {
            let flags: &[char] = if fold { &['i'] } else { &[] };
            let expression = Expression::new(&source, flags).unwrap();
            let lower = value.to_ascii_lowercase();
            let matches = expression.matches(value.as_bytes());
            if let (true, Some(required)) = (matches, expression.required()) {
                let has = |text: &Vec<u8>| memchr::memmem::find(lower.as_bytes(), text).is_some();
                prop_assert!(required.iter().any(has), "{source} {value} {required:?}");
            }
        }
    }
}
