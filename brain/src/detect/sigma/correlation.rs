//! Sigma correlation rules (specification 2.1.0): what many events say together.
//!
//! **Groups.** Events that match a correlation's rules and agree in the fields of `group-by` are a
//! group, and each group is counted by itself. An event that lacks one of the fields, or the field
//! whose values are counted, belongs to no group. A correlation whose `group-by` names the host is
//! kept host by host; one that does not holds over the whole fleet, as the specification says.
//!
//! **Time.** It is the events' own. Two events are in one window if the later is at most `timespan`
//! after the earlier. A number that stays reached when more events come (`event_count`,
//! `value_count`, `value_sum`, `temporal` and `temporal_ordered` with `gt` or `gte`) is told at
//! once, over every window that ends with an event ([`sliding`]). Any other is judged when its
//! window is over; such a window opens with the group's first event that no earlier window holds
//! ([`whole`]).
//!
//! **Order.** Both are functions of the set of events: one that comes late, by up to a minute, is
//! put where it belongs. Hosts do not see each other, so a correlation of one host depends on that
//! host's stream alone. Events for one of the fleet wait for [`fleet`]'s span of the brain's time,
//! and are then taken in the order of their own, so which host's batch came first changes nothing.
//!
//! **Bounds.** Groups, entries of a group, events kept as evidence and events that wait are all
//! limited; what leaves is counted, and a finding whose number may be too small says `gap`.

mod condition;
mod fleet;
mod link;
mod measure;
mod report;
mod running;
mod scope;
mod sliding;
mod spec;
mod whole;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use condition::Condition;
use measure::Measure;
use spec::Spec;

use super::document::Source;
use super::rule;
use super::view::View;
use crate::finding::{Kind, PolicyRef, Severity};
use crate::policy::Problem;
use crate::record::Event;

pub(super) use report::signal;
pub(super) use running::{Correlations, linked};

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Events that one sighting names: a finding holds 32.
const EVIDENCE_MAX: usize = 32;

/// A correlation rule.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// Its title, safe to show.
    pub title: String,
    /// How bad it is when it holds.
    pub severity: Severity,
    /// The type of finding that it raises.
    pub kind: Arc<Kind>,
    /// Where it comes from.
    pub policy: Arc<PolicyRef>,
    /// The name under which other correlations refer to it.
    name: Option<String>,
    /// The line on which its document begins.
    pub line: usize,
    spec: Spec,
}

impl Correlation {
    /// Reads a document that is a correlation.
    pub(super) fn compile(
        source: &Source,
        policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
    ) -> Result<Self, Problem> {
        let spec = spec::read(source)?;
        let (words, line) = (rule::words(source, policy)?, source.line);
        let rule::Words { title, name, severity, kind, policy, .. } = words;
        Ok(Self { title, severity, kind, policy, name, line, spec })
    }
}

/// What is compared with a correlation's condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    /// How many events there are.
    Events,
    /// How many distinct values, or distinct rules.
    Distinct,
    /// The sum of a field.
    Sum,
    /// Its mean.
    Mean,
    /// How many in a hundred events have a value.
    Share,
    /// Rules whose events follow each other in their order.
    Ordered,
}

/// What a group must come to.
#[derive(Clone, Debug, PartialEq)]
struct Compared {
    span_ns: u64,
    condition: Condition,
    number: Number,
    /// Rules that take part.
    members: usize,
}

impl Compared {
    /// Returns whether the number stays reached when more events come.
    fn at_once(&self) -> bool {
        self.condition.grows() && !matches!(self.number, Number::Mean | Number::Share)
    }

    fn measure(&self) -> Measure {
        match self.number {
            Number::Events => Measure::Count(0),
            Number::Sum | Number::Mean => Measure::Sum(0),
            Number::Distinct | Number::Share => Measure::Distinct(Default::default()),
            Number::Ordered => Measure::Ordered(vec![None; self.members]),
        }
    }
}

/// The values that a group has in common, in the order of `group-by`; safe to show.
type Label = Arc<[String]>;

/// An event, and the log that tells it.
type Seen = (Arc<Event>, View);

/// An event of a group, or several of one value that are close together.
#[derive(Clone, Copy, Debug)]
struct Entry {
    time_ns: u64,
    /// A value's hash, a number in parts, or a rule's place.
    value: u128,
    events: u32,
    /// Of these, events that no finding counts yet.
    untold: u32,
    /// One of them, by its number among the events that are kept.
    evidence: u64,
}

impl Entry {
    fn new(time_ns: u64, value: u128, evidence: u64) -> Self {
        Self { time_ns, value, events: 1, untold: 1, evidence }
    }

    fn place(&self) -> (u64, u128) {
        (self.time_ns, self.value)
    }
}

/// What is newly known of a group that meets its condition.
#[derive(Clone, Debug, PartialEq)]
struct Told {
    /// Events that no finding counted before.
    events: u64,
    /// First event of the first window that meets it.
    first_ns: u64,
    /// Last event of the last one.
    last_ns: u64,
    /// The last one's number.
    number: f64,
    /// Events, by their number among those that are kept.
    evidence: Vec<u64>,
    /// Whether entries had to be joined or left out.
    coarse: bool,
    /// Whether groups had to leave meanwhile.
    gap: bool,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            events: 0,
            first_ns: u64::MAX,
            last_ns: 0,
            number: 0.0,
            evidence: Vec::new(),
            coarse: false,
            gap: false,
        }
    }
}

impl Told {
    fn take(&mut self, events: u32, evidence: u64) {
        self.events += u64::from(events);
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(evidence);
        }
    }
}
