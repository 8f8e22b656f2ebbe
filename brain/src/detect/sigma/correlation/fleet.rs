//! Where events wait that belong to a correlation over the whole fleet.
//!
//! Hosts' batches come in any order. An event waits until the brain's clock is past its own time by
//! a span in which every host that is connected has delivered, and then they are taken by their own
//! time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::link::Use;
use super::{Label, SECOND_NS};
use crate::detect::sigma::view::View;
use crate::record::{Event, HostId};

/// How long they wait: sensors send once a second, and a log's lines may be some seconds old.
pub(super) const WAIT_NS: u64 = 10 * SECOND_NS;

/// Events that wait at once; some 30 MB. Past it the oldest go on before their time.
const WAITING_MAX: usize = 32_768;

/// An event with what a correlation wants of it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) used: Use,
    /// The log that tells it.
    pub(super) view: View,
    pub(super) key: u128,
    pub(super) label: Label,
    pub(super) value: u128,
    pub(super) time_ns: u64,
    pub(super) event: Arc<Event>,
}

/// When it goes on, its own time, its host, and its place among those of equal time.
type Place = (u64, u64, HostId, u64);

/// The events that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    parts: BTreeMap<Place, Part>,
    arrived: u64,
    hurried: u64,
}

impl Waiting {
    /// Lets an event wait; `now_ns` is the brain's time, 0 while it is not known.
    pub(super) fn push(&mut self, part: Part, now_ns: u64) {
        // A clock that is far ahead must not make its host's events wait for it. The brain's own
        // is only told in steps, so a little ahead is everyone.
        let latest = now_ns.saturating_add(WAIT_NS);
        let from = if now_ns == 0 { part.time_ns } else { part.time_ns.min(latest) };
        self.arrived += 1;
        let host = part.event.host.id.clone();
        let place = (from.saturating_add(WAIT_NS), part.time_ns, host, self.arrived);
        self.parts.insert(place, part);
    }

    /// Returns what waits for correlations that have got other numbers.
    pub(super) fn renumbered(mut self, numbers: &BTreeMap<usize, usize>) -> Self {
        self.parts.retain(|_, part| match numbers.get(&part.used.correlation) {
            Some(number) => {
                part.used.correlation = *number;
                true
            }
            None => false,
        });
        self
    }

    /// Returns the next event that has waited long enough.
    pub(super) fn pop(&mut self, now_ns: u64) -> Option<Part> {
        let (place, _) = self.parts.first_key_value()?;
        let overfull = self.parts.len() > WAITING_MAX;
        if place.0 > now_ns && !overfull {
            return None;
        }
        self.hurried += u64::from(place.0 > now_ns);
        self.parts.pop_first().map(|(_, part)| part)
    }

    /// Events that went on before their time because too many waited.
    pub(super) fn hurried(&self) -> u64 {
        self.hurried
    }
}
