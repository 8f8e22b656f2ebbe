//! A sensor as the protocol describes it, with every part at hand for breaking.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quinn::{Connection, RecvStream, SendStream};
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::{Control, EnrolReply, EnrolRequest, Hello, Refusal, Welcome};
use wire::record::{Exec, Process, ProcessRef, process_flag};
use wire::text::StringTableBuilder;

use crate::peer::{Peer, connect};

/// A key with its certificate.
pub struct Identity {
    pub id: String,
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// A key and a request for a certificate.
pub struct Wish {
    pub key: Vec<u8>,
    pub csr: Vec<u8>,
}

impl Wish {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap();
        Self { key: key.serialize_der(), csr: csr.der().to_vec() }
    }

    pub fn with(self, certificate: Vec<u8>, id: String) -> Identity {
        Identity { id, certificate, key: self.key }
    }
}

/// Returns the secret part of a join token.
pub fn secret_of(token: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix("skm1.").unwrap()).unwrap();
    assert_eq!(bytes.len(), 56);
    URL_SAFE_NO_PAD.encode(&bytes[32..])
}

fn pin_of(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.strip_prefix("skm1.").unwrap()).unwrap()[..32].to_vec()
}

/// Enrols as a sensor does; the brain's chain is checked against the token's pin.
pub async fn enrol(brain: SocketAddr, token: &str, hostname: &str) -> Result<Identity, Refusal> {
    let wish = Wish::new();
    let connection = connect(brain, wire::ALPN_ENROL, None).await.unwrap();
    check_pin(&connection, &pin_of(token));
    let reply = request(&connection, secret_of(token), hostname, wish.csr.clone()).await?;
    Ok(wish.with(reply.certificate_der, reply.sensor_id))
}

/// Asks for a certificate on an open connection.
pub async fn request(
    connection: &Connection,
    token: String,
    hostname: &str,
    csr_der: Vec<u8>,
) -> Result<EnrolReply, Refusal> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    let request = EnrolRequest { token, hostname: hostname.to_owned(), csr_der };
    write(&mut send, &Control::EnrolRequest(request)).await;
    match read(&mut receive).await {
        Some(Control::EnrolReply(reply)) => Ok(reply),
        Some(Control::Refusal(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

fn check_pin(connection: &Connection, pin: &[u8]) {
    let chain =
        connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    let [leaf, ca] = chain.as_slice() else { panic!("{} certificates", chain.len()) };
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
    assert_eq!(suite.common.hash_provider.hash(ca).as_ref(), pin);
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        brain::ca::provider(),
    );
    let name = ServerName::try_from(wire::BRAIN_NAME).unwrap();
    verifier.build().unwrap().verify_server_cert(leaf, &[], &name, &[], UnixTime::now()).unwrap();
}

/// A session after its hello.
pub struct Session {
    pub connection: Connection,
    /// The brain takes the end of this stream for the end of the session.
    pub control: SendStream,
    pub answers: RecvStream,
    pub welcome: Welcome,
}

impl Session {
    pub async fn begin(brain: SocketAddr, identity: &Identity, epoch: u64) -> Self {
        Self::begin_as(Peer::new(wire::ALPN_SESSION, Some(identity)), brain, epoch).await
    }

    /// Begins one as a peer of any kind.
    pub async fn begin_as(peer: Peer, brain: SocketAddr, epoch: u64) -> Self {
        let connection = peer.connect(brain).await.unwrap();
        let (mut control, mut answers) = connection.open_bi().await.unwrap();
        write(&mut control, &Control::Hello(hello(epoch))).await;
        let Some(Control::Welcome(welcome)) = read(&mut answers).await else {
            panic!("no welcome")
        };
        Self { connection, control, answers, welcome }
    }

    /// Sends one batch and waits until it is acknowledged.
    pub async fn deliver(&mut self, batch: &Batch) {
        let mut lane = self.connection.open_uni().await.unwrap();
        lane.write_all(&codec::encode_batch(batch).unwrap()).await.unwrap();
        lane.finish().unwrap();
        assert_eq!(self.acknowledged().await, Some(batch.position));
    }

    /// Returns the next acknowledged position, or nothing when the session has ended.
    pub async fn acknowledged(&mut self) -> Option<Position> {
        match read(&mut self.answers).await? {
            Control::Ack(ack) => Some(ack.position),
            other => panic!("{other:?}"),
        }
    }

    /// Sends bytes on a lane, and returns why the brain ended the session.
    pub async fn provoke(mut self, bytes: &[u8]) -> Refusal {
        let mut lane = self.connection.open_uni().await.unwrap();
        // The brain may stop reading before the end.
        let _ = lane.write_all(bytes).await;
        let _ = lane.finish();
        match read(&mut self.answers).await {
            Some(Control::Refusal(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

pub fn hello(epoch: u64) -> Hello {
    Hello {
        hostname: "whatever".to_owned(),
        sensor_version: "0.0.0-test".to_owned(),
        kernel: "6.0-test".to_owned(),
        boot_id: "b".to_owned(),
        epoch,
        cpus: 2,
    }
}

/// A batch with one execution of a program that has no file. Names tell findings apart, through the
/// program that started it.
pub fn fileless(epoch: u64, seq: u64, name: &str) -> Batch {
    let now_ns = brain::clock::now_ns();
    let position = Position { epoch, lane: Lane::Security, seq };
    let mut batch = Batch::empty(position, Clock { boot_ns: 1, unix_ns: now_ns });
    let mut strings = StringTableBuilder::default();
    let exe = strings.add(format!("/memfd:{name} (deleted)").as_bytes()).unwrap();
    let comm = strings.add(name.as_bytes()).unwrap();
    let args = strings.add(format!("{name}\0--flag\0").as_bytes()).unwrap();
    let starter = strings.add(format!("/opt/{name}").as_bytes()).unwrap();
    batch.strings = strings.finish();
    let parent = Process { pid: 400, start_ns: 1, exe: starter, ..Process::default() };
    let child = Process {
        pid: 4000 + (seq % 1000) as u32,
        start_ns: now_ns,
        parent: ProcessRef(1),
        exe,
        comm,
        args,
        flags: process_flag::MEMFD | process_flag::UNLINKED,
        ..Process::default()
    };
    batch.processes = vec![parent, child];
    batch.execs = vec![Exec { time_ns: now_ns, process: ProcessRef(2), ..Exec::default() }];
    batch
}

pub async fn write(stream: &mut SendStream, message: &Control) {
    // The brain may have closed the connection already; what it said is what a test looks at.
    let _ = stream.write_all(&codec::encode_control(message).unwrap()).await;
}

/// Reads what the brain says, but for rules that it offers: this sensor scans nothing.
pub async fn read(stream: &mut RecvStream) -> Option<Control> {
    loop {
        let said = read_any(stream).await?;
        if !matches!(said, Control::RuleOffer(_)) {
            return Some(said);
        }
    }
}

async fn read_any(stream: &mut RecvStream) -> Option<Control> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await.ok()?;
    let header = Header::parse(&head).unwrap();
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).await.ok()?;
    Some(codec::decode_control(&header, &body).unwrap())
}
