//! Text with wildcards: how a value is read, and whether a field has it.

use memchr::memmem;

use super::modifier::Place;

/// The characters that `windash` takes for each other: hyphen, slash, en dash, em dash, horizontal
/// bar.
const DASHES: [&str; 5] = ["-", "/", "\u{2013}", "\u{2014}", "\u{2015}"];

/// A part of a value as a rule writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Token {
    Character(char),
    /// A byte of encoded text, which need not be a character.
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Many,
    /// Any of the characters that `windash` takes for each other.
    Dash,
}

/// Reads Sigma's wildcards. A backslash escapes a wildcard or another backslash; before anything
/// else it is itself.
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(text.len());
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
    tokens
}

/// Makes each dash stand for all of them.
pub(super) fn any_dash(tokens: &mut [Token]) {
    for token in tokens {
        if let Token::Character('-' | '/' | '\u{2013}'..='\u{2015}') = token {
            *token = Token::Dash;
        }
    }
}

/// A value of which each piece stands somewhere behind the one before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Glob {
    pieces: Vec<Piece>,
    place: Place,
    cased: bool,
}

/// What stands between two `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Piece {
    /// Fixed bytes, in lower case unless case counts.
    Fixed(Box<[u8]>),
    /// Bytes with `?` or dashes among them.
    Loose(Box<[Unit]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Unit {
    Byte(u8),
    One,
    Dash,
}

/// What a value turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text {
    /// No wildcard within: these bytes at this place.
    Fixed { bytes: Box<[u8]>, place: Place },
    /// Anything that is there.
    Any,
    /// Wildcards within.
    Glob(Glob),
}

/// Returns whether ASCII's letters are all whose case can differ; otherwise ignoring case takes
/// Unicode's rules.
pub(super) fn folds_simply(tokens: &[Token]) -> bool {
    tokens.iter().all(|token| match token {
        Token::Character(c) => {
            c.is_ascii() || (c.to_lowercase().eq([*c]) && c.to_uppercase().eq([*c]))
        }
        _ => true,
    })
}

/// Compiles tokens at a place. Without `cased`, bytes are in lower case.
pub(super) fn compile(mut tokens: Vec<Token>, mut place: Place, cased: bool) -> Text {
    while tokens.last() == Some(&Token::Many) {
        tokens.pop();
        place.behind = true;
    }
    let leading = tokens.iter().take_while(|token| **token == Token::Many).count();
    tokens.drain(..leading);
    place.before |= leading > 0;
    if tokens.is_empty() && (place.before || place.behind) {
        return Text::Any;
    }
    let pieces: Vec<Piece> = (tokens.split(|token| *token == Token::Many))
        .filter(|part| !part.is_empty())
        .map(|part| piece(part, cased))
        .collect();
    match pieces.as_slice() {
        [] => Text::Fixed { bytes: Box::default(), place },
        [Piece::Fixed(bytes)] => Text::Fixed { bytes: bytes.clone(), place },
        _ => Text::Glob(Glob { pieces, place, cased }),
    }
}

fn piece(tokens: &[Token], cased: bool) -> Piece {
    let mut units = Vec::with_capacity(tokens.len());
    for token in tokens {
        match token {
            Token::Character(c) => {
                let c = if cased { *c } else { c.to_ascii_lowercase() };
                let mut buffer = [0; 4];
                units.extend(c.encode_utf8(&mut buffer).bytes().map(Unit::Byte));
            }
            Token::Byte(byte) => {
                units.push(Unit::Byte(if cased { *byte } else { byte.to_ascii_lowercase() }));
            }
            Token::One => units.push(Unit::One),
            Token::Dash => units.push(Unit::Dash),
            Token::Many => {}
        }
    }
    let fixed: Option<Vec<u8>> = (units.iter())
        .map(|unit| if let Unit::Byte(byte) = unit { Some(*byte) } else { None })
        .collect();
    match fixed {
        Some(bytes) => Piece::Fixed(bytes.into()),
        None => Piece::Loose(units.into()),
    }
}

impl Glob {
    /// Returns whether the value matches; `lower` is `plain` with ASCII's letters in lower case.
    /// Each piece is looked for from the end of the one before, so the work is that of one pass.
    pub(super) fn matches(&self, plain: &[u8], lower: &[u8]) -> bool {
        let value = if self.cased { plain } else { lower };
        let Some((last, front)) = self.pieces.split_last() else { return false };
        let mut at = 0;
        for (number, piece) in front.iter().enumerate() {
            let found = match number {
                0 if !self.place.before => piece.here(value, 0),
                _ => piece.find(value, at),
            };
            match found {
                Some(end) => at = end,
                None => return false,
            }
        }
        match (front.is_empty() && !self.place.before, self.place.behind) {
            (true, true) => last.here(value, 0).is_some(),
            (true, false) => last.here(value, 0) == Some(value.len()),
            (false, true) => last.find(value, at).is_some(),
            (false, false) => last.ends(value, at),
        }
    }

    /// Returns the longest run of fixed bytes, in lower case: what any match must have within.
    pub(super) fn required(&self) -> Option<Vec<u8>> {
        let mut longest: &[u8] = &[];
        let mut runs: Vec<Vec<u8>> = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(bytes) if bytes.len() > longest.len() => longest = bytes,
                Piece::Fixed(_) => {}
                Piece::Loose(units) => runs.extend(fixed_runs(units)),
            }
        }
        runs.push(longest.to_vec());
        let longest = runs.into_iter().max_by_key(Vec::len)?;
        (!longest.is_empty()).then(|| longest.to_ascii_lowercase())
    }
}

impl std::fmt::Display for Glob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let star = |there: bool| if there { "*" } else { "" };
        let pieces: Vec<String> = (self.pieces.iter())
            .map(|piece| match piece {
                Piece::Fixed(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Piece::Loose(units) => units.iter().map(Unit::shown).collect(),
            })
            .collect();
        write!(f, "{}{}{}", star(self.place.before), pieces.join("*"), star(self.place.behind))
    }
}

impl Unit {
    fn shown(&self) -> char {
        match self {
            Self::Byte(byte) if byte.is_ascii() => char::from(*byte),
            Self::Byte(_) => char::REPLACEMENT_CHARACTER,
            Self::One => '?',
            Self::Dash => '-',
        }
    }
}

fn fixed_runs(units: &[Unit]) -> Vec<Vec<u8>> {
    let bytes = |run: &[Unit]| {
        run.iter().filter_map(|u| if let Unit::Byte(b) = u { Some(*b) } else { None }).collect()
    };
    units.split(|unit| !matches!(unit, Unit::Byte(_))).map(bytes).collect()
}

impl Piece {
    /// Returns where the piece ends if it stands at `at`.
    fn here(&self, value: &[u8], at: usize) -> Option<usize> {
        match self {
            Self::Fixed(bytes) => value.get(at..)?.starts_with(bytes).then_some(at + bytes.len()),
            Self::Loose(units) => loose(units, value, at),
        }
    }

    /// Returns where the first occurrence from `at` on ends.
    fn find(&self, value: &[u8], at: usize) -> Option<usize> {
        match self {
            Self::Fixed(bytes) => {
                memmem::find(value.get(at..)?, bytes).map(|found| at + found + bytes.len())
            }
            Self::Loose(units) => (at..=value.len())
                .filter(|at| is_boundary(value, *at))
                .find_map(|at| loose(units, value, at)),
        }
    }

    /// Returns whether an occurrence that begins at `at` or later ends the value.
    fn ends(&self, value: &[u8], at: usize) -> bool {
        match self {
            Self::Fixed(bytes) => value.len() >= at + bytes.len() && value.ends_with(bytes),
            // A unit is at most four bytes.
            Self::Loose(units) => {
                let first = value.len().saturating_sub(4 * units.len()).max(at);
                (first..=value.len())
                    .filter(|at| is_boundary(value, *at))
                    .any(|at| loose(units, value, at) == Some(value.len()))
            }
        }
    }
}

fn loose(units: &[Unit], value: &[u8], mut at: usize) -> Option<usize> {
    for unit in units {
        let rest = value.get(at..)?;
        at += match unit {
            Unit::Byte(byte) => usize::from(rest.first() == Some(byte)),
            Unit::One => character(rest),
            Unit::Dash => {
                let dash = DASHES.iter().find(|dash| rest.starts_with(dash.as_bytes()));
                dash.map_or(0, |dash| dash.len())
            }
        };
        if rest.len() == value.len() - at {
            return None;
        }
    }
    Some(at)
}

/// Returns the length of the first character; a byte that begins none counts as one, so that what
/// is not text cannot hide.
fn character(bytes: &[u8]) -> usize {
    let length = match bytes.first() {
        None => return 0,
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        Some(_) => 1,
    };
    let whole = bytes.len() >= length && bytes[1..length].iter().all(|byte| byte & 0xc0 == 0x80);
    if whole { length } else { 1 }
}

/// Returns whether no character reaches over `at`.
fn is_boundary(value: &[u8], at: usize) -> bool {
    let back = 1..=at.min(3);
    !back.into_iter().any(|back| character(&value[at - back..]) > back)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, place: Place, cased: bool, value: &[u8]) -> bool {
        let lower = value.to_ascii_lowercase();
        match compile(tokens(pattern), place, cased) {
            Text::Any => true,
            Text::Glob(glob) => glob.matches(value, &lower),
            Text::Fixed { bytes, place } => {
                let value = if cased { value } else { &lower };
                match (place.before, place.behind) {
                    (false, false) => value == &*bytes,
                    (false, true) => value.starts_with(&bytes),
                    (true, false) => value.ends_with(&bytes),
                    (true, true) => memmem::find(value, &bytes).is_some(),
                }
            }
        }
    }

    #[test]
    fn wildcards_and_escapes_follow_the_specification() {
        for (pattern, value, expected) in [
            ("abc", "ABC", true),
            ("abc", "abcd", false),
            ("a*c", "aXYc", true),
            ("a?c", "aXc", true),
            ("a?c", "ac", false),
            ("a?c", "aäc", true),
            (r"a\*c", "a*c", true),
            (r"a\*c", "abc", false),
            (r"a\\*", r"a\bcd", true),
            (r"a\b", r"a\b", true),
            (r"a\\b", r"a\b", true),
            (r"\\\*x", r"\*x", true),
            (r"\\\\", r"\\", true),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("*b*d", "abcd", true),
            ("a*a", "a", false),
            ("*?", "x", true),
            ("*?", "", false),
            ("*???", "\u{1f600}", false),
        ] {
            let found = matches(pattern, Place::WHOLE, false, value.as_bytes());
            assert_eq!(found, expected, "{pattern} {value}");
        }
    }

    #[test]
    fn bytes_that_are_not_text_do_not_hide_a_match() {
        assert!(matches("a*b", Place::WHOLE, false, b"a\xff\xfeb"));
        assert!(matches("a??b", Place::WHOLE, false, b"a\xff\xfeb"));
        assert!(matches("e?il", Place::WITHIN, false, b"\xff\xffevil\xff"));
    }

    #[test]
    fn dashes_stand_for_each_other() {
        let mut value = tokens("x -a");
        any_dash(&mut value);
        let Text::Glob(glob) = compile(value, Place::WITHIN, false) else { panic!("a glob") };
        for (text, expected) in
            [("x -a", true), ("x /A", true), ("x \u{2014}a", true), ("x a", false)]
        {
            assert_eq!(
                glob.matches(text.as_bytes(), &text.to_ascii_lowercase().into_bytes()),
                expected
            );
        }
        assert_eq!(glob.required().unwrap(), b"x ");
    }

    /// The plain definition, by recursion.
    fn slow(pattern: &[char], value: &[char]) -> bool {
        match pattern.split_first() {
            None => value.is_empty(),
            Some(('*', rest)) => (0..=value.len()).any(|at| slow(rest, &value[at..])),
            Some(('?', rest)) => !value.is_empty() && slow(rest, &value[1..]),
            Some((c, rest)) => value.first() == Some(c) && slow(rest, &value[1..]),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn agrees_with_the_plain_definition(pattern in "[ab*?]{0,8}", value in "[abä]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                matches(&pattern, Place::WHOLE, false, value.as_bytes()),
                slow(&chars(&pattern), &chars(&value))
            );
        }
    }
}
