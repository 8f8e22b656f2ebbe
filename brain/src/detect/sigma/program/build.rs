//! Compiles the rules of one log together.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::condition::Condition;
use super::super::fields::names;
use super::super::glob::Glob;
use super::super::logsource::LogSource;
use super::super::modifier::Place;
use super::super::pattern::{Literal, Pattern};
use super::super::rule::Rule;
use super::super::selection::{Item, Selection};
use super::super::view::{View, field};
use super::index::Index;
use super::{Entry, Expression, Program, Read, Test};

/// Whose events the program is for.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    View(View),
    Log(&'a LogSource),
}

pub(super) struct Builder<'a> {
    of: Of<'a>,
    reads: Vec<Read>,
    slots: HashMap<Box<str>, u16>,
    everything: Option<u16>,
    tests: Vec<Test>,
    /// Atoms by the texts of which one must be found.
    atoms: HashMap<(u16, Vec<Literal>), u32>,
    /// How likely each atom is to hold for an event, by what its texts look like.
    chances: Vec<f64>,
    literals: Vec<Vec<(Literal, u32)>>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(of: Of<'a>) -> Self {
        Self {
            of,
            reads: Vec::new(),
            slots: HashMap::new(),
            everything: None,
            tests: Vec::new(),
            atoms: HashMap::new(),
            chances: Vec::new(),
            literals: Vec::new(),
        }
    }

    /// Compiles the rules, each with its index.
    pub(super) fn build<'r>(mut self, rules: impl Iterator<Item = (u32, &'r Rule)>) -> Program {
        let mut entries = Vec::new();
        for (rule, words) in rules {
            let root = self.condition(words, &words.condition, true);
            if !matches!(root, Expression::Never) {
                entries.push(Entry { rule, root });
            }
        }
        let uses = self.uses(&entries);
        let cost = |atom: u32| self.chances[atom as usize] * f64::from(uses[atom as usize]);
        let mut waiting = vec![Vec::new(); self.chances.len()];
        let mut always = Vec::new();
        for (number, entry) in (0..).zip(&mut entries) {
            match self.needs(&entry.root, &cost) {
                Some((_, atoms)) => {
                    atoms.iter().for_each(|atom| waiting[*atom as usize].push(number));
                }
                None => always.push(number),
            }
            self.order(&mut entry.root, &cost);
        }
        self.finish(entries, waiting, always)
    }

    fn finish(self, entries: Vec<Entry>, waiting: Vec<Vec<u32>>, always: Vec<u32>) -> Program {
        let mut ranges = Vec::with_capacity(waiting.len());
        let mut woken: Vec<u32> = Vec::new();
        for mut rules in waiting {
            rules.dedup();
            let start = woken.len() as u32;
            woken.extend(rules);
            ranges.push((start, woken.len() as u32));
        }
        let with_texts = (0..).zip(self.literals).filter(|(_, literals)| !literals.is_empty());
        let scans = with_texts.map(|(slot, literals)| (slot, Index::new(literals))).collect();
        let mut paths: HashMap<Box<str>, Vec<u16>> = HashMap::new();
        if let Of::Log(log) = self.of {
            for (slot, read) in (0..).zip(&self.reads) {
                if let Read::Name(name) = read {
                    for name in names(name, log) {
                        paths.entry(name.into()).or_default().push(slot);
                    }
                }
            }
        }
        Program {
            reads: self.reads,
            paths,
            everything: self.everything,
            scans,
            tests: self.tests,
            entries,
            ranges,
            woken,
            always,
        }
    }

    fn uses(&self, entries: &[Entry]) -> Vec<u32> {
        let mut uses = vec![0; self.chances.len()];
        for entry in entries {
            self.each_atom(&entry.root, &mut |atom| uses[atom as usize] += 1);
        }
        uses
    }

    fn each_atom(&self, expression: &Expression, see: &mut impl FnMut(u32)) {
        match expression {
            Expression::Atom(atom) => see(*atom),
            Expression::Test(test) => self.tests[*test as usize].arm.into_iter().for_each(see),
            Expression::Not(inner) => self.each_atom(inner, see),
            Expression::All(parts) | Expression::Any(parts) => {
                parts.iter().for_each(|part| self.each_atom(part, see));
            }
            Expression::Never | Expression::Ever => {}
        }
    }

    /// Returns atoms of which one must hold for the expression to hold, the cheapest such set.
    fn needs(
        &self,
        expression: &Expression,
        cost: &impl Fn(u32) -> f64,
    ) -> Option<(f64, Vec<u32>)> {
        match expression {
            Expression::Atom(atom) => Some((cost(*atom), vec![*atom])),
            Expression::Test(test) => {
                self.tests[*test as usize].arm.map(|atom| (cost(atom), vec![atom]))
            }
            Expression::All(parts) => (parts.iter())
                .filter_map(|part| self.needs(part, cost))
                .min_by(|a, b| a.0.total_cmp(&b.0)),
            Expression::Any(parts) => {
                let mut all = (0.0, Vec::new());
                for part in parts {
                    let (cost, atoms) = self.needs(part, cost)?;
                    all.0 += cost;
                    all.1.extend(atoms);
                }
                all.1.sort_unstable();
                all.1.dedup();
                Some(all)
            }
            Expression::Never => Some((0.0, Vec::new())),
            Expression::Not(_) | Expression::Ever => None,
        }
    }

    /// Puts first what is decided soonest.
    fn order(&self, expression: &mut Expression, cost: &impl Fn(u32) -> f64) {
        match expression {
            Expression::Not(inner) => self.order(inner, cost),
            Expression::All(parts) => {
                parts.iter_mut().for_each(|part| self.order(part, cost));
                parts.sort_by(|a, b| rank(a, cost).total_cmp(&rank(b, cost)));
            }
            Expression::Any(parts) => {
                parts.iter_mut().for_each(|part| self.order(part, cost));
                // What has to be looked at comes last.
                parts.sort_by_key(|part| matches!(part, Expression::Test(_)));
            }
            _ => {}
        }
    }

    fn condition(&mut self, rule: &Rule, condition: &Condition, upright: bool) -> Expression {
        match condition {
            Condition::Selection(index) => self.selection(&rule.selections[*index], upright),
            Condition::Not(inner) => Expression::not(self.condition(rule, inner, !upright)),
            Condition::All(parts) => Expression::all(
                parts.iter().map(|part| self.condition(rule, part, upright)).collect(),
            ),
            Condition::Any(parts) => Expression::any(
                parts.iter().map(|part| self.condition(rule, part, upright)).collect(),
            ),
        }
    }

    fn selection(&mut self, selection: &Selection, upright: bool) -> Expression {
        let mut alternatives = Vec::new();
        for items in &selection.alternatives {
            let items = items.iter().map(|item| self.item(item, upright)).collect();
            alternatives.push(Expression::all(items));
        }
        Expression::any(alternatives)
    }

    fn item(&mut self, item: &Item, upright: bool) -> Expression {
        if !item.names().all(|name| self.knows(name)) {
            return if upright { Expression::Never } else { Expression::Ever };
        }
        let groups = (0..item.groups.len()).map(|group| self.group(item, group)).collect();
        let all = Expression::all(groups);
        if item.negated { Expression::not(all) } else { all }
    }

    fn knows(&self, name: &str) -> bool {
        match self.of {
            Of::View(view) => field::resolve(view, name).is_some(),
            Of::Log(_) => true,
        }
    }

    fn group(&mut self, item: &Item, group: usize) -> Expression {
        let patterns = &item.groups[group];
        if let Some(text) = self.constant(item) {
            let lower = text.to_ascii_lowercase();
            let holds = |pattern: &Pattern| match pattern {
                Pattern::Exists(there) => *there,
                other => other.matches(text.as_bytes(), lower.as_bytes()),
            };
            let holds = patterns.iter().any(holds);
            return if holds { Expression::Ever } else { Expression::Never };
        }
        let slot = self.slot(item.field.as_deref());
        let (mut literals, mut parts) = (Vec::new(), Vec::new());
        for (which, pattern) in patterns.iter().enumerate() {
            match pattern {
                Pattern::Literal(literal) if !literal.bytes.is_empty() => {
                    literals.push(literal.clone());
                }
                other => {
                    let arm = arms(other).map(|texts| self.atom(slot, texts));
                    let other = match other {
                        Pattern::FieldRef(field) => Some(self.slot(Some(&field.name))),
                        _ => None,
                    };
                    let patterns = Arc::clone(&item.groups);
                    let (group, which) = (group as u32, which as u32);
                    parts.push(Expression::Test(self.tests.len() as u32));
                    self.tests.push(Test { slot, other, arm, patterns, group, which });
                }
            }
        }
        if !literals.is_empty() {
            parts.insert(0, Expression::Atom(self.atom(slot, literals)));
        }
        Expression::any(parts)
    }

    /// Returns the text that the item's field has in every event. A comparison with another field
    /// is made when there is an event.
    fn constant(&self, item: &Item) -> Option<&'static str> {
        let (Of::View(view), Some(name)) = (self.of, item.field.as_deref()) else { return None };
        if item.names().count() > 1 {
            return None;
        }
        field::constant(view, field::resolve(view, name)?)
    }

    fn slot(&mut self, name: Option<&str>) -> u16 {
        let read = match (name, self.of) {
            (None, _) => {
                if let Some(slot) = self.everything {
                    return slot;
                }
                self.everything = Some(self.reads.len() as u16);
                Read::Everything
            }
            (Some(name), _) if self.slots.contains_key(name) => return self.slots[name],
            (Some(name), Of::View(view)) => match field::resolve(view, name) {
                Some(code) => Read::Code(code),
                None => Read::Nothing,
            },
            (Some(name), Of::Log(_)) => Read::Name(name.into()),
        };
        // Two names of one field share its slot.
        let same = self.reads.iter().position(|known| *known == read && known.is_code());
        let slot = same.unwrap_or(self.reads.len()) as u16;
        if same.is_none() {
            self.reads.push(read);
            self.literals.push(Vec::new());
        }
        if let Some(name) = name {
            self.slots.insert(name.into(), slot);
        }
        slot
    }

    /// Returns the atom that holds when one of the texts is found.
    fn atom(&mut self, slot: u16, texts: Vec<Literal>) -> u32 {
        if let Some(atom) = self.atoms.get(&(slot, texts.clone())) {
            return *atom;
        }
        let atom = self.chances.len() as u32;
        self.chances.push(texts.iter().map(chance).sum());
        self.literals[usize::from(slot)].extend(texts.iter().map(|text| (text.clone(), atom)));
        self.atoms.insert((slot, texts), atom);
        atom
    }
}

/// Returns the texts of which one must be within the value for the pattern to match.
fn arms(pattern: &Pattern) -> Option<Vec<Literal>> {
    let within =
        |bytes: Vec<u8>| Literal { bytes: bytes.into(), place: Place::WITHIN, cased: false };
    match pattern {
        Pattern::Glob(glob) => Glob::required(glob).map(|text| vec![within(text)]),
        Pattern::Regex(expression) => {
            expression.required().map(|texts| texts.into_iter().map(within).collect())
        }
        _ => None,
    }
}

/// A guess at how often a text is found: longer ones less often, fixed ones less often than those
/// that may stand anywhere. Only the order counts.
fn chance(literal: &Literal) -> f64 {
    let length = literal.bytes.len().min(24) as i32;
    let places = if literal.place == Place::WITHIN { 20.0 } else { 1.0 };
    (places * 0.4_f64.powi(length)).min(1.0)
}

fn rank(expression: &Expression, cost: &impl Fn(u32) -> f64) -> f64 {
    match expression {
        Expression::Atom(atom) => cost(*atom),
        Expression::Test(_) => 1e9,
        Expression::Not(inner) => 1e6 + rank(inner, cost),
        Expression::All(parts) => {
            1e3 + parts.iter().map(|part| rank(part, cost)).fold(0.0, f64::max)
        }
        Expression::Any(parts) => 1e3 + parts.iter().map(|part| rank(part, cost)).sum::<f64>(),
        Expression::Never | Expression::Ever => 0.0,
    }
}
