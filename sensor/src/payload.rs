//! DNS and TLS messages between the ring and the batch. Pure.
//!
//! Messages wait for the next tick: by then the socket that sent them is known, and how often they
//! came again, which the kernel counts. Whatever was counted belongs to a message of the same
//! interval or, when its record was read late, of the one before.

use sensor_abi::record::payload::Repeats;

use crate::clock::ClockPair;
use crate::observation::Record;
use crate::owner::Tuple;
use crate::table::Table;

pub mod ja4;

/// Messages that wait for a tick. More than the kernel's budgets let through in a second on a
/// machine with a few CPUs; on a larger one, a flood beyond it is lost and counted.
const WAITING_MAX: usize = 32_768;

/// A message, before it has a process.
#[derive(Clone, Debug)]
pub struct Payload {
    /// Its two ends.
    pub tuple: Tuple,
    /// Shared by equal DNS messages; 0 for those that are not compared.
    pub fingerprint: u64,
    /// A DNS or TLS record.
    pub record: Record,
}

/// Messages that wait, and those that were told lately.
#[derive(Debug, Default)]
pub struct Payloads {
    waiting: Vec<(Payload, bool)>,
    /// Where a fingerprint waits.
    places: Table<u64, usize>,
    /// Messages of the last tick and of the one before, for repetitions that are read late.
    told: [Table<u64, Payload>; 2],
    /// Repetitions whose message has not been read yet.
    early: Vec<(u64, Repeats)>,
}

/// What a tick gives.
#[derive(Debug, Default)]
pub struct Told {
    /// Messages, each with how many there were.
    pub messages: Vec<(Payload, u64)>,
    /// Repetitions that the kernel had counted, read in this tick.
    pub repeated: u64,
    /// Repetitions of messages that could not be read.
    pub unmatched: u64,
}

impl Payloads {
    /// Takes a message; returns whether there was room.
    pub fn take(&mut self, payload: Payload) -> bool {
        let place = self.places.get(&payload.fingerprint).copied();
        if let Some((known, _)) = place.and_then(|place| self.waiting.get_mut(place))
            && let Some(count) = count(&mut known.record)
        {
            // Another CPU saw it at the same time.
            *count += 1;
            return true;
        }
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        if payload.fingerprint != 0 {
            self.places.insert(payload.fingerprint, self.waiting.len());
        }
        self.waiting.push((payload, false));
        true
    }

    /// Hands out what waits, with the repetitions that were counted meanwhile. A message that has
    /// no owner yet may wait for one more tick.
    pub fn tick(
        &mut self,
        repeats: Vec<(u64, Repeats)>,
        clock: ClockPair,
        is_owned: impl Fn(&Tuple) -> bool,
    ) -> Told {
        let repeated = repeats.iter().map(|(_, repeats)| repeats.count).sum();
        let mut told = Told { repeated, ..Told::default() };
        let early = std::mem::take(&mut self.early);
        for (fingerprint, repeats, last_try) in (early.into_iter().map(|(f, r)| (f, r, true)))
            .chain(repeats.into_iter().map(|(f, r)| (f, r, false)))
        {
            if !self.repeated(fingerprint, repeats, clock, &mut told) {
                match last_try {
                    true => told.unmatched += repeats.count,
                    false => self.early.push((fingerprint, repeats)),
                }
            }
        }
        self.told.swap(0, 1);
        self.told[0].clear();
        self.places.clear();
        for (payload, asked) in std::mem::take(&mut self.waiting) {
            if !asked && !is_owned(&payload.tuple) {
                self.places.insert(payload.fingerprint, self.waiting.len());
                self.waiting.push((payload, true));
                continue;
            }
            self.tell(payload, &mut told);
        }
        self.places.remove(&0);
        told
    }

    /// Hands out everything, as far as it is known.
    pub fn finish(&mut self, repeats: Vec<(u64, Repeats)>, clock: ClockPair) -> Told {
        let mut told = self.tick(repeats, clock, |_| true);
        let rest = self.tick(Vec::new(), clock, |_| true);
        told.messages.extend(rest.messages);
        told.unmatched += rest.unmatched;
        told.repeated += rest.repeated;
        told
    }

    fn tell(&mut self, mut payload: Payload, told: &mut Told) {
        let events = count(&mut payload.record).map_or(1, |count| *count);
        if payload.fingerprint != 0 {
            self.told[0].insert(payload.fingerprint, payload.clone());
        }
        told.messages.push((payload, events));
    }

    /// Adds repetitions to the message that they repeat; returns whether it was found.
    fn repeated(
        &mut self,
        fingerprint: u64,
        repeats: Repeats,
        clock: ClockPair,
        told: &mut Told,
    ) -> bool {
        if let Some(place) = self.places.get(&fingerprint)
            && let Some(count) = count(&mut self.waiting[*place].0.record)
        {
            *count += repeats.count;
            return true;
        }
        let known = self.told.iter().find_map(|told| told.get(&fingerprint));
        let Some(mut again) = known.cloned() else { return false };
        if let Record::Dns(record) = &mut again.record {
            (record.count, record.time_ns) = (repeats.count, clock.unix(repeats.last_ns));
        }
        told.messages.push((again, repeats.count));
        true
    }
}

/// Returns the counter of a message that may come again.
fn count(record: &mut Record) -> Option<&mut u64> {
    match record {
        Record::Dns(record) => Some(&mut record.count),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
