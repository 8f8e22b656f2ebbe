//! `policy coverage`

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Coverage as Flags, Loaded};
use crate::cli::{client::print, table};
use crate::policy::coverage::{Cell, Coverage, TACTICS, VERSION};
use crate::policy::sample;

/// Log sources that no sensor delivers and that text names; `--json` has all.
const UNDELIVERED_SHOWN: usize = 20;

/// Runs the command.
pub(super) fn run(flags: &Flags) -> Result<bool> {
    let loaded = flags.sources.load()?;
    loaded.tell_errors();
    let samples = sample::test(&loaded.set);
    let coverage = Coverage::of(&loaded.set, &samples, &loaded.loader);
    if let Some(path) = &flags.navigator {
        let layer = serde_json::to_vec_pretty(&layer(&coverage))?;
        std::fs::write(path, layer)
            .with_context(|| format!("failed to write {}", path.display()))?;
    }
    let text = if flags.json { lines(&loaded, &coverage) } else { text(&coverage) };
    print(&text)?;
    Ok(true)
}

fn text(coverage: &Coverage) -> String {
    let mut rows = Vec::new();
    for (at, tactic) in TACTICS.iter().enumerate() {
        let cells: Vec<_> = (coverage.cells.iter()).filter(|((of, _), _)| *of == at).collect();
        let is_tested = |cell: &Cell| !cell.tested.is_empty();
        let tested = cells.iter().filter(|(_, cell)| is_tested(cell)).count();
        let names = |wanted: bool| -> String {
            let fit = cells.iter().filter(|(_, cell)| is_tested(cell) == wanted);
            fit.map(|((_, id), _)| id.as_str()).collect::<Vec<_>>().join(" ")
        };
        rows.push(vec![
            tactic.name.to_owned(),
            cells.len().to_string(),
            tested.to_string(),
            names(true),
            names(false),
        ]);
    }
    let head = ["TACTIC", "TECHNIQUES", "TESTED", "TESTED BY A SAMPLE", "ONLY CLAIMED"];
    let mut text = format!("ATT&CK version {VERSION}\n{}", table::render(&head, &rows));
    let (all, tested) = coverage.techniques();
    let types = coverage.rows.len();
    let types_tested = coverage.rows.iter().filter(|row| !row.tested.is_empty()).count();
    text.push_str(&format!(
        "{tested} of {all} techniques are tested by a sample\n\
         {types_tested} of {types} finding types of GuardDuty that a host can observe are tested\n"
    ));
    let files: usize = coverage.undelivered.values().map(BTreeSet::len).sum();
    if files > 0 {
        text.push_str(&format!("{files} rules ask for logs that no sensor delivers:\n"));
    }
    for (log, files) in coverage.undelivered.iter().take(UNDELIVERED_SHOWN) {
        text.push_str(&format!("{:5}  {}\n", files.len(), crate::text::visible_str(log)));
    }
    if !coverage.unreachable.is_empty() {
        text.push_str(&format!(
            "{} more rules need fields that no sensor delivers; --json names them\n",
            coverage.unreachable.len()
        ));
    }
    text
}

fn lines(loaded: &Loaded, coverage: &Coverage) -> String {
    let paths = |files: &BTreeSet<String>| -> Vec<String> {
        files.iter().map(|file| loaded.path(file)).collect()
    };
    let mut all: Vec<Value> = Vec::new();
    for ((tactic, id), cell) in &coverage.cells {
        all.push(json!({
            "kind": "technique",
            "tactic": TACTICS[*tactic].name,
            "tactic_id": TACTICS[*tactic].id,
            "id": id,
            "name": cell.name,
            "claimed_by": paths(&cell.claimed),
            "tested_by": paths(&cell.tested),
        }));
    }
    for row in &coverage.rows {
        all.push(json!({
            "kind": "guardduty_type",
            "type": row.name,
            "claimed_by": paths(&row.claimed),
            "tested_by": paths(&row.tested),
        }));
    }
    for (log, files) in &coverage.undelivered {
        let log = crate::text::visible_str(log);
        all.push(json!({"kind": "undelivered", "logsource": log, "rules": paths(files)}));
    }
    for file in &coverage.unreachable {
        all.push(json!({"kind": "unreachable", "rule": loaded.path(file)}));
    }
    let (techniques, tested) = coverage.techniques();
    all.push(json!({
        "kind": "summary",
        "attack_version": VERSION,
        "revision": loaded.set.revision,
        "techniques": techniques,
        "techniques_tested": tested,
        "guardduty_types": coverage.rows.len(),
        "guardduty_types_tested":
            coverage.rows.iter().filter(|row| !row.tested.is_empty()).count(),
    }));
    all.iter().map(|value| format!("{value}\n")).collect()
}

/// Returns a layer for the ATT&CK Navigator: tested techniques in green, claimed ones in grey.
fn layer(coverage: &Coverage) -> Value {
    const TESTED: &str = "#8ec843";
    const CLAIMED: &str = "#cccccc";
    let technique = |((_, id), cell): (&(usize, String), &Cell)| {
        let is_tested = !cell.tested.is_empty();
        let of = if is_tested { &cell.tested } else { &cell.claimed };
        json!({
            "techniqueID": id,
            "score": cell.claimed.len(),
            "color": if is_tested { TESTED } else { CLAIMED },
            "comment": of.iter().map(String::as_str).collect::<Vec<_>>().join(", "),
        })
    };
    let mut known = BTreeSet::new();
    // The same technique under two tactics is one entry: without a tactic it is shown under all.
    let once = |((_, id), _): &(&(usize, String), &Cell)| known.insert(id.clone());
    json!({
        "name": "Sakuramori",
        "description": "What the policies cover. Green is tested by a sample that fires.",
        "domain": "enterprise-attack",
        "versions": {"attack": VERSION, "navigator": "5.1.0", "layer": "4.5"},
        "techniques": coverage.cells.iter().filter(once).map(technique).collect::<Vec<_>>(),
        "legendItems": [
            {"label": "tested by a sample", "color": TESTED},
            {"label": "claimed by a policy", "color": CLAIMED},
        ],
    })
}
