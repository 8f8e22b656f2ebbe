//! Peers that are not who they would have to be: nothing of theirs is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use brain::clock;
use brain::identity::SensorId;
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};

use super::stage::Stage;
use crate::peer::Peer;
use crate::sensor::{self, Identity, Wish};

const PATIENCE: Duration = Duration::from_secs(20);

/// Where strangers come from: the brain counts handshakes by address, and the honest sensor's must
/// not be among theirs.
const ELSEWHERE: u8 = 66;

/// A stranger, and the reason for which it is refused.
struct Stranger {
    reason: &'static str,
    identity: Option<Identity>,
    alpn: &'static [u8],
}

impl Stranger {
    fn with(reason: &'static str, identity: Identity) -> Self {
        Self { reason, identity: Some(identity), alpn: wire::ALPN_SESSION }
    }

    /// Tries to begin a session and to send a batch, and waits until it is thrown out.
    async fn knock(&self, brain: SocketAddr) {
        let peer = Peer::new(self.alpn, self.identity.as_ref()).from(ELSEWHERE);
        let Ok(connection) = peer.connect(brain).await else { return };
        if let Ok(mut lane) = connection.open_uni().await {
            let frame = wire::codec::encode_batch(&sensor::fileless(1, 1, "stranger")).unwrap();
            let _ = lane.write_all(&frame).await;
        }
        connection.closed().await;
    }
}

fn strangers(stage: &Stage) -> Vec<Stranger> {
    let elsewhere = tempfile::tempdir().unwrap();
    let now_ns = clock::now_ns();
    let other_ca = brain::ca::Ca::open(elsewhere.path(), now_ns).unwrap();
    let ca = stage.ca();
    let issue = |ca: &brain::ca::Ca, now_ns: u64| {
        let (wish, id) = (Wish::new(), SensorId::random());
        let issued = ca.issue(id, &wish.csr, now_ns).unwrap();
        wish.with(issued.der, id.to_string())
    };
    let month_ns = 30 * 24 * 3600 * clock::SECOND_NS;
    let server = ca.server(&["x".to_owned()], &[], now_ns).unwrap();
    let server = Identity {
        id: String::new(),
        certificate: server.chain[0].to_vec(),
        key: server.key.secret_der().to_vec(),
    };
    vec![
        Stranger::with("unknown_ca", issue(&other_ca, now_ns)),
        Stranger::with("expired_certificate", issue(&ca, now_ns - month_ns)),
        Stranger::with("expired_certificate", issue(&ca, now_ns + month_ns)),
        // Signed by us, but of a host that this brain does not know.
        Stranger::with("revoked_certificate", issue(&ca, now_ns)),
        Stranger::with("bad_certificate", server),
        Stranger::with("bad_certificate", two_in_one(stage)),
        Stranger { reason: "no_client_certificate", identity: None, alpn: wire::ALPN_SESSION },
        Stranger { reason: "no_common_protocol", identity: None, alpn: b"h3" },
    ]
}

/// A certificate of our own CA that names two sensors, as the brain never signs one.
fn two_in_one(stage: &Stage) -> Identity {
    let read = |name: &str| std::fs::read_to_string(stage.data.path().join("ca").join(name));
    let ca_key = KeyPair::from_pem(&read("ca.key.pem").unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem").unwrap(), ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    let uri = |_| SanType::URI(SensorId::random().uri().try_into().unwrap());
    params.subject_alt_names = (0..2).map(uri).collect();
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Identity { id: String::new(), certificate: leaf.der().to_vec(), key: key.serialize_der() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_by_reason_before_a_byte_is_read() {
    let mut stage = Stage::set().await;
    let strangers = Arc::new(strangers(&stage));
    let quic = stage.brain.access.quic;
    for Stranger { reason, .. } in strangers.iter() {
        assert_eq!(stage.brain.access.refused(reason).await, 0, "{reason}");
    }
    let attack = || {
        let strangers = Arc::clone(&strangers);
        async move {
            loop {
                for stranger in strangers.iter() {
                    stranger.knock(quic).await;
                }
            }
        }
    };
    let waits = stage.beside(attack).await;
    // Until their address may shake hands again.
    tokio::time::sleep(Duration::from_secs(2)).await;
    // Each by itself once more: two of a reason count twice.
    let mut refused = 0;
    for stranger in strangers.iter() {
        let before = stage.brain.access.refused(stranger.reason).await;
        stranger.knock(quic).await;
        let more = async || {
            let count = stage.brain.access.refused(stranger.reason).await;
            (count > before).then_some(count)
        };
        refused += crate::brain::within(PATIENCE, stranger.reason, more).await;
    }
    let access = &stage.brain.access;
    let read = access.metric("sakuramori_ingest_bytes_total").await - stage.honest.bytes;
    assert_eq!(read, 0, "bytes of strangers were read");
    assert_eq!(access.metric("sakuramori_ingest_sessions").await, 1);
    println!(
        "figure T-06: {} kinds of strangers refused at least {refused} times, 0 accepted, {read} \
         bytes read; {waits}",
        strangers.len()
    );
}

#[tokio::test]
async fn nothing_is_accepted_early() {
    let stage = Stage::set().await;
    let host = &stage.hosts(1).await[0];
    let quic = stage.brain.access.quic;
    let (endpoint, config) = Peer::new(wire::ALPN_SESSION, Some(host)).socket();
    for attempt in 0..3 {
        let connecting = endpoint.connect_with(config.clone(), quic, wire::BRAIN_NAME).unwrap();
        // A client only can when an earlier session has left it a ticket.
        let connecting = match connecting.into_0rtt() {
            Ok(_) => panic!("attempt {attempt} could send before the handshake was done"),
            Err(connecting) => connecting,
        };
        let connection = connecting.await.unwrap();
        let (mut control, mut answers) = connection.open_bi().await.unwrap();
        let hello = wire::control::Control::Hello(sensor::hello(1));
        sensor::write(&mut control, &hello).await;
        assert!(sensor::read(&mut answers).await.is_some());
        // A ticket would come after the handshake; the brain has answered since.
        connection.close(0u32.into(), b"");
    }
    let read = stage.brain.access.metric("sakuramori_ingest_bytes_total").await;
    assert_eq!(read, stage.honest.bytes);
    println!("figure T-09: 3 handshakes of one client, 0 tickets, 0 bytes of early data read");
}
