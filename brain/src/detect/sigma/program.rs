//! The rules of one log, compiled together: one pass over an event decides them all.
//!
//! 1. The texts that rules look for in a field stand in one [`index`]; a pass over the value says
//!    which are there. Each list of texts in a rule is an *atom*: it holds when one is found.
//! 2. Of each rule, the rarest atoms without which it cannot match wake it. A rule that nothing
//!    wakes costs nothing. Rules that could match without any text are looked at always; there are
//!    few.
//! 3. A rule that is awake is evaluated over the atoms. Regular expressions, wildcards, numbers and
//!    addresses are decided then, once for each event, and expressions only if a text that they
//!    need was found.
//!
//! Nothing is allocated once the buffers of [`Scratch`] have grown to what events need.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::evaluate::alike;
use super::fields::{Fields, Source};
use super::logsource::LogSource;
use super::object::{self, Object};
use super::pattern::Pattern;
use super::rule::Rule;
use super::values::{Presence, Slot, Values};
use super::view::{self, Code, View};

mod build;
mod index;

use build::{Builder, Of};
use index::Index;

/// Rules that look at events of one log.
#[derive(Debug)]
pub(super) struct Program {
    /// How each slot is read.
    reads: Vec<Read>,
    /// The slots that a path in an event of others fills.
    paths: HashMap<Box<str>, Vec<u16>>,
    /// The slot of all that keywords are looked for in.
    everything: Option<u16>,
    scans: Vec<(u16, Index)>,
    tests: Vec<Test>,
    entries: Vec<Entry>,
    /// By atom, the part of `woken` that it wakes.
    ranges: Vec<(u32, u32)>,
    woken: Vec<u32>,
    always: Vec<u32>,
}

/// How a slot is filled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    Code(Code),
    Name(Box<str>),
    Everything,
    Nothing,
}

impl Read {
    fn is_code(&self) -> bool {
        matches!(self, Self::Code(_))
    }
}

/// A pattern that is looked at when a rule asks for it.
struct Test {
    slot: u16,
    /// The slot of the field that this one is compared with.
    other: Option<u16>,
    /// Without this atom it cannot hold.
    arm: Option<u32>,
    patterns: Arc<[Box<[Pattern]>]>,
    group: u32,
    which: u32,
}

impl Test {
    fn pattern(&self) -> &Pattern {
        &self.patterns[self.group as usize][self.which as usize]
    }
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}: {:?}", self.slot, self.pattern())
    }
}

/// A rule of the program, by its index in the set.
#[derive(Debug)]
struct Entry {
    rule: u32,
    root: Expression,
}

#[derive(Debug)]
enum Expression {
    Never,
    Ever,
    Atom(u32),
    Test(u32),
    Not(Box<Expression>),
    All(Box<[Expression]>),
    Any(Box<[Expression]>),
}

impl Expression {
    fn not(inner: Self) -> Self {
        match inner {
            Self::Never => Self::Ever,
            Self::Ever => Self::Never,
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    fn all(mut parts: Vec<Self>) -> Self {
        parts.retain(|part| !matches!(part, Self::Ever));
        if parts.iter().any(|part| matches!(part, Self::Never)) {
            return Self::Never;
        }
        match parts.len() {
            0 => Self::Ever,
            1 => parts.swap_remove(0),
            _ => Self::All(parts.into()),
        }
    }

    fn any(mut parts: Vec<Self>) -> Self {
        parts.retain(|part| !matches!(part, Self::Never));
        if parts.iter().any(|part| matches!(part, Self::Ever)) {
            return Self::Ever;
        }
        match parts.len() {
            0 => Self::Never,
            1 => parts.swap_remove(0),
            _ => Self::Any(parts.into()),
        }
    }
}

/// Buffers that one event after the other uses.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Tells this event's marks from those of events before.
    epoch: u32,
    atoms: Vec<u32>,
    awake: Vec<u32>,
    /// For each test the epoch in which it was decided, and how.
    decided: Vec<(u32, bool)>,
    queue: Vec<u32>,
    values: Values,
    slots: Vec<(bool, Slot)>,
    path: String,
    matched: Vec<u32>,
}

impl Scratch {
    fn begin(&mut self, program: &Program) {
        if self.epoch == u32::MAX {
            self.epoch = 0;
            self.atoms.fill(0);
            self.awake.fill(0);
            self.decided.fill((0, false));
        }
        self.epoch += 1;
        grow(&mut self.atoms, program.ranges.len(), 0);
        grow(&mut self.awake, program.entries.len(), 0);
        grow(&mut self.decided, program.tests.len(), (0, false));
        self.queue.clear();
        self.matched.clear();
        self.values.clear();
        self.slots.clear();
        self.slots.resize(program.reads.len(), (false, Slot::EMPTY));
    }
}

fn grow<T: Clone>(buffer: &mut Vec<T>, length: usize, value: T) {
    if buffer.len() < length {
        buffer.resize(length, value);
    }
}

impl Program {
    /// Compiles the rules that are about events seen so.
    pub(super) fn of_view(view: View, rules: &[Arc<Rule>]) -> Self {
        let own = (0..).zip(rules).filter(|(_, rule)| view.is_of(&rule.log));
        Builder::new(Of::View(view)).build(own.map(|(index, rule)| (index, &**rule)))
    }

    /// Compiles the rules that are about events of a log.
    pub(super) fn of_log(log: &LogSource, rules: &[Arc<Rule>]) -> Self {
        let own = (0..).zip(rules).filter(|(_, rule)| rule.log.covers(log));
        Builder::new(Of::Log(log)).build(own.map(|(index, rule)| (index, &**rule)))
    }

    /// Returns whether no event can match.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the rules that can match, by their index in the set.
    pub(super) fn rules(&self) -> impl Iterator<Item = u32> {
        self.entries.iter().map(|entry| entry.rule)
    }

    /// Returns how many rules are looked at with every event.
    pub(super) fn always(&self) -> usize {
        self.always.len()
    }

    /// Returns about how many bytes the program takes, without what it shares with its rules.
    pub(super) fn size(&self) -> usize {
        self.scans.iter().map(|(_, index)| index.size()).sum::<usize>()
            + self.tests.len() * size_of::<Test>()
            + self.entries.iter().map(|entry| size_of::<Entry>() + entry.root.size()).sum::<usize>()
            + 8 * self.ranges.len()
            + 4 * (self.woken.len() + self.always.len())
    }

    /// Returns the rules that match the event, in order.
    pub(super) fn run<'s>(&self, fields: &Fields<'_>, scratch: &'s mut Scratch) -> &'s [u32] {
        scratch.begin(self);
        if let Source::Object(object) = fields.source() {
            self.read_object(object, scratch);
        }
        self.scan(fields, scratch);
        let mut next = 0;
        while let Some(number) = scratch.queue.get(next).copied() {
            next += 1;
            self.decide(number, fields, scratch);
        }
        for number in &self.always {
            self.decide(*number, fields, scratch);
        }
        scratch.matched.sort_unstable();
        &scratch.matched
    }

    fn decide(&self, number: u32, fields: &Fields<'_>, scratch: &mut Scratch) {
        let entry = &self.entries[number as usize];
        if self.holds(&entry.root, fields, scratch) {
            scratch.matched.push(entry.rule);
        }
    }

    /// Finds texts, marks the atoms that they make true, and queues the rules that these wake.
    fn scan(&self, fields: &Fields<'_>, scratch: &mut Scratch) {
        for (slot, index) in &self.scans {
            self.fill(*slot, fields, scratch);
            let Scratch { epoch, atoms, awake, queue, values, slots, .. } = scratch;
            let mut found = |held: &[u32]| {
                for atom in held {
                    let mark = &mut atoms[*atom as usize];
                    if *mark == *epoch {
                        continue;
                    }
                    *mark = *epoch;
                    let (start, end) = self.ranges[*atom as usize];
                    for rule in &self.woken[start as usize..end as usize] {
                        let mark = &mut awake[*rule as usize];
                        if *mark != *epoch {
                            *mark = *epoch;
                            queue.push(*rule);
                        }
                    }
                }
            };
            for (plain, lower) in values.of(slots[usize::from(*slot)].1) {
                index.scan(plain, lower, &mut found);
            }
        }
    }

    /// Reads a slot, unless it was.
    fn fill(&self, slot: u16, fields: &Fields<'_>, scratch: &mut Scratch) {
        let (read, values) = &mut scratch.slots[usize::from(slot)];
        if std::mem::replace(read, true) {
            return;
        }
        match (&self.reads[usize::from(slot)], fields.source()) {
            (Read::Code(code), Source::Event(view, event)) => {
                view::read(view, *code, event, &mut scratch.values, values);
            }
            (Read::Everything, Source::Event(..)) => fields.read_all(&mut scratch.values, values),
            // Those of others were read in one go.
            _ => {}
        }
    }

    fn read_object(&self, object: &Object, scratch: &mut Scratch) {
        let Scratch { values, slots, path, .. } = scratch;
        path.clear();
        slots.iter_mut().for_each(|(read, _)| *read = true);
        object::walk(&object.root, path, &mut |path, leaf| {
            let own = object::own_name(path);
            let named = self.paths.get(path);
            let inner = (own.len() < path.len()).then(|| self.paths.get(own)).flatten();
            for slot in named.into_iter().chain(inner).flatten() {
                object::add(&leaf, values, &mut slots[usize::from(*slot)].1);
            }
            if let Some(slot) = self.everything
                && object::is_said(path)
            {
                object::add(&leaf, values, &mut slots[usize::from(slot)].1);
            }
        });
    }

    fn holds(&self, asked: &Expression, fields: &Fields<'_>, scratch: &mut Scratch) -> bool {
        match asked {
            Expression::Never => false,
            Expression::Ever => true,
            Expression::Atom(atom) => scratch.atoms[*atom as usize] == scratch.epoch,
            Expression::Test(number) => self.tested(*number, fields, scratch),
            Expression::Not(inner) => !self.holds(inner, fields, scratch),
            Expression::All(parts) => parts.iter().all(|part| self.holds(part, fields, scratch)),
            Expression::Any(parts) => parts.iter().any(|part| self.holds(part, fields, scratch)),
        }
    }

    fn tested(&self, number: u32, fields: &Fields<'_>, scratch: &mut Scratch) -> bool {
        let test = &self.tests[number as usize];
        if test.arm.is_some_and(|atom| scratch.atoms[atom as usize] != scratch.epoch) {
            return false;
        }
        let (epoch, holds) = scratch.decided[number as usize];
        if epoch == scratch.epoch {
            return holds;
        }
        self.fill(test.slot, fields, scratch);
        if let Some(other) = test.other {
            self.fill(other, fields, scratch);
        }
        let slot = |number: u16| scratch.slots[usize::from(number)].1;
        let own = slot(test.slot);
        let values = &scratch.values;
        let holds = match test.pattern() {
            Pattern::Null => own.presence <= Presence::Null,
            Pattern::Exists(there) => (own.presence >= Presence::Null) == *there,
            Pattern::FieldRef(asked) => {
                let other = test.other.map_or(Slot::EMPTY, slot);
                let like = |own| values.of(other).any(|their| alike(asked, own, their));
                values.of(own).any(like)
            }
            Pattern::Literal(literal) if literal.bytes.is_empty() => {
                own.presence == Presence::Blank
                    || values.of(own).any(|(plain, lower)| literal.matches(plain, lower))
            }
            other => values.of(own).any(|(plain, lower)| other.matches(plain, lower)),
        };
        scratch.decided[number as usize] = (scratch.epoch, holds);
        holds
    }
}

impl Expression {
    fn size(&self) -> usize {
        match self {
            Self::Not(inner) => size_of::<Self>() + inner.size(),
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().map(|part| size_of::<Self>() + part.size()).sum()
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
