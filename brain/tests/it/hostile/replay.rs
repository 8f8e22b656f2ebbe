//! What a host once sent, sent again: over another connection, with a renewed certificate, after a
//! restart, by another host, and as the datagrams that were seen on the wire.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::net::UdpSocket;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec;
use wire::control::EnrolReply;
use wire::record::Coverage;

use crate::brain::{Access, Program, eventually};
use crate::peer::{connect, relay};
use crate::sensor::{self, Identity, Session, Wish, enrol, fileless};

const EPOCH: u64 = 7;
const BATCHES: u64 = 12;

const DUPLICATES: &str = "sakuramori_ingest_batches_total{outcome=\"duplicate\"}";

/// Passes datagrams on, and keeps those of the client.
async fn tap(brain: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<Vec<u8>>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&seen);
    let passes = move |datagram: &[u8]| {
        keep.lock().unwrap().push(datagram.to_vec());
        true
    };
    (relay(brain, brain.ip(), passes).await, seen)
}

/// Sends what was captured; all of it is acknowledged, so that an honest sensor forgets it.
async fn replay(brain: SocketAddr, host: &Identity, frames: &[Vec<u8>]) {
    let mut session = Session::begin(brain, host, EPOCH).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    for frame in frames {
        lane.write_all(frame).await.unwrap();
        session.acknowledged().await.unwrap();
    }
}

async fn renew(brain: SocketAddr, host: &Identity) -> Identity {
    let connection = connect(brain, wire::ALPN_ENROL, Some(host)).await.unwrap();
    let wish = Wish::new();
    let reply = sensor::request(&connection, String::new(), "h", wish.csr.clone()).await;
    let EnrolReply { sensor_id, certificate_der } = reply.unwrap();
    wish.with(certificate_der, sensor_id)
}

/// Sightings that findings of a host stand for.
async fn sightings(access: &Access, host: &Identity) -> u64 {
    let findings = access.findings().await;
    let own = findings.iter().filter(|finding| finding["host"]["id"] == host.id.as_str());
    own.map(|finding| finding["count"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sent_once_counts_once_however_it_comes_again() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &["--no-setup-link"]);
    let quic = brain.access.quic;
    let token = brain.access.join_token(2, 600).await;
    let host = enrol(quic, &token, "web-1").await.unwrap();
    let frames: Vec<Vec<u8>> =
        (1..=BATCHES).map(|seq| codec::encode_batch(&fileless(EPOCH, seq, "x")).unwrap()).collect();
    let (tapped, seen) = tap(quic).await;
    replay(tapped, &host, &frames).await;
    let all = async || (sightings(&brain.access, &host).await == BATCHES).then_some(());
    eventually("all sightings", all).await;

    // The same datagrams from another address: they cannot be read as anybody's.
    let captured = seen.lock().unwrap().clone();
    let elsewhere = UdpSocket::bind("127.0.0.72:0").await.unwrap();
    for datagram in &captured {
        elsewhere.send_to(datagram, quic).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let stored = async |access: &Access| {
        let received = access.metric("sakuramori_ingest_records_total").await;
        (received, access.metric(DUPLICATES).await)
    };
    assert_eq!(stored(&brain.access).await, (BATCHES, 0), "datagrams were taken twice");

    replay(quic, &host, &frames).await;
    let renewed = renew(quic, &host).await;
    replay(quic, &renewed, &frames).await;
    assert_eq!(brain.access.metric(DUPLICATES).await, 2 * BATCHES);
    // As another host's they are that host's own, and nothing of the first one's changes.
    let other = enrol(quic, &token, "web-2").await.unwrap();
    replay(quic, &other, &frames).await;
    let own = async || (sightings(&brain.access, &other).await == BATCHES).then_some(());
    eventually("the other's sightings", own).await;
    let before = brain.access.findings().await;
    brain.kill();

    let brain = Program::start(data.path(), &["--no-setup-link"]);
    replay(brain.access.quic, &host, &frames).await;
    replay(brain.access.quic, &renewed, &frames).await;
    assert_eq!(brain.access.metric(DUPLICATES).await, 2 * BATCHES);
    assert_eq!(brain.access.findings().await, before);
    let accepted = sightings(&brain.access, &host).await - BATCHES;
    println!(
        "figure T-03: {BATCHES} batches again over another connection, with a renewed certificate \
         and after a restart (twice), and {} datagrams as they were seen: {accepted} accepted",
        captured.len()
    );
    assert_eq!(accepted, 0);
}

#[tokio::test]
async fn two_machines_with_one_identity_are_flagged_at_once() {
    let data = tempfile::tempdir().unwrap();
    let brain = Program::start(data.path(), &["--no-setup-link"]);
    let token = brain.access.join_token(1, 600).await;
    let identity = enrol(brain.access.quic, &token, "cloned").await.unwrap();
    let mut first = Session::begin(brain.access.quic, &identity, 1).await;
    first.deliver(&heartbeat(1, 1)).await;
    let begun = std::time::Instant::now();
    let mut second = Session::begin(brain.access.quic, &identity, 2).await;
    let flagged = async || {
        let hosts = brain.access.get("/api/v1/hosts").await;
        (hosts["hosts"][0]["superseded"] == 1).then_some(())
    };
    eventually("the flag", flagged).await;
    println!(
        "figure T-07: two machines with one identity are flagged after {:.0} ms",
        begun.elapsed().as_secs_f64() * 1000.0
    );
    first.connection.closed().await;
    assert!(second.connection.close_reason().is_none());
    // A sensor that starts again says no less; the first one has to come back.
    second.deliver(&heartbeat(2, 1)).await;
    assert_eq!(brain.access.findings().await, [] as [Value; 0]);
    let mut first = Session::begin(brain.access.quic, &identity, 1).await;
    let back = std::time::Instant::now();
    first.deliver(&heartbeat(1, 2)).await;
    let found = async || brain.access.findings().await.pop();
    let finding = eventually("the finding", found).await;
    assert_eq!(finding["type"], "DefenseEvasion:Fleet/SharedIdentity");
    println!(
        "figure T-07: the finding comes {:.0} ms after the first of them is back",
        back.elapsed().as_secs_f64() * 1000.0
    );
}

/// What a sensor says of itself.
fn heartbeat(epoch: u64, seq: u64) -> Batch {
    let position = Position { epoch, lane: Lane::Bulk, seq };
    let end_ns = brain::clock::now_ns();
    let mut batch = Batch::empty(position, Clock { boot_ns: 1, unix_ns: end_ns });
    batch.coverage = Some(Coverage { end_ns, ..Coverage::default() });
    batch
}
