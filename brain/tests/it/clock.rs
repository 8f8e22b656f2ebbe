//! Hosts whose clocks are wrong.

use std::time::Instant;

use brain::clock::now_ns;
use jiff::Timestamp;
use wire::batch::{Batch, Clock};
use wire::codec;
use wire::control::{Control, TimeProbe, TimeReply};

use crate::brain::{Program, eventually};
use crate::peer::Peer;
use crate::sensor::{Session, enrol, fileless, read, write};

const EPOCH: u64 = 7;
const SECOND_NS: u64 = 1_000_000_000;
const HOUR_NS: i64 = 3_600 * 1_000_000_000;
/// The host has been up for so long.
const UP_NS: u64 = 50_000 * SECOND_NS;

/// A host with a calendar clock of its own.
struct Wrong {
    ahead_ns: i64,
    booted_ns: u64,
}

impl Wrong {
    fn new(ahead_ns: i64) -> Self {
        Self { ahead_ns, booted_ns: now_ns() - UP_NS }
    }

    fn clock(&self) -> Clock {
        let now_ns = now_ns();
        let unix_ns = now_ns.saturating_add_signed(self.ahead_ns);
        Clock { boot_ns: now_ns - self.booted_ns, unix_ns }
    }

    /// Answers the next question; acknowledgements may come before.
    async fn answer(&self, session: &mut Session) {
        let number = loop {
            match read(&mut session.answers).await {
                Some(Control::TimeProbe(TimeProbe { number })) => break number,
                Some(Control::Ack(_)) => {}
                other => panic!("{other:?}"),
            }
        };
        let reply = TimeReply { number, clock: self.clock() };
        write(&mut session.control, &Control::TimeReply(reply)).await;
    }

    /// An execution, dated by this host.
    fn batch(&self, seq: u64, name: &str) -> Batch {
        let mut batch = fileless(EPOCH, seq, name);
        batch.clock = self.clock();
        batch.execs[0].time_ns = batch.clock.unix_ns;
        batch
    }
}

/// Two hosts, an hour ahead and an hour behind, act one after the other: the findings are dated
/// right, in the order of the acts, after a restart as well.
#[tokio::test]
async fn a_host_an_hour_wrong_is_corrected_and_flagged() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let token = brain.access.join_token(2, 600).await;
    let mut seq = 0;
    for ahead_ns in [HOUR_NS, -HOUR_NS] {
        seq += 1;
        let name = format!("web-{seq}");
        let host = Wrong::new(ahead_ns);
        let identity = enrol(brain.access.quic, &token, &name).await.unwrap();
        let quic = brain.access.quic;
        let mut session =
            Session::begin_as(Peer::new(wire::ALPN_COLUMNS, Some(&identity)), quic, EPOCH).await;
        host.answer(&mut session).await;
        session.deliver(&host.batch(1, &name)).await;
        let shown = brain.access.get("/api/v1/hosts").await;
        let hosts = shown["hosts"].as_array().unwrap();
        let shown = hosts.iter().find(|host| host["name"] == *name).unwrap();
        let offset_ms = shown["clock_offset_ms"].as_f64().unwrap();
        assert!((offset_ms - ahead_ns as f64 / 1e6).abs() < 1_000.0, "{shown}");
        assert_eq!((&shown["clock_wrong"], &shown["clock_steps"]), (&true.into(), &0.into()));
    }
    let two = async || {
        let findings = brain.access.findings().await;
        (findings.len() == 2).then_some(findings)
    };
    let findings = eventually("both findings", two).await;
    let mut seen: Vec<(Timestamp, String)> = Vec::new();
    for finding in &findings {
        let at: Timestamp = finding["first_seen"].as_str().unwrap().parse().unwrap();
        let age = Timestamp::now().duration_since(at);
        assert!((-1..60).contains(&age.as_secs()), "{finding}");
        seen.push((at, finding["host"]["name"].as_str().unwrap().to_owned()));
    }
    seen.sort();
    assert_eq!(seen.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["web-1", "web-2"]);

    // Without what the brain had worked out, from the journal alone.
    brain.kill();
    std::fs::remove_dir_all(data.path().join("state")).unwrap();
    let brain = Program::start(data.path(), &[]);
    assert_eq!(brain.access.findings().await, findings);
}

/// A step is counted once the host is asked again, which a batch with other times brings about.
#[tokio::test]
async fn a_clock_that_is_set_is_noticed_at_once() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let quic = brain.access.quic;
    let mut session =
        Session::begin_as(Peer::new(wire::ALPN_COLUMNS, Some(&identity)), quic, EPOCH).await;
    let mut host = Wrong::new(0);
    for _ in 0..3 {
        host.answer(&mut session).await;
    }
    let mut lane = session.connection.open_uni().await.unwrap();
    let mut begun = Instant::now();
    for (seq, ahead_ns) in [(1, 0), (2, -HOUR_NS)] {
        host.ahead_ns = ahead_ns;
        begun = Instant::now();
        lane.write_all(&codec::encode_batch(&host.batch(seq, "a")).unwrap()).await.unwrap();
    }
    host.answer(&mut session).await;
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    let steps = async || {
        let steps = brain.access.metric("sakuramori_sensor_clock_steps_total").await;
        (steps == 1).then_some(())
    };
    eventually("a step", steps).await;
}

/// Answers that nobody asked for end the session.
#[tokio::test]
async fn a_time_that_nobody_asked_for_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &[]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, EPOCH).await;
    let reply = TimeReply { number: 1, clock: Clock::default() };
    write(&mut session.control, &Control::TimeReply(reply)).await;
    match read(&mut session.answers).await {
        Some(Control::Refusal(refusal)) => assert_eq!(refusal.reason, "unexpected_message"),
        other => panic!("{other:?}"),
    }
}
