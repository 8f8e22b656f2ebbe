//! A brain's journal by itself, with an engine that takes everything.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use brain::config;
use brain::journal::{ENGINE_GROUPS, Journal, Opened};
use brain::metrics::Metrics;
use tokio::runtime;
use tokio::sync::mpsc;

/// The threads of an open journal.
pub(crate) struct Running {
    writing: JoinHandle<Result<()>>,
    engine: JoinHandle<()>,
}

/// Opens the journal in `folder` and runs it.
pub(crate) fn start(folder: &Path) -> Result<(Journal, Running)> {
    let metrics = Arc::new(Metrics::new());
    let opened = Opened::open(folder, &metrics).context("failed to open a journal")?;
    let (engine, mut logged) = mpsc::channel(ENGINE_GROUPS);
    let (journal, writer) = opened.start(&config::Journal::default(), metrics, engine)?;
    let engine = std::thread::spawn(move || while logged.blocking_recv().is_some() {});
    let writing = std::thread::spawn(move || -> Result<()> {
        let runtime = runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(writer.run()).context("the journal failed")
    });
    Ok((journal, Running { writing, engine }))
}

impl Running {
    /// Waits until everything is written, once the last [`Journal`] is dropped.
    pub(crate) fn end(self) -> Result<()> {
        self.writing.join().map_err(|_| anyhow!("the journal panicked"))??;
        self.engine.join().map_err(|_| anyhow!("the engine panicked"))
    }
}
