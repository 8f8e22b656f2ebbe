//! `policy test`

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Value, json};

use super::cost::Cost;
use super::format::{self, Format, Placed};
use super::{Loaded, Test};
use crate::cli::client::print;
use crate::clock;
use crate::policy::PolicySet;
use crate::policy::review::{self, Level, Review};
use crate::text;

/// The costliest rules that text names; `--json` has all.
const COSTLY_SHOWN: usize = 5;

/// Public rules that are not used and that text names; `--json` has all.
const UNUSED_SHOWN: usize = 20;

/// Runs the command; returns whether nothing is wrong.
pub(super) fn run(flags: &Test) -> Result<bool> {
    let loaded = flags.sources.load()?;
    let review = review::review(&loaded.set, &loaded.loader, clock::now_ns());
    let costs = super::cost::measure(&loaded.set);
    let format = flags.output.format();
    print(&remarks(&loaded, &review, format))?;
    match format {
        Format::Text => print(&summary(&loaded, &review, &costs))?,
        Format::Json => print(&details(&loaded, &review, &costs))?,
        Format::Github | Format::Gitlab | Format::Sarif => {}
    }
    let failed = review.count(Level::Error) > 0;
    Ok(!failed && (!flags.strict || review.count(Level::Warning) == 0))
}

fn remarks(loaded: &Loaded, review: &Review, format: Format) -> String {
    let mut shown = Vec::new();
    let mut unused = 0;
    for remark in &review.remarks {
        if format == Format::Text && remark.code == review::UNUSED {
            unused += 1;
            if unused > UNUSED_SHOWN {
                continue;
            }
        }
        shown.push(Placed { path: loaded.path(&remark.file), remark });
    }
    let mut text = format::render(format, &shown);
    if unused > UNUSED_SHOWN {
        text.push_str(&format!(
            "… and {} more public rules are not used; --json names all\n",
            unused - UNUSED_SHOWN
        ));
    }
    text
}

fn summary(loaded: &Loaded, review: &Review, costs: &[Cost]) -> String {
    let set = &loaded.set;
    let mut text = String::new();
    if !costs.is_empty() {
        text.push_str("costliest rules, each by itself, on the events of all samples:\n");
        for cost in costs.iter().take(COSTLY_SHOWN) {
            text.push_str(&format!("{:8.0} ns/event  {}\n", cost.ns_per_event, cost.file));
        }
    }
    if costs.len() < set.rules.len() {
        let left = set.rules.len() - costs.len();
        text.push_str(&format!("{left} rules were not measured\n"));
    }
    let passed = review.samples.iter().filter(|sample| sample.failure.is_none()).count();
    let [errors, warnings, notes] =
        [Level::Error, Level::Warning, Level::Note].map(|level| review.count(level));
    text.push_str(&format!(
        "{} rules and {} other policies, revision {}\n\
         {passed} of {} samples do as they say\n\
         {errors} errors, {warnings} warnings, {notes} notes\n",
        set.rules.len(),
        others(set),
        set.revision,
        review.samples.len(),
    ));
    text
}

fn others(set: &PolicySet) -> usize {
    let rules: BTreeSet<&str> = set.rules.iter().map(|rule| rule.policy.file.as_str()).collect();
    let files: BTreeSet<&str> = set.refs.iter().map(|policy| policy.file.as_str()).collect();
    files.difference(&rules).count()
}

fn details(loaded: &Loaded, review: &Review, costs: &[Cost]) -> String {
    let mut text = String::new();
    let mut add = |value: Value| text.push_str(&format!("{value}\n"));
    for cost in costs {
        let ns = (cost.ns_per_event * 10.0).round() / 10.0;
        let file = loaded.path(&cost.file);
        add(json!({"kind": "cost", "file": file, "id": cost.id, "ns_per_event": ns}));
    }
    for sample in &review.samples {
        add(json!({
            "kind": "sample",
            "file": loaded.path(&sample.file),
            "sample": text::visible_str(&sample.sample),
            "passed": sample.failure.is_none(),
            "raised": sample.raised.iter().map(|f| &f.kind.name).collect::<Vec<_>>(),
        }));
    }
    let passed = review.samples.iter().filter(|sample| sample.failure.is_none()).count();
    add(json!({
        "kind": "summary",
        "revision": loaded.set.revision,
        "rules": loaded.set.rules.len(),
        "other_policies": others(&loaded.set),
        "samples": review.samples.len(),
        "samples_passed": passed,
        "errors": review.count(Level::Error),
        "warnings": review.count(Level::Warning),
        "notes": review.count(Level::Note),
    }));
    text
}
