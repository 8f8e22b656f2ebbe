//! What policies cover: techniques of ATT&CK, finding types of GuardDuty, and log sources that no
//! sensor delivers.
//!
//! A technique counts as tested when a sample makes a policy raise a finding that names it. What a
//! rule merely says about itself is a claim.

use std::collections::{BTreeMap, BTreeSet};

use super::sample::Outcome;
use super::{Loader, PolicySet};
use crate::detect::sigma::RuleSet;
use crate::detect::sigma::view::View;
use crate::finding::{self, Kind};

mod attack;
mod guardduty;

pub use attack::{TACTICS, Tactic, VERSION};

/// A technique under one of its tactics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The technique's name; empty when this build does not know it.
    pub name: String,
    /// Files of policies that name it.
    pub claimed: BTreeSet<String>,
    /// Files of policies whose samples have raised a finding that names it.
    pub tested: BTreeSet<String>,
}

/// A finding type of GuardDuty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name there.
    pub name: &'static str,
    /// Files of policies that raise its like.
    pub claimed: BTreeSet<String>,
    /// Those of which a sample has done so.
    pub tested: BTreeSet<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// By tactic, in the order of [`TACTICS`], and technique.
    pub cells: BTreeMap<(usize, String), Cell>,
    /// By GuardDuty's type.
    pub rows: Vec<Row>,
    /// Files of rules whose log source no sensor delivers, by that log source.
    pub undelivered: BTreeMap<String, BTreeSet<String>>,
    /// Files of rules whose log source is delivered, but never with the fields that they need.
    pub unreachable: BTreeSet<String>,
}

impl Coverage {
    /// Lays out `set`, of which `samples` were run.
    pub fn of(set: &PolicySet, samples: &[Outcome], loader: &Loader) -> Self {
        let rows = guardduty::TYPES.iter();
        let row = |&name| Row { name, claimed: BTreeSet::new(), tested: BTreeSet::new() };
        let mut coverage = Self { rows: rows.map(row).collect(), ..Self::default() };
        for rule in &set.rules {
            coverage.add(&rule.kind, &rule.policy.file, loader, false);
        }
        coverage.note_unmatched(set);
        for correlation in &set.correlations {
            coverage.add(&correlation.kind, &correlation.policy.file, loader, false);
        }
        for outcome in samples.iter().filter(|outcome| outcome.failure.is_none()) {
            for finding in &outcome.raised {
                coverage.add(&finding.kind, &finding.policy.file, loader, true);
            }
        }
        coverage
    }

    /// Notes the rules that can match no record of ours.
    fn note_unmatched(&mut self, set: &PolicySet) {
        let reachable = RuleSet::new(set.rules.clone()).reachable();
        for (rule, reachable) in set.rules.iter().zip(reachable) {
            let file = rule.policy.file.clone();
            if !View::any_is_of(&rule.log) {
                self.undelivered.entry(rule.log.to_string()).or_default().insert(file);
            } else if !reachable {
                self.unreachable.insert(file);
            }
        }
    }

    fn add(&mut self, kind: &Kind, file: &str, loader: &Loader, is_tested: bool) {
        let note = |claimed: &mut BTreeSet<String>, tested: &mut BTreeSet<String>| {
            claimed.insert(file.to_owned());
            if is_tested {
                tested.insert(file.to_owned());
            }
        };
        let tags = tags(loader.text(file).unwrap_or_default());
        for technique in &kind.techniques {
            let id = attack::present(&technique.id);
            let known = attack::of_name(&technique.tactic, &id);
            let tactics: Vec<Tactic> = match known {
                Some(tactic) => vec![tactic],
                None => tags.iter().filter_map(|tag| attack::of_tag(tag, &id)).collect(),
            };
            for tactic in tactics {
                let Some(at) = TACTICS.iter().position(|one| *one == tactic) else { continue };
                let cell = self.cells.entry((at, id.clone())).or_default();
                cell.name = finding::technique(&id).name;
                if cell.name.is_empty() {
                    cell.name.clone_from(&technique.name);
                }
                note(&mut cell.claimed, &mut cell.tested);
            }
        }
        let row = |row: &&mut Row| Some(row.name) == kind.guardduty.as_deref();
        if let Some(row) = self.rows.iter_mut().find(row) {
            note(&mut row.claimed, &mut row.tested);
        }
    }

    /// Returns the techniques of any tactic: how many, and how many of them are tested.
    pub fn techniques(&self) -> (usize, usize) {
        let ids = |keep: &dyn Fn(&Cell) -> bool| {
            let kept = self.cells.iter().filter(|(_, cell)| keep(cell));
            kept.map(|((_, id), _)| id).collect::<BTreeSet<_>>().len()
        };
        (ids(&|_| true), ids(&|cell| !cell.tested.is_empty()))
    }
}

/// Returns the ATT&CK tags of a rule's file.
fn tags(text: &str) -> Vec<&str> {
    let items = text.lines().filter_map(|line| line.trim().strip_prefix("- "));
    let plain = items.map(|item| item.trim().trim_matches(['"', '\'']));
    plain.filter(|item| item.starts_with("attack.")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Folders, sample};
    use super::*;

    #[test]
    fn rules_that_no_record_can_match_are_told_by_their_log() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sigma")).unwrap();
        let rule = |name: &str, log: &str, field: &str| {
            let text = format!(
                "title: {name}\nid: {name}\nlogsource: {{{log}}}\ndetection:\n  a: {{{field}: x}}\n  \
                 condition: a\n"
            );
            std::fs::write(folder.path().join(format!("sigma/{name}.yml")), text).unwrap();
        };
        rule("fine", "category: process_creation", "Image");
        rule("odd", "category: process_creation", "IntegrityLevel");
        rule("other", "product: windows, service: security", "EventID");
        let mut loader = Loader::new(Folders::new(Some(folder.path().to_owned()), &[]));
        let set = loader.load().unwrap();
        assert_eq!(set.errors, Vec::new());
        let coverage = Coverage::of(&set, &[], &loader);
        let other = coverage.undelivered.get("product=windows,service=security").unwrap();
        assert_eq!((coverage.undelivered.len(), other.len()), (1, 1));
        assert_eq!(coverage.unreachable.iter().collect::<Vec<_>>(), ["sigma/odd.yml"]);
    }

    #[test]
    fn what_samples_raise_is_tested_and_the_rest_is_claimed() {
        let mut loader = Loader::new(Folders::new(None, &[]));
        let set = loader.load().unwrap();
        let coverage = Coverage::of(&set, &sample::test(&set), &loader);
        let (all, tested) = coverage.techniques();
        let rows = coverage.rows.iter().filter(|row| !row.tested.is_empty()).count();
        println!("{tested} of {all} techniques tested, {rows} of {} types", coverage.rows.len());
        assert!(tested > 5 && rows > 3 && coverage.rows.len() == 86);
        let untested = Coverage::of(&set, &[], &loader);
        assert!(untested.techniques().0 > 2 && untested.techniques().1 == 0);
        let shell = coverage.cells.iter().find(|((_, id), _)| id == "T1059.004").unwrap();
        assert_eq!((TACTICS[shell.0.0].name, shell.1.name.as_str()), ("Execution", "Unix Shell"));
    }
}
