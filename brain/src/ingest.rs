//! Where sensors connect: one QUIC endpoint, two protocols. A session needs a certificate of our
//! own CA; an enrolment needs a join token. Who somebody is, is settled before a byte of theirs is
//! looked at.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming, VarInt};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use wire::limits::HANDSHAKE_TIME;

use crate::board::Board;
use crate::ca::{Ca, CaError};
use crate::clock;
use crate::config;
use crate::fleet::Fleet;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::policy::SensorPolicies;
use crate::rate::RateLimit;
use crate::store::Store;

mod asking;
mod enrol;
mod frame;
mod gate;
mod pace;
mod refusal;
mod session;
mod sessions;
mod tls;

pub use sessions::Sessions;

use refusal::Refused;

/// Handshakes under way above which a peer must first prove its address: a spoofed one then costs
/// us no state. It costs an honest one a round trip.
const HANDSHAKES_UNPROVEN_MAX: usize = 64;

/// At shutdown, sessions get so long to send what they have to say.
const CLOSE_TIME: Duration = Duration::from_secs(2);

/// Code with which connections are closed on purpose; the reason is in the close frame's text.
const CLOSE_CODE: VarInt = VarInt::from_u32(1);

/// Why ingest cannot begin.
#[derive(Debug, Error)]
pub enum IngestError {
    /// The address cannot be used.
    #[error("failed to listen on {address}/udp: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// rustls and quinn disagree.
    #[error("failed to set up QUIC: {0}")]
    Quic(&'static str),
}

/// What connections work with.
#[derive(Debug)]
pub struct Shared {
    /// Signs certificates.
    pub ca: Arc<Ca>,
    /// Hosts and tokens.
    pub store: Arc<Store>,
    /// Who is connected.
    pub fleet: Arc<Fleet>,
    /// Who wants to hear of it.
    pub board: Arc<Board>,
    /// Where batches go.
    pub journal: Journal,
    /// Live sessions.
    pub sessions: Arc<Sessions>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// What is wanted of sensors; nothing until there is a sender.
    pub wanted: watch::Receiver<Arc<SensorPolicies>>,
    /// What peers may use.
    pub limits: config::Limits,
    failed_enrolments: Mutex<RateLimit<IpAddr>>,
    next_connection: AtomicU64,
    handshakes: AtomicUsize,
}

impl Shared {
    /// Puts the parts together.
    pub fn new(
        ca: Arc<Ca>,
        store: Arc<Store>,
        fleet: Arc<Fleet>,
        board: Arc<Board>,
        journal: Journal,
        metrics: Arc<Metrics>,
        limits: config::Limits,
    ) -> Self {
        let per_minute = limits.failed_enrolments_per_minute.max(1);
        let failed = RateLimit::new(per_minute, f64::from(per_minute) / 60.0);
        Self {
            ca,
            store,
            fleet,
            board,
            journal,
            sessions: Arc::default(),
            metrics,
            wanted: watch::Sender::default().subscribe(),
            limits,
            failed_enrolments: Mutex::new(failed),
            next_connection: AtomicU64::new(1),
            handshakes: AtomicUsize::new(0),
        }
    }
}

/// A bound endpoint.
#[derive(Debug)]
pub struct Ingest {
    endpoint: Endpoint,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Ingest {
    /// Binds the address. Connections are taken once [`Ingest::run`] runs.
    pub fn bind(listen: SocketAddr, shared: Shared) -> Result<Self, IngestError> {
        let failed = |source| IngestError::Listen { address: listen, source };
        let server = tls::server_config(&shared, clock::now_ns())?;
        let endpoint = gate::endpoint(listen, server, Arc::clone(&shared.metrics), &shared.ca)
            .map_err(failed)?;
        let address = endpoint.local_addr().map_err(failed)?;
        Ok(Self { endpoint, address, shared: Arc::new(shared) })
    }

    /// Returns the address with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the live sessions.
    pub fn sessions(&self) -> Arc<Sessions> {
        Arc::clone(&self.shared.sessions)
    }

    /// Takes connections until `stop` is done, then closes them all.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let limits = &self.shared.limits;
        let places = Arc::new(Semaphore::new(limits.connections as usize));
        let per_second = limits.handshakes_per_second.max(1);
        let mut rate = RateLimit::new(per_second, f64::from(per_second));
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            let incoming = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            let from = incoming.remote_address().ip();
            if rate.take(from, clock::now_ns()).is_err() {
                self.shared.metrics.refuse("too_many_handshakes");
                incoming.refuse();
                continue;
            }
            let handshakes = self.shared.handshakes.load(Ordering::Relaxed);
            if handshakes >= HANDSHAKES_UNPROVEN_MAX && !incoming.remote_address_validated() {
                // It cannot fail for an address that has not been proven yet.
                let _ = incoming.retry();
                self.shared.metrics.retried.inc();
                continue;
            }
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                self.shared.metrics.refuse("too_many_connections");
                incoming.refuse();
                continue;
            };
            let shared = Arc::clone(&self.shared);
            connections.spawn(async move {
                serve(shared, incoming).await;
                drop(place);
            });
        }
        self.close(connections).await;
    }

    async fn close(self, mut connections: JoinSet<()>) {
        self.endpoint.set_server_config(None);
        self.endpoint.close(CLOSE_CODE, b"shutdown");
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE_TIME, all).await;
        let _ = tokio::time::timeout(CLOSE_TIME, self.endpoint.wait_idle()).await;
    }
}

/// Serves one connection, and counts and logs why it was refused, if it was.
async fn serve(shared: Arc<Shared>, incoming: Incoming) {
    let from = incoming.remote_address();
    shared.handshakes.fetch_add(1, Ordering::Relaxed);
    let handshake = handshake(incoming).await;
    shared.handshakes.fetch_sub(1, Ordering::Relaxed);
    let connection = match handshake {
        Ok(connection) => connection,
        Err(refused) => return note(&shared, from, &refused),
    };
    let result = match tls::protocol(&connection) {
        // How a batch is written, each frame says for itself.
        Some(protocol) if [wire::ALPN_SESSION, wire::ALPN_COLUMNS].contains(&&*protocol) => {
            let knows_time = protocol == wire::ALPN_COLUMNS;
            session::run(&shared, &connection, knows_time).await
        }
        Some(protocol) if protocol == wire::ALPN_ENROL => enrol::run(&shared, &connection).await,
        // rustls has refused every other protocol already.
        _ => Err(Refused::new("no_common_protocol", "the protocol is not known")),
    };
    if let Err(refused) = result {
        note(&shared, from, &refused);
        connection.close(CLOSE_CODE, refused.reason.as_bytes());
    }
}

async fn handshake(incoming: Incoming) -> Result<Connection, Refused> {
    let connecting = incoming.accept().map_err(Refused::handshake)?;
    match tokio::time::timeout(HANDSHAKE_TIME, connecting).await {
        Ok(result) => result.map_err(Refused::handshake),
        Err(_) => Err(Refused::new("handshake_timeout", "the handshake took too long")),
    }
}

fn note(shared: &Shared, from: SocketAddr, refused: &Refused) {
    shared.metrics.refuse(refused.reason);
    tracing::warn!(%from, reason = refused.reason, message = %refused.message, "refused a peer");
}

impl Shared {
    fn connection_number(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    fn failed_enrolments(&self) -> std::sync::MutexGuard<'_, RateLimit<IpAddr>> {
        self.failed_enrolments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
