//! The connection to the brain: connects, enrols and renews, keeps a session, comes back after
//! failures. The only module, with `frame` and `enrol`, that names quinn.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, IdleTimeout, TransportConfig, VarInt};
use thiserror::Error;
use tokio::sync::watch;
use wire::control::Hello;

use crate::app::FLUSH_TIME;
use crate::backoff::Backoff;
use crate::clock::ClockPair;
use crate::enrol::{self, EnrolError};
use crate::host::Host;
use crate::identity::{Identity, IdentityError};
use crate::join::JoinToken;
use crate::outbox::Outbox;
use crate::scan::rules::Rules;
use crate::tuning::Tuning;

mod session;

use session::{SessionError, Takers};

/// A connection attempt takes no longer than this.
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// A brain that says nothing for so long is gone.
const IDLE_TIME: VarInt = VarInt::from_u32(30_000);
/// Keeps a quiet connection and the address translations on its way alive.
const KEEP_ALIVE: Duration = Duration::from_secs(8);
/// Bytes that the brain may have sent without our having read them: acknowledgements are 40 bytes.
const RECEIVE_WINDOW: VarInt = VarInt::from_u32(64 * 1024);
/// Bytes in flight: two full frames. The rest waits in the spool, not in memory.
const SEND_WINDOW: u64 = 2 * 1024 * 1024;
/// A session that lasted so long was a success: the next failure starts the back-off anew.
const SESSION_GOOD: Duration = Duration::from_secs(10);
/// Bounds the farewell after that.
const CLOSE_TIME: Duration = Duration::from_millis(500);

/// What the uplink needs to know.
#[derive(Debug)]
pub struct Uplink {
    /// Where the brain listens, `host:port`.
    pub address: String,
    /// Where key and certificate are.
    pub state_dir: PathBuf,
    /// The host's facts.
    pub host: Host,
    /// Takes settings from the brain.
    pub tuning: Tuning,
    /// Takes rules from the brain, where files are scanned.
    pub rules: Option<Rules>,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The address does not resolve.
    #[error("cannot resolve {address}: {reason}; check brain.address")]
    Resolve {
        /// What was looked up.
        address: String,
        /// Why it failed.
        reason: String,
    },
    /// The handshake failed.
    #[error("cannot connect to the brain at {address}: {reason}")]
    Connect {
        /// Where.
        address: String,
        /// Why.
        reason: String,
    },
    /// TLS settings cannot be made.
    #[error("TLS settings are not usable: {0}")]
    Tls(#[from] rustls::Error),
    /// No socket.
    #[error("cannot open a UDP socket: {0}")]
    Socket(std::io::Error),
}

/// Why a session could not be had.
#[derive(Debug, Error)]
enum AttemptError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl Uplink {
    /// Enrols when the state directory holds no certificate.
    pub async fn enrol(&self, token: Option<&JoinToken>) -> Result<(), EnrolError> {
        if Identity::exists(&self.state_dir) {
            if token.is_some() {
                let state_dir = self.state_dir.display();
                tracing::info!(%state_dir, "already enrolled; the join token is not used");
            }
            return Ok(());
        }
        let token = token.ok_or_else(|| {
            EnrolError::Identity(IdentityError::Unreadable {
                path: self.state_dir.join("cert.pem"),
                reason: "this host is not enrolled".to_owned(),
            })
        })?;
        let endpoint = endpoint(&self.address).await?;
        let (name, dir) = (&self.host.name, &self.state_dir);
        let sensor_id = enrol::join(&endpoint, &self.address, name, token, dir).await?;
        tracing::info!(sensor_id, brain = self.address, "enrolled");
        Ok(())
    }

    /// Keeps a session until `stop`, then sends what is left.
    pub async fn run(&self, outbox: &Outbox, mut stop: watch::Receiver<bool>) {
        let mut backoff = Backoff::default();
        while !*stop.borrow_and_update() {
            let begun = tokio::time::Instant::now();
            match self.attempt(outbox, &stop).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(brain = self.address, %error, "no session"),
            }
            if begun.elapsed() >= SESSION_GOOD {
                backoff.reset();
            }
            let delay = backoff.next(rand::random());
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Has one session; `Ok` means that the sensor stops.
    async fn attempt(
        &self,
        outbox: &Outbox,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), AttemptError> {
        let (endpoint, identity, connection) = tokio::select! {
            connected = self.connected() => connected?,
            () = stopping(stop.clone()) => return Ok(()),
        };
        let takers = Takers { tuning: &self.tuning, rules: self.rules.as_ref() };
        let ended = tokio::select! {
            ended = session::run(&connection, self.hello(outbox), outbox, takers) => ended,
            () = self.renewal_due(&identity) => Err(SessionError::Renewal),
            () = flushed(outbox, stop.clone()) => Ok(()),
        };
        connection.close(VarInt::from_u32(0), b"");
        let _ = tokio::time::timeout(CLOSE_TIME, endpoint.wait_idle()).await;
        Ok(ended?)
    }

    async fn connected(&self) -> Result<(Endpoint, Identity, Connection), AttemptError> {
        let endpoint = endpoint(&self.address).await?;
        let identity = self.renewed(&endpoint, Identity::load(&self.state_dir)?).await?;
        let mut tls = identity.tls(wire::ALPN_SESSION).map_err(ConnectError::from)?;
        tls.alpn_protocols.insert(0, wire::ALPN_COLUMNS.to_vec());
        let connection = connect(&endpoint, &self.address, tls).await?;
        Ok((endpoint, identity, connection))
    }

    fn hello(&self, outbox: &Outbox) -> Hello {
        Hello {
            hostname: self.host.name.clone(),
            sensor_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.host.kernel.clone(),
            boot_id: self.host.boot_id.clone(),
            epoch: outbox.epoch(),
            cpus: self.host.cpus,
        }
    }

    /// Renews a certificate that is due. A brain that refuses is told of in the log; the
    /// certificate is good for a while yet.
    async fn renewed(
        &self,
        endpoint: &Endpoint,
        identity: Identity,
    ) -> Result<Identity, AttemptError> {
        if !identity.is_due(unix_s()) {
            return Ok(identity);
        }
        let (name, dir) = (&self.host.name, &self.state_dir);
        match enrol::renew(endpoint, &self.address, name, &identity, dir).await {
            Ok(()) => {
                tracing::info!("certificate renewed");
                Ok(Identity::load(&self.state_dir)?)
            }
            Err(error) => {
                tracing::warn!(%error, "cannot renew the certificate");
                Ok(identity)
            }
        }
    }

    /// Ends when a long session's certificate comes to its last third.
    async fn renewal_due(&self, identity: &Identity) {
        /// Certificates live for days.
        const LOOK: Duration = Duration::from_secs(3600);
        loop {
            tokio::time::sleep(LOOK).await;
            if identity.is_due(unix_s()) {
                return;
            }
        }
    }
}

/// Connects within a bounded time. The brain proves itself under its own name, wherever it is.
pub async fn connect(
    endpoint: &Endpoint,
    address: &str,
    tls: rustls::ClientConfig,
) -> Result<Connection, ConnectError> {
    let failed = |reason: String| ConnectError::Connect { address: address.to_owned(), reason };
    let quic = QuicClientConfig::try_from(tls).map_err(|error| failed(error.to_string()))?;
    let mut config = ClientConfig::new(Arc::new(quic));
    config.transport_config(Arc::new(transport()));
    let target = resolve(address).await?;
    let connecting = endpoint
        .connect_with(config, target, wire::BRAIN_NAME)
        .map_err(|error| failed(error.to_string()))?;
    match tokio::time::timeout(CONNECT_TIME, connecting).await {
        Ok(connected) => connected.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} s", CONNECT_TIME.as_secs()))),
    }
}

async fn endpoint(address: &str) -> Result<Endpoint, ConnectError> {
    let local = match resolve(address).await? {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    Endpoint::client(local).map_err(ConnectError::Socket)
}

async fn resolve(address: &str) -> Result<SocketAddr, ConnectError> {
    let failed = |reason: String| ConnectError::Resolve { address: address.to_owned(), reason };
    let mut found =
        tokio::net::lookup_host(address).await.map_err(|error| failed(error.to_string()))?;
    found.next().ok_or_else(|| failed("it has no address".to_owned()))
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(IDLE_TIME)))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .receive_window(RECEIVE_WINDOW)
        .stream_receive_window(RECEIVE_WINDOW)
        .send_window(SEND_WINDOW)
        // The brain opens no streams and sends no datagrams.
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None);
    transport
}

/// Ends once the sensor stops and the brain has everything, or has had its time.
async fn flushed(outbox: &Outbox, stop: watch::Receiver<bool>) {
    stopping(stop).await;
    let _ = tokio::time::timeout(FLUSH_TIME, outbox.emptied()).await;
}

async fn stopping(mut stop: watch::Receiver<bool>) {
    // The sender lives as long as the sensor.
    let _ = stop.wait_for(|&stop| stop).await;
}

fn unix_s() -> i64 {
    (ClockPair::now().unix_ns / 1_000_000_000) as i64
}
