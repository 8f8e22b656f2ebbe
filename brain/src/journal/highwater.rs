//! What of each sensor's lanes is on disk: the memory by which duplicates are known.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use wire::batch::{Lane, Position};

use crate::identity::SensorId;

/// Starts of one sensor that are remembered. A sensor's spool may hold batches of earlier starts;
/// one that restarts so often that its spool spans more of them loses the oldest.
const EPOCHS_MAX: usize = 64;

/// One sequence of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The sensor, by its certificate.
    pub sensor: SensorId,
    /// Its start.
    pub epoch: u64,
    /// The queue.
    pub lane: Lane,
}

impl Place {
    /// Returns the sequence that a batch belongs to.
    pub fn of(sensor: SensorId, position: Position) -> Self {
        Self { sensor, epoch: position.epoch, lane: position.lane }
    }
}

/// How a batch stands to what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// New; so many numbers were skipped before it.
    New {
        /// Numbers that never arrived.
        skipped: u64,
    },
    /// Seen before.
    Duplicate,
    /// Of a start that is older than all that are remembered.
    Stale,
}

type Marks = BTreeMap<(u64, Lane), u64>;

/// Highest sequence number of each place.
#[derive(Debug, Default)]
pub struct HighWater {
    marks: Mutex<HashMap<SensorId, Marks>>,
}

impl HighWater {
    /// Returns the highest number on disk, 0 when there is none.
    pub fn get(&self, place: Place) -> u64 {
        let marks = self.lock();
        let mark = marks.get(&place.sensor).and_then(|of| of.get(&(place.epoch, place.lane)));
        mark.copied().unwrap_or(0)
    }

    /// Says what a batch with this number would be.
    pub fn arrival(&self, place: Place, seq: u64) -> Arrival {
        let marks = self.lock();
        let Some(of) = marks.get(&place.sensor) else { return Arrival::New { skipped: 0 } };
        match of.get(&(place.epoch, place.lane)) {
            Some(&mark) if seq <= mark => Arrival::Duplicate,
            Some(&mark) => Arrival::New { skipped: seq - mark - 1 },
            None if of.len() >= EPOCHS_MAX * Lane::ALL.len()
                && of.first_key_value().is_some_and(|((oldest, _), _)| place.epoch < *oldest) =>
            {
                Arrival::Stale
            }
            None => Arrival::New { skipped: 0 },
        }
    }

    /// Remembers that all up to `seq` is on disk.
    pub fn raise(&self, place: Place, seq: u64) {
        let mut marks = self.lock();
        let of = marks.entry(place.sensor).or_default();
        let mark = of.entry((place.epoch, place.lane)).or_default();
        *mark = seq.max(*mark);
        while of.len() > EPOCHS_MAX * Lane::ALL.len() {
            of.pop_first();
        }
    }

    /// Returns every mark, for the head of a new segment.
    pub fn all(&self) -> Vec<(Place, u64)> {
        let marks = self.lock();
        let mut all = Vec::new();
        for (&sensor, of) in marks.iter() {
            all.extend(
                of.iter().map(|(&(epoch, lane), &seq)| (Place { sensor, epoch, lane }, seq)),
            );
        }
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SensorId, Marks>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(epoch: u64) -> Place {
        Place { sensor: SensorId([1; 16]), epoch, lane: Lane::Bulk }
    }

    #[test]
    fn duplicates_and_gaps_are_told_apart() {
        let marks = HighWater::default();
        assert_eq!(marks.arrival(place(5), 9), Arrival::New { skipped: 0 });
        marks.raise(place(5), 9);
        assert_eq!(marks.arrival(place(5), 9), Arrival::Duplicate);
        assert_eq!(marks.arrival(place(5), 10), Arrival::New { skipped: 0 });
        assert_eq!(marks.arrival(place(5), 13), Arrival::New { skipped: 3 });
        let other = Place { lane: Lane::Security, ..place(5) };
        assert_eq!(marks.arrival(other, 1), Arrival::New { skipped: 0 });
    }

    #[test]
    fn old_starts_are_forgotten_and_never_taken_for_new() {
        let marks = HighWater::default();
        for epoch in 100..100 + 3 * EPOCHS_MAX as u64 {
            marks.raise(place(epoch), 1);
        }
        assert_eq!(marks.all().len(), EPOCHS_MAX * Lane::ALL.len());
        assert_eq!(marks.arrival(place(100), 1), Arrival::Stale);
        assert_eq!(marks.arrival(place(1000), 1), Arrival::New { skipped: 0 });
    }
}
