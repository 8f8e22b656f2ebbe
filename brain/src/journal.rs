//! The journal: an append-only log on disk. What is in it is acknowledged; what is acknowledged is
//! in it.
//!
//! Records are written in groups and synced before anyone hears of them. The journal is also what
//! puts batches, decisions of analysts and the passing of time into one order, so that reading it
//! again gives the engine the same inputs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use wire::batch::{Batch, Position};

use crate::config;
use crate::identity::SensorId;
use crate::metrics::Metrics;
use crate::store::file::FileError;

mod group;
mod highwater;
mod past;
mod record;
mod segment;
mod writer;

pub use highwater::{HighWater, Place};
pub use past::Past;
pub use record::{Entry, Payload};
pub use segment::Damage;
pub use writer::Writer;

/// Memory of appends that may wait to be written: some thousand batches of usual hosts. A session
/// that finds no room waits, and QUIC's flow control makes its sensor wait.
const WAITING_BYTES: usize = 8 * 1024 * 1024;

/// Memory of an append besides what it holds much of.
const APPEND_BYTES: usize = 1024;

/// Memory of one of a batch's records or processes.
const ROW_BYTES: usize = 192;

/// Groups that may wait for the engine, besides the one it takes in and the one that waits to be
/// handed over. The journal waits when there are more, and so do sensors.
pub const ENGINE_GROUPS: usize = 1;

/// Why the journal cannot be opened or read.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The disk refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another brain runs on the same data.
    #[error("{0} is in use by another brain; stop it, or choose another data directory")]
    InUse(PathBuf),
}

/// What to append.
#[derive(Debug)]
pub enum Append {
    /// A batch that has been decoded and checked.
    Batch {
        /// Whose, by its certificate.
        sensor: SensorId,
        /// What it says, with corrected times.
        batch: Box<Batch>,
        /// What its times were moved by, for the host's clock was wrong.
        correction_ns: i64,
        /// Its frame, as it is kept.
        frame: Vec<u8>,
    },
    /// What an analyst decided about a finding.
    Decision(Vec<u8>),
}

impl Append {
    /// About the memory that it takes, which a small frame says little of.
    fn memory(&self) -> usize {
        let content = match self {
            Self::Batch { batch, frame, .. } => {
                let rows = batch.record_count() + batch.processes.len();
                frame.len() + batch.strings.byte_len() + rows * ROW_BYTES
            }
            Self::Decision(json) => json.len(),
        };
        content + APPEND_BYTES
    }
}

/// Returns the batch of a journal's record, with corrected times.
pub fn batch_of(frame: &[u8], correction_ns: i64) -> Result<Batch, wire::codec::FrameError> {
    let mut batch = wire::codec::decode_batch_frame(frame)?;
    batch.shift(correction_ns);
    Ok(batch)
}

/// What became of an append; by then it is true on disk as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It is on disk, under this index.
    Stored(u64),
    /// It had been there before.
    Duplicate,
    /// The disk refuses; the sensor has to keep it.
    Failed,
}

/// Something that the engine takes in, in the journal's order.
#[derive(Debug)]
pub enum Logged {
    /// A batch.
    Batch {
        /// Its place in the journal.
        index: u64,
        /// When it arrived.
        received_ns: u64,
        /// Whose it is.
        sensor: SensorId,
        /// Bytes of its frame.
        bytes: usize,
        /// What it says.
        batch: Box<Batch>,
    },
    /// A decision.
    Decision {
        /// Its place in the journal.
        index: u64,
        /// When it was made.
        received_ns: u64,
        /// What it says.
        json: Vec<u8>,
    },
    /// Nothing was logged for a while, and now it is this late.
    Idle {
        /// The time.
        now_ns: u64,
    },
}

#[derive(Debug)]
pub(crate) struct Command {
    append: Append,
    reply: oneshot::Sender<Appended>,
    /// Whether an append before it in its sequence has failed.
    broken: Option<Arc<AtomicBool>>,
    /// What it takes of the memory for those that wait.
    room: Option<OwnedSemaphorePermit>,
}

/// Gives access to the writer; cheap to clone. The writer ends when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Journal {
    /// It is never full, for each append takes at least [`APPEND_BYTES`] of `room`.
    commands: mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    places: Arc<HighWater>,
    broken: Option<Arc<AtomicBool>>,
}

impl Journal {
    /// Returns access for one sequence of appends: once one of them has failed, so do those behind
    /// it. Otherwise a number that is on disk would say that all lower ones are.
    pub fn sequence(&self) -> Self {
        Self { broken: Some(Arc::default()), ..self.clone() }
    }

    /// Hands over an append. The answer comes once it is synced.
    pub async fn append(&self, append: Append) -> oneshot::Receiver<Appended> {
        let (reply, answer) = oneshot::channel();
        let wanted = append.memory().min(WAITING_BYTES) as u32;
        // Nobody closes it: what the writer leaves behind gives its room back.
        let room = Arc::clone(&self.room).acquire_many_owned(wanted).await.ok();
        // When the writer has ended, the dropped reply tells the caller.
        let command = Command { append, reply, broken: self.broken.clone(), room };
        let _ = self.commands.send(command).await;
        answer
    }

    /// Returns the highest sequence number on disk.
    pub fn durable(&self, sensor: SensorId, position: Position) -> u64 {
        self.places.get(Place { sensor, epoch: position.epoch, lane: position.lane })
    }
}

/// An opened journal, before its writer runs.
#[derive(Debug)]
pub struct Opened {
    dir: PathBuf,
    segments: Vec<segment::Summary>,
    places: HighWater,
    next_index: u64,
    /// What was found broken.
    pub damages: Vec<Damage>,
    /// Bytes of a torn end that were cut off.
    pub torn_bytes: u64,
}

impl Opened {
    /// Opens or creates the journal in `dir`, reads all of it, and repairs its end.
    pub fn open(dir: &Path, metrics: &Metrics) -> Result<Self, JournalError> {
        crate::store::file::private_dir(dir)?;
        let paths = segment::list(dir)?;
        let mut opened = Self {
            dir: dir.to_owned(),
            segments: Vec::new(),
            places: HighWater::default(),
            next_index: 1,
            damages: Vec::new(),
            torn_bytes: 0,
        };
        let last = paths.len().saturating_sub(1);
        for (number, path) in paths.into_iter().enumerate() {
            opened.take_in(path, number == last)?;
        }
        metrics.journal_torn_bytes.inc_by(opened.torn_bytes);
        for damage in &opened.damages {
            metrics.journal_damaged_bytes.inc_by(damage.to - damage.from);
            metrics.journal_damaged_records.inc_by(damage.records);
            tracing::error!(%damage, "the journal is damaged; what follows the damage is used");
        }
        if opened.torn_bytes > 0 {
            tracing::warn!(torn_bytes = opened.torn_bytes, "cut a torn end off the journal");
        }
        Ok(opened)
    }

    fn take_in(&mut self, path: PathBuf, last: bool) -> Result<(), JournalError> {
        let content = segment::Content::read(&path)?;
        let mut summary = segment::Summary::new(&content, path);
        let mut broken: Option<(u64, u64)> = None;
        for item in content.items() {
            let segment::Item::Record { entry, .. } = item else {
                let segment::Item::Broken { from, to } = item else { continue };
                broken = Some((from, to));
                continue;
            };
            let expected = self.next_index;
            if let Some((from, to)) = broken.take() {
                let records = entry.index.saturating_sub(expected);
                self.damages.push(Damage {
                    path: summary.path.clone(),
                    from,
                    to,
                    first: expected,
                    records,
                });
            }
            self.note(&entry, &mut summary);
        }
        if let Some((from, to)) = broken {
            self.end_broken(&mut summary, from, to, last)?;
        }
        if summary.bytes > 0 {
            self.segments.push(summary);
        }
        Ok(())
    }

    fn note(&mut self, entry: &Entry, summary: &mut segment::Summary) {
        match &entry.payload {
            Payload::Batch { sensor, position, .. } => {
                self.places.raise(Place::of(*sensor, *position), position.seq);
            }
            Payload::HighWater(lines) => {
                for (place, seq) in lines {
                    self.places.raise(*place, *seq);
                }
            }
            Payload::Decision(_) => {}
        }
        summary.last_index = entry.index;
        summary.last_ns = entry.received_ns;
        self.next_index = self.next_index.max(entry.index + 1);
    }

    /// Nothing readable follows. At the end of the log that is a write which a crash cut short, and
    /// which nobody was told about; anywhere else it is damage.
    fn end_broken(
        &mut self,
        summary: &mut segment::Summary,
        from: u64,
        to: u64,
        last: bool,
    ) -> Result<(), JournalError> {
        let path = summary.path.clone();
        if !last {
            let first = self.next_index;
            self.damages.push(Damage { path, from, to, first, records: 0 });
            return Ok(());
        }
        self.torn_bytes += to - from;
        let act = |act| crate::store::file::failed(act, &path);
        if from == 0 {
            fs::remove_file(&path).map_err(act("remove"))?;
        } else {
            let file = File::options().write(true).open(&path).map_err(act("open"))?;
            file.set_len(from).and_then(|()| file.sync_all()).map_err(act("shorten"))?;
        }
        summary.bytes = from;
        Ok(())
    }

    /// Makes new records follow `index`. The state may know of records that the journal has lost;
    /// their numbers must not be given out again, or new records would pass for known ones.
    pub fn follow(&mut self, index: u64) {
        if index >= self.next_index {
            let (first, last) = (self.next_index, index);
            tracing::error!(first, last, "the journal has lost records; their findings are kept");
            self.next_index = index + 1;
        }
    }

    /// Calls `on` with each entry that was received at `from_ns` or later, or has an index beyond
    /// `after_index`, in order.
    pub fn replay(
        &self,
        from_ns: u64,
        after_index: u64,
        mut on: impl FnMut(Entry),
    ) -> Result<(), JournalError> {
        for summary in &self.segments {
            if summary.last_ns < from_ns && summary.last_index <= after_index {
                continue;
            }
            for item in segment::Content::read(&summary.path)?.items() {
                if let segment::Item::Record { entry, .. } = item
                    && (entry.received_ns >= from_ns || entry.index > after_index)
                {
                    on(entry);
                }
            }
        }
        Ok(())
    }

    /// Prepares the writer. It runs until every [`Journal`] is dropped.
    pub fn start(
        self,
        settings: &config::Journal,
        metrics: Arc<Metrics>,
        engine: mpsc::Sender<Vec<Logged>>,
    ) -> Result<(Journal, Writer), JournalError> {
        let (commands, receiver) = mpsc::channel(WAITING_BYTES / APPEND_BYTES);
        let places = Arc::new(self.places);
        let room = Arc::new(Semaphore::new(WAITING_BYTES));
        let journal = Journal { commands, room, places: Arc::clone(&places), broken: None };
        let log =
            writer::Log::open(self.dir, self.segments, self.next_index, settings, places, metrics)?;
        Ok((journal, Writer::new(log, receiver, engine)))
    }
}

#[cfg(test)]
mod tests;
