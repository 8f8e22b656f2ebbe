//! The one writer: gathers appends into groups, syncs each group, then tells those who wait.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use wire::batch::Position;

use super::highwater::{Arrival, HighWater, Place};
use super::record::{self, Entry, Payload, Seal};
use super::segment::{self, Summary};
use super::{Append, Appended, Command, JournalError, Logged};
use crate::clock;
use crate::config;
use crate::identity::SensorId;
use crate::metrics::{self, Metrics};
use crate::store::file::{failed, sync_dir};

/// A group is synced after this long at the latest: far below what a sync of a slow disk takes.
const GROUP_TIME: Duration = Duration::from_millis(5);

/// A group is synced once it holds this much, so that one sync never has much to write.
const GROUP_BYTES: usize = 256 * 1024;

/// The engine hears of passing time this often when nothing is logged.
const IDLE: Duration = Duration::from_secs(1);

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    sealed: Vec<Summary>,
    file: File,
    open: Summary,
    next_index: u64,
    last_ns: u64,
    settings: config::Journal,
    places: Arc<HighWater>,
    metrics: Arc<Metrics>,
    checkpoint_index: u64,
    failed: bool,
}

impl Log {
    pub(super) fn open(
        dir: PathBuf,
        mut sealed: Vec<Summary>,
        next_index: u64,
        settings: &config::Journal,
        places: Arc<HighWater>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, JournalError> {
        let last_ns = sealed.last().map_or(0, |last| last.last_ns);
        let (file, open) = match sealed.pop() {
            Some(last) => {
                let file = OpenOptions::new().append(true).open(&last.path);
                (file.map_err(failed("open", &last.path))?, last)
            }
            None => begin_segment(&dir, next_index)?,
        };
        let mut log = Self {
            dir,
            sealed,
            file,
            open,
            next_index,
            last_ns,
            settings: settings.clone(),
            places,
            metrics,
            checkpoint_index: 0,
            failed: false,
        };
        log.show_size();
        Ok(log)
    }

    /// Writes and syncs the group. On failure nothing of it counts.
    fn commit(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let started = Instant::now();
        if let Err(error) = self.file.write_all(bytes) {
            // A full disk: take back what was written, so that the log stays readable.
            self.failed = self.file.set_len(self.open.bytes).is_err();
            return Err(error);
        }
        if let Err(error) = self.file.sync_data() {
            // After a failed sync the kernel may have dropped the pages, and a second one may lie.
            self.failed = true;
            return Err(error);
        }
        self.open.bytes += bytes.len() as u64;
        self.metrics.journal_commits.inc();
        self.metrics.commit_time.record(started.elapsed());
        Ok(())
    }

    /// Begins a new segment when the open one is full, and removes the oldest when all are too
    /// many.
    fn roll(&mut self) -> Result<(), JournalError> {
        if self.open.bytes >= self.settings.segment_bytes {
            // The open segment serves on until there is room for a new one.
            if let Err(error) = self.begin() {
                tracing::warn!(%error, "no new journal segment could be begun");
            }
        }
        self.trim()?;
        self.show_size();
        Ok(())
    }

    /// Goes on in a new segment, whose first record says what all earlier ones hold.
    fn begin(&mut self) -> Result<(), JournalError> {
        let (mut file, mut open) = begin_segment(&self.dir, self.next_index)?;
        let marks = Payload::HighWater(self.places.all());
        let entry = Entry { index: self.next_index, received_ns: self.last_ns, payload: marks };
        let mut bytes = Vec::new();
        record::write(&mut bytes, Seal { nonce: open.nonce, offset: open.bytes }, &entry);
        if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            // Records that the open segment takes meanwhile must not lie behind it.
            fs::remove_file(&open.path).map_err(failed("remove", &open.path))?;
            return Err(failed("write", &open.path)(error).into());
        }
        open.bytes += bytes.len() as u64;
        open.last_index = self.take_index();
        open.last_ns = entry.received_ns;
        self.file = file;
        self.sealed.push(std::mem::replace(&mut self.open, open));
        Ok(())
    }

    fn trim(&mut self) -> Result<(), JournalError> {
        while self.size() > self.settings.max_bytes {
            // What the engine has not taken into a checkpoint yet must stay, whatever the limit.
            let Some(oldest) = self.sealed.first().filter(|s| s.last_index < self.checkpoint_index)
            else {
                break;
            };
            fs::remove_file(&oldest.path).map_err(failed("remove", &oldest.path))?;
            self.sealed.remove(0);
            self.metrics.journal_trimmed.inc();
        }
        Ok(())
    }

    fn size(&self) -> u64 {
        self.sealed.iter().map(|s| s.bytes).sum::<u64>() + self.open.bytes
    }

    fn show_size(&mut self) {
        self.metrics.journal_bytes.set(self.size() as i64);
    }

    fn seal(&self, ahead: usize) -> Seal {
        Seal { nonce: self.open.nonce, offset: self.open.bytes + ahead as u64 }
    }

    fn take_index(&mut self) -> u64 {
        let index = self.next_index;
        self.next_index += 1;
        index
    }

    /// Returns the time, never less than what it returned before: the journal's order is the order
    /// of its times.
    fn time(&mut self) -> u64 {
        self.last_ns = clock::now_ns().max(self.last_ns);
        self.last_ns
    }
}

fn begin_segment(dir: &std::path::Path, first_index: u64) -> Result<(File, Summary), JournalError> {
    let path = segment::path(dir, first_index);
    let nonce = rand::random();
    let write = || {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
        // A head that an earlier attempt left behind is replaced.
        file.set_len(0)?;
        file.write_all(&segment::head(first_index, nonce))?;
        file.sync_all()?;
        sync_dir(dir)?;
        Ok(file)
    };
    let file = write().map_err(failed("create", &path))?;
    let bytes = segment::HEAD_LEN as u64;
    Ok((file, Summary { path, bytes, last_index: 0, last_ns: 0, nonce }))
}

/// A group that is being gathered.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    stored: Vec<(Logged, oneshot::Sender<Appended>)>,
    /// Told together with the group: their first copy may be in it.
    duplicates: Vec<oneshot::Sender<Appended>>,
    marks: HashMap<Place, u64>,
}

impl Group {
    fn is_empty(&self) -> bool {
        self.stored.is_empty() && self.duplicates.is_empty()
    }
}

/// Runs the log on a thread of its own.
#[derive(Debug)]
pub struct Writer {
    log: Log,
    commands: mpsc::Receiver<Command>,
    engine: mpsc::Sender<Logged>,
    checkpoints: tokio::sync::watch::Receiver<u64>,
    checkpointed: Arc<tokio::sync::watch::Sender<u64>>,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        commands: mpsc::Receiver<Command>,
        engine: mpsc::Sender<Logged>,
    ) -> Self {
        let (checkpointed, checkpoints) = tokio::sync::watch::channel(0);
        Self { log, commands, engine, checkpoints, checkpointed: Arc::new(checkpointed) }
    }

    /// Returns where the engine tells up to which index its state is safe.
    pub fn checkpointed(&self) -> Arc<tokio::sync::watch::Sender<u64>> {
        Arc::clone(&self.checkpointed)
    }

    /// Runs until every [`super::Journal`] is dropped, or the disk can no longer be trusted.
    ///
    /// It blocks its thread while the disk works, so it wants one for itself.
    pub async fn run(mut self) -> Result<(), JournalError> {
        loop {
            match timeout(IDLE, self.commands.recv()).await {
                Err(_) => self.idle().await,
                Ok(None) => return Ok(()),
                Ok(Some(command)) => {
                    let group = self.gather(command).await;
                    self.finish(group).await?;
                }
            }
        }
    }

    async fn idle(&mut self) {
        let now_ns = self.log.time();
        // A closed engine means that the brain is shutting down; appends will end soon, too.
        let _ = self.engine.send(Logged::Idle { now_ns }).await;
    }

    async fn gather(&mut self, first: Command) -> Group {
        let mut group = Group::default();
        let deadline = tokio::time::Instant::now() + GROUP_TIME;
        let mut next = Some(first);
        while let Some(command) = next.take() {
            self.add(&mut group, command);
            if group.bytes.len() < GROUP_BYTES {
                let received = tokio::time::timeout_at(deadline, self.commands.recv()).await;
                next = received.ok().flatten();
            }
        }
        group
    }

    fn add(&mut self, group: &mut Group, Command { append, reply }: Command) {
        match append {
            Append::Batch { sensor, batch, correction_ns, frame } => {
                if self.is_known(group, sensor, batch.position) {
                    group.duplicates.push(reply);
                    return;
                }
                let position = batch.position;
                let bytes = frame.len();
                let payload = Payload::Batch { sensor, position, correction_ns, frame };
                let (index, received_ns) = self.write(group, payload);
                group.marks.insert(Place::of(sensor, position), position.seq);
                let logged = Logged::Batch { index, received_ns, sensor, bytes, batch };
                group.stored.push((logged, reply));
            }
            Append::Decision(json) => {
                let (index, received_ns) = self.write(group, Payload::Decision(json.clone()));
                group.stored.push((Logged::Decision { index, received_ns, json }, reply));
            }
        }
    }

    fn is_known(&self, group: &Group, sensor: SensorId, position: Position) -> bool {
        let place = Place::of(sensor, position);
        if group.marks.get(&place).is_some_and(|mark| position.seq <= *mark) {
            metrics::count(&self.log.metrics.batches, "duplicate");
            return true;
        }
        let outcome = match self.log.places.arrival(place, position.seq) {
            Arrival::New { skipped } => {
                let ahead = group.marks.get(&place).map_or(skipped, |mark| position.seq - mark - 1);
                self.log.metrics.sequence_gaps.inc_by(ahead);
                return false;
            }
            Arrival::Duplicate => "duplicate",
            Arrival::Stale => "stale",
        };
        metrics::count(&self.log.metrics.batches, outcome);
        true
    }

    fn write(&mut self, group: &mut Group, payload: Payload) -> (u64, u64) {
        let entry = Entry { index: self.log.take_index(), received_ns: self.log.time(), payload };
        let seal = self.log.seal(group.bytes.len());
        record::write(&mut group.bytes, seal, &entry);
        (entry.index, entry.received_ns)
    }

    async fn finish(&mut self, group: Group) -> Result<(), JournalError> {
        if group.is_empty() {
            return Ok(());
        }
        if !group.bytes.is_empty()
            && let Err(error) = self.log.commit(&group.bytes)
        {
            return self.refuse(group, error);
        }
        for (place, seq) in &group.marks {
            self.log.places.raise(*place, *seq);
        }
        self.log.open.last_ns = self.log.last_ns;
        self.log.open.last_index = self.log.next_index - 1;
        for reply in group.duplicates {
            let _ = reply.send(Appended::Duplicate);
        }
        for (logged, reply) in group.stored {
            // The engine hears of it first, so that who appended may ask the engine about it.
            let index = match &logged {
                Logged::Batch { index, .. } | Logged::Decision { index, .. } => *index,
                Logged::Idle { .. } => 0,
            };
            let _ = self.engine.send(logged).await;
            let _ = reply.send(Appended::Stored(index));
        }
        self.log.checkpoint_index = *self.checkpoints.borrow();
        self.log.roll()
    }

    fn refuse(&mut self, group: Group, error: std::io::Error) -> Result<(), JournalError> {
        self.log.metrics.journal_failed.inc();
        self.log.next_index -= group.stored.len() as u64;
        tracing::error!(%error, "the journal could not be written; sensors keep their batches");
        for reply in group.duplicates.into_iter().chain(group.stored.into_iter().map(|(_, r)| r)) {
            let _ = reply.send(Appended::Failed);
        }
        if self.log.failed {
            return Err(failed("sync", &self.log.open.path)(error).into());
        }
        Ok(())
    }
}
