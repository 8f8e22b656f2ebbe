//! The HTTP API: every route is on this page.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{delete, get, post};
use tokio::sync::Semaphore;
use tower_http::timeout::TimeoutLayer;

use crate::board::Board;
use crate::ca::Ca;
use crate::config;
use crate::console;
use crate::fleet::Fleet;
use crate::identity;
use crate::ingest::Sessions;
use crate::journal::Journal;
use crate::metrics::Metrics;
use crate::rate::RateLimit;
use crate::store::Store;

mod auth;
mod error;
mod findings;
mod headers;
mod hosts;
mod live;
mod login;
mod metrics;
mod overview;
mod tokens;
mod view;

/// Bytes of a request's body: a decision with a long note is a few thousand.
const BODY_MAX: usize = 64 * 1024;

/// A request that takes longer has met a fault; nothing here computes for seconds.
const REQUEST_TIME: Duration = Duration::from_secs(15);

/// Failed log-ins of all addresses together in a second. Hashing is slow on purpose; this bounds
/// it.
const LOGINS_PER_SECOND: u32 = 5;

/// What handlers work with.
#[derive(Debug)]
pub struct Context {
    /// Everything that is kept.
    pub store: Arc<Store>,
    /// Hosts right now.
    pub fleet: Arc<Fleet>,
    /// Findings right now.
    pub board: Arc<Board>,
    /// Where decisions go.
    pub journal: Journal,
    /// Live sensors.
    pub sensors: Arc<Sessions>,
    /// For join tokens.
    pub ca: Arc<Ca>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Whether HTTP is served with TLS.
    pub secure: bool,
    /// When the brain started.
    pub started_ns: u64,
    secrets: Secrets,
    live_streams: Arc<Semaphore>,
    failed_logins: Mutex<RateLimit<IpAddr>>,
    all_logins: Mutex<RateLimit<()>>,
}

/// Hashes of secrets that are made at start.
#[derive(Debug, Default)]
pub struct Secrets {
    /// Of the set-up link, while there is one.
    pub setup: Mutex<Option<String>>,
    /// Of the token that commands on this machine use.
    pub cli: String,
}

/// Parts that the application already has.
#[derive(Debug)]
pub struct Parts {
    /// Everything that is kept.
    pub store: Arc<Store>,
    /// Hosts right now.
    pub fleet: Arc<Fleet>,
    /// Findings right now.
    pub board: Arc<Board>,
    /// Where decisions go.
    pub journal: Journal,
    /// Live sensors.
    pub sensors: Arc<Sessions>,
    /// For join tokens.
    pub ca: Arc<Ca>,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
    /// Hashes of secrets that are made at start.
    pub secrets: Secrets,
}

impl Context {
    /// Puts the parts together.
    pub fn new(parts: Parts, limits: &config::Limits, secure: bool, started_ns: u64) -> Self {
        let per_minute = limits.failed_logins_per_minute.max(1);
        let failed = RateLimit::new(per_minute, f64::from(per_minute) / 60.0);
        let all = RateLimit::new(LOGINS_PER_SECOND, f64::from(LOGINS_PER_SECOND));
        let Parts { store, fleet, board, journal, sensors, ca, metrics, secrets } = parts;
        Self {
            store,
            fleet,
            board,
            journal,
            sensors,
            ca,
            metrics,
            secure,
            started_ns,
            secrets,
            live_streams: Arc::new(Semaphore::new(limits.live_streams as usize)),
            failed_logins: Mutex::new(failed),
            all_logins: Mutex::new(all),
        }
    }

    fn failed_logins(&self) -> MutexGuard<'_, RateLimit<IpAddr>> {
        self.failed_logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn setup_hash(&self) -> MutexGuard<'_, Option<String>> {
        self.secrets.setup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_cli(&self, token: &str) -> bool {
        identity::same_hash(&self.secrets.cli, &identity::secret_hash(token.as_bytes()))
    }

    fn take_login(&self, now_ns: u64) -> Result<(), u64> {
        self.all_logins.lock().unwrap_or_else(PoisonError::into_inner).take((), now_ns)
    }
}

/// Returns the whole HTTP service.
pub fn router(context: Arc<Context>) -> Router {
    let open = Router::new()
        .route("/api/v1/session", get(login::session))
        .route("/api/v1/setup", post(login::setup))
        .route("/api/v1/login", post(login::login))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(metrics::healthz));
    let closed = Router::new()
        .route("/api/v1/logout", post(login::logout))
        .route("/api/v1/overview", get(overview::overview))
        .route("/api/v1/findings", get(findings::list))
        .route("/api/v1/findings/{id}", get(findings::one))
        .route("/api/v1/findings/{id}/state", post(findings::decide))
        .route("/api/v1/hosts", get(hosts::list))
        .route("/api/v1/hosts/{id}", get(hosts::one))
        .route("/api/v1/hosts/{id}/revoke", post(hosts::revoke))
        .route("/api/v1/tokens", get(tokens::list).post(tokens::create))
        .route("/api/v1/tokens/{id}", delete(tokens::revoke))
        .route("/api/v1/live", get(live::live))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&context), auth::require));
    let secure = context.secure;
    open.merge(closed)
        .route("/api/{*rest}", axum::routing::any(error::unknown_path))
        .fallback(get(console::file))
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIME))
        .layer(middleware::from_fn_with_state(Arc::clone(&context), headers::count))
        .layer(middleware::from_fn(move |request, next| headers::secure(secure, request, next)))
        .with_state(context)
}

/// Runs what waits for the disk or computes for long on a thread made for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, error::ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| error::ApiError::internal("a task panicked"))
}

/// Events of the live stream that wait to be sent.
type Queue = VecDeque<axum::response::sse::Event>;
