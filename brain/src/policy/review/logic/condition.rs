//! A condition turned into alternatives.

use super::{Item, TERMS_MAX, Term};

type Named<'a> = (&'a str, Vec<Vec<Item>>);

/// Words of one condition.
const WORDS_MAX: usize = 500;

/// Returns the alternatives of a condition, or nothing when it is beyond this view.
pub(super) fn terms(text: &str, selections: &[Named<'_>]) -> Option<Vec<Term>> {
    let spaced = text.replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().take(WORDS_MAX + 1).collect();
    if words.len() > WORDS_MAX {
        return None;
    }
    let mut reader = Reader { words: &words, at: 0, depth: 0, selections };
    let terms = reader.any(true)?;
    (reader.at == words.len()).then_some(terms)
}

struct Reader<'a> {
    words: &'a [&'a str],
    at: usize,
    depth: usize,
    selections: &'a [Named<'a>],
}

impl Reader<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at).is_some_and(|next| next.eq_ignore_ascii_case(word));
        self.at += usize::from(is);
        is
    }

    /// Reads parts that `or` joins. What stands under a `not` is read as its opposite.
    fn any(&mut self, upright: bool) -> Option<Vec<Term>> {
        let mut terms = self.all(upright)?;
        while self.next_is("or") {
            let more = self.all(upright)?;
            terms = join(terms, more, !upright)?;
        }
        Some(terms)
    }

    fn all(&mut self, upright: bool) -> Option<Vec<Term>> {
        let mut terms = self.one(upright)?;
        while self.next_is("and") {
            let more = self.one(upright)?;
            terms = join(terms, more, upright)?;
        }
        Some(terms)
    }

    fn one(&mut self, upright: bool) -> Option<Vec<Term>> {
        self.depth += 1;
        if self.depth > WORDS_MAX {
            return None;
        }
        if self.next_is("not") {
            return self.one(!upright);
        }
        if self.next_is("(") {
            let terms = self.any(upright)?;
            return self.next_is(")").then_some(terms);
        }
        let word = self.words.get(self.at)?;
        self.at += 1;
        let every = word.eq_ignore_ascii_case("all");
        if (every || *word == "1" || word.eq_ignore_ascii_case("any")) && self.next_is("of") {
            let pattern = *self.words.get(self.at)?;
            self.at += 1;
            return self.several(pattern, every, upright);
        }
        let (_, alternatives) = self.selections.iter().find(|(name, _)| name == word)?;
        selected(alternatives, upright)
    }

    fn several(&self, pattern: &str, every: bool, upright: bool) -> Option<Vec<Term>> {
        let fits = |name: &str| match pattern.strip_suffix('*') {
            _ if pattern.eq_ignore_ascii_case("them") => !name.starts_with('_'),
            Some(start) => name.starts_with(start),
            None => name == pattern,
        };
        if pattern.trim_end_matches('*').contains('*') {
            return None;
        }
        let mut named = self.selections.iter().filter(|(name, _)| fits(name));
        let mut terms = selected(&named.next()?.1, upright)?;
        for (_, alternatives) in named {
            terms = join(terms, selected(alternatives, upright)?, every == upright)?;
        }
        Some(terms)
    }
}

fn selected(alternatives: &[Vec<Item>], upright: bool) -> Option<Vec<Term>> {
    if !upright {
        return Some(vec![Term { items: Vec::new(), not: vec![alternatives.to_vec()] }]);
    }
    let term = |items: &Vec<Item>| Term { items: items.clone(), not: Vec::new() };
    (alternatives.len() <= TERMS_MAX).then(|| alternatives.iter().map(term).collect())
}

/// Joins two lists of alternatives: each with each where `both` must hold, else one list.
fn join(a: Vec<Term>, b: Vec<Term>, both: bool) -> Option<Vec<Term>> {
    let count = if both { a.len() * b.len() } else { a.len() + b.len() };
    if count > TERMS_MAX {
        return None;
    }
    if !both {
        return Some(a.into_iter().chain(b).collect());
    }
    let mut terms = Vec::with_capacity(count);
    for left in &a {
        for right in &b {
            let items = left.items.iter().chain(&right.items).cloned().collect();
            let not = left.not.iter().chain(&right.not).cloned().collect();
            terms.push(Term { items, not });
        }
    }
    Some(terms)
}
