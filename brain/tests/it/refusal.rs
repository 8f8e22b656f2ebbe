//! Peers that must be refused: each with a counted reason, and the brain serves the next one.

use std::net::UdpSocket;

use quinn::ConnectionError;
use reqwest::Method;
use serde_json::json;
use wire::codec;
use wire::control::Control;

use crate::brain::{Brain, eventually, made_up_token};
use crate::peer::connect;
use crate::sensor::{self, Identity, Session, Wish, enrol, fileless};

/// Enrols a host and delivers a batch: the brain still does its work.
async fn still_serves(brain: &Brain) {
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "good-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, 1).await;
    session.deliver(&fileless(1, 1, "x")).await;
}

async fn counted(brain: &Brain, reason: &str) {
    eventually(reason, async || (brain.access.refused(reason).await > 0).then_some(())).await;
}

/// Returns whether the brain ended the connection before it took anything.
async fn session_is_refused(brain: &Brain, identity: Option<&Identity>) -> bool {
    let Ok(connection) = connect(brain.access.quic, wire::ALPN_SESSION, identity).await else {
        return true;
    };
    let Ok((mut control, mut answers)) = connection.open_bi().await else { return true };
    sensor::write(&mut control, &Control::Hello(sensor::hello(1))).await;
    sensor::read(&mut answers).await.is_none()
}

/// Returns what the brain said when it closed a connection.
fn closed_because(error: ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            String::from_utf8(close.reason.to_vec()).unwrap()
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn tokens_that_do_not_open_are_refused_by_reason() {
    let brain = Brain::start().await;
    let quic = brain.access.quic;
    let refused = async |token: &str| enrol(quic, token, "h").await.err().unwrap().reason;

    assert_eq!(refused(&made_up_token(&brain.ca())).await, "wrong_token");
    let used = brain.access.join_token(1, 60).await;
    enrol(quic, &used, "h").await.unwrap();
    assert_eq!(refused(&used).await, "used_token");
    let short = brain.access.join_token(1, 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(refused(&short).await, "expired_token");
    let good = brain.access.join_token(1, 60).await;
    let connection = connect(quic, wire::ALPN_ENROL, None).await.unwrap();
    let refusal = sensor::request(&connection, sensor::secret_of(&good), "h", vec![1, 2, 3]).await;
    assert_eq!(refusal.unwrap_err().reason, "bad_signing_request");

    for reason in ["wrong_token", "used_token", "expired_token", "bad_signing_request"] {
        counted(&brain, reason).await;
    }
    // A request that was not valid has not spent its token.
    enrol(quic, &good, "h").await.unwrap();
    still_serves(&brain).await;
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down() {
    let brain = Brain::start_with(|config| config.limits.failed_enrolments_per_minute = 3).await;
    for _ in 0..3 {
        let refusal =
            enrol(brain.access.quic, &made_up_token(&brain.ca()), "h").await.err().unwrap();
        assert_eq!(refusal.reason, "wrong_token");
    }
    let refusal = enrol(brain.access.quic, &made_up_token(&brain.ca()), "h").await.err().unwrap();
    assert_eq!(refusal.reason, "too_many_failed_enrolments");
    counted(&brain, "too_many_failed_enrolments").await;
}

#[tokio::test]
async fn garbage_on_the_port_is_counted() {
    let brain = Brain::start().await;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for datagram in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x41; 64], &[0xff; 1200], &[0], &[0x5a; 1472]]
    {
        socket.send_to(datagram, brain.access.quic).unwrap();
    }
    eventually("not_quic", async || (brain.access.refused("not_quic").await == 4).then_some(()))
        .await;
    counted(&brain, "unknown_quic_version").await;
    still_serves(&brain).await;
    assert_eq!(
        brain.access.refused("not_quic").await,
        4,
        "good datagrams are not counted as garbage"
    );
}

/// Frames of sensors that do not keep to the protocol, and why they are refused.
pub fn broken_frames() -> Vec<(&'static str, Vec<u8>)> {
    let good = codec::encode_batch(&fileless(1, 1, "x")).unwrap();
    let with = |at: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    vec![
        ("too_large", with(8, &u32::MAX.to_le_bytes())),
        ("too_large", with(12, &u32::MAX.to_le_bytes())),
        ("unknown_version", with(4, &(wire::VERSION + 1).to_le_bytes())),
        ("not_a_frame", with(0, b"GET ")),
        ("unexpected_kind", with(6, &[9])),
        ("unexpected_kind", codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap()),
        ("checksum", with(good.len() - 1, &[!good[good.len() - 1]])),
        ("cut_short", good[..good.len() - 1].to_vec()),
        ("cut_short", good[..7].to_vec()),
    ]
}

#[tokio::test]
async fn frames_that_break_the_protocol_are_refused_by_reason() {
    let brain = Brain::start().await;
    let quic = brain.access.quic;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(quic, &token, "h").await.unwrap();
    for (reason, frame) in broken_frames() {
        let before = brain.access.refused(reason).await;
        let refusal = Session::begin(quic, &identity, 1).await.provoke(&frame).await;
        assert_eq!(refusal.reason, reason);
        assert!(!refusal.message.is_empty());
        let more = async || (brain.access.refused(reason).await == before + 1).then_some(());
        eventually(reason, more).await;
    }
    let mut session = Session::begin(quic, &identity, 1).await;
    assert_eq!(session.welcome.durable, [0, 0], "nothing of all that was stored");
    session.deliver(&fileless(1, 1, "x")).await;
}

#[tokio::test]
async fn a_version_that_is_not_ours_is_refused_in_hello_and_enrolment() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let mut hello = codec::encode_control(&Control::Hello(sensor::hello(1))).unwrap();
    hello[4] = 0xee;
    for (alpn, identity) in [(wire::ALPN_SESSION, Some(&identity)), (wire::ALPN_ENROL, None)] {
        let connection = connect(brain.access.quic, alpn, identity).await.unwrap();
        let (mut control, mut answers) = connection.open_bi().await.unwrap();
        control.write_all(&hello).await.unwrap();
        let Some(Control::Refusal(refusal)) = sensor::read(&mut answers).await else { panic!() };
        assert_eq!(refusal.reason, "unknown_version");
        assert!(refusal.message.contains("upgrade"), "{}", refusal.message);
    }
    eventually("both", async || (brain.access.refused("unknown_version").await == 2).then_some(()))
        .await;
}

#[tokio::test]
async fn a_revoked_host_is_cut_and_does_not_come_back() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &identity, 1).await;
    session.deliver(&fileless(1, 1, "x")).await;
    let path = format!("/api/v1/hosts/{}/revoke", identity.id);
    let (_, host) = brain.access.ask(Method::POST, &path, Some(json!({}))).await;
    assert_eq!(host["state"], "revoked");
    let closed = session.connection.closed().await;
    assert_eq!(closed_because(closed), "revoked_certificate");
    assert!(session_is_refused(&brain, Some(&identity)).await);
    counted(&brain, "revoked_certificate").await;
    // Nor does it get a new certificate for its old one.
    let wish = Wish::new();
    if let Ok(connection) = connect(brain.access.quic, wire::ALPN_ENROL, Some(&identity)).await {
        let (mut send, mut receive) = match connection.open_bi().await {
            Ok(streams) => streams,
            Err(_) => return,
        };
        let request = wire::control::EnrolRequest {
            token: String::new(),
            hostname: "h".to_owned(),
            csr_der: wish.csr,
        };
        sensor::write(&mut send, &Control::EnrolRequest(request)).await;
        assert!(!matches!(sensor::read(&mut receive).await, Some(Control::EnrolReply(_))));
    }
}

#[tokio::test]
async fn a_valid_certificate_is_renewed_for_the_same_host() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let connection = connect(brain.access.quic, wire::ALPN_ENROL, Some(&identity)).await.unwrap();
    let wish = Wish::new();
    let reply =
        sensor::request(&connection, String::new(), "other", wish.csr.clone()).await.unwrap();
    assert_eq!(reply.sensor_id, identity.id);
    let renewed = wish.with(reply.certificate_der, reply.sensor_id);
    let mut session = Session::begin(brain.access.quic, &renewed, 1).await;
    session.deliver(&fileless(1, 1, "x")).await;
    let hosts = brain.access.get("/api/v1/hosts").await;
    assert_eq!(
        (hosts["hosts"].as_array().unwrap().len(), &hosts["hosts"][0]["name"]),
        (1, &json!("h"))
    );
}

#[tokio::test]
async fn of_two_connections_with_one_identity_the_newer_wins_and_it_shows() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let first = Session::begin(brain.access.quic, &identity, 1).await;
    let mut second = Session::begin(brain.access.quic, &identity, 2).await;
    let closed = first.connection.closed().await;
    assert_eq!(closed_because(closed), "superseded");
    second.deliver(&fileless(2, 1, "x")).await;
    assert_eq!(brain.access.metric("sakuramori_ingest_superseded_total").await, 1);
    let hosts = brain.access.get("/api/v1/hosts").await;
    assert_eq!(
        (&hosts["hosts"][0]["superseded"], &hosts["hosts"][0]["state"]),
        (&json!(1), &json!("online"))
    );
}

#[tokio::test]
async fn a_batch_that_comes_again_counts_once() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(1, 60).await;
    let identity = enrol(brain.access.quic, &token, "h").await.unwrap();
    let batch = fileless(1, 1, "x");
    for _ in 0..3 {
        let mut session = Session::begin(brain.access.quic, &identity, 1).await;
        session.deliver(&batch).await;
        session.deliver(&batch).await;
    }
    let session = Session::begin(brain.access.quic, &identity, 1).await;
    assert_eq!(session.welcome.durable, [1, 0]);
    assert_eq!(
        brain.access.metric("sakuramori_ingest_batches_total{outcome=\"duplicate\"}").await,
        5
    );
    let progress = brain.app.progress().await.unwrap();
    assert_eq!(progress.index, 1);
}
