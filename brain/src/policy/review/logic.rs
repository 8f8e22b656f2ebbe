//! What a Sigma rule asks for, as plain alternatives, so that rules can be compared.
//!
//! Only what can be decided for sure is: a rule that needs more than this simple view of it gets no
//! remark. Values are compared without regard to case unless the rule says otherwise, and every
//! field has one value.

use std::collections::BTreeSet;

use super::super::node::Node;

mod condition;

/// Alternatives of one rule. Few rules have more than ten.
const TERMS_MAX: usize = 128;

/// A rule's logic: it matches when one of its terms does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logic {
    /// Product, category and service; `None` is left open.
    log: [Option<String>; 3],
    terms: Vec<Term>,
}

/// Items that must all hold, and selections that must not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Term {
    items: Vec<Item>,
    not: Vec<Vec<Vec<Item>>>,
}

/// A field and its possible values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    field: String,
    values: BTreeSet<Value>,
}

/// What one value asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    Exact(String),
    Contains(String),
    Starts(String),
    Ends(String),
    /// Anything else, by its modifiers and text: equal to itself only.
    Other(String, String),
}

impl Value {
    /// Returns whether whatever matches this also matches `other`.
    fn implies(&self, other: &Self) -> bool {
        let text = match self {
            Self::Exact(text) | Self::Contains(text) | Self::Starts(text) | Self::Ends(text) => {
                text
            }
            Self::Other(..) => return self == other,
        };
        match (self, other) {
            (_, Self::Contains(part)) => text.contains(part.as_str()),
            (Self::Exact(_) | Self::Starts(_), Self::Starts(start)) => text.starts_with(start),
            (Self::Exact(_) | Self::Ends(_), Self::Ends(end)) => text.ends_with(end),
            _ => self == other,
        }
    }

    /// Returns whether no text can match both.
    fn excludes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(_), Self::Other(..)) | (Self::Other(..), _) => false,
            (Self::Exact(_), _) => !self.implies(other),
            (_, Self::Exact(_)) => !other.implies(self),
            (Self::Starts(a), Self::Starts(b)) => !a.starts_with(b) && !b.starts_with(a),
            (Self::Ends(a), Self::Ends(b)) => !a.ends_with(b) && !b.ends_with(a),
            _ => false,
        }
    }
}

impl Item {
    fn implies(&self, other: &Self) -> bool {
        let covered = |value: &Value| other.values.iter().any(|theirs| value.implies(theirs));
        self.field == other.field && self.values.iter().all(covered)
    }

    fn excludes(&self, other: &Self) -> bool {
        let excluded = |value: &Value| other.values.iter().all(|theirs| value.excludes(theirs));
        self.field == other.field && self.values.iter().all(excluded)
    }
}

impl Term {
    fn implies_all(&self, items: &[Item]) -> bool {
        items.iter().all(|theirs| self.items.iter().any(|own| own.implies(theirs)))
    }

    fn implies(&self, other: &Self) -> bool {
        self.implies_all(&other.items) && other.not.iter().all(|not| self.not.contains(not))
    }

    /// Returns whether nothing can match: two items exclude each other, or what must not hold
    /// follows from what must.
    fn is_empty(&self) -> bool {
        let excluded = self
            .items
            .iter()
            .enumerate()
            .any(|(at, item)| self.items[at + 1..].iter().any(|other| item.excludes(other)));
        excluded || self.not.iter().flatten().any(|alternative| self.implies_all(alternative))
    }
}

impl Logic {
    /// Reads a rule; `None` when it is no plain rule or too much for this view.
    pub(super) fn read(node: &Node) -> Option<Self> {
        let source = node.get("logsource")?;
        let part = |key| source.get(key).and_then(Node::as_text).map(str::to_lowercase);
        let log = ["product", "category", "service"].map(part);
        let detection = node.get("detection")?.as_map()?;
        let mut selections = Vec::new();
        for (name, node) in detection.iter().filter(|(name, _)| name != "condition") {
            selections.push((name.as_str(), selection(node)?));
        }
        let condition = node.get("detection")?.get("condition")?.as_text()?;
        let terms = condition::terms(condition, &selections)?;
        (!terms.is_empty()).then_some(Self { log, terms })
    }

    /// Returns whether no event can ever match.
    pub(super) fn is_dead(&self) -> bool {
        self.terms.iter().all(Term::is_empty)
    }

    /// Returns whether `other` matches whenever this does.
    pub(super) fn is_covered_by(&self, other: &Self) -> bool {
        let covers =
            |(own, theirs): (&Option<String>, &Option<String>)| theirs.is_none() || own == theirs;
        self.log.iter().zip(&other.log).all(covers)
            && self.terms.iter().all(|own| other.terms.iter().any(|theirs| own.implies(theirs)))
    }

    /// Returns what rules that cover each other share, so that others need not be compared.
    pub(super) fn fields(&self) -> BTreeSet<&str> {
        let items = self.terms.iter().flat_map(|term| &term.items);
        items.map(|item| item.field.as_str()).collect()
    }
}

/// Reads a selection: alternatives of items that must all hold. `None` for keywords.
fn selection(node: &Node) -> Option<Vec<Vec<Item>>> {
    let single = std::slice::from_ref(node);
    node.as_list().unwrap_or(single).iter().map(items).collect()
}

fn items(node: &Node) -> Option<Vec<Item>> {
    let mut all = Vec::new();
    for (key, node) in node.as_map()? {
        let mut parts = key.split('|');
        let field = parts.next().filter(|field| !field.is_empty())?.to_owned();
        let (mut modifiers, mut every) = (parts.collect::<Vec<_>>(), false);
        modifiers.retain(|modifier| {
            every |= *modifier == "all";
            *modifier != "all"
        });
        let single = std::slice::from_ref(node);
        let values = node.as_list().unwrap_or(single).iter();
        let values: Vec<Value> = values.map(|value| self::value(value, &modifiers)).collect();
        if every {
            let one = |value| Item { field: field.clone(), values: BTreeSet::from([value]) };
            all.extend(values.into_iter().map(one));
        } else {
            all.push(Item { field, values: values.into_iter().collect() });
        }
    }
    all.sort();
    all.dedup();
    Some(all)
}

fn value(node: &Node, modifiers: &[&str]) -> Value {
    let text = match node {
        Node::Text(text) => text.clone(),
        Node::Int(number) => number.to_string(),
        other => return Value::Other(modifiers.join("|"), format!("{other:?}")),
    };
    let other = || Value::Other(modifiers.join("|"), text.clone());
    let plain = |text: &str| !text.is_empty() && !text.contains(['*', '?', '\\']);
    let inner = text.trim_start_matches('*').trim_end_matches('*');
    let (before, behind) = (text.starts_with('*'), text.ends_with('*'));
    if !plain(inner) {
        return other();
    }
    let lower = inner.to_lowercase();
    match (modifiers, before, behind) {
        ([], false, false) => Value::Exact(lower),
        ([], false, true) => Value::Starts(lower),
        ([], true, false) => Value::Ends(lower),
        ([], true, true) | (["contains"], ..) => Value::Contains(lower),
        (["startswith"], false, _) => Value::Starts(lower),
        (["endswith"], _, false) => Value::Ends(lower),
        _ => other(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::node;

    fn logic(log: &str, detection: &str) -> Logic {
        let text = format!("logsource: {{{log}}}\ndetection:\n{detection}");
        Logic::read(&node::parse(&text).unwrap()).unwrap()
    }

    fn of(detection: &str) -> Logic {
        logic("category: process_creation", detection)
    }

    #[test]
    fn contradictions_are_seen_and_what_may_match_is_left_alone() {
        for dead in [
            "  a: {Image: /bin/a}\n  b: {Image: /bin/b}\n  condition: a and b\n",
            "  a: {Image|endswith: [/a, /b]}\n  b: {Image: [/x/c, '/d']}\n  condition: all of them\n",
            "  a: {Image|endswith: /curl}\n  b: {Image|contains: curl}\n  condition: a and not b\n",
            "  a: {User: root}\n  condition: a and not a\n",
            "  a: {Image|startswith: /usr}\n  b: {Image|startswith: /opt}\n  condition: a and b\n",
        ] {
            assert!(of(dead).is_dead(), "{dead}");
        }
        for alive in [
            "  a: {Image|endswith: /a}\n  b: {Image|contains: b}\n  condition: a and b\n",
            "  a: {Image|endswith: /curl}\n  b: {User: x}\n  condition: a and not b\n",
            "  a: {Image: /a}\n  b: {Image: /b}\n  condition: a or b\n",
            "  a: {Image: /a}\n  b: {Image|re: 'b'}\n  condition: a and b\n",
            "  a: {Image|startswith: /usr}\n  b: {Image|startswith: /usr/x}\n  condition: a and b\n",
        ] {
            assert!(!of(alive).is_dead(), "{alive}");
        }
    }

    #[test]
    fn a_rule_covers_those_that_ask_for_more() {
        let wide = of("  a: {Image|endswith: [/curl, /wget]}\n  condition: a\n");
        let narrow =
            of("  a: {Image|endswith: /usr/bin/curl, CommandLine|contains|all: [x, y]}\n  \
             f: {User: root}\n  condition: a and not f\n");
        assert!(narrow.is_covered_by(&wide) && !wide.is_covered_by(&narrow));
        let filtered =
            of("  a: {Image|endswith: /curl}\n  f: {User: root}\n  condition: a and not 1 of f*\n");
        assert!(narrow.is_covered_by(&filtered));
        let other = logic("category: file_event", "  a: {Image|endswith: /curl}\n  condition: a\n");
        assert!(!other.is_covered_by(&wide));
        let linux = logic(
            "product: linux, category: process_creation",
            "  a: {Image|endswith: /curl}\n  condition: a\n",
        );
        assert!(linux.is_covered_by(&wide) && !wide.is_covered_by(&linux));
    }

    #[test]
    fn what_is_beyond_this_view_is_not_judged() {
        for text in [
            "logsource: {category: x}\ndetection:\n  k: [word]\n  condition: k\n",
            "logsource: {category: x}\ndetection:\n  a: {A: b}\n  condition: a near b\n",
            "correlation: {type: event_count}\n",
        ] {
            assert_eq!(Logic::read(&node::parse(text).unwrap()), None, "{text}");
        }
    }
}
