//! Events of one group in windows that are judged when they are over.
//!
//! A number that must not be reached, or a mean, is known only at the end. A window opens with the
//! first event that no earlier window holds, and is as long as the rule says. It is judged once no
//! event can come any more that would belong to it.

use std::collections::HashMap;

use super::measure::{PARTS, Spread};
use super::{Compared, EVIDENCE_MAX, Entry, Number, Told};

/// Events of a group whose window is not yet sure. Past it the oldest are taken as they are.
const PENDING_MAX: usize = 1_024;

/// Distinct values of one window. Past it further ones count as events only, and the finding says
/// that its number is an estimate.
pub(super) const VALUES_MAX: usize = 16_384;

/// The events.
#[derive(Clone, Debug, Default)]
pub(super) struct Whole {
    /// Events that an earlier one may still precede, by time, then value.
    pending: Vec<Pending>,
    open: Option<Box<Open>>,
}

/// An event's time, value and number as evidence.
type Pending = (u64, u128, u64);

/// A window whose first event is known.
#[derive(Clone, Debug, Default)]
struct Open {
    start_ns: u64,
    last_ns: u64,
    events: u64,
    sum: i128,
    /// Events by value, each with one of them.
    values: HashMap<u128, (u64, u64), Spread>,
    evidence: Vec<u64>,
    coarse: bool,
}

impl Whole {
    /// Takes in an event; `settled_ns` is before what may still come. Returns whether it found its
    /// place.
    pub(super) fn insert(&mut self, entry: Entry, settled_ns: u64, compared: &Compared) -> bool {
        let is_over = |time_ns: u64| time_ns <= settled_ns;
        if is_over(entry.time_ns) {
            let Some(open) = &mut self.open else { return false };
            let holds = open.start_ns..=open.start_ns.saturating_add(compared.span_ns);
            if !holds.contains(&entry.time_ns) {
                return false;
            }
            open.take((entry.time_ns, entry.value, entry.evidence), compared);
            return true;
        }
        let event = (entry.time_ns, entry.value, entry.evidence);
        let at = self.pending.partition_point(|known| *known < event);
        self.pending.insert(at, event);
        true
    }

    /// Returns when there is something to judge or to place, if anything happens no more.
    pub(super) fn due_ns(&self, compared: &Compared) -> Option<u64> {
        if self.pending.len() > PENDING_MAX {
            return Some(0);
        }
        let open = self.open.as_ref().map(|open| open.start_ns.saturating_add(compared.span_ns));
        let pending = self.pending.first().map(|event| event.0);
        open.into_iter().chain(pending).min()
    }

    /// Places all events up to `settled_ns` and judges the windows that are over by then.
    pub(super) fn settle(&mut self, settled_ns: u64, compared: &Compared, told: &mut Vec<Told>) {
        let sure = self.pending.partition_point(|event| event.0 <= settled_ns);
        let hurried = self.pending.len().saturating_sub(PENDING_MAX);
        for (at, event) in self.pending.drain(..sure.max(hurried)).enumerate() {
            close(&mut self.open, event.0, compared, told);
            let new = || Box::new(Open { start_ns: event.0, ..Open::default() });
            let open = self.open.get_or_insert_with(new);
            open.take(event, compared);
            open.coarse |= at >= sure;
        }
        // What ends now is over: events of that very time have been placed.
        close(&mut self.open, settled_ns.saturating_add(1), compared, told);
    }
}

/// Judges the open window if it is over before `time_ns`.
fn close(open: &mut Option<Box<Open>>, time_ns: u64, compared: &Compared, told: &mut Vec<Told>) {
    let is_over = |open: &Open| open.start_ns.saturating_add(compared.span_ns) < time_ns;
    if open.as_deref().is_some_and(is_over)
        && let Some(open) = open.take()
    {
        told.extend(open.judge(compared));
    }
}

impl Open {
    fn take(&mut self, (time_ns, value, evidence): Pending, compared: &Compared) {
        self.last_ns = self.last_ns.max(time_ns);
        self.events += 1;
        self.sum = self.sum.saturating_add(value.cast_signed());
        if matches!(compared.number, Number::Events | Number::Sum | Number::Mean) {
            // Which values there are is not asked.
        } else if self.values.len() < VALUES_MAX || self.values.contains_key(&value) {
            self.values.entry(value).or_insert((0, evidence)).0 += 1;
        } else {
            self.coarse = true;
        }
        if self.evidence.len() < EVIDENCE_MAX {
            self.evidence.push(evidence);
        }
    }

    fn judge(mut self, compared: &Compared) -> Option<Told> {
        let number = match compared.number {
            Number::Events => self.events as f64,
            Number::Sum => self.sum as f64 / PARTS,
            Number::Mean => self.sum as f64 / PARTS / self.events as f64,
            Number::Distinct | Number::Ordered => self.values.len() as f64,
            Number::Share => self.rarest(compared)?,
        };
        compared.condition.holds(number).then(|| Told {
            events: self.events,
            first_ns: self.start_ns,
            last_ns: self.last_ns,
            number,
            evidence: std::mem::take(&mut self.evidence),
            coarse: self.coarse,
            gap: false,
        })
    }

    /// Returns the smallest share, in percent, that the condition asks for, and makes events with
    /// such values the evidence.
    fn rarest(&mut self, compared: &Compared) -> Option<f64> {
        let share = |events: u64| 100.0 * events as f64 / self.events as f64;
        let mut met: Vec<(u64, u64)> = self.values.values().copied().collect();
        met.retain(|&(events, _)| compared.condition.holds(share(events)));
        met.sort_unstable();
        let number = met.first().map(|&(events, _)| share(events))?;
        self.events = met.iter().map(|&(events, _)| events).sum();
        self.evidence = met.into_iter().map(|(_, id)| id).take(EVIDENCE_MAX).collect();
        Some(number)
    }
}
