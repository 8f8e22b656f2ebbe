//! Values of a rule, compiled to what decides fastest.

use aho_corasick::AhoCorasick;
use regex::bytes::{Regex, RegexBuilder};

use super::field::Text;

/// Bytes that one compiled regular expression may take. Honest ones in public rules stay below a
/// tenth of it; a pathological one is refused when it is loaded, not when it matches.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// Where a pattern must lie in the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Anything may stand before it.
    pub(super) before: bool,
    /// Anything may stand behind it.
    pub(super) behind: bool,
}

/// Decides about one value of a field.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    /// There is a value, whatever it is.
    Any,
    /// There is none, or it is empty.
    Empty,
    /// The value is this.
    Equals(Literal),
    /// It begins so.
    StartsWith(Literal),
    /// It ends so.
    EndsWith(Literal),
    /// It has one of these within.
    ContainsAny(AhoCorasick),
    /// It matches.
    Regex(Regex),
    /// As a number it lies within.
    Number {
        /// The lowest number that does.
        min: i64,
        /// The highest.
        max: i64,
    },
}

/// Fixed text; in lower case unless case counts.
#[derive(Clone, Debug)]
pub(super) struct Literal {
    bytes: Vec<u8>,
    cased: bool,
}

impl Literal {
    fn new(text: &str, cased: bool) -> Self {
        let bytes = text.as_bytes();
        Self { bytes: if cased { bytes.to_vec() } else { bytes.to_ascii_lowercase() }, cased }
    }

    fn side<'a>(&self, value: &'a Text<'_>) -> &'a [u8] {
        if self.cased { &value.plain } else { &value.lower }
    }
}

impl Pattern {
    /// Returns whether the value satisfies the pattern.
    pub(super) fn matches(&self, value: Option<&Text<'_>>) -> bool {
        let Some(value) = value else { return matches!(self, Self::Empty) };
        match self {
            Self::Any => true,
            Self::Empty => value.plain.is_empty(),
            Self::Equals(literal) => literal.side(value) == literal.bytes,
            Self::StartsWith(literal) => literal.side(value).starts_with(&literal.bytes),
            Self::EndsWith(literal) => literal.side(value).ends_with(&literal.bytes),
            Self::ContainsAny(fragments) => fragments.is_match(&*value.plain),
            Self::Regex(regex) => regex.is_match(&value.plain),
            Self::Number { min, max } => (std::str::from_utf8(&value.plain).ok())
                .and_then(|text| text.parse::<i64>().ok())
                .is_some_and(|number| (*min..=*max).contains(&number)),
        }
    }
}

/// Compiles the strings of one list of which any may match; fragments become one automaton.
pub(super) fn any_of(texts: &[&str], place: Place, cased: bool) -> Result<Vec<Pattern>, String> {
    let (mut patterns, mut fragments) = (Vec::new(), Vec::new());
    for text in texts {
        let glob = Glob::parse(text, place);
        match glob.literal() {
            Some(literal) if plain(&literal, cased) && glob.place.before && glob.place.behind => {
                fragments.push(literal);
            }
            _ => patterns.push(glob.compile(cased)?),
        }
    }
    if !fragments.is_empty() {
        let automaton = AhoCorasick::builder().ascii_case_insensitive(!cased).build(&fragments);
        patterns.push(Pattern::ContainsAny(automaton.map_err(|error| error.to_string())?));
    }
    Ok(patterns)
}

/// Compiles a regular expression with Sigma's flags.
pub(super) fn regex(text: &str, flags: &[char]) -> Result<Pattern, String> {
    let has = |flag| flags.contains(&flag);
    RegexBuilder::new(text)
        .case_insensitive(has('i'))
        .multi_line(has('m'))
        .dot_matches_new_line(has('s'))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build()
        .map(Pattern::Regex)
        .map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or("").trim_start_matches("error: ");
            format!("the regular expression is refused: {last}")
        })
}

/// Returns whether folding ASCII letters is all that ignoring case takes.
fn plain(literal: &str, cased: bool) -> bool {
    cased || literal.is_ascii()
}

/// A string with wildcards.
struct Glob {
    tokens: Vec<Token>,
    place: Place,
}

#[derive(PartialEq, Eq)]
enum Token {
    Character(char),
    /// `?`
    One,
    /// `*`
    Many,
}

impl Glob {
    /// Reads Sigma's wildcards. A backslash escapes a wildcard or another backslash; before
    /// anything else it is itself.
    fn parse(text: &str, mut place: Place) -> Self {
        let mut tokens = Vec::new();
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            tokens.push(match character {
                '\\' => Token::Character(
                    characters.next_if(|next| matches!(next, '*' | '?' | '\\')).unwrap_or('\\'),
                ),
                '*' => Token::Many,
                '?' => Token::One,
                other => Token::Character(other),
            });
        }
        while tokens.last() == Some(&Token::Many) {
            tokens.pop();
            place.behind = true;
        }
        let leading = tokens.iter().take_while(|token| **token == Token::Many).count();
        tokens.drain(..leading);
        place.before |= leading > 0;
        Self { tokens, place }
    }

    /// Returns the text if no wildcard is within.
    fn literal(&self) -> Option<String> {
        (self.tokens.iter())
            .map(|token| if let Token::Character(c) = token { Some(*c) } else { None })
            .collect()
    }

    fn compile(&self, cased: bool) -> Result<Pattern, String> {
        let Some(text) = self.literal().filter(|text| plain(text, cased)) else {
            return self.regex(cased);
        };
        let literal = Literal::new(&text, cased);
        Ok(match (self.place.before, self.place.behind) {
            (true, true) if text.is_empty() => Pattern::Any,
            (false, false) if text.is_empty() => Pattern::Empty,
            (false, false) => Pattern::Equals(literal),
            (false, true) => Pattern::StartsWith(literal),
            (true, false) => Pattern::EndsWith(literal),
            (true, true) => return self.regex(cased),
        })
    }

    fn regex(&self, cased: bool) -> Result<Pattern, String> {
        // Wildcards stand for any byte: a command line need not be UTF-8.
        let mut regex = String::from(if self.place.before { "" } else { r"\A" });
        for token in &self.tokens {
            match token {
                Token::Character(character) => regex += &regex::escape(&character.to_string()),
                Token::One => regex += "(?s:.)",
                Token::Many => regex += "(?s-u:.)*?",
            }
        }
        regex += if self.place.behind { "" } else { r"\z" };
        self::regex(&regex, if cased { &[] } else { &['i'] })
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;

    const CONTAINS: Place = Place { before: true, behind: true };

    fn text(value: &[u8]) -> Text<'_> {
        Text { plain: Cow::Borrowed(value), lower: value.to_ascii_lowercase() }
    }

    fn matches(pattern: &str, place: Place, cased: bool, value: &[u8]) -> bool {
        let patterns = any_of(&[pattern], place, cased).unwrap();
        patterns.iter().any(|pattern| pattern.matches(Some(&text(value))))
    }

    #[test]
    fn wildcards_and_escapes_follow_the_specification() {
        let whole = Place::default();
        for (pattern, value, expected) in [
            ("abc", "ABC", true),
            ("abc", "abcd", false),
            ("a*c", "aXYc", true),
            ("a?c", "aXc", true),
            ("a?c", "ac", false),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            (r"a\\*", r"a\bcd", true),
            (r"a\b", r"a\b", true),
            (r"a\\b", r"a\b", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("*b*d", "abcd", true),
            ("ä*", "ÄX", true),
        ] {
            assert_eq!(
                matches(pattern, whole, false, value.as_bytes()),
                expected,
                "{pattern} {value}"
            );
        }
    }

    #[test]
    fn case_counts_only_when_asked() {
        assert!(matches("Foo", CONTAINS, false, b"xfOOx"));
        assert!(!matches("Foo", CONTAINS, true, b"xfoox"));
        assert!(matches("Foo", CONTAINS, true, b"xFoox"));
    }

    #[test]
    fn bytes_that_are_not_text_do_not_hide_a_match() {
        assert!(matches("a*b", Place::default(), false, b"a\xff\xfeb"));
        assert!(matches("evil", CONTAINS, false, b"\xff\xffevil\xff"));
    }

    #[test]
    fn a_pathological_expression_is_refused() {
        assert!(regex(r"(?:a{1000}){1000}", &[]).is_err());
        assert!(regex(r"(a)\1", &[]).is_err());
        assert!(regex("x", &['i']).unwrap().matches(Some(&text(b"X"))));
    }

    /// The plain definition of a glob, by recursion.
    fn slow(pattern: &[char], value: &[char]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some(('*', rest)) => (0..=value.len()).any(|at| slow(rest, &value[at..])),
            Some(('?', rest)) => !value.is_empty() && slow(rest, &value[1..]),
            Some((c, rest)) => value.first() == Some(c) && slow(rest, &value[1..]),
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(pattern in "[ab*?]{0,8}", value in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                matches(&pattern, Place::default(), false, value.as_bytes()),
                slow(&chars(&pattern), &chars(&value))
            );
        }
    }
}
