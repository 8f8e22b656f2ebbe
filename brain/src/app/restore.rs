//! What is on disk, brought back to life: the journal's writer and the engine on their threads.

use std::sync::Arc;

use anyhow::Result;
use tokio::sync::{mpsc, oneshot};

use super::Config;
use crate::board::Board;
use crate::engine::{self, Engine, Input};
use crate::fleet::Fleet;
use crate::journal::{ENGINE_GROUPS, Journal, Opened};
use crate::metrics::Metrics;
use crate::policy::PolicySet;
use crate::store::Store;

/// Requests to the engine besides the journal's.
const REQUEST_QUEUE: usize = 16;

/// A thread's last word.
pub(super) type Ended = oneshot::Receiver<Result<()>>;

/// Everything that is restored from disk, with the threads that own it.
pub(super) struct Restored {
    pub(super) store: Arc<Store>,
    pub(super) fleet: Arc<Fleet>,
    pub(super) journal: Journal,
    pub(super) writer: Ended,
    pub(super) engine: Ended,
    pub(super) requests: mpsc::Sender<Input>,
}

impl Restored {
    /// Reads everything, replays what is not in the last checkpoint, and starts the threads.
    pub(super) fn open(
        config: &Config,
        policy: &PolicySet,
        metrics: Arc<Metrics>,
        board: Arc<Board>,
    ) -> Result<Self> {
        let data = config.data_dir();
        let mut opened = Opened::open(&data.join("journal"), &metrics)?;
        let store = Arc::new(Store::open(&data, &metrics)?);
        let stored = store.findings.load()?;
        opened.follow(stored.checkpoint.index);
        let fleet = Arc::new(Fleet::new(stored.hosts, Arc::clone(&metrics)));
        let parts = engine::Parts {
            store: Arc::clone(&store),
            fleet: Arc::clone(&fleet),
            board: Arc::clone(&board),
            metrics: Arc::clone(&metrics),
        };
        let engine = Engine::restore(parts, policy, stored.checkpoint, stored.findings, &opened)?;
        store.outbox.retain(|id| board.get(id).is_some())?;
        let (logged_sender, logged) = mpsc::channel(ENGINE_GROUPS);
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
