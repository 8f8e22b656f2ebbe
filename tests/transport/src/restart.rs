//! A brain that is started again with a long journal and a large fleet behind it: how long it takes
//! until it serves, and whether its findings are those of before.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use brain::identity::SensorId;
use brain::journal::{Append, Appended, Journal};
use sensor::batch::Batcher;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use wire::batch::Batch;
use wire::codec;

use crate::fleet::{self, Brain};
use crate::journal;
use crate::mix::{Host, Load};
use crate::parcel;

/// Within this a brain has to serve again.
const GOAL: Duration = Duration::from_secs(30);

/// Made-up hosts whose batches the fleet sends, and how many seconds there are of each.
const HOSTS: u64 = 16;
const SECONDS: usize = 120;

/// Batches that wait for the disk while the journal is written.
const WAITING: usize = 256;

/// The brain is killed so long after it serves: its checkpoints come every two seconds.
const SETTLED: Duration = Duration::from_secs(5);

/// Starts that are measured after the first one.
const STARTS: usize = 3;

/// What a brain has behind it.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Hosts that it knows.
    pub hosts: usize,
    /// Bytes of its journal.
    pub bytes: u64,
}

/// How its starts went.
#[derive(Clone, Debug)]
pub struct Row {
    plan: Plan,
    batches: u64,
    records: u64,
    /// Without any state: everything is found anew.
    from_nothing: Duration,
    starts: Vec<Duration>,
    findings: usize,
    /// Findings that differ after any start.
    wrong: usize,
}

impl Row {
    /// Writes a journal, starts a brain on it, kills it and starts it again.
    pub fn measure(folder: &Path, plan: Plan) -> Result<Self> {
        let data = folder.join("data");
        let ids = fleet::enrol(&data, plan.hosts, &folder.join("identities.json"))?;
        let written = write(&data.join("journal"), &ids, plan.bytes)?;
        let (brain, from_nothing) = start(folder, &data)?;
        std::thread::sleep(SETTLED);
        let before = findings(&brain, &data)?;
        ensure!(!before.is_empty(), "there is nothing to be found in what the hosts did");
        drop(brain);
        let (mut starts, mut wrong) = (Vec::new(), 0);
        for _ in 0..STARTS {
            let (brain, time) = start(folder, &data)?;
            starts.push(time);
            let after = findings(&brain, &data)?;
            wrong += differing(&before, &after);
            std::thread::sleep(SETTLED);
            drop(brain);
        }
        let (batches, records) = written;
        let findings = before.len();
        Ok(Self { plan, batches, records, from_nothing, starts, findings, wrong })
    }

    /// Whether it served in time and found the same.
    pub fn is_met(&self) -> bool {
        self.slowest() <= GOAL && self.wrong == 0
    }

    fn slowest(&self) -> Duration {
        self.starts.iter().copied().max().unwrap_or_default()
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let starts: Vec<f64> = self.starts.iter().map(Duration::as_secs_f64).collect();
        json!({
            "bench": "restart", "hosts": self.plan.hosts, "journal_bytes": self.plan.bytes,
            "batches": self.batches, "records": self.records, "starts_s": starts,
            "from_nothing_s": self.from_nothing.as_secs_f64(), "findings": self.findings,
            "wrong": self.wrong, "goal_s": GOAL.as_secs(), "met": self.is_met(),
        })
    }

    /// For people.
    pub fn to_line(&self) -> String {
        let starts: Vec<String> =
            self.starts.iter().map(|time| format!("{:.1}", time.as_secs_f64())).collect();
        format!(
            "{} hosts, {} MiB of journal, {} batches, {} records: serving after {} s (without any \
             state after {:.1} s); {} findings, {} of them lost, repeated or changed\n\
             goal {}: {:.1} s at the slowest, at most {} s",
            self.plan.hosts,
            self.plan.bytes >> 20,
            self.batches,
            self.records,
            starts.join(", "),
            self.from_nothing.as_secs_f64(),
            self.findings,
            self.wrong,
            if self.is_met() { "met" } else { "MISSED" },
            self.slowest().as_secs_f64(),
            GOAL.as_secs()
        )
    }
}

/// Starts a brain; returns it with the time until sensors and people can connect.
fn start(folder: &Path, data: &Path) -> Result<(Brain, Duration)> {
    let begun = Instant::now();
    let brain = Brain::start(folder, data)?;
    Ok((brain, begun.elapsed()))
}

/// Each finding with what it says.
type Findings = BTreeMap<String, (u64, String)>;

fn findings(brain: &Brain, data: &Path) -> Result<Findings> {
    let mut client = Command::new(fleet::beside("sakuramori-brain")?);
    client.args(["findings", "--json", "--server", &brain.console()?, "--data"]).arg(data);
    let output = client.output().context("failed to ask the brain")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "the brain does not tell its findings: {said}");
    let mut findings = Findings::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let finding: Value = serde_json::from_str(line)?;
        let text = |key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        let count = finding["count"].as_u64().unwrap_or_default();
        let again = findings.insert(text("id"), (count, text("last_seen")));
        ensure!(again.is_none(), "a finding is told twice: {line}");
    }
    Ok(findings)
}

fn differing(before: &Findings, after: &Findings) -> usize {
    let changed = before.iter().filter(|(id, of)| after.get(*id) != Some(of)).count();
    changed + after.keys().filter(|id| !before.contains_key(*id)).count()
}

/// What a made-up host sends, in order.
fn batches(seed: u64) -> Result<Vec<(Batch, Vec<u8>)>> {
    let mut host = Host::new(seed, Load::Usual);
    let mut batcher = Batcher::new(host.start().unix_ns, host.start());
    let mut all = Vec::new();
    for _ in 0..SECONDS {
        let second = host.next_second();
        for cut in parcel::cut(&mut batcher, &host, &second) {
            let frame = codec::encode_batch(&cut.batch)?;
            all.push((cut.batch, frame));
        }
    }
    Ok(all)
}

/// Has the journal's own writer write what the fleet sends until it is as long as is wanted.
/// Returns batches and records.
fn write(folder: &Path, ids: &[SensorId], bytes: u64) -> Result<(u64, u64)> {
    let hosts: Vec<Vec<(Batch, Vec<u8>)>> = (0..HOSTS).map(batches).collect::<Result<_>>()?;
    let (journal, running) = journal::start(folder)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let written = runtime.block_on(send(journal, &hosts, ids, bytes))?;
    running.end()?;
    Ok(written)
}

async fn send(
    journal: Journal,
    hosts: &[Vec<(Batch, Vec<u8>)>],
    ids: &[SensorId],
    bytes: u64,
) -> Result<(u64, u64)> {
    let (mut sent, mut batches, mut records) = (0, 0, 0);
    let mut waiting: Vec<oneshot::Receiver<Appended>> = Vec::new();
    'all: for number in 0.. {
        for (&sensor, of) in ids.iter().zip(hosts.iter().cycle()) {
            let (batch, frame) = of.get(number).context("the hosts did not do enough")?;
            (batches, records) = (batches + 1, records + batch.record_count() as u64);
            sent += frame.len() as u64;
            let (batch, frame) = (Box::new(batch.clone()), frame.clone());
            let append = Append::Batch { sensor, batch, correction_ns: 0, frame };
            waiting.push(journal.append(append).await);
            if waiting.len() == WAITING {
                for answer in waiting.drain(..) {
                    ensure!(matches!(answer.await?, Appended::Stored(_)), "a batch is not stored");
                }
            }
            if sent >= bytes {
                break 'all;
            }
        }
    }
    for answer in waiting {
        ensure!(matches!(answer.await?, Appended::Stored(_)), "a batch is not stored");
    }
    Ok((batches, records))
}

/// Returns a folder for gigabytes: beside the programs, since a temporary one may be in memory.
pub fn folder() -> Result<tempfile::TempDir> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let beside = own.parent().context("this program is in no folder")?;
    Ok(tempfile::tempdir_in(beside)?)
}
