//! The uplink against a brain of the test's own, over loopback: enrolment, acknowledgements, a
//! session that breaks, a brain that has more than it said, a wrong pin.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, RecvStream, SendStream, ServerConfig};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use sensor::batch::Cut;
use sensor::clock::ClockPair;
use sensor::config::Config;
use sensor::host::Host;
use sensor::identity;
use sensor::join::JoinToken;
use sensor::ledger::{Events, Signal};
use sensor::outbox::Outbox;
use sensor::spool::Spool;
use sensor::tuning::Tuning;
use sensor::uplink::Uplink;
use tokio::sync::watch;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::{Ack, Control, EnrolReply, Hello, Settings, Welcome};

/// No step of these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A certificate authority and the server's identity.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn server(&self) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![wire::BRAIN_NAME.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = identity::provider();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .allow_unauthenticated()
                .build()
                .unwrap();
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(
                vec![leaf, self.certificate.clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap();
        tls.alpn_protocols = vec![wire::ALPN_SESSION.to_vec(), wire::ALPN_ENROL.to_vec()];
        ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
    }

    fn sign(&self, request: &[u8]) -> Vec<u8> {
        let mut csr = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        csr.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("{}test", wire::SENSOR_URI);
        csr.params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        csr.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    fn token(&self, pin_off_by: u8) -> JoinToken {
        let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let mut bytes = suite.common.hash_provider.hash(&self.certificate).as_ref().to_vec();
        bytes[0] ^= pin_off_by;
        bytes.extend([7; 24]);
        let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        JoinToken::parse(&format!("skm1.{text}")).unwrap()
    }
}

async fn read(stream: &mut RecvStream) -> Option<(Header, Vec<u8>)> {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).await.ok()?;
    let header = Header::parse(&header).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).await.ok()?;
    Some((header, body))
}

async fn control(stream: &mut RecvStream) -> Control {
    let (header, body) = read(stream).await.unwrap();
    codec::decode_control(&header, &body).unwrap()
}

async fn say(stream: &mut SendStream, message: Control) {
    stream.write_all(&codec::encode_control(&message).unwrap()).await.unwrap();
}

/// What the brain has on its disk: the highest number per epoch and lane.
type Disk = Rc<RefCell<BTreeMap<(u64, Lane), u64>>>;

/// The brain of the test.
struct Brain {
    endpoint: Endpoint,
    ca: Ca,
    disk: Disk,
}

impl Brain {
    fn new() -> Self {
        let ca = Ca::new();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = Endpoint::server(ca.server(), address).unwrap();
        Self { endpoint, ca, disk: Disk::default() }
    }

    fn address(&self) -> String {
        self.endpoint.local_addr().unwrap().to_string()
    }

    async fn accept(&self) -> Connection {
        // A client that does not trust us breaks off; the next one counts.
        loop {
            if let Ok(connection) = self.endpoint.accept().await.unwrap().await {
                return connection;
            }
        }
    }

    async fn enrol_one(&self) {
        let connection = self.accept().await;
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        let Control::EnrolRequest(request) = control(&mut receive).await else { panic!() };
        let secret = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode([7; 24]);
        assert_eq!((request.token, request.hostname), (secret, "web-1".to_owned()));
        let certificate_der = self.ca.sign(&request.csr_der);
        let reply = EnrolReply { sensor_id: "test".to_owned(), certificate_der };
        say(&mut send, Control::EnrolReply(reply)).await;
        connection.closed().await;
    }

    /// Serves a session: stores batches and acknowledges all but the last `silent`, until `batches`
    /// have come. Then closes, as a brain that is killed.
    async fn session(&self, batches: usize, silent: usize) -> Hello {
        let connection = self.accept().await;
        assert!(connection.peer_identity().is_some());
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        let Control::Hello(hello) = control(&mut receive).await else { panic!() };
        let durable = Lane::ALL.map(|lane| self.stored(hello.epoch, lane));
        say(&mut send, Control::Welcome(Welcome { durable, brain_unix_ns: 1 })).await;
        let (found, mut arrived) = tokio::sync::mpsc::channel(1);
        let lanes = async {
            let lane = |mut stream: RecvStream| {
                let found = found.clone();
                async move {
                    while let Some((header, body)) = read(&mut stream).await {
                        let batch = codec::decode_batch(&header, &body).unwrap();
                        if found.send(batch.position).await.is_err() {
                            return;
                        }
                    }
                }
            };
            let (first, second) = (connection.accept_uni(), connection.accept_uni());
            // A lane that has nothing to send opens its stream only with its first batch.
            let first = async { lane(first.await.unwrap()).await };
            let second = async {
                match second.await {
                    Ok(stream) => lane(stream).await,
                    Err(_) => std::future::pending().await,
                }
            };
            tokio::join!(first, second);
        };
        let stored = async {
            for number in 0..batches {
                let position = arrived.recv().await.unwrap();
                self.store(position);
                if number < batches - silent {
                    say(&mut send, Control::Ack(Ack { position })).await;
                }
            }
        };
        tokio::select! {
            () = stored => {}
            () = lanes => panic!("the lanes ended early"),
        }
        // The acknowledgements get out before the connection does.
        let _ = send.finish();
        let _ = send.stopped().await;
        connection.close(0u32.into(), b"");
        hello
    }

    fn stored(&self, epoch: u64, lane: Lane) -> u64 {
        self.disk.borrow().get(&(epoch, lane)).copied().unwrap_or(0)
    }

    fn store(&self, Position { epoch, lane, seq }: Position) {
        let highest = self.stored(epoch, lane);
        assert!(seq <= highest + 1, "{seq} came after {highest}");
        self.disk.borrow_mut().insert((epoch, lane), highest.max(seq));
    }
}

fn uplink(brain: &Brain, state_dir: &Path) -> Uplink {
    let own = Config::parse("", Path::new("sensor.toml")).unwrap();
    let config = Config { state_dir: state_dir.to_owned(), ..own };
    Uplink {
        address: brain.address(),
        state_dir: state_dir.to_owned(),
        host: Host::read(Some("web-1")),
        tuning: Tuning::new(config, None),
        rules: None,
    }
}

fn outbox(state_dir: &Path, now_ns: u64) -> Outbox {
    let (spool, carried) = Spool::open(&state_dir.join("spool"), 64 << 20, now_ns);
    Outbox::new(spool, &carried)
}

fn push(outbox: &Outbox, lane: Lane, seq: u64) {
    let position = Position { epoch: outbox.epoch(), lane, seq };
    let mut events = Events::default();
    events.count(Signal::Exit, 1);
    outbox.ledger.borrow_mut().read(Signal::Exit, 1);
    outbox.push(&Cut { batch: Batch::empty(position, Clock::default()), events });
}

fn in_flight(outbox: &Outbox) -> i64 {
    outbox.ledger.borrow().in_flight(Signal::Exit)
}

/// Runs both sides in one thread, with a limit.
async fn together<A, B>(one: impl Future<Output = A>, two: impl Future<Output = B>) -> (A, B) {
    tokio::time::timeout(PATIENCE, async { tokio::join!(one, two) }).await.expect("took too long")
}

async fn enrolled(brain: &Brain, state_dir: &Path) -> Uplink {
    let uplink = uplink(brain, state_dir);
    let token = brain.ca.token(0);
    let (result, ()) = together(uplink.enrol(Some(&token)), brain.enrol_one()).await;
    result.unwrap();
    uplink
}

#[tokio::test(flavor = "current_thread")]
async fn a_sensor_enrols_once_and_delivers() {
    let (brain, dir) = (Brain::new(), tempfile::tempdir().unwrap());
    let uplink = enrolled(&brain, dir.path()).await;
    // The second time there is nothing to do, and nobody to ask.
    uplink.enrol(None).await.unwrap();
    let outbox = outbox(dir.path(), ClockPair::now().unix_ns);
    push(&outbox, Lane::Security, 1);
    push(&outbox, Lane::Bulk, 1);
    push(&outbox, Lane::Bulk, 2);
    let (stop, stopped) = watch::channel(false);
    let served = async {
        let hello = brain.session(3, 0).await;
        stop.send(true).unwrap();
        hello
    };
    let ((), hello) = together(uplink.run(&outbox, stopped), served).await;
    assert_eq!((hello.hostname.as_str(), hello.epoch), ("web-1", outbox.epoch()));
    assert_eq!((brain.stored(hello.epoch, Lane::Bulk), in_flight(&outbox)), (2, 0));
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_not_acknowledged_comes_again_and_what_the_brain_has_does_not() {
    let (brain, dir) = (Brain::new(), tempfile::tempdir().unwrap());
    let uplink = enrolled(&brain, dir.path()).await;
    let outbox = outbox(dir.path(), ClockPair::now().unix_ns);
    (1..=6).for_each(|seq| push(&outbox, Lane::Bulk, seq));
    let (stop, stopped) = watch::channel(false);
    let served = async {
        // Four are stored, two of them without an acknowledgement that arrives.
        brain.session(4, 2).await;
        // The welcome says four; five and six follow, never one to four.
        let before = brain.stored(outbox.epoch(), Lane::Bulk);
        brain.session(2, 0).await;
        stop.send(true).unwrap();
        before
    };
    let ((), before) = together(uplink.run(&outbox, stopped), served).await;
    assert_eq!((before, brain.stored(outbox.epoch(), Lane::Bulk)), (4, 6));
    assert_eq!(in_flight(&outbox), 0);
}

#[tokio::test(flavor = "current_thread")]
async fn settings_of_the_brain_are_answered_and_kept_while_batches_go_on() {
    let (brain, dir) = (Brain::new(), tempfile::tempdir().unwrap());
    let uplink = enrolled(&brain, dir.path()).await;
    let outbox = outbox(dir.path(), ClockPair::now().unix_ns);
    let (stop, stopped) = watch::channel(false);
    let served = async {
        let connection = brain.accept().await;
        let (mut send, mut receive) = connection.accept_bi().await.unwrap();
        assert!(matches!(control(&mut receive).await, Control::Hello(_)));
        say(&mut send, Control::Welcome(Welcome { durable: [0, 0], brain_unix_ns: 1 })).await;
        let mut problems = Vec::new();
        for text in ["[collect]\ntick_ms = 700\n", "[brain]\naddress = 'evil:1'\n"] {
            let settings = Settings { revision: "r".to_owned(), text: text.to_owned() };
            say(&mut send, Control::Settings(settings)).await;
            let Control::SettingsReply(reply) = control(&mut receive).await else { panic!() };
            problems.push(reply.problem);
        }
        stop.send(true).unwrap();
        problems
    };
    let ((), problems) = together(uplink.run(&outbox, stopped), served).await;
    assert_eq!(problems[0], "");
    assert!(problems[1].contains("`brain.address`"), "{}", problems[1]);
    let kept = sensor::tuning::kept(dir.path()).unwrap();
    assert_eq!(kept.as_deref(), Some("[collect]\ntick_ms = 700\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn batches_of_an_earlier_start_are_sent_under_their_own_epoch() {
    let (brain, dir) = (Brain::new(), tempfile::tempdir().unwrap());
    let uplink = enrolled(&brain, dir.path()).await;
    let first = outbox(dir.path(), 1_000);
    push(&first, Lane::Bulk, 1);
    push(&first, Lane::Security, 1);
    drop(first);
    let second = outbox(dir.path(), 2_000);
    push(&second, Lane::Bulk, 1);
    let (stop, stopped) = watch::channel(false);
    let served = async {
        brain.session(3, 0).await;
        stop.send(true).unwrap();
    };
    together(uplink.run(&second, stopped), served).await;
    let disk = brain.disk.borrow().clone();
    let expected =
        [((1_000, Lane::Security), 1), ((1_000, Lane::Bulk), 1), ((2_000, Lane::Bulk), 1)];
    assert_eq!(disk, BTreeMap::from(expected));
}

#[tokio::test(flavor = "current_thread")]
async fn a_brain_with_another_ca_gets_no_token() {
    let (brain, dir) = (Brain::new(), tempfile::tempdir().unwrap());
    let uplink = uplink(&brain, dir.path());
    let token = brain.ca.token(1);
    let refused = async {
        let handshake = brain.endpoint.accept().await.unwrap().await;
        match handshake {
            // The server may be done before the client has judged it; then the client closes.
            Ok(connection) => connection.accept_bi().await.is_err(),
            Err(_) => true,
        }
    };
    let (result, refused) = together(uplink.enrol(Some(&token)), refused).await;
    assert!(result.unwrap_err().to_string().contains("cannot connect") && refused);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing is stored");
}

#[tokio::test(flavor = "current_thread")]
async fn a_session_trusts_only_the_ca_of_its_enrolment() {
    let (brain, dir) = (Brain::new(), tempfile::tempdir().unwrap());
    let mut uplink = enrolled(&brain, dir.path()).await;
    let imposter = Brain::new();
    uplink.address = imposter.address();
    let outbox = outbox(dir.path(), ClockPair::now().unix_ns);
    push(&outbox, Lane::Security, 1);
    let (stop, stopped) = watch::channel(false);
    let served = async {
        let got_batches = match imposter.endpoint.accept().await.unwrap().await {
            Ok(connection) => connection.accept_bi().await.is_ok(),
            Err(_) => false,
        };
        stop.send(true).unwrap();
        got_batches
    };
    let ((), got_batches) = together(uplink.run(&outbox, stopped), served).await;
    assert!(!got_batches);
    assert_eq!(in_flight(&outbox), 1, "it waits for the right brain");
}
