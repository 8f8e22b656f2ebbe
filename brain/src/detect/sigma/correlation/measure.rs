//! What is counted over a stretch of time, as events enter and leave it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::Entry;

/// Parts of one in a sum. Sums are of whole numbers of these, so that their order does not matter.
pub(super) const PARTS: f64 = 1e6;

/// A number over the events of a stretch.
#[derive(Clone, Debug)]
pub(super) enum Measure {
    /// Events.
    Count(u64),
    /// A sum, in parts.
    Sum(i128),
    /// Distinct values, with how many entries have each.
    Distinct(HashMap<u128, u32, Spread>),
    /// For each rule, the latest start of events that follow the order up to it.
    Ordered(Vec<Option<u64>>),
}

impl Measure {
    /// Returns whether two entries of equal time and value count for more than one.
    pub(super) fn adds(&self) -> bool {
        matches!(self, Self::Sum(_))
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Count(count) => *count = 0,
            Self::Sum(sum) => *sum = 0,
            Self::Distinct(values) => values.clear(),
            Self::Ordered(starts) => starts.fill(None),
        }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        match self {
            Self::Count(count) => *count += u64::from(entry.events),
            Self::Sum(sum) => *sum = sum.saturating_add(entry.value.cast_signed()),
            Self::Distinct(values) => *values.entry(entry.value).or_default() += 1,
            Self::Ordered(starts) => {
                let rule = entry.value as usize;
                let start = match rule.checked_sub(1) {
                    None => Some(entry.time_ns),
                    Some(before) => starts[before],
                };
                starts[rule] = starts[rule].max(start);
            }
        }
    }

    pub(super) fn remove(&mut self, entry: &Entry) {
        match self {
            Self::Count(count) => *count -= u64::from(entry.events),
            Self::Sum(sum) => *sum = sum.saturating_sub(entry.value.cast_signed()),
            Self::Distinct(values) => {
                if let Some(entries) = values.get_mut(&entry.value) {
                    *entries -= 1;
                    if *entries == 0 {
                        values.remove(&entry.value);
                    }
                }
            }
            // A start that is too long ago is seen by its time.
            Self::Ordered(_) => {}
        }
    }

    /// Returns the number for a stretch that ends with `last`, and since when events are part of
    /// it.
    pub(super) fn number(&self, last: &Entry, span_ns: u64) -> (f64, u64) {
        match self {
            Self::Count(count) => (*count as f64, 0),
            Self::Sum(sum) => (*sum as f64 / PARTS, 0),
            Self::Distinct(values) => (values.len() as f64, 0),
            Self::Ordered(starts) => {
                let is_last = last.value as usize + 1 == starts.len();
                match starts.last().copied().flatten().filter(|_| is_last) {
                    Some(start) if last.time_ns - start <= span_ns => (starts.len() as f64, start),
                    _ => (0.0, 0),
                }
            }
        }
    }
}

/// Takes a value as its own hash: values are hashes already, or small numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own(u64);

/// Builds [`Own`].
pub(super) type Spread = BuildHasherDefault<Own>;

impl Hasher for Own {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, value: u128) {
        self.0 = (value as u64 ^ (value >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}
