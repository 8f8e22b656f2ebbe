//! A rule's condition: selections joined by `and`, `or`, `not` and quantifiers.

/// Parentheses and `not`s within each other.
const DEPTH_MAX: usize = 32;

/// Words of one condition.
const WORDS_MAX: usize = 1_000;

/// A parsed condition; selections are named by their index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Selection(usize),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Condition {
    /// Parses `text` over selections of these names.
    pub(super) fn parse(text: &str, names: &[&str]) -> Result<Self, String> {
        let words = words(text)?;
        let mut parser = Parser { words: &words, names, at: 0, depth: 0 };
        let condition = parser.any()?;
        match parser.next() {
            None => Ok(condition),
            Some(word) => Err(format!("`{word}` is not expected here; an operator may be missing")),
        }
    }

    /// Returns whether the condition holds. `selection` is asked for what is needed and no more,
    /// and whether it stands upright or under an odd number of `not`.
    pub(super) fn holds(&self, selection: &mut impl FnMut(usize, bool) -> bool) -> bool {
        self.holds_so(true, selection)
    }

    fn holds_so(&self, upright: bool, selection: &mut impl FnMut(usize, bool) -> bool) -> bool {
        match self {
            Self::Selection(index) => selection(*index, upright),
            Self::Not(inner) => !inner.holds_so(!upright, selection),
            Self::All(parts) => parts.iter().all(|part| part.holds_so(upright, selection)),
            Self::Any(parts) => parts.iter().any(|part| part.holds_so(upright, selection)),
        }
    }

    /// Returns the condition over selections that stand `by` places further on.
    pub(super) fn moved(self, by: usize) -> Self {
        let all = |parts: Vec<Self>| parts.into_iter().map(|part| part.moved(by)).collect();
        match self {
            Self::Selection(index) => Self::Selection(index + by),
            Self::Not(inner) => Self::Not(Box::new(inner.moved(by))),
            Self::All(parts) => Self::All(all(parts)),
            Self::Any(parts) => Self::Any(all(parts)),
        }
    }

    /// Returns the condition in words, with the selections' names.
    pub(super) fn words(&self, names: &[&str]) -> String {
        let joined = |parts: &[Self], word: &str| {
            let parts: Vec<String> = parts.iter().map(|part| part.words(names)).collect();
            format!("({})", parts.join(word))
        };
        match self {
            Self::Selection(index) => names.get(*index).map_or("?", |name| name).to_owned(),
            Self::Not(inner) => format!("not {}", inner.words(names)),
            Self::All(parts) => joined(parts, " and "),
            Self::Any(parts) => joined(parts, " or "),
        }
    }
}

fn words(text: &str) -> Result<Vec<&str>, String> {
    let mut words = Vec::new();
    for part in text.split_whitespace() {
        let mut rest = part;
        while let Some(first) = rest.chars().next() {
            if first == '|' {
                let message = "aggregations behind `|` left the specification; write a correlation";
                return Err(message.to_owned());
            }
            let length = match first {
                '(' | ')' => 1,
                _ => rest.find(['(', ')', '|']).unwrap_or(rest.len()),
            };
            words.push(&rest[..length]);
            rest = &rest[length..];
        }
    }
    if words.len() > WORDS_MAX {
        return Err(format!("the condition has more than {WORDS_MAX} words"));
    }
    Ok(words)
}

struct Parser<'a> {
    words: &'a [&'a str],
    names: &'a [&'a str],
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = self.words.get(self.at) == Some(&word);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.all()?];
        while self.take("or") {
            parts.push(self.all()?);
        }
        Ok(joined(parts, Condition::Any))
    }

    fn all(&mut self) -> Result<Condition, String> {
        let mut parts = vec![self.one()?];
        while self.take("and") {
            parts.push(self.one()?);
        }
        Ok(joined(parts, Condition::All))
    }

    fn one(&mut self) -> Result<Condition, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("the condition is nested deeper than {DEPTH_MAX} levels"));
        }
        let condition = self.operand();
        self.depth -= 1;
        condition
    }

    fn operand(&mut self) -> Result<Condition, String> {
        match self.next() {
            None => Err("the condition ends where a selection is expected".to_owned()),
            Some("not") => Ok(Condition::Not(Box::new(self.one()?))),
            Some("(") => {
                let inner = self.any()?;
                if self.take(")") { Ok(inner) } else { Err("a `)` is missing".to_owned()) }
            }
            Some(word @ ("1" | "any" | "all")) if self.take("of") => self.quantifier(word == "all"),
            Some(name) => match self.names.iter().position(|known| *known == name) {
                Some(index) => Ok(Condition::Selection(index)),
                None => Err(format!("no selection is called `{name}`")),
            },
        }
    }

    fn quantifier(&mut self, all: bool) -> Result<Condition, String> {
        let Some(pattern) = self.next() else {
            return Err("`of` needs `them` or the names of selections".to_owned());
        };
        // Selections that begin with an underscore are parts of others, not among `them`.
        let matches = |name: &str| match pattern {
            "them" => !name.starts_with('_'),
            pattern => glob(pattern.as_bytes(), name.as_bytes()),
        };
        let parts: Vec<Condition> = (self.names.iter().enumerate())
            .filter(|(_, name)| matches(name))
            .map(|(index, _)| Condition::Selection(index))
            .collect();
        if parts.is_empty() {
            return Err(format!("no selection matches `{pattern}`"));
        }
        Ok(joined(parts, if all { Condition::All } else { Condition::Any }))
    }
}

fn joined(mut parts: Vec<Condition>, join: fn(Vec<Condition>) -> Condition) -> Condition {
    if parts.len() == 1 { parts.remove(0) } else { join(parts) }
}

/// Matches a name against a pattern with `*`, remembering only the last one: linear enough for
/// names.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut retry) = (0, 0, None);
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p + 1, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((after, from)) = retry {
            retry = Some((after, from + 1));
            (p, n) = (after, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 4] = ["sel_a", "sel_b", "filter", "_part"];

    fn holds(text: &str, truths: [bool; 4]) -> bool {
        Condition::parse(text, &NAMES).unwrap().holds(&mut |index, _| truths[index])
    }

    #[test]
    fn operators_bind_in_the_specified_order() {
        let (t, f) = (true, false);
        for (text, truths, expected) in [
            ("sel_a or sel_b and filter", [t, f, f, f], true),
            ("(sel_a or sel_b) and filter", [t, f, f, f], false),
            ("not sel_a and sel_b", [f, t, f, f], true),
            ("not (sel_a and sel_b)", [t, f, f, f], true),
            ("1 of sel_*", [f, t, f, f], true),
            ("all of sel_*", [f, t, f, f], false),
            ("all of them", [t, t, t, f], true),
            ("1 of them", [f, f, f, t], false),
            ("any of sel_* and not filter", [t, f, t, f], false),
            ("not not sel_a", [t, f, f, f], true),
            ("all of *_a", [t, f, f, f], true),
        ] {
            assert_eq!(holds(text, truths), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for text in [
            "",
            "sel_a and",
            "sel_x",
            "(sel_a",
            "sel_a)",
            "sel_a sel_b",
            "1 of",
            "1 of no_*",
            "sel_a | count() > 5",
            "not",
            "2 of sel_*",
            "sel_a AND sel_b",
        ] {
            assert!(Condition::parse(text, &NAMES).is_err(), "{text}");
        }
        let deep = format!("{}sel_a{}", "(".repeat(100), ")".repeat(100));
        assert!(Condition::parse(&deep, &NAMES).is_err());
        assert!(Condition::parse(&"not ".repeat(100_000), &NAMES).is_err());
    }

    proptest! {
        #[test]
        fn any_words_are_parsed_without_panic(
            text in "((sel_a|sel_b|and|or|not|of|1|all|them|sel_\\*|\\(|\\)|x\u{e9}) ?){0,20}",
        ) {
            let _ = Condition::parse(&text, &NAMES);
        }
    }
}
