//! A group of appends that is written and synced as one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use wire::batch::Position;

use super::highwater::{Arrival, Place};
use super::record::{self, Entry, Payload};
use super::writer::Log;
use super::{Append, Appended, Command, Logged};
use crate::identity::SensorId;
use crate::metrics;

/// What is written, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The records, for the place where the log ends.
    pub(super) bytes: Vec<u8>,
    /// What the records hold.
    pub(super) logged: Vec<Logged>,
    /// What is answered once it is on disk. Duplicates are told together with the rest: their first
    /// copies may be in it.
    pub(super) answers: Vec<(Appended, oneshot::Sender<Appended>)>,
    /// What its appends take of the memory for those that wait, until it is complete.
    pub(super) room: Option<OwnedSemaphorePermit>,
    /// Highest number of each sequence in it.
    pub(super) marks: HashMap<Place, u64>,
    /// Sequences of appends that end when the group fails.
    sequences: Vec<Arc<AtomicBool>>,
}

impl Group {
    /// Adds an append. The group has to be written before another one is begun.
    pub(super) fn add(&mut self, log: &mut Log, command: Command) {
        let Command { append, reply, broken, room } = command;
        self.take_room(room);
        if broken.as_ref().is_some_and(|broken| broken.load(Ordering::Relaxed)) {
            let _ = reply.send(Appended::Failed);
            return;
        }
        self.sequences.extend(broken);
        match append {
            Append::Batch { sensor, batch, correction_ns, frame } => {
                if self.is_known(log, sensor, batch.position) {
                    self.answers.push((Appended::Duplicate, reply));
                    return;
                }
                let position = batch.position;
                let bytes = frame.len();
                let payload = Payload::Batch { sensor, position, correction_ns, frame };
                let (index, received_ns) = self.write(log, payload);
                self.marks.insert(Place::of(sensor, position), position.seq);
                self.logged.push(Logged::Batch { index, received_ns, sensor, bytes, batch });
                self.answers.push((Appended::Stored(index), reply));
            }
            Append::Decision(json) => {
                let (index, received_ns) = self.write(log, Payload::Decision(json.clone()));
                self.logged.push(Logged::Decision { index, received_ns, json });
                self.answers.push((Appended::Stored(index), reply));
            }
        }
    }

    /// Tells those who wait that it is on disk.
    ///
    /// The last is told first. A session waits for its oldest batch, so it is woken once for all
    /// that the group has of it, and not for each.
    pub(super) fn answer(self) {
        for (appended, reply) in self.answers.into_iter().rev() {
            let _ = reply.send(appended);
        }
    }

    /// Tells those who wait that nothing of it is on disk.
    pub(super) fn fail(self) {
        for broken in self.sequences {
            broken.store(true, Ordering::Relaxed);
        }
        for (_, reply) in self.answers {
            let _ = reply.send(Appended::Failed);
        }
    }

    fn take_room(&mut self, room: Option<OwnedSemaphorePermit>) {
        match (&mut self.room, room) {
            (Some(all), Some(room)) => all.merge(room),
            (all, room) => *all = all.take().or(room),
        }
    }

    fn is_known(&self, log: &Log, sensor: SensorId, position: Position) -> bool {
        let place = Place::of(sensor, position);
        if self.marks.get(&place).is_some_and(|mark| position.seq <= *mark) {
            metrics::count(&log.metrics.batches, "duplicate");
            return true;
        }
        let outcome = match log.places.arrival(place, position.seq) {
            Arrival::New { skipped } => {
                let ahead = self.marks.get(&place).map_or(skipped, |mark| position.seq - mark - 1);
                log.metrics.sequence_gaps.inc_by(ahead);
                return false;
            }
            Arrival::Duplicate => "duplicate",
            Arrival::Stale => "stale",
        };
        metrics::count(&log.metrics.batches, outcome);
        true
    }

    fn write(&mut self, log: &mut Log, payload: Payload) -> (u64, u64) {
        let entry = Entry { index: log.take_index(), received_ns: log.time(), payload };
        let seal = log.seal(self.bytes.len());
        record::write(&mut self.bytes, seal, &entry);
        (entry.index, entry.received_ns)
    }
}
