//! Events of one group in a window that slides: every stretch of time that is as long as the window
//! counts, and a number that is reached is told at once.
//!
//! What holds is a function of the set of events, not of the order in which they came: an event
//! that is late is put where it belongs, and every stretch that it lies in is looked at again.

use std::collections::VecDeque;

use super::measure::Measure;
use super::{Compared, Entry, Told};

/// Events are kept for so much longer than the window, for those that come late. A host's records
/// leave it once a second, on two lanes; a minute is what a slow disk or a busy host may add.
pub(super) const LATE_NS: u64 = 60 * 1_000_000_000;

/// Entries of one group. Past it neighbours in time become one, and the finding says so: its
/// number is then right, its window's edge only to within the entries that were joined.
pub(super) const ENTRIES_MAX: usize = 4_096;

/// Entries that were told and are still kept when no more are needed to reach the number again.
const KEPT_MIN: usize = 64;

/// Entries of an order above which it is worth looking for those that can be spared.
const RUNS_MIN: usize = 256;

/// The events.
#[derive(Clone, Debug, Default)]
pub(super) struct Sliding {
    entries: VecDeque<Entry>,
    coarse: bool,
}

impl Sliding {
    /// Returns the time of the newest event.
    pub(super) fn newest_ns(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry.time_ns)
    }

    /// Takes in an event. Returns what is newly known, or `Err` when the event came too late to be
    /// placed.
    pub(super) fn insert(
        &mut self,
        entry: Entry,
        compared: &Compared,
        measure: &mut Measure,
    ) -> Result<Option<Told>, ()> {
        let oldest = self.newest_ns().saturating_sub(compared.span_ns.saturating_add(LATE_NS));
        if entry.time_ns < oldest {
            return Err(());
        }
        let at = self.place(entry, compared, measure);
        let told = self.look(at, compared, measure);
        self.forget(compared, measure);
        Ok(told)
    }

    /// Puts an event where it belongs and returns where that is.
    fn place(&mut self, entry: Entry, compared: &Compared, measure: &Measure) -> usize {
        let at = self.entries.partition_point(|known| known.place() < entry.place());
        let same = self.entries.get(at).is_some_and(|known| known.place() == entry.place());
        if same && !measure.adds() {
            self.join(at, entry);
            return at;
        }
        self.entries.insert(at, entry);
        match measure {
            Measure::Distinct(_) => self.thin(at, compared.span_ns),
            Measure::Count(_) | Measure::Sum(_) | Measure::Ordered(_) => at,
        }
    }

    /// Adds what an entry stands for to the one at `at`.
    fn join(&mut self, at: usize, entry: Entry) {
        let known = &mut self.entries[at];
        known.events = known.events.saturating_add(entry.events);
        known.untold = known.untold.saturating_add(entry.untold);
    }

    /// Of three entries of one value within a window, the middle one is in no stretch that has
    /// neither of the others; it joins the later one. Returns where the entry at `at` is now.
    fn thin(&mut self, at: usize, span_ns: u64) -> usize {
        let value = self.entries[at].value;
        let before =
            |from: usize| (0..from).rev().find(|&index| self.entries[index].value == value);
        let within = |first: usize, last: usize| {
            self.entries[last].time_ns - self.entries[first].time_ns <= span_ns
        };
        let next = (at + 1..self.entries.len()).find(|&i| self.entries[i].value == value);
        let previous = before(at);
        if let (Some(first), Some(last)) = (previous, next)
            && within(first, last)
        {
            return self.merge(at, last);
        }
        if let Some(middle) = previous
            && let Some(first) = before(middle)
            && within(first, at)
        {
            return self.merge(middle, at);
        }
        at
    }

    /// Where order matters, the middle one of three can be spared only if nothing comes between
    /// them any more: if they are older than `until_ns`.
    fn thin_runs(&mut self, span_ns: u64, until_ns: u64) {
        let mut kept: VecDeque<Entry> = VecDeque::with_capacity(self.entries.len());
        for entry in self.entries.drain(..) {
            let mut last = entry;
            if let [.., first, middle] = kept.make_contiguous()
                && first.value == last.value
                && middle.value == last.value
                && last.time_ns - first.time_ns <= span_ns
                && middle.time_ns < until_ns
            {
                last.events = last.events.saturating_add(middle.events);
                last.untold = last.untold.saturating_add(middle.untold);
                kept.pop_back();
            }
            kept.push_back(last);
        }
        self.entries = kept;
    }

    /// Joins an entry to a later one and returns where that is now.
    fn merge(&mut self, earlier: usize, later: usize) -> usize {
        let entry = self.entries[earlier];
        self.join(later, entry);
        self.entries.remove(earlier);
        later - 1
    }

    /// Looks at every stretch that the entry at `at` lies in.
    fn look(&mut self, at: usize, compared: &Compared, measure: &mut Measure) -> Option<Told> {
        let time_ns = self.entries[at].time_ns;
        let (from, until) =
            (time_ns.saturating_sub(compared.span_ns), time_ns.saturating_add(compared.span_ns));
        let start = self.entries.partition_point(|entry| entry.time_ns < from);
        let (mut low, mut told_to, mut told) = (start, start, None::<Told>);
        measure.clear();
        for index in start..self.entries.len() {
            let entry = self.entries[index];
            if entry.time_ns > until {
                break;
            }
            measure.add(&entry);
            while self.entries[low].time_ns.saturating_add(compared.span_ns) < entry.time_ns {
                measure.remove(&self.entries[low]);
                low += 1;
            }
            let next = self.entries.get(index + 1);
            let is_end = next.is_none_or(|next| next.time_ns > entry.time_ns);
            if index < at || !is_end {
                continue;
            }
            let (number, since_ns) = measure.number(&entry, compared.span_ns);
            if compared.condition.holds(number) {
                let since = self.entries.partition_point(|entry| entry.time_ns < since_ns);
                let first = low.max(since);
                let told = told.get_or_insert_with(Told::default);
                self.tell(first.max(told_to), index, told);
                told.first_ns = told.first_ns.min(self.entries[first].time_ns);
                (told.last_ns, told.number) = (entry.time_ns, number);
                told_to = index + 1;
            }
        }
        told.filter(|told| told.events > 0)
    }

    /// Adds what was not yet told of the entries from `first` to `last`.
    fn tell(&mut self, first: usize, last: usize, told: &mut Told) {
        for entry in self.entries.range_mut(first..=last).filter(|entry| entry.untold > 0) {
            told.take(entry.untold, entry.evidence);
            entry.untold = 0;
        }
        told.coarse |= self.coarse;
    }

    /// Lets go of what no stretch that may still be asked about holds.
    fn forget(&mut self, compared: &Compared, measure: &Measure) {
        let oldest = self.newest_ns().saturating_sub(compared.span_ns.saturating_add(LATE_NS));
        let least = 2.0 * compared.condition.least();
        // A sum, or a count of more than is kept, is of entries that each stand for several.
        let enough = !measure.adds() && least <= ENTRIES_MAX as f64;
        let kept = (least as usize).max(KEPT_MIN);
        while let Some(front) = self.entries.front() {
            let spare = enough && self.entries.len() > kept && front.untold == 0;
            if front.time_ns >= oldest && !spare {
                break;
            }
            self.entries.pop_front();
        }
        if matches!(measure, Measure::Ordered(_)) && self.entries.len() > RUNS_MIN {
            let settled_ns = self.newest_ns().saturating_sub(LATE_NS);
            self.thin_runs(compared.span_ns, settled_ns);
        }
        if self.entries.len() > ENTRIES_MAX {
            match measure {
                Measure::Count(_) | Measure::Sum(_) => self.coarsen(),
                Measure::Ordered(_) => self.thin_runs(compared.span_ns, u64::MAX),
                Measure::Distinct(_) => {}
            }
            while self.entries.len() > ENTRIES_MAX {
                self.entries.pop_front();
            }
            self.coarse = true;
        }
    }

    /// Joins the older half of the entries in pairs.
    fn coarsen(&mut self) {
        let half = self.entries.len() / 2;
        let old: Vec<Entry> = self.entries.drain(..half).collect();
        for pair in old.chunks(2).rev() {
            let mut joined = pair[pair.len() - 1];
            if let [earlier, _] = pair {
                joined.events = joined.events.saturating_add(earlier.events);
                joined.untold = joined.untold.saturating_add(earlier.untold);
                joined.value = joined.value.wrapping_add(earlier.value);
            }
            self.entries.push_front(joined);
        }
    }
}
