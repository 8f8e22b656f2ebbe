//! The one writer: gathers appends into groups, syncs each group, then tells those who wait.
//!
//! While the disk works on one group, those of the group before it are told, and what comes in
//! waits, without waking anybody, to be the next one: so a group has what came in during a sync,
//! and nobody waits for a timer.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinError;
use tokio::time::timeout;

use super::group::Group;
use super::highwater::HighWater;
use super::record::{self, Entry, Payload, Seal};
use super::segment::{self, Summary};
use super::{Command, JournalError, Logged};
use crate::clock;
use crate::config;
use crate::metrics::Metrics;
use crate::store::file::{failed, sync_dir};

/// Bytes of records after which a group takes no more, so that one sync never has much to write.
const GROUP_BYTES: usize = 1024 * 1024;

/// The engine hears of passing time this often when nothing is logged.
const IDLE: Duration = Duration::from_secs(1);

/// The open log.
#[derive(Debug)]
pub(super) struct Log {
    dir: PathBuf,
    sealed: Vec<Summary>,
    file: Arc<File>,
    open: Summary,
    next_index: u64,
    last_ns: u64,
    settings: config::Journal,
    pub(super) places: Arc<HighWater>,
    pub(super) metrics: Arc<Metrics>,
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
            file: Arc::new(file),
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

    /// Notes what became of bytes that were written at the end.
    fn committed(&mut self, bytes: usize, written: Written) -> std::io::Result<()> {
        let time = match written {
            Written::Synced(time) => time,
            Written::TakenBack(error) => return Err(error),
            Written::Unsure(error) => {
                self.failed = true;
                return Err(error);
            }
        };
        self.open.bytes += bytes as u64;
        self.metrics.journal_commits.inc();
        self.metrics.commit_time.record(time);
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
        self.file = Arc::new(file);
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

    pub(super) fn seal(&self, ahead: usize) -> Seal {
        Seal { nonce: self.open.nonce, offset: self.open.bytes + ahead as u64 }
    }

    pub(super) fn take_index(&mut self) -> u64 {
        let index = self.next_index;
        self.next_index += 1;
        index
    }

    /// Returns the time, never less than what it returned before: the journal's order is the order
    /// of its times.
    pub(super) fn time(&mut self) -> u64 {
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

/// What became of a write.
enum Written {
    /// It is on disk; it took so long.
    Synced(Duration),
    /// There was no room, and what had been written was taken back, so that the log stays readable.
    TakenBack(std::io::Error),
    /// The disk can no longer be trusted: after a failed sync the kernel may have dropped the
    /// pages, and a second one may lie.
    Unsure(std::io::Error),
}

/// Appends bytes to a file that has `end` bytes, and syncs it.
fn write(mut file: &File, end: u64, bytes: &[u8]) -> Written {
    let started = Instant::now();
    if let Err(error) = file.write_all(bytes) {
        return match file.set_len(end) {
            Ok(()) => Written::TakenBack(error),
            Err(_) => Written::Unsure(error),
        };
    }
    match file.sync_data() {
        Ok(()) => Written::Synced(started.elapsed()),
        Err(error) => Written::Unsure(error),
    }
}

/// Runs the log on a thread of its own, and the disk's work on another one.
#[derive(Debug)]
pub struct Writer {
    log: Log,
    commands: mpsc::Receiver<Command>,
    engine: mpsc::Sender<Vec<Logged>>,
    checkpoints: tokio::sync::watch::Receiver<u64>,
    checkpointed: Arc<tokio::sync::watch::Sender<u64>>,
    /// Room for the next group's bytes.
    spare: Vec<u8>,
}

impl Writer {
    pub(super) fn new(
        log: Log,
        commands: mpsc::Receiver<Command>,
        engine: mpsc::Sender<Vec<Logged>>,
    ) -> Self {
        let (checkpointed, checkpoints) = tokio::sync::watch::channel(0);
        Self {
            log,
            commands,
            engine,
            checkpoints,
            checkpointed: Arc::new(checkpointed),
            spare: Vec::new(),
        }
    }

    /// Returns where the engine tells up to which index its state is safe.
    pub fn checkpointed(&self) -> Arc<tokio::sync::watch::Sender<u64>> {
        Arc::clone(&self.checkpointed)
    }

    /// Runs until every [`super::Journal`] is dropped, or the disk can no longer be trusted.
    ///
    /// It blocks its thread while a segment is begun, so it wants one for itself.
    pub async fn run(mut self) -> Result<(), JournalError> {
        let mut synced = Group::default();
        while let Some(first) = self.next(&mut synced).await {
            let group = self.gather(first);
            let (group, written) = self.write(group, std::mem::take(&mut synced)).await;
            match written {
                Ok(()) => synced = group,
                Err(error) => self.refuse(group, error)?,
            }
            if let Err(error) = self.log.roll() {
                self.tell(synced).await;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Waits for what is to be written next. Before it has to wait, those of the last group are
    /// told.
    async fn next(&mut self, synced: &mut Group) -> Option<Command> {
        if let Ok(command) = self.commands.try_recv() {
            return Some(command);
        }
        self.tell(std::mem::take(synced)).await;
        loop {
            match timeout(IDLE, self.commands.recv()).await {
                Ok(command) => return command,
                Err(_) => self.idle().await,
            }
        }
    }

    async fn idle(&mut self) {
        let now_ns = self.log.time();
        // A closed engine means that the brain is shutting down; appends will end soon, too.
        let _ = self.engine.send(vec![Logged::Idle { now_ns }]).await;
    }

    /// Makes a group of all that waits by now. It ends even if more and more comes, for nobody
    /// finds room until it is complete.
    fn gather(&mut self, first: Command) -> Group {
        let mut group = Group::default();
        group.bytes = std::mem::take(&mut self.spare);
        group.add(&mut self.log, first);
        while group.bytes.len() < GROUP_BYTES
            && let Ok(command) = self.commands.try_recv()
        {
            group.add(&mut self.log, command);
        }
        group.room = None;
        group
    }

    /// Writes and syncs a group. Meanwhile those of the one before are told.
    async fn write(&mut self, mut group: Group, synced: Group) -> (Group, std::io::Result<()>) {
        let bytes = std::mem::take(&mut group.bytes);
        if bytes.is_empty() {
            self.spare = bytes;
            // Their first copies may be in the one before.
            self.tell(synced).await;
            return (group, Ok(()));
        }
        let (file, end, len) = (Arc::clone(&self.log.file), self.log.open.bytes, bytes.len());
        let work = tokio::task::spawn_blocking(move || (write(&file, end, &bytes), bytes));
        self.tell(synced).await;
        let (written, mut bytes) = work.await.unwrap_or_else(panicked);
        bytes.clear();
        self.spare = bytes;
        let written = self.log.committed(len, written);
        if written.is_ok() {
            group.marks.iter().for_each(|(place, seq)| self.log.places.raise(*place, *seq));
            self.log.open.last_ns = self.log.last_ns;
            self.log.open.last_index = self.log.next_index - 1;
            self.log.checkpoint_index = *self.checkpoints.borrow();
        }
        (group, written)
    }

    /// Tells those of a group that is on disk.
    async fn tell(&mut self, mut group: Group) {
        // The engine hears of it first, so that who appended may ask the engine about it.
        let logged = std::mem::take(&mut group.logged);
        if !logged.is_empty() {
            let _ = self.engine.send(logged).await;
        }
        group.answer();
    }

    fn refuse(&mut self, group: Group, error: std::io::Error) -> Result<(), JournalError> {
        self.log.metrics.journal_failed.inc();
        self.log.next_index -= group.logged.len() as u64;
        tracing::error!(%error, "the journal could not be written; sensors keep their batches");
        group.fail();
        if self.log.failed {
            return Err(failed("sync", &self.log.open.path)(error).into());
        }
        Ok(())
    }
}

/// A write that panicked has left who knows what.
fn panicked(error: JoinError) -> (Written, Vec<u8>) {
    (Written::Unsure(std::io::Error::other(error)), Vec::new())
}
