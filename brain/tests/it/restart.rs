//! Crashes and restarts: nothing acknowledged is lost, nothing counts twice.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec;
use wire::control::Control;
use wire::text::StringTableBuilder;

use crate::brain::{Program, eventually};
use crate::sensor::{Identity, Session, enrol, fileless};

const EPOCH: u64 = 77;
const BATCHES: usize = 600;
const PROGRAMS: usize = 3;

/// What a sensor knows of its batches.
struct Spool {
    identity: Identity,
    frames: Vec<Vec<u8>>,
    acknowledged: AtomicUsize,
}

impl Spool {
    /// Sends what is not acknowledged, and some of what is, until all is.
    async fn send(&self, brain: SocketAddr) {
        let mut session = Session::begin(brain, &self.identity, EPOCH).await;
        let durable = session.welcome.durable[0] as usize;
        let known = self.acknowledged.load(Ordering::SeqCst);
        assert!(durable >= known, "{known} were acknowledged, {durable} are on disk");
        let mut lane = session.connection.open_uni().await.unwrap();
        let sending = async {
            for frame in &self.frames[durable.saturating_sub(5)..] {
                if lane.write_all(frame).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let hearing = async {
            while self.acknowledged.load(Ordering::SeqCst) < BATCHES {
                let Some(position) = session.acknowledged().await else { return };
                self.acknowledged.fetch_max(position.seq as usize, Ordering::SeqCst);
            }
        };
        tokio::join!(sending, hearing);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_the_findings_are_the_same_none_twice_none_missing() {
    let data = tempfile::tempdir().unwrap();
    let mut brain = Program::start(data.path(), &["--no-setup-link"]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let frame = |seq: usize| fileless(EPOCH, seq as u64, &format!("p{}", seq % PROGRAMS));
    let frames = (1..=BATCHES).map(|seq| codec::encode_batch(&frame(seq)).unwrap()).collect();
    let spool = Arc::new(Spool { identity, frames, acknowledged: AtomicUsize::new(0) });

    let (mut shown, mut starts) = (BTreeSet::new(), Vec::new());
    for wait_ms in [120, 250, 400, 90, 300] {
        let sender = tokio::spawn({
            let (spool, quic) = (Arc::clone(&spool), brain.access.quic);
            async move { spool.send(quic).await }
        });
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        for finding in brain.access.findings().await {
            shown.insert(finding["id"].as_str().unwrap().to_owned());
        }
        brain.kill();
        // The kernel tells nobody that a UDP socket is gone, so the sender is stopped from here.
        sender.abort();
        if let Err(error) = sender.await {
            assert!(error.is_cancelled(), "{error}");
        }
        let begun = Instant::now();
        brain = Program::start(data.path(), &["--no-setup-link"]);
        starts.push(begun.elapsed());
    }
    assert!(
        spool.acknowledged.load(Ordering::SeqCst) < BATCHES,
        "the kills came too late to matter"
    );
    assert!(!shown.is_empty(), "the kills came too early to matter");
    spool.send(brain.access.quic).await;

    let counts = async || {
        let findings = brain.access.findings().await;
        let total: u64 = findings.iter().map(|f| f["count"].as_u64().unwrap()).sum();
        (total >= BATCHES as u64).then_some(findings)
    };
    let findings = eventually("all sightings", counts).await;
    assert_eq!(findings.len(), PROGRAMS);
    for finding in &findings {
        assert_eq!(finding["count"], BATCHES / PROGRAMS, "{finding}");
    }
    let ids: BTreeSet<String> =
        findings.iter().map(|f| f["id"].as_str().unwrap().to_owned()).collect();
    assert!(shown.is_subset(&ids), "{shown:?} were shown, {ids:?} are there");

    println!(
        "figure B-01: {} kills while {BATCHES} batches came, 0 of {BATCHES} acknowledged lost, 0 \
         findings twice; serving again within {:.0} ms",
        starts.len(),
        starts.iter().max().unwrap().as_secs_f64() * 1000.0
    );

    // A last crash with nothing under way changes nothing at all.
    brain.kill();
    let brain = Program::start(data.path(), &["--no-setup-link"]);
    assert_eq!(brain.access.findings().await, findings);
}

#[tokio::test]
async fn without_its_state_a_brain_builds_the_same_findings_from_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    for seq in 1..=20 {
        session.deliver(&fileless(EPOCH, seq, &format!("p{}", seq % 2))).await;
    }
    let two = async || {
        let findings = brain.access.findings().await;
        let all = findings.iter().all(|f| f["count"] == 10);
        (findings.len() == 2 && all).then_some(findings)
    };
    let before = eventually("both findings", two).await;
    brain.kill();
    std::fs::remove_dir_all(data.path().join("state")).unwrap();
    let begun = Instant::now();
    let brain = Program::start(data.path(), &[]);
    let rebuilt_ms = begun.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(brain.access.findings().await, before);
    assert_eq!(brain.access.metric("sakuramori_store_rebuilt_total").await, 1);
    println!(
        "figure B-04: without its state a brain has the same findings after {rebuilt_ms:.0} ms"
    );
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start_limited(data.path(), 2048);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    let frames: Vec<Vec<u8>> =
        (1..=10).map(|seq| codec::encode_batch(&bulky(seq)).unwrap()).collect();
    assert!(frames.iter().map(Vec::len).sum::<usize>() > 3 << 20, "it must not fit");
    let sending = async {
        for frame in &frames {
            if lane.write_all(frame).await.is_err() {
                return;
            }
        }
    };
    let hearing = async {
        let mut highest = 0;
        loop {
            match crate::sensor::read(&mut session.answers).await {
                Some(Control::Ack(ack)) => highest = ack.position.seq,
                Some(Control::Refusal(refusal)) => return (highest, refusal.reason),
                other => panic!("{other:?}"),
            }
        }
    };
    let (_, (acknowledged, reason)) = tokio::join!(sending, hearing);
    assert_eq!(reason, "journal_failed");
    assert!((1..10).contains(&acknowledged), "{acknowledged}");
    // It still serves what needs no room.
    assert!(brain.access.metric("sakuramori_journal_failed_total").await > 0);
    brain.access.get("/api/v1/overview").await;
    brain.kill();

    let brain = Program::start(data.path(), &[]);
    assert_eq!(brain.access.metric("sakuramori_journal_damaged_bytes_total").await, 0);
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    assert_eq!(session.welcome.durable[1], acknowledged);
    session.deliver(&bulky(acknowledged + 1)).await;
}

/// A batch that does not compress.
fn bulky(seq: u64) -> Batch {
    let position = Position { epoch: EPOCH, lane: Lane::Bulk, seq };
    let mut batch = Batch::empty(position, Clock { boot_ns: 1, unix_ns: brain::clock::now_ns() });
    let mut strings = StringTableBuilder::default();
    for _ in 0..100 {
        strings.add(&std::array::from_fn::<u8, 4096, _>(|_| rand::random())).unwrap();
    }
    batch.strings = strings.finish();
    batch
}

#[tokio::test]
async fn asked_to_end_it_ends_soon_whoever_is_connected() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    session.deliver(&fileless(EPOCH, 1, "x")).await;
    let live = brain.access.client.get(format!("{}/api/v1/live", brain.access.http));
    let mut live = live.bearer_auth(&brain.access.token).send().await.unwrap();
    live.chunk().await.unwrap().unwrap();
    let begun = Instant::now();
    let code = tokio::task::spawn_blocking(|| brain.stop()).await.unwrap();
    assert_eq!(code, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let closed = tokio::time::timeout(Duration::from_secs(1), session.connection.closed()).await;
    assert!(closed.is_ok(), "the sensor was not told");
    let brain = Program::start(data.path(), &[]);
    assert_eq!(brain.access.findings().await.len(), 1);
}

#[tokio::test]
async fn sensors_of_a_killed_brain_hear_from_its_successor_that_it_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let quic = brain.access.quic;
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(quic, &identity, EPOCH).await;
    session.deliver(&fileless(EPOCH, 1, "x")).await;
    brain.kill();
    let brain = Program::start_at(data.path(), quic);
    let mut lane = session.connection.open_uni().await.unwrap();
    let frame = codec::encode_batch(&fileless(EPOCH, 2, "x")).unwrap();
    // It may be known before the frame is written.
    let _ = lane.write_all(&frame).await;
    let closed = tokio::time::timeout(Duration::from_secs(8), session.connection.closed()).await;
    assert_eq!(closed, Ok(quinn::ConnectionError::Reset), "the idle time is 30 s");
    assert_eq!(brain.access.refused("not_quic").await, 0);
}

#[tokio::test]
async fn a_second_brain_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let _first = Program::start(data.path(), &[]);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_sakuramori-brain"))
        .args(["serve", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(error.contains("is in use by another brain"), "{error}");
    println!("figure B-06: a second brain on one data directory is refused: {}", error.trim());
    assert_eq!(second.stdout, b"");
}

#[tokio::test]
async fn commands_show_what_the_brain_knows() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let run = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_sakuramori-brain"))
            .args(args)
            .args(["--server", &brain.access.http, "--data"])
            .arg(data.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, token) = run(&["token", "create", "--role", "web", "--ttl", "10m"]);
    assert_eq!(code, Some(0));
    let identity = enrol(brain.access.quic, token.trim(), "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    session.deliver(&fileless(EPOCH, 1, "x")).await;
    let found = async || (!brain.access.findings().await.is_empty()).then_some(());
    eventually("the finding", found).await;

    let (code, lines) = run(&["findings", "--json", "--host", "web-1", "--min-severity", "1"]);
    assert_eq!((code, lines.lines().count()), (Some(0), 1));
    let finding: serde_json::Value = serde_json::from_str(&lines).unwrap();
    assert_eq!(finding["type"], "DefenseEvasion:Host/FilelessExecution");
    let (_, table) = run(&["findings"]);
    assert!(table.starts_with("SEVERITY") && table.contains("FilelessExecution"), "{table}");
    assert_eq!(run(&["findings", "--json", "--host", "web-2"]), (Some(0), String::new()));
    assert!(run(&["hosts"]).1.contains("online"));
    assert_eq!(run(&["host", "revoke", "web-1"]).0, Some(0));
    assert!(run(&["hosts"]).1.contains("revoked"));
    assert_eq!(run(&["host", "revoke", "nobody"]).0, Some(1));
    assert_eq!(run(&["findings", "--state", "gone"]).0, Some(2));
}
