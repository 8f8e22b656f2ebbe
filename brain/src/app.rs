//! Builds every part, owns every task, and ends them in the order in which data flows.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use axum_server::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::api;
use crate::board::Board;
use crate::ca::{self, Ca};
use crate::clock;
use crate::engine::{Input, Progress};
use crate::ingest::{self, Ingest};
use crate::journal::{Journal, JournalError};
use crate::metrics::Metrics;
use crate::notify::{Notifier, Rules, Webhook};
use crate::store::file;

pub use crate::config::Config;

mod policies;
mod restore;
mod web;

use policies::Policies;
use restore::{Ended, Restored};

/// Open HTTP requests get so long to end; live streams do not end by themselves.
const HTTP_CLOSE_TIME: Duration = Duration::from_secs(1);

/// The engine gets so long to take in what the journal holds. What it misses it replays at the next
/// start.
const ENGINE_CLOSE_TIME: Duration = Duration::from_secs(20);

/// A running brain.
#[derive(Debug)]
pub struct App {
    base: Base,
    quic: SocketAddr,
    http: SocketAddr,
    setup_link: Option<String>,
    stop: watch::Sender<bool>,
    requests: mpsc::Sender<Input>,
    ingest: JoinHandle<()>,
    web: JoinHandle<std::io::Result<()>>,
    web_handle: Handle<SocketAddr>,
    notifier: Option<JoinHandle<()>>,
    watcher: JoinHandle<()>,
    writer: Ended,
    engine: Ended,
}

impl App {
    /// Starts everything. When it returns, sensors and people can connect.
    pub async fn start(config: Config) -> Result<Self> {
        let base = Base::open(config)?;
        let restored = base.restore().await?;
        let ingest = base.bind_ingest(&restored)?;
        let quic = ingest.address();
        let sensors = ingest.sessions();

        let listener = web::listen(base.config.http.listen)?;
        let http = listener.local_addr()?;
        let console = base.console_url(http);
        let with_link = base.config.http.setup_link;
        let (setup_link, secrets) = web::secrets(&base.data, &restored.store, &console, with_link)?;
        let context = base.api_context(&restored, sensors, secrets, http);
        let web_handle = Handle::new();
        let web = web::serve(listener, context, &base.ca, base.started_ns, web_handle.clone())?;

        let (stop, mut stopped) = watch::channel(false);
        let notifier = base.notifier(&restored, console)?;
        let notifier = notifier.map(|notifier| tokio::spawn(notifier.run(stop.subscribe())));
        let ingest = tokio::spawn(ingest.run(async move {
            let _ = stopped.wait_for(|stop| *stop).await;
        }));
        let watcher = Arc::clone(&base.policies);
        let watcher = tokio::spawn(watcher.watch(restored.requests.clone(), stop.subscribe()));
        // The journal ends when the last handle to it does; only those who write may have one.
        let Restored { writer, engine, requests, .. } = restored;
        Ok(Self {
            base,
            quic,
            http,
            setup_link,
            stop,
            requests,
            ingest,
            web,
            web_handle,
            notifier,
            watcher,
            writer,
            engine,
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
        self.base.console_url(self.http)
    }

    /// Returns the link that makes the first account, while there is none.
    pub fn setup_link(&self) -> Option<&str> {
        self.setup_link.as_deref()
    }

    /// Returns the counters.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.base.metrics
    }

    /// Returns the findings.
    pub fn board(&self) -> &Arc<Board> {
        &self.base.board
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
        self.base.policies.reload(&self.requests).await
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
        let Self {
            base,
            stop,
            requests,
            ingest,
            web,
            web_handle,
            notifier,
            watcher,
            writer,
            engine,
            ..
        } = self;
        stop.send_replace(true);
        let _ = watcher.await;
        let _ = ingest.await;
        web_handle.graceful_shutdown(Some(HTTP_CLOSE_TIME));
        // What has ended already was the reason to shut down, and must not be asked again.
        if !web.is_finished() {
            let _ = tokio::time::timeout(HTTP_CLOSE_TIME * 2, web).await;
        }
        drop(requests);
        let ends = async {
            for part in [writer, engine] {
                if !part.is_terminated() {
                    part.await.unwrap_or(Ok(()))?;
                }
            }
            Ok(())
        };
        let result = match tokio::time::timeout(ENGINE_CLOSE_TIME, ends).await {
            Ok(result) => result,
            Err(_) => bail!("the engine did not end in time; the next start takes in what is left"),
        };
        if let Some(notifier) = notifier {
            let _ = notifier.await;
        }
        // The data directory is free for another brain only now.
        drop(base);
        result
    }
}

/// What all parts share.
#[derive(Debug)]
struct Base {
    config: Config,
    data: PathBuf,
    started_ns: u64,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
    ca: Arc<Ca>,
    policies: Arc<Policies>,
    _lock: nix::fcntl::Flock<File>,
}

impl Base {
    fn open(config: Config) -> Result<Self> {
        config.check()?;
        // reqwest asks for the process's provider; a second start in one process finds it there.
        install_provider();
        let started_ns = clock::now_ns();
        let data = config.data_dir();
        file::private_dir(&data)?;
        let lock = lock(&data)?;
        let ca = Arc::new(Ca::open(&data.join("ca"), started_ns)?);
        let (metrics, board) = (Arc::new(Metrics::new()), Arc::new(Board::default()));
        let policies = Arc::new(Policies::new(&config, Arc::clone(&metrics)));
        Ok(Self { config, data, started_ns, metrics, board, ca, policies, _lock: lock })
    }

    async fn restore(&self) -> Result<Restored> {
        let policies = Arc::clone(&self.policies);
        let config = self.config.clone();
        let (metrics, board) = (Arc::clone(&self.metrics), Arc::clone(&self.board));
        // Reading gigabytes does not belong on the threads that serve the network.
        let restoring = move || {
            let policy = policies.load().context("failed to load the policies")?;
            Restored::open(&config, &policy, metrics, board)
        };
        tokio::task::spawn_blocking(restoring).await.context("the restore panicked")?
    }

    fn bind_ingest(&self, restored: &Restored) -> Result<Ingest> {
        let mut shared = ingest::Shared::new(
            Arc::clone(&self.ca),
            Arc::clone(&restored.store),
            Arc::clone(&restored.fleet),
            Arc::clone(&self.board),
            Journal::clone(&restored.journal),
            Arc::clone(&self.metrics),
            self.config.limits.clone(),
        );
        shared.wanted = self.policies.wanted();
        Ok(Ingest::bind(self.config.ingest.listen, shared)?)
    }

    fn api_context(
        &self,
        restored: &Restored,
        sensors: Arc<ingest::Sessions>,
        secrets: api::Secrets,
        http: SocketAddr,
    ) -> Arc<api::Context> {
        let parts = api::Parts {
            store: Arc::clone(&restored.store),
            fleet: Arc::clone(&restored.fleet),
            board: Arc::clone(&self.board),
            journal: Journal::clone(&restored.journal),
            sensors,
            ca: Arc::clone(&self.ca),
            metrics: Arc::clone(&self.metrics),
            secrets,
        };
        let secure = is_secure(http);
        Arc::new(api::Context::new(parts, &self.config.limits, secure, self.started_ns))
    }

    fn notifier(&self, restored: &Restored, console: String) -> Result<Option<Notifier>> {
        let settings = &self.config.notify;
        let Some(url) = &settings.slack_webhook else { return Ok(None) };
        let console = settings.console_url.clone().unwrap_or(console);
        let webhook = Webhook::new(url, settings.allow_private, console)?;
        let rules = Rules {
            min_severity: settings.min_severity,
            max_per_minute: settings.max_per_minute,
            floor_ns: if restored.store.rebuilt { self.started_ns } else { 0 },
        };
        let (board, store) = (Arc::clone(&self.board), Arc::clone(&restored.store));
        Ok(Some(Notifier::new(board, store, Arc::clone(&self.metrics), webhook, rules)))
    }

    fn console_url(&self, http: SocketAddr) -> String {
        web::console_url(http, is_secure(http))
    }
}

/// Whether HTTP on this address is served with TLS.
fn is_secure(http: SocketAddr) -> bool {
    !http.ip().is_loopback()
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

/// Returns the certificate authority's file below a data directory, for clients on this machine.
pub fn ca_file(data: &Path) -> std::path::PathBuf {
    data.join("ca").join("ca.pem")
}

/// Returns the provider that clients on this machine use, too.
pub fn install_provider() {
    let _ = ca::provider().as_ref().clone().install_default();
}
