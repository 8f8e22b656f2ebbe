//! Rules beside each other: which say the same, which can never match.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::node::{self, line_of};
use super::super::{Loader, PolicySet, source};
use super::logic::Logic;
use super::{Level, Remark};
use crate::detect::sigma::{self, Rule};

/// Pairs of rules that are compared. Five thousand rules stay below.
const PAIRS_MAX: usize = 30_000_000;

/// Adds remarks about rules of one's own that ask for a field which their log never has here.
/// Public rules are written for the sensors of others as well.
pub(super) fn fields(set: &PolicySet, loader: &Loader, remarks: &mut Vec<Remark>) {
    let own = |rule: &&Arc<Rule>| !rule.policy.file.starts_with(source::EXTRA);
    for rule in set.rules.iter().filter(own) {
        let file = rule.policy.file.as_str();
        let text = loader.text(file).unwrap_or_default();
        let mut told = BTreeSet::new();
        for untold in sigma::untold(rule).into_iter().filter(|one| told.insert(one.field)) {
            // In a file of several documents the search would find the first that has such a key.
            let line = match rule.line {
                0 | 1 => line_of(text, &["detection", untold.selection, untold.key]),
                line => line,
            };
            let field = crate::text::visible_str(untold.field);
            let message = format!(
                "no sensor tells the field {field} in the log {}, so the rule never matches by it",
                crate::text::visible_str(&rule.log.to_string())
            );
            remarks.push(remark(file, line, Level::Warning, "untold-field", message));
        }
    }
}

struct Known<'a> {
    file: &'a str,
    title: &'a str,
    line: usize,
    logic: Logic,
}

/// Adds remarks about rules whose file is one plain rule.
pub(super) fn compare(set: &PolicySet, loader: &Loader, remarks: &mut Vec<Remark>) {
    let mut known: Vec<Known<'_>> = Vec::new();
    for rule in &set.rules {
        let file = rule.policy.file.as_str();
        let Some(text) = loader.text(file) else { continue };
        let Some(logic) = node::parse(text).ok().and_then(|node| Logic::read(&node)) else {
            continue;
        };
        let line = line_of(text, &["detection"]);
        if logic.is_dead() {
            let message = "no event can match: its conditions exclude each other".to_owned();
            remarks.push(remark(file, line, Level::Error, "dead-rule", message));
        } else {
            known.push(Known { file, title: &rule.title, line, logic });
        }
    }
    let fields: Vec<_> = known.iter().map(|one| one.logic.fields()).collect();
    let mut left = PAIRS_MAX;
    for (at, one) in known.iter().enumerate() {
        for (other_at, other) in known.iter().enumerate() {
            if at == other_at {
                continue;
            }
            left -= 1;
            if left == 0 {
                let message = format!("only {PAIRS_MAX} pairs of rules were compared");
                remarks.push(remark(one.file, one.line, Level::Note, "not-compared", message));
                return;
            }
            if !fields[other_at].is_subset(&fields[at]) || !one.logic.is_covered_by(&other.logic) {
                continue;
            }
            let same = other.logic.is_covered_by(&one.logic);
            // Of two that are the same, the second is the one too many.
            if same && at < other_at {
                continue;
            }
            let (code, what) = match same {
                true => ("duplicate-rule", "asks for the same as"),
                false => ("shadowed-rule", "matches only what is matched already by"),
            };
            let message = format!("{what} `{}` ({})", other.title, other.file);
            remarks.push(remark(one.file, one.line, Level::Warning, code, message));
            break;
        }
    }
}

fn remark(file: &str, line: usize, level: Level, code: &'static str, message: String) -> Remark {
    Remark { file: file.to_owned(), line: Some(line), level, code, message }
}
