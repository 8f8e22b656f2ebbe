//! The engine: one task that owns all detection state and takes a closed set of inputs in order.
//!
//! What it does is a function of the journal. Batches, decisions and the passing of time come in
//! the journal's order, so after a crash the same inputs give the same findings: the last
//! checkpoint is restored, the detectors' windows are filled again from the journal, and what came
//! after the checkpoint is taken in as if it had just arrived.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};
use wire::batch::Batch;

use crate::board::Board;
use crate::clock::{self, SECOND_NS};
use crate::detect::Detectors;
use crate::detect::prepared::{Prepared, Replaced};
use crate::finding::{Change, Decision, FindingId, FindingSet, Signal, State};
use crate::fleet::Fleet;
use crate::identity::SensorId;
use crate::journal::{self, Entry, JournalError, Logged, Opened, Payload};
use crate::metrics::{self, Metrics};
use crate::policy::{Exceptions, PolicySet};
use crate::record::{Host, HostId};
use crate::store::findings::{Changes, Checkpoint};
use crate::store::{Store, StoreError};

/// Detectors hear of time in steps of this, at multiples of it.
const TICK_NS: u64 = SECOND_NS;

/// Time goes on for so long after the last record. Longer than any window, so nothing is open by
/// then; a bound, so that a brain that was off for a month does not count its seconds. In what the
/// detectors remember.
const IDLE_MEMORIES: u64 = 2;

/// A checkpoint is written this often when something has changed: what a restart replays is little,
/// and a disk does not mind.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(2);

/// What the engine takes in.
#[derive(Debug)]
pub enum Input {
    /// A batch of a host, at its place in the journal.
    Batch {
        /// The place.
        index: u64,
        /// When it was received.
        received_ns: u64,
        /// Whose it is.
        sensor: SensorId,
        /// What it says.
        batch: Box<Batch>,
    },
    /// A decision, at its place in the journal.
    Decision {
        /// The place.
        index: u64,
        /// When it was made.
        received_ns: u64,
        /// What it says.
        decision: Decided,
    },
    /// It is this late.
    Tick {
        /// The time.
        now_ns: u64,
    },
    /// New policies replace the old ones. What they leave as it was keeps its state.
    Policy(Box<NewPolicy>),
    /// Somebody asks how far the engine is.
    Query(oneshot::Sender<Progress>),
}

/// Policies that are ready to be worked from.
#[derive(Debug)]
pub struct NewPolicy {
    /// What looks at events from now on.
    pub detectors: Prepared,
    /// What is not told, or with another severity.
    pub exceptions: Arc<Exceptions>,
    /// Takes what is no longer needed.
    pub replaced: oneshot::Sender<Replaced>,
}

/// A decision of an analyst, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// Which finding.
    pub finding: String,
    /// Whose decision.
    pub user: String,
    /// Name of the new state.
    pub state: String,
    /// Why.
    pub note: String,
}

/// How far the engine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Journal index of the last record that was taken in.
    pub index: u64,
    /// Findings that are kept.
    pub findings: usize,
}

/// What the engine works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Findings, checkpoints and the hosts' names.
    pub store: Arc<Store>,
    /// Where hosts' counters go.
    pub fleet: Arc<Fleet>,
    /// Where findings are shown.
    pub board: Arc<Board>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// All detection state.
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    detectors: Detectors,
    exceptions: Arc<Exceptions>,
    findings: FindingSet,
    hosts: HashMap<SensorId, Arc<Host>>,
    at: Checkpoint,
    changed: BTreeSet<FindingId>,
    removed: Vec<FindingId>,
    evicted: u64,
    /// Whether inputs come as they happen; what a replay does was counted when it happened.
    live: bool,
}

impl Engine {
    /// Restores the last checkpoint and takes in what the journal holds after it.
    pub fn restore(
        parts: Parts,
        policy: &PolicySet,
        checkpoint: Checkpoint,
        findings: Vec<crate::finding::Finding>,
        journal: &Opened,
    ) -> Result<Self, JournalError> {
        let mut set = FindingSet::default();
        set.restore(findings);
        let mut engine = Self {
            parts,
            detectors: Detectors::new(policy),
            exceptions: Arc::clone(&policy.exceptions),
            findings: set,
            hosts: HashMap::new(),
            at: Checkpoint::default(),
            changed: BTreeSet::new(),
            removed: Vec::new(),
            evicted: 0,
            live: false,
        };
        engine.parts.board.begin(engine.findings.iter());
        let warm_from = checkpoint.received_ns.saturating_sub(engine.detectors.memory_ns());
        let mut warm = checkpoint.index > 0;
        journal.replay(warm_from, checkpoint.index, |entry| {
            if warm && entry.index > checkpoint.index {
                engine.end_warming(checkpoint);
                warm = false;
            }
            engine.replay(entry, warm);
        })?;
        if warm {
            engine.end_warming(checkpoint);
        }
        engine.live = true;
        Ok(engine)
    }

    /// Until here the findings are known; only the windows had to be filled.
    fn end_warming(&mut self, checkpoint: Checkpoint) {
        self.advance(checkpoint.ticked_ns, |_, _| {});
        self.at = checkpoint;
    }

    fn replay(&mut self, entry: Entry, warm: bool) {
        let Entry { index, received_ns, payload } = entry;
        match payload {
            Payload::Batch { sensor, correction_ns, frame, .. } => {
                let batch = match journal::batch_of(&frame, correction_ns) {
                    Ok(batch) => Box::new(batch),
                    // It was decoded before it was stored; another version of this program wrote
                    // it.
                    Err(error) => {
                        tracing::error!(index, %error, "a batch of the journal cannot be read");
                        metrics::count(&self.parts.metrics.batches, "unreadable");
                        return;
                    }
                };
                if warm {
                    self.warm(index, received_ns, sensor, &batch);
                } else {
                    self.take(Input::Batch { index, received_ns, sensor, batch });
                }
            }
            Payload::Decision(json) if !warm => self.take_decision(index, received_ns, &json),
            Payload::Decision(_) | Payload::HighWater(_) => {}
        }
    }

    fn warm(&mut self, index: u64, received_ns: u64, sensor: SensorId, batch: &Batch) {
        self.advance(received_ns, |_, _| {});
        self.note(index, received_ns);
        let host = self.host(sensor);
        self.detectors.batch(batch, &host);
    }

    /// Takes in one input and shows what it changed.
    pub fn take(&mut self, input: Input) {
        match input {
            Input::Batch { index, received_ns, sensor, batch } => {
                self.advance(received_ns, Self::merge);
                self.note(index, received_ns);
                let host = self.host(sensor);
                self.parts.fleet.observe(sensor, &batch, received_ns);
                self.parts.board.show_host(sensor);
                let signals = self.detectors.batch(&batch, &host);
                self.merge(signals);
            }
            Input::Decision { index, received_ns, decision } => {
                self.advance(received_ns, Self::merge);
                self.note(index, received_ns);
                self.decide(received_ns, decision);
            }
            Input::Tick { now_ns } => self.advance(now_ns, Self::merge),
            Input::Policy(policy) => {
                let NewPolicy { detectors, exceptions, replaced } = *policy;
                let _ = replaced.send(self.detectors.replace(detectors));
                self.exceptions = exceptions;
            }
            Input::Query(reply) => {
                let progress = Progress { index: self.at.index, findings: self.findings.len() };
                let _ = reply.send(progress);
            }
        }
        self.note_evictions();
    }

    fn note(&mut self, index: u64, received_ns: u64) {
        self.at.index = index;
        self.at.received_ns = received_ns;
    }

    /// Lets time pass until `now_ns`, in even steps that do not depend on when anyone asked.
    fn advance(&mut self, now_ns: u64, mut on: impl FnMut(&mut Self, Vec<Signal>)) {
        if self.at.ticked_ns == 0 {
            self.at.ticked_ns = now_ns - now_ns % TICK_NS;
            return;
        }
        let idle_ns = self.detectors.memory_ns().saturating_mul(IDLE_MEMORIES);
        let end = now_ns.min(self.at.received_ns.saturating_add(idle_ns));
        while self.at.ticked_ns + TICK_NS <= end {
            self.at.ticked_ns += TICK_NS;
            let signals = self.detectors.tick(self.at.ticked_ns);
            on(self, signals);
        }
        // Seconds in which nothing could happen are skipped, in a replay as well.
        let skipped = now_ns.saturating_sub(self.at.ticked_ns) / TICK_NS * TICK_NS;
        self.at.ticked_ns += skipped;
    }

    fn host(&mut self, sensor: SensorId) -> Arc<Host> {
        if let Some(host) = self.hosts.get(&sensor) {
            return Arc::clone(host);
        }
        let id = sensor.to_string();
        let entry = self.parts.store.hosts.get(&id);
        let (name, role) = entry.map_or((id.clone(), String::new()), |e| (e.name, e.role));
        let host = Arc::new(Host { id: HostId(id.into()), name, role });
        self.hosts.insert(sensor, Arc::clone(&host));
        host
    }

    fn merge(&mut self, signals: Vec<Signal>) {
        let now_ns = self.at.received_ns.max(self.at.ticked_ns);
        for mut signal in signals {
            let time_ns = signal.time_ns;
            let treatment = self.exceptions.apply(&mut signal, now_ns);
            let (id, change) = self.findings.merge_with(signal, treatment.history);
            if self.live {
                self.count(change, time_ns);
            }
            self.show(id);
        }
    }

    fn count(&self, change: Change, time_ns: u64) {
        let outcome = match change {
            Change::New => "new",
            Change::Updated => "updated",
        };
        metrics::count(&self.parts.metrics.findings, outcome);
        let delay_ns = clock::now_ns().saturating_sub(time_ns);
        self.parts.metrics.finding_delay.record(Duration::from_nanos(delay_ns));
    }

    fn take_decision(&mut self, index: u64, received_ns: u64, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(decision) => self.take(Input::Decision { index, received_ns, decision }),
            Err(error) => {
                tracing::error!(index, %error, "a decision of the journal cannot be read")
            }
        }
    }

    fn decide(&mut self, time_ns: u64, decided: Decided) {
        let Decided { finding, user, state, note } = decided;
        let Some(state) = State::from_name(&state) else { return };
        let id = FindingId(finding);
        if self.findings.decide(&id, Decision { time_ns, user, state, note }).is_some() {
            self.show(id);
        }
    }

    fn show(&mut self, id: FindingId) {
        if let Some(finding) = self.findings.get(&id) {
            self.parts.board.show(Arc::new(finding.clone()));
            self.changed.insert(id);
        }
    }

    fn note_evictions(&mut self) {
        if self.findings.evicted() != self.evicted {
            self.evicted = self.findings.evicted();
            self.removed.extend(self.parts.board.retain(|id| self.findings.get(id).is_some()));
        }
    }

    /// Writes what has changed. Returns the journal index up to which everything is stored. On a
    /// full disk what has changed stays noted.
    pub fn checkpoint(&mut self) -> Result<u64, StoreError> {
        self.parts.store.findings.has_room()?;
        let changes = Changes {
            changed: self.changed.iter().filter_map(|id| self.findings.get(id)).collect(),
            removed: self.removed.clone(),
            hosts: self.parts.fleet.take_changed(),
        };
        self.parts.store.findings.save(&self.at, &changes)?;
        self.changed.clear();
        self.removed.clear();
        self.show_stats();
        Ok(self.at.index)
    }

    fn show_stats(&self) {
        let stats = self.detectors.stats();
        let metrics = &self.parts.metrics;
        metrics.detector_panics.set(stats.iter().map(|of| of.panics as i64).sum());
        metrics.detector_evictions.set(stats.iter().map(|of| of.evicted as i64).sum());
        metrics.findings_evicted.set(self.findings.evicted() as i64);
        metrics.checkpoint.set(self.at.index as i64);
    }
}

impl From<Logged> for Option<Input> {
    fn from(logged: Logged) -> Self {
        Some(match logged {
            Logged::Batch { index, received_ns, sensor, batch, .. } => {
                Input::Batch { index, received_ns, sensor, batch }
            }
            Logged::Decision { index, received_ns, json } => {
                let decision = serde_json::from_slice(&json).ok()?;
                Input::Decision { index, received_ns, decision }
            }
            Logged::Idle { now_ns } => Input::Tick { now_ns },
        })
    }
}

/// Where the engine's inputs come from, and where it tells of its checkpoints.
#[derive(Debug)]
pub struct Channels {
    /// From the journal. The engine ends when it is closed.
    pub logged: mpsc::Receiver<Vec<Logged>>,
    /// From everyone else.
    pub requests: mpsc::Receiver<Input>,
    /// To the journal.
    pub checkpointed: Arc<watch::Sender<u64>>,
}

/// Runs the engine until the journal ends, then writes a last checkpoint.
///
/// It computes for long stretches, so it wants a thread of its own.
pub async fn run(mut engine: Engine, mut channels: Channels) -> Result<(), StoreError> {
    let mut due = tokio::time::interval(CHECKPOINT_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut stored = None;
    loop {
        tokio::select! {
            logged = channels.logged.recv() => match logged {
                Some(group) => group.into_iter().filter_map(Into::into).for_each(|input| {
                    engine.take(input);
                }),
                None => break,
            },
            Some(input) = channels.requests.recv() => engine.take(input),
            _ = due.tick() => {
                // Passing time alone is not worth a write; a restart lets it pass again.
                if stored == Some(engine.at.index) && engine.changed.is_empty() {
                    continue;
                }
                match engine.checkpoint() {
                    Ok(index) => {
                        stored = Some(index);
                        channels.checkpointed.send_replace(index);
                    }
                    // The journal keeps what is not stored yet.
                    Err(error @ StoreError::Full { .. }) => {
                        engine.parts.metrics.checkpoints_failed.inc();
                        tracing::error!(%error, "no checkpoint could be written");
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    engine.checkpoint().map(|_| ())
}
