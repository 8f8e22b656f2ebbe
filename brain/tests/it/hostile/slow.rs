//! Peers that take their time: they hold memory and places for as long as they are let.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{SendStream, TransportConfig, VarInt};
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN};
use wire::control::Control;
use wire::limits;

use super::frames::wrap;
use super::stage::Stage;
use crate::brain::within;
use crate::peer::Peer;
use crate::sensor::{self, Identity, Session};

const ELSEWHERE: u8 = 68;

/// Hosts whose frames never end, and peers whose enrolment does not.
const HOSTS: u32 = 16;
const ENROLLING: u32 = 32;

/// A byte this often keeps a stream from looking dead.
const DRIP: Duration = Duration::from_millis(200);

/// What a session may cost: its frames that are not whole, for which a buffer doubles as it fills,
/// the windows of its streams, and what any session takes.
const SESSION_MAX: u64 =
    2 * (limits::LANES_MAX * limits::FRAME_MAX) as u64 + (256 << 10) + (256 << 10);

/// A frame as large as may be, but for its last bytes.
fn nearly_whole() -> Vec<u8> {
    let mut frame = wrap(3, limits::FRAME_MAX, &vec![0x5a; limits::FRAME_MAX]);
    frame.truncate(frame.len() - 1024);
    frame
}

/// Sends a byte now and then.
async fn drip(mut stream: SendStream) {
    loop {
        tokio::time::sleep(DRIP).await;
        if stream.write_all(&[0x5a]).await.is_err() {
            return;
        }
    }
}

/// Keeps a frame unfinished on every lane and on the control stream.
async fn dawdle(quic: SocketAddr, host: Arc<Identity>, frame: Arc<Vec<u8>>) {
    let peer = Peer::new(wire::ALPN_SESSION, Some(&host)).from(ELSEWHERE);
    let mut session = Session::begin_as(peer, quic, 1).await;
    let mut dripping = tokio::task::JoinSet::new();
    for _ in 0..limits::LANES_MAX {
        let mut lane = session.connection.open_uni().await.unwrap();
        let frame = Arc::clone(&frame);
        dripping.spawn(async move {
            lane.write_all(&frame).await.unwrap();
            drip(lane).await;
        });
    }
    let header = codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap();
    session.control.write_all(&header[..HEADER_LEN - 1]).await.unwrap();
    session.connection.closed().await;
}

/// Begins an enrolment that goes on as slowly.
async fn dawdle_enrolling(quic: SocketAddr) {
    let peer = Peer::new(wire::ALPN_ENROL, None).from(ELSEWHERE);
    let connection = peer.connect(quic).await.unwrap();
    let (mut send, _answers) = connection.open_bi().await.unwrap();
    // A control message of some size, of which hardly anything comes.
    let mut header = codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap();
    header[8..12].copy_from_slice(&(limits::CONTROL_MAX as u32).to_le_bytes());
    send.write_all(&header).await.unwrap();
    drip(send).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_trickle_end_and_hold_no_more_than_the_limits_say() {
    let mut stage = Stage::set().await;
    let hosts = stage.hosts(HOSTS).await;
    let frame = Arc::new(nearly_whole());
    let quic = stage.brain.access.quic;
    let (before, _) = stage.brain.memory();
    let mut peers = tokio::task::JoinSet::new();
    for host in &hosts {
        peers.spawn(dawdle(quic, Arc::clone(host), Arc::clone(&frame)));
    }
    for _ in 0..ENROLLING {
        peers.spawn(dawdle_enrolling(quic));
    }
    let all = u64::from(HOSTS) + 1;
    let access = &stage.brain.access;
    let there = async || (access.metric("sakuramori_ingest_sessions").await == all).then_some(());
    within(Duration::from_secs(10), "all of them", there).await;
    let waits = stage.beside(std::future::pending).await;
    let (_, most) = stage.brain.memory();
    stage.is_measured();
    let each = most.saturating_sub(before) / u64::from(HOSTS);
    assert!(each <= SESSION_MAX, "{} KiB for each, {} at most", each >> 10, SESSION_MAX >> 10);

    let all_refused = async |reason: &str, count: u32, patience| {
        let access = &stage.brain.access;
        let all = async || (access.refused(reason).await >= u64::from(count)).then_some(());
        within(patience, reason, all).await;
    };
    let slack = Duration::from_secs(10);
    all_refused("slow_enrolment", ENROLLING, limits::ENROL_TIME + slack).await;
    all_refused("slow_frame", HOSTS, limits::FRAME_TIME + slack).await;
    println!(
        "figure T-08: {HOSTS} hosts with {} frames each that never end: {} KiB a session at the \
         peak, {} at most, ended after {} s; {ENROLLING} endless enrolments after {} s; {waits}",
        limits::LANES_MAX,
        each >> 10,
        SESSION_MAX >> 10,
        limits::FRAME_TIME.as_secs(),
        limits::ENROL_TIME.as_secs()
    );
}

/// Sends batches without ever reading that they are acknowledged.
async fn never_read(quic: SocketAddr, host: Arc<Identity>) {
    let mut peer = Peer::new(wire::ALPN_SESSION, Some(&host)).from(ELSEWHERE);
    let mut transport = TransportConfig::default();
    // As little as a peer may take in: enough for a welcome.
    transport.stream_receive_window(VarInt::from_u32(2048));
    peer.transport = transport;
    let session = Session::begin_as(peer, quic, 1).await;
    let mut lane = session.connection.open_uni().await.unwrap();
    for seq in 1.. {
        let position = Position { epoch: 1, lane: Lane::Bulk, seq };
        let batch = Batch::empty(position, Clock { boot_ns: 1, unix_ns: 1 });
        if lane.write_all(&codec::encode_batch(&batch).unwrap()).await.is_err() {
            break;
        }
    }
    session.connection.closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_take_its_acknowledgements_is_cut() {
    const HOSTS: u32 = 4;
    let mut stage = Stage::set().await;
    let hosts = stage.hosts(HOSTS).await;
    let quic = stage.brain.access.quic;
    let (before, _) = stage.brain.memory();
    let mut peers = tokio::task::JoinSet::new();
    for host in &hosts {
        peers.spawn(never_read(quic, Arc::clone(host)));
    }
    let waits = stage.beside(std::future::pending).await;
    let (_, most) = stage.brain.memory();
    stage.is_measured();
    let access = &stage.brain.access;
    let all = async || (access.refused("slow_reader").await == u64::from(HOSTS)).then_some(());
    within(limits::ANSWER_TIME + Duration::from_secs(30), "slow_reader", all).await;
    println!(
        "figure T-08: {HOSTS} hosts that never read acknowledgements: {} KiB each, cut after {} \
         s; {waits}",
        (most.saturating_sub(before) / u64::from(HOSTS)) >> 10,
        limits::ANSWER_TIME.as_secs()
    );
}
