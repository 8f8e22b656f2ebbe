//! All rules together, and what they say of an event.

use std::collections::HashMap;
use std::sync::Arc;

use super::fields::Fields;
use super::logsource::LogSource;
use super::object::Object;
use super::program::{Program, Scratch};
use super::rule::Rule;
use super::view::{self, View};
use crate::record::Event;

/// Log sources of other people's events that rules are compiled for at once. A file of events has
/// a handful; more would be names that somebody makes up.
const LOGS_MAX: usize = 256;

/// A rule's place in its [`RuleSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleIndex(pub u32);

/// Rules that are evaluated together.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    /// By view; none where no rule can match.
    programs: Vec<Option<Program>>,
    /// Rules by id, name and title; of rules that share one, the first.
    names: HashMap<String, RuleIndex>,
}

impl RuleSet {
    /// Compiles rules together.
    pub fn new(rules: Vec<Arc<Rule>>) -> Self {
        let mut names = HashMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let index = RuleIndex(index as u32);
            for name in [Some(&rule.policy.id), rule.name.as_ref(), Some(&rule.title)] {
                name.into_iter().for_each(|name| {
                    names.entry(name.clone()).or_insert(index);
                });
            }
        }
        let program = |view| Some(Program::of_view(view, &rules)).filter(|p| !p.is_empty());
        let programs = View::ALL.map(program).into();
        Self { rules, programs, names }
    }

    /// Returns the rules, by their index.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// Returns a rule.
    pub fn rule(&self, index: RuleIndex) -> &Arc<Rule> {
        &self.rules[index.0 as usize]
    }

    /// Returns for each rule whether our records can ever match it. One that cannot is about a log
    /// that no sensor delivers, or needs a field that none has.
    pub fn reachable(&self) -> Vec<bool> {
        let mut reachable = vec![false; self.rules.len()];
        let programs = self.programs.iter().flatten();
        programs.flat_map(Program::rules).for_each(|rule| reachable[rule as usize] = true);
        reachable
    }

    /// Returns how many rules are looked at with every event of their log, because no text must be
    /// there for them to match.
    pub fn always(&self) -> usize {
        self.programs.iter().flatten().map(Program::always).sum()
    }

    /// Returns about how many bytes the rules take as they are compiled together.
    pub fn size(&self) -> usize {
        self.programs.iter().flatten().map(Program::size).sum()
    }

    /// Returns the rule that is called so, by its id, name or title.
    pub fn find(&self, name: &str) -> Option<RuleIndex> {
        self.names.get(name).copied()
    }
}

/// Evaluates events against a set of rules.
#[derive(Debug)]
pub struct Matcher {
    set: Arc<RuleSet>,
    scratch: Scratch,
    /// Rules that matched the event as another log tells it.
    seen: Vec<u32>,
    /// Programs for events of others, made when the first of a log comes.
    others: HashMap<LogSource, Program>,
    skipped: u64,
}

impl Matcher {
    /// Returns a matcher for the rules.
    pub fn new(set: Arc<RuleSet>) -> Self {
        let (scratch, seen) = (Scratch::default(), Vec::new());
        Self { set, scratch, seen, others: HashMap::new(), skipped: 0 }
    }

    /// Returns the rules.
    pub fn set(&self) -> &Arc<RuleSet> {
        &self.set
    }

    /// Returns how many events were not looked at because there were too many log sources.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Calls `matched` for each rule that matches a record, once for each rule, in the order of
    /// the rules within each log that tells the record.
    pub fn event(&mut self, event: &Event, mut matched: impl FnMut(RuleIndex, &Fields<'_>)) {
        let Self { set, scratch, seen, .. } = self;
        seen.clear();
        view::of(event, |view| {
            let Some(Some(program)) = set.programs.get(view as usize) else { return };
            let fields = Fields::of_event(view, event);
            for rule in program.run(&fields, scratch) {
                if !seen.contains(rule) {
                    seen.push(*rule);
                    matched(RuleIndex(*rule), &fields);
                }
            }
        });
    }

    /// Calls `matched` for each rule that matches an event that others wrote, in order.
    pub fn object(&mut self, object: &Object, mut matched: impl FnMut(RuleIndex, &Fields<'_>)) {
        let Self { set, scratch, others, .. } = self;
        if !others.contains_key(&object.log) {
            if others.len() == LOGS_MAX {
                self.skipped += 1;
                return;
            }
            others.insert(object.log.clone(), Program::of_log(&object.log, &set.rules));
        }
        let Some(program) = others.get(&object.log) else { return };
        let fields = Fields::of_object(object);
        for rule in program.run(&fields, scratch) {
            matched(RuleIndex(*rule), &fields);
        }
    }
}
