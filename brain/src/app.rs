//! Builds every part, owns every task, and ends them in the order in which data flows.

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::api;
use crate::board::Board;
use crate::ca::{self, Ca};
use crate::clock;
use crate::engine::{self, Engine, Input, Progress};
use crate::fleet::Fleet;
use crate::identity;
use crate::ingest::{self, Ingest};
use crate::journal::{Journal, JournalError, Opened};
use crate::metrics::Metrics;
use crate::notify::{Notifier, Rules, Webhook};
use crate::policy::PolicySet;
use crate::store::{Store, file};

pub use crate::config::Config;

/// Batches that may wait for the engine. The journal waits when there are more, and so do sensors.
const ENGINE_QUEUE: usize = 64;

/// Requests to the engine besides the journal's.
const REQUEST_QUEUE: usize = 16;

/// Open HTTP requests get so long to end; live streams do not end by themselves.
const HTTP_CLOSE_TIME: Duration = Duration::from_secs(1);

/// The engine gets so long to take in what the journal holds. What it misses it replays at the next start.
const ENGINE_CLOSE_TIME: Duration = Duration::from_secs(20);

/// A client must have sent a request's head by then.
const HTTP_HEAD_TIME: Duration = Duration::from_secs(10);

/// A thread's last word.
type Ended = oneshot::Receiver<Result<()>>;

/// A running brain.
#[derive(Debug)]
pub struct App {
    quic: SocketAddr,
    http: SocketAddr,
    setup_link: Option<String>,
    secure: bool,
    config: Config,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    stop: watch::Sender<bool>,
    requests: mpsc::Sender<Input>,
    ingest: JoinHandle<()>,
    web: JoinHandle<std::io::Result<()>>,
    web_handle: Handle<SocketAddr>,
    notifier: Option<JoinHandle<()>>,
    writer: Ended,
    engine: Ended,
    /// Held until the last part has ended.
    _lock: nix::fcntl::Flock<File>,
}

impl App {
    /// Starts everything. When it returns, sensors and people can connect.
    pub async fn start(config: Config) -> Result<Self> {
        config.check()?;
        // reqwest asks for the process's provider; a second start in one process finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let started_ns = clock::now_ns();
        let data = config.data_dir();
        file::private_dir(&data)?;
        let lock = lock(&data)?;
        let metrics = Arc::new(Metrics::new());
        let board = Arc::new(Board::default());
        let ca = Arc::new(Ca::open(&data.join("ca"), started_ns)?);
        let policy = load_policies(&config)?;
        let core = tokio::task::spawn_blocking({
            let (config, metrics, board) =
                (config.clone(), Arc::clone(&metrics), Arc::clone(&board));
            move || Core::restore(&config, &policy, metrics, board)
        });
        let core = core.await.context("the restore panicked")??;
        let Core { store, fleet, journal, writer, engine, requests } = core;

        let shared = ingest::Shared::new(
            Arc::clone(&ca),
            Arc::clone(&store),
            Arc::clone(&fleet),
            Arc::clone(&board),
            journal.clone(),
            Arc::clone(&metrics),
            config.limits.clone(),
        );
        let sensors = Arc::clone(&shared.sessions);
        let ingest = Ingest::bind(config.ingest.listen, shared)?;
        let quic = ingest.address();

        let listener = listen(config.http.listen)?;
        let http = listener.local_addr()?;
        let secure = !http.ip().is_loopback();
        let (setup_link, secrets) =
            secrets(&data, &store, &console_url(http, secure), config.http.setup_link)?;
        let parts = api::Parts {
            store: Arc::clone(&store),
            fleet,
            board: Arc::clone(&board),
            journal,
            sensors,
            ca: Arc::clone(&ca),
            metrics: Arc::clone(&metrics),
            secrets,
        };
        let context = Arc::new(api::Context::new(parts, &config.limits, secure, started_ns));
        let web_handle = Handle::new();
        let web = serve_http(listener, context, &ca, started_ns, web_handle.clone())?;

        let (stop, stopped) = watch::channel(false);
        let floor_ns = if store.rebuilt { started_ns } else { 0 };
        let notifier = notifier(&config, &board, &store, &metrics, http, floor_ns)?;
        let notifier = notifier.map(|notifier| tokio::spawn(notifier.run(stopped.clone())));
        let mut ingest_stop = stopped;
        let ingest = tokio::spawn(ingest.run(async move {
            let _ = ingest_stop.wait_for(|stop| *stop).await;
        }));
        Ok(Self {
            quic,
            http,
            setup_link,
            secure,
            config,
            metrics,
            board,
            stop,
            requests,
            ingest,
            web,
            web_handle,
            notifier,
            writer,
            engine,
            _lock: lock,
        })
    }

    /// Returns where sensors connect.
    pub fn quic_address(&self) -> SocketAddr {
        self.quic
    }

    /// Returns where people connect.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Returns the console's address.
    pub fn console_url(&self) -> String {
        console_url(self.http, self.secure)
    }

    /// Returns the link that makes the first account, while there is none.
    pub fn setup_link(&self) -> Option<&str> {
        self.setup_link.as_deref()
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Returns the findings.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Asks the engine how far it is.
    pub async fn progress(&self) -> Result<Progress> {
        let (reply, answer) = oneshot::channel();
        self.requests
            .send(Input::Query(reply))
            .await
            .map_err(|_| anyhow!("the engine has ended"))?;
        answer.await.context("the engine has ended")
    }

    /// Reads the policies again. Broken files are reported and the rest is used.
    pub async fn reload_policies(&self) -> Result<()> {
        let policy = load_policies(&self.config)?;
        let input = Input::Policy(Box::new(policy));
        self.requests.send(input).await.map_err(|_| anyhow!("the engine has ended"))
    }

    /// Waits until a part fails that the brain cannot be without; returns why.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            ended = &mut self.writer => why("the journal", ended),
            ended = &mut self.engine => why("the engine", ended),
            ended = &mut self.web => match ended {
                Ok(Err(error)) => anyhow!(error).context("the HTTP server failed"),
                _ => anyhow!("the HTTP server ended"),
            },
        }
    }

    /// Ends everything: no new input, then what is under way, then what it has led to.
    pub async fn shutdown(self) -> Result<()> {
        let Self { stop, requests, ingest, web, web_handle, notifier, writer, engine, .. } = self;
        stop.send_replace(true);
        let _ = ingest.await;
        web_handle.graceful_shutdown(Some(HTTP_CLOSE_TIME));
        let _ = tokio::time::timeout(HTTP_CLOSE_TIME * 2, web).await;
        drop(requests);
        let ends = async {
            writer.await.unwrap_or(Ok(()))?;
            engine.await.unwrap_or(Ok(()))
        };
        let result = match tokio::time::timeout(ENGINE_CLOSE_TIME, ends).await {
            Ok(result) => result,
            Err(_) => bail!("the engine did not end in time; the next start takes in what is left"),
        };
        if let Some(notifier) = notifier {
            let _ = notifier.await;
        }
        result
    }
}

/// Everything that is restored from disk, with the threads that own it.
struct Core {
    store: Arc<Store>,
    fleet: Arc<Fleet>,
    journal: Journal,
    writer: Ended,
    engine: Ended,
    requests: mpsc::Sender<Input>,
}

impl Core {
    fn restore(
        config: &Config,
        policy: &PolicySet,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Result<Self> {
        let data = config.data_dir();
        let opened = Opened::open(&data.join("journal"), &metrics)?;
        let store = Arc::new(Store::open(&data, &metrics)?);
        let stored = store.findings.load()?;
        let fleet = Arc::new(Fleet::new(stored.hosts, Arc::clone(&metrics)));
        let parts = engine::Parts {
            store: Arc::clone(&store),
            fleet: Arc::clone(&fleet),
            board: Arc::clone(&board),
            metrics: Arc::clone(&metrics),
        };
        let engine = Engine::restore(parts, policy, stored.checkpoint, stored.findings, &opened)?;
        store.outbox.retain(|id| board.get(id).is_some())?;
        let (logged_sender, logged) = mpsc::channel(ENGINE_QUEUE);
        let (requests, request_receiver) = mpsc::channel(REQUEST_QUEUE);
        let (journal, writer) = opened.start(&config.journal, metrics, logged_sender)?;
        let checkpointed = writer.checkpointed();
        let channels = engine::Channels { logged, requests: request_receiver, checkpointed };
        let writer = thread("journal", async move { writer.run().await.map_err(Into::into) })?;
        let engine =
            thread(
                "engine",
                async move { engine::run(engine, channels).await.map_err(Into::into) },
            )?;
        Ok(Self { store, fleet, journal, writer, engine, requests })
    }
}

/// Runs a task that blocks or computes for long on a thread of its own.
fn thread(name: &str, task: impl Future<Output = Result<()>> + Send + 'static) -> Result<Ended> {
    let (sender, ended) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // After a panic the sender is dropped, which says as much.
        let _ = sender.send(runtime.block_on(task));
    })?;
    Ok(ended)
}

fn why(part: &str, ended: Result<Result<()>, oneshot::error::RecvError>) -> anyhow::Error {
    match ended {
        Ok(Ok(())) => anyhow!("{part} ended"),
        Ok(Err(error)) => error.context(format!("{part} failed")),
        Err(_) => anyhow!("{part} panicked"),
    }
}

fn lock(data: &Path) -> Result<nix::fcntl::Flock<File>> {
    let path = data.join("lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(file::failed("open", &path))?;
    nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
        .map_err(|_| JournalError::InUse(data.to_owned()).into())
}

fn load_policies(config: &Config) -> Result<PolicySet> {
    let mut policy = match &config.policies.dir {
        None => PolicySet::embedded(),
        Some(dir) => PolicySet::load(dir).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow!("{}", errors.join("; "))
                .context(format!("failed to load policies from {}", dir.display()))
        })?,
    };
    for error in &policy.errors {
        tracing::error!(%error, "a policy is not used");
    }
    // The brain itself is never an indicator, whatever a feed says.
    let own = [config.ingest.listen.ip(), config.http.listen.ip()];
    let own: Vec<IpAddr> = own.into_iter().filter(|ip| !ip.is_unspecified()).collect();
    policy.protect(&own);
    tracing::info!(revision = %policy.revision, rules = policy.rules.len(), "policies are loaded");
    Ok(policy)
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("failed to listen on {address}/tcp"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve_http(
    listener: TcpListener,
    context: Arc<api::Context>,
    ca: &Ca,
    now_ns: u64,
    handle: Handle<SocketAddr>,
) -> Result<JoinHandle<std::io::Result<()>>> {
    let address = listener.local_addr()?;
    let secure = context.secure;
    let service = api::router(context).into_make_service_with_connect_info::<SocketAddr>();
    if !secure {
        let server =
            axum_server::from_tcp(listener)?.handle(handle).first_request_timeout(HTTP_HEAD_TIME);
        return Ok(tokio::spawn(server.serve(service)));
    }
    let mut names = vec![wire::BRAIN_NAME.to_owned(), "localhost".to_owned()];
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    names.extend(Some(hostname.trim().to_owned()).filter(|name| !name.is_empty()));
    names.dedup();
    let addresses = if address.ip().is_unspecified() { Vec::new() } else { vec![address.ip()] };
    let config = ca.server(&names, &addresses, now_ns)?.http_config()?;
    let config = RustlsConfig::from_config(Arc::new(config));
    let server = axum_server::from_tcp_rustls(listener, config)?.handle(handle);
    Ok(tokio::spawn(server.first_request_timeout(HTTP_HEAD_TIME).serve(service)))
}

fn console_url(address: SocketAddr, secure: bool) -> String {
    format!("{}://{address}/", if secure { "https" } else { "http" })
}

/// Makes the secrets of this start; returns the set-up link while there is no account.
fn secrets(
    data: &Path,
    store: &Store,
    console: &str,
    with_link: bool,
) -> Result<(Option<String>, api::Secrets)> {
    let path = data.join("cli.token");
    let stored = file::read(&path)?.and_then(|bytes| String::from_utf8(bytes).ok());
    let cli = match stored.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()) {
        Some(token) => token,
        None => {
            let token = format!("smk_{}", identity::random_secret());
            file::replace(&path, format!("{token}\n").as_bytes())?;
            token
        }
    };
    let setup = (with_link && store.users.is_empty()).then(identity::random_secret);
    let link = setup.as_ref().map(|secret| format!("{console}setup?token={secret}"));
    let hash = |secret: String| identity::secret_hash(secret.as_bytes());
    Ok((link, api::Secrets { setup: Mutex::new(setup.map(hash)), cli: hash(cli) }))
}

fn notifier(
    config: &Config,
    board: &Arc<Board>,
    store: &Arc<Store>,
    metrics: &Arc<Metrics>,
    http: SocketAddr,
    floor_ns: u64,
) -> Result<Option<Notifier>> {
    let settings = &config.notify;
    let Some(url) = &settings.slack_webhook else { return Ok(None) };
    let console = settings.console_url.clone();
    let console = console.unwrap_or_else(|| console_url(http, !http.ip().is_loopback()));
    let webhook = Webhook::new(url, settings.allow_private, console)?;
    let rules = Rules {
        min_severity: settings.min_severity,
        max_per_minute: settings.max_per_minute,
        floor_ns,
    };
    let (board, store, metrics) = (Arc::clone(board), Arc::clone(store), Arc::clone(metrics));
    Ok(Some(Notifier::new(board, store, metrics, webhook, rules)))
}

/// Returns the certificate authority's file below a data directory, for clients on this machine.
pub fn ca_file(data: &Path) -> std::path::PathBuf {
    data.join("ca").join("ca.pem")
}

/// Returns the provider that clients on this machine use, too.
pub fn install_provider() {
    let _ = ca::provider().as_ref().clone().install_default();
}
