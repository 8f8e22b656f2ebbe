//! Batches that are on disk and acknowledged in a second: a brain's way from a frame to its
//! acknowledgement, beside NATS JetStream with the same frames, in turns.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use brain::identity::SensorId;
use brain::journal::{Append, Appended, Journal};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use wire::codec;

use crate::journal;
use crate::nats::Server;
use crate::parcel::Parcels;

/// Pairs of turns, and how long one is.
const PAIRS: usize = 5;
const TURN: Duration = Duration::from_secs(3);

/// Who sends at the same time, and how many batches of each may wait for the disk: what a brain
/// allows a session.
pub(crate) const SENDERS: usize = 32;
pub(crate) const WINDOW: usize = 16;

/// Frames that are sent again and again.
#[derive(Debug)]
pub struct Frames {
    /// Each as it travels.
    pub frames: Vec<Vec<u8>>,
    records: usize,
}

impl Frames {
    /// Packs batches of several hosts.
    pub fn of(parcels: &Parcels) -> Result<Self> {
        let frames: Result<_, _> = parcels.whole.iter().map(codec::encode_batch).collect();
        let records = parcels.whole.iter().map(wire::batch::Batch::record_count).sum();
        Ok(Self { frames: frames.context("failed to encode a batch")?, records })
    }

    fn records_each(&self) -> f64 {
        self.records as f64 / self.frames.len().max(1) as f64
    }
}

/// Batches that were acknowledged in a turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    /// How many.
    pub batches: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Turn {
    fn rate(self) -> f64 {
        self.batches as f64 / self.seconds
    }
}

/// What both did.
#[derive(Debug, Default)]
pub struct Contest {
    ours: Vec<f64>,
    nats: Vec<f64>,
    records_each: f64,
    frame_bytes: usize,
}

impl Contest {
    /// Has both write, in turns; without a NATS server the brain alone.
    pub fn run(folder: &Path, frames: &Arc<Frames>, server: Option<&Server>) -> Result<Self> {
        let bytes: usize = frames.frames.iter().map(Vec::len).sum();
        let mut contest = Self {
            records_each: frames.records_each(),
            frame_bytes: bytes / frames.frames.len().max(1),
            ..Self::default()
        };
        for pair in 0..PAIRS {
            let place = folder.join(format!("journal-{pair}"));
            contest.ours.push(brain_turn(&place, frames)?.rate());
            std::fs::remove_dir_all(&place).context("failed to remove a journal")?;
            if let Some(server) = server {
                contest.nats.push(server.turn(pair, frames, TURN)?.rate());
            }
        }
        Ok(contest)
    }

    /// As JSON, one row for each.
    pub fn to_json(&self) -> Vec<Value> {
        let row = |(name, rates): (&str, &Vec<f64>)| {
            json!({
                "bench": "ingest", "row": name, "batches_per_second": median(rates).round(),
                "best": rates.iter().copied().fold(0.0, f64::max).round(),
                "records_per_second": (median(rates) * self.records_each).round(),
                "frame_bytes": self.frame_bytes, "turns": rates.len(),
            })
        };
        let mut rows: Vec<Value> = self.rows().into_iter().map(row).collect();
        if !self.nats.is_empty() {
            rows.push(json!({
                "bench": "ingest", "goal": "nats", "times": self.times(),
                "met": self.times() >= 1.0,
            }));
        }
        rows
    }

    /// For people.
    pub fn to_lines(&self) -> Vec<String> {
        let line = |(name, rates): (&str, &Vec<f64>)| {
            format!(
                "{name:<44} {:>8.0} batches/s ({:.0} at best) {:>10.0} records/s, {} bytes each",
                median(rates),
                rates.iter().copied().fold(0.0, f64::max),
                median(rates) * self.records_each,
                self.frame_bytes,
            )
        };
        let mut lines: Vec<String> = self.rows().into_iter().map(line).collect();
        if !self.nats.is_empty() {
            let verdict = if self.times() >= 1.0 { "met" } else { "MISSED" };
            lines.push(format!("goal {verdict}: {:.2} times NATS, at least 1", self.times()));
        }
        lines
    }

    fn rows(&self) -> Vec<(&str, &Vec<f64>)> {
        let ours = ("brain, no network: decode, check, fsync, ack", &self.ours);
        let nats = ("NATS JetStream, TCP: file, ack, no fsync", &self.nats);
        [ours, nats].into_iter().filter(|(_, rates)| !rates.is_empty()).collect()
    }

    fn times(&self) -> f64 {
        median(&self.ours) / median(&self.nats)
    }
}

fn median(rates: &[f64]) -> f64 {
    let mut rates = rates.to_vec();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

/// A brain's journal with senders that decode as sessions do, and an engine that takes everything.
fn brain_turn(folder: &Path, frames: &Arc<Frames>) -> Result<Turn> {
    let (journal, running) = journal::start(folder)?;
    let start = Instant::now();
    let batches = Runtime::new()?.block_on(send_all(journal, frames, start + TURN))?;
    let seconds = start.elapsed().as_secs_f64();
    running.end()?;
    Ok(Turn { batches, seconds })
}

async fn send_all(journal: Journal, frames: &Arc<Frames>, until: Instant) -> Result<u64> {
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(send(journal.clone(), Arc::clone(frames), until));
    }
    drop(journal);
    let mut batches = 0;
    while let Some(sent) = senders.join_next().await {
        batches += sent.context("a sender panicked")??;
    }
    Ok(batches)
}

/// Sends all frames, then again as another sensor: to the journal a repeated batch is nothing new.
async fn send(journal: Journal, frames: Arc<Frames>, until: Instant) -> Result<u64> {
    let (mut acknowledged, mut sensor) = (0, SensorId::random());
    let mut waiting: VecDeque<oneshot::Receiver<Appended>> = VecDeque::new();
    for (number, frame) in (0..frames.frames.len()).cycle().zip(frames.frames.iter().cycle()) {
        if number == 0 {
            sensor = SensorId::random();
        }
        if waiting.len() == WINDOW
            && let Some(answer) = waiting.pop_front()
        {
            acknowledged += stored(answer.await?)?;
        }
        if Instant::now() > until {
            break;
        }
        let batch = Box::new(codec::decode_batch_frame(frame)?);
        let append = Append::Batch { sensor, batch, correction_ns: 0, frame: frame.clone() };
        waiting.push_back(journal.append(append).await);
    }
    for answer in waiting {
        acknowledged += stored(answer.await?)?;
    }
    Ok(acknowledged)
}

fn stored(answer: Appended) -> Result<u64> {
    ensure!(matches!(answer, Appended::Stored(_)), "a batch was not stored: {answer:?}");
    Ok(1)
}
