//! Which rules and correlations feed which correlations.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Correlation;
use super::sliding::LATE_NS;
use crate::detect::sigma::rule::Rule;
use crate::detect::sigma::set::RuleIndex;
use crate::detect::sigma::view::{View, field};

/// Names under which a host is known to rules.
const HOST: [&str; 3] = ["Computer", "ComputerName", "host.name"];

/// Correlations that feed each other in a row.
const CHAIN_MAX: usize = 8;

/// One rule's part in a correlation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) correlation: usize,
    /// Its place under `rules`.
    pub(super) member: usize,
}

/// What feeds what.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Links {
    pub(super) of_rules: BTreeMap<RuleIndex, Vec<Use>>,
    pub(super) of_correlations: Vec<Vec<Use>>,
    /// Rules that a correlation speaks for.
    pub(super) silent_rules: BTreeSet<RuleIndex>,
    /// Correlations that another one speaks for.
    pub(super) silent: BTreeSet<usize>,
    /// For how long events count.
    pub(in super::super) memory_ns: u64,
}

#[derive(Clone, Copy)]
enum Source {
    Rule(RuleIndex),
    Correlation(usize),
}

/// Links correlations with the rules that they name. What is wrong is said by correlation; one
/// that refers to a wrong one is wrong as well.
pub(in super::super) fn link(
    correlations: &[Arc<Correlation>],
    rules: &[Arc<Rule>],
) -> (Links, BTreeMap<usize, String>) {
    let linker = Linker::new(correlations, rules);
    let mut wrong = BTreeMap::new();
    for (index, correlation) in correlations.iter().enumerate() {
        if let Err(message) = linker.leaves(index, CHAIN_MAX).and_then(|_| linker.check(index)) {
            wrong.insert(index, message);
        }
        let names = |other: &&Arc<Correlation>| other.policy.id == correlation.policy.id;
        if let Some(first) = correlations[..index].iter().find(names) {
            let message = format!("id {} is taken by {}", correlation.policy.id, first.policy.file);
            wrong.insert(index, message);
        }
    }
    let mut links = Links::default();
    links.of_correlations.resize(correlations.len(), Vec::new());
    for (index, correlation) in correlations.iter().enumerate() {
        if wrong.contains_key(&index) {
            continue;
        }
        links.memory_ns = links.memory_ns.max(linker.memory_ns(index, CHAIN_MAX));
        for (member, name) in correlation.spec.rules.iter().enumerate() {
            let used = Use { correlation: index, member };
            match linker.source(name) {
                Some(Source::Rule(rule)) => {
                    links.of_rules.entry(rule).or_default().push(used);
                    links.silent_rules.insert(rule);
                }
                Some(Source::Correlation(other)) => {
                    links.of_correlations[other].push(used);
                    links.silent.insert(other);
                }
                None => {}
            }
        }
    }
    linker.wake(&mut links, &wrong);
    (links, wrong)
}

struct Linker<'a> {
    correlations: &'a [Arc<Correlation>],
    rules: &'a [Arc<Rule>],
    /// Rules by id and name; of rules that share one, the first.
    names: HashMap<&'a str, usize>,
}

impl<'a> Linker<'a> {
    fn new(correlations: &'a [Arc<Correlation>], rules: &'a [Arc<Rule>]) -> Self {
        let mut names = HashMap::new();
        // Without a correlation nobody asks.
        let named = rules.iter().enumerate().filter(|_| !correlations.is_empty());
        for (index, rule) in named {
            names.entry(rule.policy.id.as_str()).or_insert(index);
            if let Some(name) = &rule.name {
                names.entry(name).or_insert(index);
            }
        }
        Self { correlations, rules, names }
    }

    fn source(&self, name: &str) -> Option<Source> {
        let is_named = |correlation: &Arc<Correlation>| {
            correlation.name.as_deref() == Some(name) || correlation.policy.id == name
        };
        let correlation = self.correlations.iter().position(is_named).map(Source::Correlation);
        let rule = |index: &usize| Source::Rule(RuleIndex(*index as u32));
        correlation.or_else(|| self.names.get(name).map(rule))
    }

    /// Returns the rules whose events reach a correlation, member by member.
    fn leaves(&self, index: usize, depth: usize) -> Result<Vec<BTreeSet<RuleIndex>>, String> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(format!(
                "refers to itself, or more than {CHAIN_MAX} correlations follow each other"
            ));
        };
        let mut leaves = Vec::new();
        for name in &self.correlations[index].spec.rules {
            leaves.push(match self.source(name) {
                None => return Err(format!("there is no rule with the name or id `{name}`")),
                Some(Source::Rule(rule)) => BTreeSet::from([rule]),
                Some(Source::Correlation(other)) => {
                    let inner = self.leaves(other, depth);
                    let inner = inner.map_err(|message| format!("`{name}`: {message}"))?;
                    inner.into_iter().flatten().collect()
                }
            });
        }
        Ok(leaves)
    }

    /// Checks that every field is one that the rules' events have.
    fn check(&self, index: usize) -> Result<(), String> {
        let spec = &self.correlations[index].spec;
        for (name, leaves) in spec.rules.iter().zip(self.leaves(index, CHAIN_MAX)?) {
            for wanted in spec.group_by.iter().chain(&spec.fields) {
                let field = spec.field(wanted, name);
                for leaf in leaves.iter().filter(|_| !is_host(field)) {
                    self.check_field(*leaf, field)
                        .map_err(|message| format!("in events of `{name}`: {message}"))?;
                }
            }
        }
        Ok(())
    }

    /// Checks that some log that the rule looks at has the field. Logs of others can have any.
    fn check_field(&self, rule: RuleIndex, name: &str) -> Result<(), String> {
        let log = &self.rules[rule.0 as usize].log;
        let mut views = View::ALL.into_iter().filter(|view| view.is_of(log)).peekable();
        let any = views.peek().is_none() || views.any(|view| field::resolve(view, name).is_some());
        any.then_some(()).ok_or_else(|| format!("there is no field `{name}`"))
    }

    /// Returns for how long events count in a correlation and in what it builds on.
    fn memory_ns(&self, index: usize, depth: usize) -> u64 {
        let Some(depth) = depth.checked_sub(1) else { return 0 };
        let spec = &self.correlations[index].spec;
        let inner = spec.rules.iter().filter_map(|name| match self.source(name)? {
            Source::Rule(_) => None,
            Source::Correlation(other) => Some(self.memory_ns(other, depth)),
        });
        let own = spec.compared.span_ns.saturating_add(LATE_NS);
        own.saturating_add(inner.max().unwrap_or(0))
    }

    /// What a correlation with `generate` refers to speaks for itself.
    fn wake(&self, links: &mut Links, wrong: &BTreeMap<usize, String>) {
        for (index, correlation) in self.correlations.iter().enumerate() {
            if wrong.contains_key(&index) || !correlation.spec.generate {
                continue;
            }
            for name in &correlation.spec.rules {
                match self.source(name) {
                    Some(Source::Rule(rule)) => links.silent_rules.remove(&rule),
                    Some(Source::Correlation(other)) => links.silent.remove(&other),
                    None => false,
                };
            }
        }
    }
}

/// Returns whether a field is the host's name.
pub(super) fn is_host(field: &str) -> bool {
    HOST.contains(&field)
}
