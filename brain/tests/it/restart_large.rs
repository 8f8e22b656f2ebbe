//! A brain that is started again with a fleet's journal behind it; `cargo xtask bench restart` does
//! the same with a gigabyte and ten thousand hosts.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brain::config;
use brain::identity::SensorId;
use brain::journal::{Append, Appended, Opened};
use brain::metrics::Metrics;
use serde_json::Value;
use tokio::sync::mpsc;
use wire::batch::{Batch, Lane};
use wire::codec;
use wire::limits;
use wire::record::{Flow, ProcessRef};
use wire::text::StringTableBuilder;

use crate::brain::{Program, eventually};
use crate::sensor::fileless;

const SENSORS: usize = 200;
const ROUNDS: u64 = 20;

/// Each has one finding, of the first round.
const FINDINGS: usize = SENSORS;

/// A batch that takes some room, of which only the first leads to a finding.
fn batch(seq: u64) -> Batch {
    let mut batch = fileless(1, seq, "x");
    if seq > 1 {
        batch.execs.clear();
        batch.processes.clear();
        batch.position.lane = Lane::Bulk;
        let mut strings = StringTableBuilder::default();
        strings.add(&std::array::from_fn::<u8, { limits::STRING_MAX }, _>(|_| rand::random()));
        batch.strings = strings.finish();
        batch.flows = vec![Flow { process: ProcessRef(0), ..Flow::default() }; 20];
    }
    batch
}

/// Writes what the fleet sent, as the journal's writer does; returns its bytes.
async fn write(folder: &Path) -> u64 {
    let metrics = Arc::new(Metrics::new());
    let opened = Opened::open(folder, &metrics).unwrap();
    let (engine, mut logged) = mpsc::channel(64);
    let settings = config::Journal::default();
    let (journal, writer) = opened.start(&settings, Arc::clone(&metrics), engine).unwrap();
    let draining = tokio::spawn(async move { while logged.recv().await.is_some() {} });
    let writing = tokio::spawn(writer.run());
    let sensors: Vec<SensorId> = (0..SENSORS).map(|_| SensorId::random()).collect();
    for seq in 1..=ROUNDS {
        let mut answers = Vec::new();
        for &sensor in &sensors {
            let batch = Box::new(batch(seq));
            let frame = codec::encode_batch(&batch).unwrap();
            let append = Append::Batch { sensor, batch, correction_ns: 0, frame };
            answers.push(journal.append(append).await);
        }
        for answer in answers {
            assert!(matches!(answer.await, Ok(Appended::Stored(_))));
        }
    }
    drop(journal);
    writing.await.unwrap().unwrap();
    draining.await.unwrap();
    metrics.journal_bytes.get().unsigned_abs()
}

/// Starts a brain; returns it with the time until it serves.
fn start(data: &Path) -> (Program, Duration) {
    let begun = Instant::now();
    let brain = Program::start(data, &["--no-setup-link"]);
    (brain, begun.elapsed())
}

async fn all_findings(brain: &Program) -> Vec<Value> {
    let all = async || Some(brain.access.findings().await).filter(|all| all.len() == FINDINGS);
    eventually("all findings", all).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_fleets_journal_behind_it_a_brain_finds_the_same_after_each_start() {
    let data = tempfile::tempdir().unwrap();
    let bytes = write(&data.path().join("journal")).await;
    assert!(bytes > 8 << 20, "{bytes}");
    let (brain, first) = start(data.path());
    let before = all_findings(&brain).await;
    // The state on disk is that of the journal's end, or some seconds older.
    let mut times = Vec::new();
    let mut last = brain;
    for wait_ms in [0, 3_000] {
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        last.kill();
        let (brain, time) = start(data.path());
        assert_eq!(all_findings(&brain).await, before);
        times.push(time);
        last = brain;
    }
    println!(
        "figure T-10: {SENSORS} sensors, {} MiB of journal: serving after {:.0} ms, again after \
         {:.0} and {:.0} ms; {FINDINGS} findings, none lost, none twice",
        bytes >> 20,
        first.as_secs_f64() * 1000.0,
        times[0].as_secs_f64() * 1000.0,
        times[1].as_secs_f64() * 1000.0
    );
}
