//! All correlations at work: events go in, what holds comes out.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::fleet::{Part, WAIT_NS, Waiting};
use super::link::{Links, Use, is_host, link};
use super::measure::{Measure, PARTS};
use super::scope::{Heard, Scope};
use super::{Correlation, Entry, Label, Number, Seen, Told};
use crate::detect::sigma::fields::Fields;
use crate::detect::sigma::rule::Rule;
use crate::detect::sigma::set::RuleIndex;
use crate::detect::sigma::view::View;
use crate::record::{Event, HostId};
use crate::text;
use crate::window::keyed::Keyed;

/// Groups of one correlation on all hosts together; some 80 MB. Past it the hosts that were silent
/// longest lose theirs.
const GROUPS_MAX: usize = 262_144;

/// The same for a correlation whose windows are judged when they are over: each group keeps an
/// event, so that a flood of others cannot take all that a finding could speak of; some 100 MB.
const JUDGED_MAX: usize = 65_536;

/// Events that are kept as evidence; some 16 MB. Findings whose events are gone still count them.
const HELD_MAX: usize = 16_384;

/// Bytes of one shown value of a group.
const VALUE_SHOWN: usize = 128;

/// A correlation that holds for a group.
#[derive(Clone, Debug)]
pub(in super::super) struct Raised {
    pub(in super::super) correlation: Arc<Correlation>,
    /// What the group's events have in common.
    pub(in super::super) label: Label,
    /// Names the group.
    pub(in super::super) key: u128,
    /// Whether it holds over the whole fleet.
    pub(in super::super) fleet: bool,
    /// When its last event was.
    pub(in super::super) last_ns: u64,
    /// When its first event was.
    pub(in super::super) first_ns: u64,
    /// Events that were not counted before.
    pub(in super::super) events: u64,
    /// The number that met the condition.
    pub(in super::super) number: f64,
    /// Whether it is an estimate.
    pub(in super::super) coarse: bool,
    /// Whether some of the group may have been forgotten.
    pub(in super::super) gap: bool,
    /// Events that it rests on, and the one that completed it last.
    pub(in super::super) evidence: Vec<Arc<Event>>,
    pub(in super::super) completed: Arc<Event>,
}

/// The correlations with their state.
#[derive(Debug)]
pub(in super::super) struct Correlations {
    running: Vec<Running>,
    links: Links,
    held: Held,
    waiting: Waiting,
    now_ns: u64,
    evicted: u64,
    /// Correlations of one host that are judged when a window is over.
    judged: Vec<usize>,
}

#[derive(Debug)]
struct Running {
    correlation: Arc<Correlation>,
    measure: Measure,
    per_host: bool,
    scopes: Keyed<HostId, Scope>,
    groups: usize,
}

/// The latest events that groups rest on, by number.
#[derive(Debug, Default)]
struct Held {
    events: VecDeque<Seen>,
    first: u64,
}

impl Held {
    fn push(&mut self, seen: Seen) -> u64 {
        if self.events.len() == HELD_MAX {
            self.events.pop_front();
            self.first += 1;
        }
        self.events.push_back(seen);
        self.first + self.events.len() as u64 - 1
    }

    fn get(&self, number: u64) -> Option<&Seen> {
        self.events.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

/// A rule matched an event, or a correlation held because of it.
struct Match {
    used: Use,
    view: View,
    time_ns: u64,
    event: Arc<Event>,
}

impl Match {
    fn read(&self, field: &str) -> Option<Vec<u8>> {
        Fields::of_event(self.view, &self.event).get(field).map(Cow::into_owned)
    }
}

impl Correlations {
    /// Returns the correlations at work. One whose rules are switched off is off as well; what is
    /// wrong otherwise was refused when the policies were read.
    pub(in super::super) fn new(all: &[Arc<Correlation>], rules: &[Arc<Rule>]) -> Self {
        let (all, links, _) = linked(all.to_vec(), rules);
        let running = all.iter().map(|correlation| {
            let spec = &correlation.spec;
            let is_host =
                |name: &String| spec.rules.iter().all(|rule| is_host(spec.field(name, rule)));
            Running {
                correlation: Arc::clone(correlation),
                measure: spec.compared.measure(),
                per_host: spec.group_by.iter().any(is_host),
                scopes: Keyed::new(crate::detect::HOSTS_MAX),
                groups: 0,
            }
        });
        let running: Vec<Running> = running.collect();
        let is_judged =
            |running: &Running| running.per_host && !running.correlation.spec.compared.at_once();
        let judged = (0..running.len()).filter(|&index| is_judged(&running[index])).collect();
        Self {
            running,
            judged,
            links,
            held: Held::default(),
            waiting: Waiting::default(),
            now_ns: 0,
            evicted: 0,
        }
    }

    /// Takes over the windows of correlations that say the same as before.
    pub(in super::super) fn inherit(&mut self, before: &mut Self) {
        let mut moved = BTreeMap::new();
        for (index, running) in self.running.iter_mut().enumerate() {
            let is_same = |old: &Running| {
                let (old, new) = (&old.correlation, &running.correlation);
                old.policy.id == new.policy.id && old.spec == new.spec
            };
            if let Some(at) = before.running.iter().position(is_same) {
                let old = &mut before.running[at];
                std::mem::swap(&mut running.scopes, &mut old.scopes);
                running.groups = old.groups;
                moved.insert(at, index);
            }
        }
        self.waiting = std::mem::take(&mut before.waiting).renumbered(&moved);
        self.held = std::mem::take(&mut before.held);
        (self.now_ns, self.evicted) = (before.now_ns, before.evicted);
    }

    /// Returns whether a correlation speaks for a rule.
    pub(in super::super) fn is_silent(&self, rule: RuleIndex) -> bool {
        self.links.silent_rules.contains(&rule)
    }

    /// Returns whether any correlation wants events of a rule.
    pub(in super::super) fn wants(&self, rule: RuleIndex) -> bool {
        self.links.of_rules.contains_key(&rule)
    }

    /// What left because a limit was reached.
    pub(in super::super) fn evicted(&self) -> u64 {
        self.evicted + self.waiting.hurried()
    }

    /// A rule matched an event.
    pub(in super::super) fn matched(
        &mut self,
        rule: RuleIndex,
        view: View,
        event: &Arc<Event>,
        raised: &mut Vec<Raised>,
    ) {
        let Some(uses) = self.links.of_rules.get(&rule) else { return };
        let matches: Vec<Match> = (uses.iter())
            .map(|&used| Match { used, view, time_ns: event.time_ns, event: Arc::clone(event) })
            .collect();
        for each in matches {
            self.offer(each, raised);
        }
    }

    /// A host's clock has come this far.
    pub(in super::super) fn heard_of(
        &mut self,
        host: &HostId,
        time_ns: u64,
        raised: &mut Vec<Raised>,
    ) {
        for at in 0..self.judged.len() {
            let index = self.judged[at];
            let running = &mut self.running[index];
            let compared = &running.correlation.spec.compared;
            let Some(scope) = running.scopes.get(host) else { continue };
            let (before, mut heard) = (scope.len(), Vec::new());
            scope.advance(time_ns, compared, &mut heard);
            running.groups -= before - scope.len();
            self.raise(index, heard, None, raised);
        }
    }

    /// The brain's clock has come this far.
    pub(in super::super) fn tick(&mut self, now_ns: u64, raised: &mut Vec<Raised>) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some(part) = self.waiting.pop(self.now_ns) {
            self.take(part, raised);
        }
        for index in 0..self.running.len() {
            let running = &mut self.running[index];
            let compared = &running.correlation.spec.compared;
            if running.per_host || compared.at_once() {
                continue;
            }
            let Some(scope) = running.scopes.get(&fleet()) else { continue };
            let (before, mut heard) = (scope.len(), Vec::new());
            scope.advance(self.now_ns.saturating_sub(WAIT_NS), compared, &mut heard);
            running.groups -= before - scope.len();
            self.raise(index, heard, None, raised);
        }
    }

    /// Looks which group an event is of. One for the fleet has to wait.
    fn offer(&mut self, each: Match, raised: &mut Vec<Raised>) {
        let running = &self.running[each.used.correlation];
        let Some((key, label)) = running.group(&each) else { return };
        let Some(value) = running.value(&each) else { return };
        let Match { used, view, time_ns, event } = each;
        let part = Part { used, view, key, label, value, time_ns, event };
        if running.per_host {
            self.take(part, raised);
        } else {
            self.waiting.push(part, self.now_ns);
            while let Some(part) = self.waiting.pop(0) {
                self.take(part, raised);
            }
        }
    }

    /// Counts an event.
    fn take(&mut self, part: Part, raised: &mut Vec<Raised>) {
        let index = part.used.correlation;
        let seen: Seen = (Arc::clone(&part.event), part.view);
        let evidence = self.held.push(seen.clone());
        let running = &mut self.running[index];
        let host = if running.per_host { part.event.host.id.clone() } else { fleet() };
        self.evicted += running.make_room(&host);
        let compared = &running.correlation.spec.compared;
        let scope = running.scopes.get_or(&host, Scope::default);
        let lost = |scope: &Scope| scope.evicted() + scope.late();
        let (before, lost_before, mut heard) = (scope.len(), lost(scope), Vec::new());
        let entry = Entry::new(part.time_ns, part.value, evidence);
        let measure = &mut running.measure;
        let group = (part.key, &part.label, Some(&seen));
        scope.add(group, entry, compared, measure, &mut heard);
        self.evicted += lost(scope) - lost_before;
        running.groups = running.groups + scope.len() - before;
        let most = if compared.at_once() { GROUPS_MAX } else { JUDGED_MAX };
        if running.groups > most {
            self.evicted += running.shrink();
        }
        self.raise(index, heard, Some(&seen), raised);
    }

    /// Tells what holds, to whoever asked and to correlations that build on it.
    fn raise(
        &mut self,
        index: usize,
        heard: Vec<Heard>,
        completed: Option<&Seen>,
        raised: &mut Vec<Raised>,
    ) {
        let at_once = self.running[index].correlation.spec.compared.at_once();
        for Heard { key, label, told, first } in heard {
            let evidence: Vec<Seen> =
                told.evidence.iter().filter_map(|&number| self.held.get(number)).cloned().collect();
            // What is judged at its end is not about the event that came just now, but about those
            // of its window, as far as they are kept.
            let seen = match at_once {
                true => completed.cloned(),
                false => evidence.last().cloned().or(first),
            };
            let Some((event, view)) = seen else { continue };
            if !self.links.silent.contains(&index) {
                let evidence = evidence.into_iter().map(|(event, _)| event).collect();
                raised.push(self.running[index].raised(key, label, told.clone(), evidence, &event));
            }
            for used in self.links.of_correlations[index].clone() {
                let event = Arc::clone(&event);
                self.offer(Match { used, view, time_ns: told.last_ns, event }, raised);
            }
        }
    }
}

/// A correlation that cannot be linked, and why.
pub(in super::super) type Refused = (Arc<Correlation>, String);

/// Links correlations with rules. Returns those that can be linked, and with their message those
/// that cannot.
pub(in super::super) fn linked(
    mut all: Vec<Arc<Correlation>>,
    rules: &[Arc<Rule>],
) -> (Vec<Arc<Correlation>>, Links, Vec<Refused>) {
    let mut refused = Vec::new();
    loop {
        let (links, wrong) = link(&all, rules);
        if wrong.is_empty() {
            return (all, links, refused);
        }
        // What builds on a wrong one has lost a rule, which the next turn sees.
        for (index, message) in wrong.into_iter().rev() {
            refused.push((all.remove(index), message));
        }
    }
}

/// The scope of correlations over the fleet; no host has an empty id.
fn fleet() -> HostId {
    HostId("".into())
}

impl Running {
    /// Returns the group that an event belongs to.
    fn group(&self, each: &Match) -> Option<(u128, Label)> {
        let spec = &self.correlation.spec;
        let (mut hash, mut label) = (blake3::Hasher::new(), Vec::new());
        for name in &spec.group_by {
            let field = spec.field(name, &spec.rules[each.used.member]);
            let host = &each.event.host;
            let value = match is_host(field) {
                true => Some(host.id.0.as_bytes().to_vec()),
                false => each.read(field),
            }?;
            add(&mut hash, &value);
            label.push(match is_host(field) {
                true => text::visible_cut(host.name.as_bytes(), VALUE_SHOWN),
                false => text::visible_cut(&value, VALUE_SHOWN),
            });
        }
        Some((short(&hash), label.into()))
    }

    /// Returns what of an event is counted.
    fn value(&self, each: &Match) -> Option<u128> {
        let spec = &self.correlation.spec;
        let rule = &spec.rules[each.used.member];
        let read = |name: &String| match spec.field(name, rule) {
            field if is_host(field) => Some(each.event.host.id.0.as_bytes().to_vec()),
            field => each.read(field),
        };
        match spec.compared.number {
            Number::Events => Some(0),
            Number::Ordered => Some(each.used.member as u128),
            Number::Distinct if spec.fields.is_empty() => Some(each.used.member as u128),
            Number::Distinct | Number::Share => {
                let mut hash = blake3::Hasher::new();
                for name in &spec.fields {
                    add(&mut hash, &read(name)?);
                }
                Some(short(&hash))
            }
            Number::Sum | Number::Mean => {
                let text = read(spec.fields.first()?)?;
                let number: f64 = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
                // What takes away again cannot be told at once.
                let counts = number.is_finite() && (number >= 0.0 || !spec.compared.at_once());
                counts.then(|| ((number * PARTS).round() as i128).cast_unsigned())
            }
        }
    }

    /// Lets the host that was silent longest go when another one comes; returns how many groups it
    /// had.
    fn make_room(&mut self, host: &HostId) -> u64 {
        if !self.scopes.is_full() || self.scopes.peek(host).is_some() {
            return 0;
        }
        let left = self.scopes.pop_oldest().map_or(0, |(_, scope)| scope.len());
        self.groups -= left;
        left as u64
    }

    /// Lets a group of the host that was silent longest go; returns how many left.
    fn shrink(&mut self) -> u64 {
        let Some((_, scope)) = self.scopes.oldest_mut() else { return 0 };
        let before = scope.len();
        scope.evict();
        let left = before - scope.len();
        if scope.len() == 0 {
            self.scopes.pop_oldest();
        }
        self.groups -= left;
        left as u64
    }

    fn raised(
        &self,
        key: u128,
        label: Label,
        told: Told,
        evidence: Vec<Arc<Event>>,
        completed: &Arc<Event>,
    ) -> Raised {
        Raised {
            correlation: Arc::clone(&self.correlation),
            label,
            key,
            fleet: !self.per_host,
            last_ns: told.last_ns,
            first_ns: told.first_ns,
            events: told.events,
            number: told.number,
            coarse: told.coarse,
            gap: told.gap,
            evidence,
            completed: Arc::clone(completed),
        }
    }
}

/// Adds a value so that no two lists of values look alike.
fn add(hash: &mut blake3::Hasher, value: &[u8]) {
    hash.update(&(value.len() as u64).to_le_bytes());
    hash.update(value);
}

fn short(hash: &blake3::Hasher) -> u128 {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    u128::from_le_bytes(bytes)
}
