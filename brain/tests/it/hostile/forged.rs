//! A host that says it is another one: what it sends is its own, whatever it says.

use rcgen::{CertificateParams, KeyPair, SanType};
use serde_json::Value;
use wire::control::Control;

use crate::brain::{Brain, eventually};
use crate::peer::connect;
use crate::sensor::{self, Identity, Session, enrol, fileless};

/// Begins a session under another host's name and boot, and sends a batch that leads to a finding.
async fn pretend(brain: &Brain, identity: &Identity, name: &str) {
    let connection = connect(brain.access.quic, wire::ALPN_SESSION, Some(identity)).await.unwrap();
    let (mut control, mut answers) = connection.open_bi().await.unwrap();
    let hello = wire::control::Hello { hostname: name.to_owned(), ..sensor::hello(1) };
    sensor::write(&mut control, &Control::Hello(hello)).await;
    let Some(Control::Welcome(welcome)) = sensor::read(&mut answers).await else { panic!() };
    assert_eq!(welcome.durable, [0, 0], "the places of another host are its own");
    let mut session = Session { connection, control, answers, welcome };
    session.deliver(&fileless(1, 1, "forged")).await;
}

/// Asks for a certificate with a request that names another sensor.
async fn ask_for(brain: &Brain, other: &str) -> Identity {
    let token = brain.access.join_token(1, 60).await;
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let uri = format!("{}{other}", wire::SENSOR_URI);
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    let request = params.serialize_request(&key).unwrap();
    let connection = connect(brain.access.quic, wire::ALPN_ENROL, None).await.unwrap();
    let secret = sensor::secret_of(&token);
    let reply = sensor::request(&connection, secret, "web-1", request.der().to_vec()).await;
    let reply = reply.unwrap();
    assert_ne!(reply.sensor_id, other);
    Identity { id: reply.sensor_id, certificate: reply.certificate_der, key: key.serialize_der() }
}

fn of<'a>(hosts: &'a Value, id: &str) -> &'a Value {
    hosts["hosts"].as_array().unwrap().iter().find(|host| host["id"] == id).unwrap()
}

#[tokio::test]
async fn what_a_host_sends_under_anothers_name_is_its_own() {
    let brain = Brain::start().await;
    let token = brain.access.join_token(2, 60).await;
    let victim = enrol(brain.access.quic, &token, "web-1").await.unwrap();
    let mut session = Session::begin(brain.access.quic, &victim, 1).await;
    session.deliver(&fileless(1, 1, "own")).await;
    let two = async || (brain.access.findings().await.len() == 1).then_some(());
    eventually("the victim's finding", two).await;
    let before = brain.access.get("/api/v1/hosts").await;

    let rogue = enrol(brain.access.quic, &token, "bad-1").await.unwrap();
    pretend(&brain, &rogue, "web-1").await;
    let forger = ask_for(&brain, &victim.id).await;
    pretend(&brain, &forger, "web-1").await;

    let three = async || Some(brain.access.findings().await).filter(|all| all.len() == 3);
    let findings = eventually("a finding of each", three).await;
    let count = |id: &str| findings.iter().filter(|f| f["host"]["id"] == id).count();
    assert_eq!([&victim, &rogue, &forger].map(|of| count(&of.id)), [1, 1, 1]);
    let after = brain.access.get("/api/v1/hosts").await;
    for field in ["name", "state", "last_seen_ns", "superseded", "sensor_version"] {
        assert_eq!(of(&before, &victim.id)[field], of(&after, &victim.id)[field], "{field}");
    }
    assert_eq!(of(&after, &rogue.id)["name"], "bad-1");
    session.deliver(&fileless(1, 2, "own")).await;
    println!("figure T-07: 2 of 2 forged names changed nothing of the host whose name it is");
}
