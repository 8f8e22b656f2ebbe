//! Rules beside each other: which say the same, which can never match.

use super::super::node::{self, line_of};
use super::super::{Loader, PolicySet};
use super::logic::Logic;
use super::{Level, Remark};

/// Pairs of rules that are compared. Five thousand rules stay below.
const PAIRS_MAX: usize = 30_000_000;

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
