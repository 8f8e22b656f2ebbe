//! Sensors by the thousand, as far as the protocol goes: a certificate, a session and a sequence
//! for each; what they send is made up beforehand, for some hosts whose batches many send.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, RecvStream, SendStream, TransportConfig};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sensor::batch::Batcher;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{MissedTickBehavior, interval_at};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::{Control, Hello};

use crate::mix::{Host, Load, Second};
use crate::parcel;

/// Hosts whose batches are sent.
const HOSTS: u64 = 8;

/// Batches that there are of each for sensors that send what they can, and for how long there are
/// some for those that do not: more than is sent, since a session that has no more is silent.
const UNPACED: usize = 24_000;
const PACED: Duration = Duration::from_secs(120);

/// Sockets that the sessions share: one would be one task's work.
const SOCKETS: usize = 8;

/// Handshakes at once. A fleet that is told to back off, as sensors are, has few more.
const HANDSHAKES: usize = 64;

/// How often a sensor tries to connect, and about how long it waits in between.
const ATTEMPTS: usize = 8;
const AGAIN: Duration = Duration::from_secs(2);

/// Batches that a paced sensor has on the way at most; one that has more is late.
const IN_FLIGHT_MAX: usize = 8;

/// Time for everything to come to rest before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);

/// Longest time that is told apart, in microseconds.
const LATENCY_MAX_US: u64 = 60_000_000;

/// How fast a sensor sends.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many batches a second.
    PerSecond(f64),
    /// As fast as they are acknowledged, so many being on the way.
    Window(usize),
}

/// Whom the brain knows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Identities {
    /// The brain's CA.
    pub ca: Vec<u8>,
    /// The key of all sensors: how a key is used does not depend on whose it is.
    pub key: Vec<u8>,
    /// One certificate for each.
    pub certificates: Vec<Vec<u8>>,
}

/// All are there.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Connected {
    /// How many.
    pub sessions: usize,
    /// How long it took.
    pub seconds: f64,
    /// Attempts that failed before.
    pub again: usize,
}

/// What was acknowledged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Time of the measurement.
    pub seconds: f64,
    /// Batches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Milliseconds from a batch's departure to its acknowledgement: median, p99, p99.9.
    pub ack_ms: [f64; 3],
    /// Batches that were not sent because too many waited.
    pub late: u64,
}

/// What all sessions share.
struct Fleet {
    pace: Pace,
    /// For each made-up host its frames with the number of their records.
    frames: Vec<Vec<(Vec<u8>, u64)>>,
    ready: AtomicUsize,
    /// Attempts that failed.
    again: AtomicUsize,
    /// Sessions that have sent all that there is.
    silent: AtomicUsize,
    counts: Mutex<Counts>,
}

struct Counts {
    batches: u64,
    records: u64,
    late: u64,
    latency: Histogram<u64>,
}

impl Fleet {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects everyone, sends, and says on standard output what came of it.
pub fn run(brain: SocketAddr, identities: &Path, pace: Pace, time: Duration) -> Result<()> {
    let identities: Identities = serde_json::from_slice(&std::fs::read(identities)?)?;
    let count = match pace {
        Pace::Window(_) => UNPACED,
        Pace::PerSecond(batches) => (batches * PACED.as_secs_f64()).ceil() as usize,
    };
    let latency = Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)?;
    let counts = Mutex::new(Counts { batches: 0, records: 0, late: 0, latency });
    let fleet = Fleet {
        pace,
        frames: (0..HOSTS).map(|host| frames(host, count)).collect::<Result<_>>()?,
        ready: AtomicUsize::new(0),
        again: AtomicUsize::new(0),
        silent: AtomicUsize::new(0),
        counts,
    };
    tokio::runtime::Runtime::new()?.block_on(play(Arc::new(fleet), brain, identities, time))
}

async fn play(
    fleet: Arc<Fleet>,
    brain: SocketAddr,
    identities: Identities,
    time: Duration,
) -> Result<()> {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sockets: Vec<Endpoint> =
        (0..SOCKETS).map(|_| Endpoint::client(local)).collect::<Result<_, _>>()?;
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let (start, wanted) = (Instant::now(), identities.certificates.len());
    let identities = Arc::new(identities);
    let mut sessions = tokio::task::JoinSet::new();
    for number in 0..wanted {
        let (fleet, identities) = (Arc::clone(&fleet), Arc::clone(&identities));
        let (socket, place) = (sockets[number % SOCKETS].clone(), Arc::clone(&handshakes));
        sessions.spawn(async move {
            let place = place.acquire_owned().await?;
            let config = client(&identities, number)?;
            let (connection, session) = join(&fleet, &socket, &config, brain, number).await?;
            drop(place);
            fleet.ready.fetch_add(1, Ordering::Relaxed);
            live(&fleet, &connection, session, number).await
        });
    }
    while fleet.ready.load(Ordering::Relaxed) < wanted {
        if let Some(ended) = sessions.try_join_next() {
            ended.context("a session panicked")?.context("a session ended")?;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seconds = start.elapsed().as_secs_f64();
    tokio::time::sleep(WARM_UP).await;
    let again = fleet.again.load(Ordering::Relaxed);
    println!("{}", serde_json::to_string(&Connected { sessions: wanted, seconds, again })?);
    println!("{}", serde_json::to_string(&measure(&fleet, time).await)?);
    // Sessions end with this process.
    let silent = fleet.silent.load(Ordering::Relaxed);
    ensure!(silent == 0, "{silent} sessions had nothing more to send");
    Ok(())
}

async fn measure(fleet: &Fleet, time: Duration) -> Measured {
    let start = Instant::now();
    let before = {
        let mut counts = fleet.counts();
        counts.latency.reset();
        (counts.batches, counts.records, counts.late)
    };
    tokio::time::sleep(time).await;
    let counts = fleet.counts();
    let at = |quantile| counts.latency.value_at_quantile(quantile) as f64 / 1_000.0;
    Measured {
        seconds: start.elapsed().as_secs_f64(),
        batches: counts.batches - before.0,
        records: counts.records - before.1,
        late: counts.late - before.2,
        ack_ms: [at(0.5), at(0.99), at(0.999)],
    }
}

/// What a made-up host sends, one batch a second.
fn frames(seed: u64, count: usize) -> Result<Vec<(Vec<u8>, u64)>> {
    let mut host = Host::new(seed, Load::Usual);
    let mut batcher = Batcher::new(host.start().unix_ns, host.start());
    let mut frames = Vec::with_capacity(count);
    for seq in 1..=count as u64 {
        let mut second: Second = host.next_second();
        // One batch a second, of what is not urgent; where nothing happens there is a report.
        second.coverage.get_or_insert_default();
        second.acts.clear();
        let cut = parcel::cut(&mut batcher, &host, &second).pop();
        let mut batch = cut.context("a second without a record")?.batch;
        batch.position.seq = seq;
        frames.push((codec::encode_batch(&batch)?, batch.record_count() as u64));
    }
    Ok(frames)
}

pub(crate) fn client(identities: &Identities, number: usize) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(identities.ca.clone().into())?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identities.key.clone()));
    let mut tls = rustls::ClientConfig::builder_with_provider(brain::ca::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identities.certificates[number].clone().into()], key)?;
    tls.alpn_protocols = vec![wire::ALPN_COLUMNS.to_vec()];
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_secs(10)));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Connects, and tries again after a while when the brain has no time, as sensors do.
async fn join(
    fleet: &Fleet,
    socket: &Endpoint,
    config: &ClientConfig,
    brain: SocketAddr,
    number: usize,
) -> Result<(Connection, (SendStream, RecvStream))> {
    let mut attempt = 1;
    loop {
        let once = async {
            let connecting = socket.connect_with(config.clone(), brain, wire::BRAIN_NAME)?;
            let connection = connecting.await?;
            let session = begin(&connection, number).await?;
            anyhow::Ok((connection, session))
        };
        match once.await {
            Ok(session) => return Ok(session),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => fleet.again.fetch_add(1, Ordering::Relaxed),
        };
        tokio::time::sleep(AGAIN.mul_f64(0.5 + number as f64 * 0.618 % 1.0)).await;
        attempt += 1;
    }
}

pub(crate) async fn begin(
    connection: &Connection,
    number: usize,
) -> Result<(SendStream, RecvStream)> {
    let (mut send, mut receive) = connection.open_bi().await?;
    let hello = Hello {
        hostname: format!("host-{number:05}"),
        sensor_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: "6.1.0".to_owned(),
        boot_id: number.to_string(),
        epoch: Host::new(number as u64 % HOSTS, Load::Usual).start().unix_ns,
        cpus: 2,
    };
    send.write_all(&codec::encode_control(&Control::Hello(hello))?).await?;
    match read(&mut receive).await? {
        Control::Welcome(_) => Ok((send, receive)),
        other => anyhow::bail!("no welcome but {other:?}"),
    }
}

async fn read(stream: &mut RecvStream) -> Result<Control> {
    let mut head = [0; HEADER_LEN];
    stream.read_exact(&mut head).await?;
    let header = Header::parse(&head)?;
    let mut body = vec![0; header.body_len()];
    stream.read_exact(&mut body).await?;
    Ok(codec::decode_control(&header, &body)?)
}

/// Batches of a session that are on the way: number, departure, records.
#[derive(Default)]
struct Waiting {
    batches: Mutex<VecDeque<(u64, Instant, u64)>>,
    fewer: Notify,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Instant, u64)>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends until the fleet ends; the control stream stays open as long.
async fn live(
    fleet: &Fleet,
    connection: &Connection,
    (_control, mut answers): (SendStream, RecvStream),
    number: usize,
) -> Result<()> {
    let waiting = Waiting::default();
    tokio::select! {
        ended = send(fleet, connection, &waiting, number) => ended,
        ended = listen(fleet, &mut answers, &waiting) => ended,
    }
}

async fn send(
    fleet: &Fleet,
    connection: &Connection,
    waiting: &Waiting,
    number: usize,
) -> Result<()> {
    let mut lane = connection.open_uni().await?;
    let frames = &fleet.frames[number % HOSTS as usize];
    let mut due = match fleet.pace {
        Pace::Window(_) => None,
        Pace::PerSecond(batches) => {
            let period = Duration::from_secs_f64(1.0 / batches);
            // Sensors begin when they like, so their seconds differ.
            let first = period.mul_f64(number as f64 * 0.618 % 1.0);
            let mut due = interval_at(tokio::time::Instant::now() + first, period);
            due.set_missed_tick_behavior(MissedTickBehavior::Skip);
            Some(due)
        }
    };
    for (seq, (frame, records)) in (1..).zip(frames) {
        match (&mut due, fleet.pace) {
            (Some(due), _) => {
                due.tick().await;
                while waiting.lock().len() >= IN_FLIGHT_MAX {
                    fleet.counts().late += 1;
                    due.tick().await;
                }
            }
            (None, Pace::Window(window)) => {
                while waiting.lock().len() >= window {
                    waiting.fewer.notified().await;
                }
            }
            (None, Pace::PerSecond(_)) => {}
        }
        waiting.lock().push_back((seq, Instant::now(), *records));
        lane.write_all(frame).await?;
    }
    fleet.silent.fetch_add(1, Ordering::Relaxed);
    std::future::pending().await
}

async fn listen(fleet: &Fleet, answers: &mut RecvStream, waiting: &Waiting) -> Result<()> {
    loop {
        let ack = match read(answers).await? {
            Control::Ack(ack) => ack,
            Control::Refusal(refusal) => anyhow::bail!("the brain refuses: {refusal:?}"),
            // Settings and rules of a policy are for sensors that are whole.
            _ => continue,
        };
        let mut batches = waiting.lock();
        let mut counts = fleet.counts();
        while let Some(&(_, sent, records)) =
            batches.front().filter(|(seq, ..)| *seq <= ack.position.seq)
        {
            batches.pop_front();
            counts.batches += 1;
            counts.records += records;
            let us = (sent.elapsed().as_micros() as u64).clamp(1, LATENCY_MAX_US);
            // It is within the bounds.
            let _ = counts.latency.record(us);
        }
        waiting.fewer.notify_one();
    }
}
