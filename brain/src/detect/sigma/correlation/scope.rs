//! The groups of one correlation, on one host or in the whole fleet.

use std::collections::BTreeSet;

use super::measure::Measure;
use super::sliding::{LATE_NS, Sliding};
use super::whole::Whole;
use super::{Compared, Entry, Label, Seen, Told};
use crate::window::keyed::Keyed;

/// Groups of one correlation within one scope. An attacker who makes names up pushes out those that
/// were silent longest, and the group that he works on is not among them; some 20 MB.
pub(super) const GROUPS_MAX: usize = 65_536;

/// Expired groups that are let go of when a new event comes: more than can come in with it.
const EXPIRED_AT_ONCE: usize = 2;

/// The groups.
#[derive(Debug)]
pub(super) struct Scope {
    groups: Keyed<u128, Group>,
    /// When which group has something to judge.
    due: BTreeSet<(u64, u128)>,
    /// Time of the newest event.
    newest_ns: u64,
    /// Newest time at which a group had to leave.
    evicted_ns: Option<u64>,
    evicted: u64,
    late: u64,
}

#[derive(Debug)]
struct Group {
    label: Label,
    window: Window,
    /// Its first event, where windows are judged when they are over: by then it may be the only
    /// one that is kept.
    first: Option<Seen>,
}

#[derive(Debug)]
enum Window {
    Sliding(Sliding),
    Whole { whole: Whole, due_ns: Option<u64> },
}

/// What is newly known of a group.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) key: u128,
    pub(super) label: Label,
    pub(super) told: Told,
    /// An event of the group, where none completed it just now.
    pub(super) first: Option<Seen>,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            groups: Keyed::new(GROUPS_MAX),
            due: BTreeSet::new(),
            newest_ns: 0,
            evicted_ns: None,
            evicted: 0,
            late: 0,
        }
    }
}

impl Scope {
    /// Number of groups.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Groups that left because there were too many.
    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Events that came too late to be placed.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// Takes in an event of a group.
    pub(super) fn add(
        &mut self,
        (key, label, seen): (u128, &Label, Option<&Seen>),
        entry: Entry,
        compared: &Compared,
        measure: &mut Measure,
        heard: &mut Vec<Heard>,
    ) {
        self.newest_ns = self.newest_ns.max(entry.time_ns);
        let settled_ns = self.settled_ns();
        if self.groups.is_full() && self.groups.peek(&key).is_none() {
            self.evict();
        }
        let group = self.groups.get_or(&key, || Group::new(label, compared, seen));
        match &mut group.window {
            Window::Sliding(sliding) => match sliding.insert(entry, compared, measure) {
                Ok(told) => {
                    let label = &group.label;
                    let heard_of = |told| Heard { key, label: label.clone(), told, first: None };
                    heard.extend(told.map(heard_of));
                }
                Err(()) => self.late += 1,
            },
            Window::Whole { whole, due_ns } => {
                if !whole.insert(entry, settled_ns, compared) {
                    self.late += 1;
                }
                set_due(&mut self.due, key, due_ns, whole.due_ns(compared));
            }
        }
        match compared.at_once() {
            true => self.expire(compared),
            false => self.settle(settled_ns, compared, heard),
        }
        self.mark_gaps(compared, heard);
    }

    /// Learns that no event before `time_ns` is new any more, other than one that is late.
    pub(super) fn advance(&mut self, time_ns: u64, compared: &Compared, heard: &mut Vec<Heard>) {
        self.newest_ns = self.newest_ns.max(time_ns);
        self.settle(self.settled_ns(), compared, heard);
        self.mark_gaps(compared, heard);
    }

    /// Lets go of the group that was silent longest.
    pub(super) fn evict(&mut self) {
        let Some((key, group)) = self.groups.pop_oldest() else { return };
        if let Window::Whole { due_ns: Some(due_ns), .. } = group.window {
            self.due.remove(&(due_ns, key));
        }
        self.evicted += 1;
        self.evicted_ns = Some(self.newest_ns);
    }

    /// Events up to this time have come, or count as late.
    fn settled_ns(&self) -> u64 {
        self.newest_ns.saturating_sub(LATE_NS)
    }

    fn expire(&mut self, compared: &Compared) {
        let oldest = self.settled_ns().saturating_sub(compared.span_ns);
        for _ in 0..EXPIRED_AT_ONCE {
            let expired = self.groups.oldest().is_some_and(|(_, group)| match &group.window {
                Window::Sliding(sliding) => sliding.newest_ns() < oldest,
                Window::Whole { .. } => false,
            });
            if !expired {
                break;
            }
            self.groups.pop_oldest();
        }
    }

    fn settle(&mut self, settled_ns: u64, compared: &Compared, heard: &mut Vec<Heard>) {
        let mut told = Vec::new();
        while let Some(&(time_ns, key)) = self.due.first() {
            if time_ns > settled_ns {
                break;
            }
            self.due.pop_first();
            let Some(group) = self.groups.get(&key) else { continue };
            let Window::Whole { whole, due_ns } = &mut group.window else { continue };
            *due_ns = None;
            whole.settle(settled_ns, compared, &mut told);
            set_due(&mut self.due, key, due_ns, whole.due_ns(compared));
            let (label, first, over) = (&group.label, &group.first, due_ns.is_none());
            let heard_of = |told| Heard { key, label: label.clone(), told, first: first.clone() };
            heard.extend(told.drain(..).map(heard_of));
            if over {
                self.groups.remove(&key);
            }
        }
    }

    /// A number over a time in which groups had to leave may be too small.
    fn mark_gaps(&self, compared: &Compared, heard: &mut [Heard]) {
        let Some(evicted_ns) = self.evicted_ns else { return };
        for heard in heard {
            heard.told.gap |= heard.told.first_ns <= evicted_ns.saturating_add(compared.span_ns);
        }
    }
}

fn set_due(
    due: &mut BTreeSet<(u64, u128)>,
    key: u128,
    known_ns: &mut Option<u64>,
    due_ns: Option<u64>,
) {
    if *known_ns != due_ns {
        if let Some(known_ns) = *known_ns {
            due.remove(&(known_ns, key));
        }
        due.extend(due_ns.map(|due_ns| (due_ns, key)));
        *known_ns = due_ns;
    }
}

impl Group {
    fn new(label: &Label, compared: &Compared, seen: Option<&Seen>) -> Self {
        let first = seen.filter(|_| !compared.at_once()).cloned();
        let window = match compared.at_once() {
            true => Window::Sliding(Sliding::default()),
            false => Window::Whole { whole: Whole::default(), due_ns: None },
        };
        Self { label: label.clone(), window, first }
    }
}
