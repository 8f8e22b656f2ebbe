//! Disks that fail or are slow at one call of the journal's: `strace` makes the calls do so, in the
//! brain's own program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wire::codec;
use wire::control::Control;

use crate::brain::Program;
use crate::sensor::{self, Identity, Session, enrol, fileless};

const EPOCH: u64 = 3;

/// A fresh journal's first file.
const SEGMENT: &str = "journal/00000000000000000001.seg";

/// Batches that are tried before a fault is believed not to come.
const BATCHES: u64 = 8;

/// No answer takes longer, unless the brain has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Returns whether calls can be made to fail here, and says so when they cannot.
fn can_inject(test: &str) -> bool {
    let mut tried = std::process::Command::new("strace");
    let tried = tried.args(["-qq", "-o", "/dev/null", "true"]).status();
    let can = tried.is_ok_and(|status| status.success());
    if !can {
        println!("SKIP {test}: strace is not installed, or may not trace");
    }
    can
}

/// Starts a brain with a fault on its journal's first file.
fn start_with_fault(data: &TempDir, fault: &str) -> Program {
    let call = fault.split(':').next().unwrap();
    let path = data.path().join(SEGMENT);
    let options = ["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"].map(String::from);
    let faults = [format!("-etrace={call}"), format!("-einject={fault}")];
    let of_file = ["-P".to_owned(), path.to_str().unwrap().to_owned()];
    Program::start_under("strace", options.into_iter().chain(of_file).chain(faults), data.path())
}

/// Sends one batch after the other until one is not acknowledged; returns how many were.
async fn send_until_refused(brain: &Program, identity: &Identity) -> u64 {
    let mut session = Session::begin(brain.access.quic, identity, EPOCH).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    for seq in 1..=BATCHES {
        let frame = codec::encode_batch(&fileless(EPOCH, seq, "x")).unwrap();
        if lane.write_all(&frame).await.is_err() {
            return seq - 1;
        }
        match tokio::time::timeout(PATIENCE, sensor::read(&mut session.answers)).await {
            Ok(Some(Control::Ack(ack))) => assert_eq!(ack.position.seq, seq),
            Ok(Some(Control::Refusal(refusal))) => {
                assert_eq!(refusal.reason, "journal_failed");
                return seq - 1;
            }
            // The brain does not go on without its journal.
            Ok(None) | Err(_) => return seq - 1,
            Ok(other) => panic!("{other:?}"),
        }
    }
    BATCHES
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whichever_call_fails_what_was_acknowledged_is_there() {
    if !can_inject("whichever_call_fails_what_was_acknowledged_is_there") {
        return;
    }
    let (mut runs, mut refused, mut unsafe_acks) = (0, 0, 0);
    for (call, error) in
        [("write", "ENOSPC"), ("write", "EIO"), ("write", "EINTR"), ("fdatasync", "EIO")]
    {
        // The first write is the file's head.
        for number in 2..=4 {
            let data = tempfile::tempdir().unwrap();
            let fault = format!("{call}:error={error}:when={number}");
            let brain = start_with_fault(&data, &fault);
            let token = brain.access.join_token(1, 600).await;
            let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
            let acknowledged = send_until_refused(&brain, &identity).await;
            brain.kill();
            // A call that was interrupted is made again; any other fault is told.
            let is_refused = acknowledged < BATCHES;
            assert_eq!(is_refused, error != "EINTR", "{fault}: {acknowledged} acknowledged");
            refused += u64::from(is_refused);
            let brain = Program::start(data.path(), &["--no-setup-link"]);
            let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
            let durable = session.welcome.durable[0];
            unsafe_acks += acknowledged.saturating_sub(durable);
            assert!(
                durable >= acknowledged,
                "{fault}: {acknowledged} acknowledged, {durable} there"
            );
            assert_eq!(brain.access.metric("sakuramori_journal_damaged_bytes_total").await, 0);
            session.deliver(&fileless(EPOCH, durable + 1, "x")).await;
            runs += 1;
        }
    }
    println!(
        "figure B-02: {runs} runs with a call that fails, {refused} refused by the brain, \
         {unsafe_acks} unsafe acknowledgements"
    );
}

/// What the disk's sync takes.
const SYNC: Duration = Duration::from_millis(100);

const SENSORS: u64 = 20;
const EACH: u64 = 100;

/// Batches that the brain may hold for one sensor: those that wait for the disk and one that is
/// read; further ones stay with the sensor. As many again may just have been acknowledged.
const HELD_MAX: u64 = 2 * (16 + 1);

/// Sends all batches as fast as the brain lets it, until all are acknowledged.
async fn send_all(brain: std::net::SocketAddr, identity: Identity, acknowledged: Arc<AtomicU64>) {
    let mut session = Session::begin(brain, &identity, EPOCH).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    let sending = async {
        for seq in 1..=EACH {
            let frame = codec::encode_batch(&fileless(EPOCH, seq, "x")).unwrap();
            lane.write_all(&frame).await.unwrap();
        }
    };
    let hearing = async {
        for seq in 1..=EACH {
            assert_eq!(session.acknowledged().await.map(|position| position.seq), Some(seq));
            acknowledged.fetch_add(1, Ordering::SeqCst);
        }
    };
    tokio::join!(sending, hearing);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_slow_disk_sensors_wait_and_nothing_is_dropped() {
    if !can_inject("behind_a_slow_disk_sensors_wait_and_nothing_is_dropped") {
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let delay = format!("fdatasync:delay_enter={}", SYNC.as_micros());
    let brain = start_with_fault(&data, &delay);
    let token = brain.access.join_token(SENSORS as u32, 600).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let (before, _) = brain.memory();
    let begun = Instant::now();
    let mut sensors = tokio::task::JoinSet::new();
    for number in 0..SENSORS {
        let identity = enrol(brain.access.quic, &token, &format!("h{number}")).await.unwrap();
        sensors.spawn(send_all(brain.access.quic, identity, Arc::clone(&acknowledged)));
    }
    let received = "sakuramori_ingest_batches_total{outcome=\"received\"}";
    let mut most_held = 0;
    while !sensors.is_empty() {
        // What is acknowledged is read first: what comes in between is not taken for held.
        let done = acknowledged.load(Ordering::SeqCst);
        most_held = most_held.max(brain.access.metric(received).await.saturating_sub(done));
        while let Some(ended) = sensors.try_join_next() {
            ended.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let elapsed = begun.elapsed();
    let commits = brain.access.metric("sakuramori_journal_commits_total").await;
    assert!(elapsed > SYNC * commits as u32 / 2, "the disk was not slow: {commits} in {elapsed:?}");
    let dropped = SENSORS * EACH - acknowledged.load(Ordering::SeqCst);
    let gaps = brain.access.metric("sakuramori_ingest_sequence_gaps_total").await;
    assert_eq!((dropped, gaps), (0, 0));
    let grown = brain.memory().1.saturating_sub(before);
    assert!(most_held <= SENSORS * HELD_MAX, "{most_held} batches were held");
    println!(
        "figure T-12: a sync takes {} ms: {} batches of {SENSORS} sensors in {:.1} s and {commits} \
         commits, at most {most_held} held by the brain, {dropped} dropped, memory +{} KiB",
        SYNC.as_millis(),
        SENSORS * EACH,
        elapsed.as_secs_f64(),
        grown >> 10
    );
}
