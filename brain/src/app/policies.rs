//! The policies of a running brain: loaded at start, on a signal, and whenever their files change.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock;
use crate::config::Config;
use crate::detect::prepared::{Made, Prepared};
use crate::engine::{Input, NewPolicy};
use crate::metrics::{self, Metrics};
use crate::policy::{Folders, Loader, PolicySet, SensorPolicies};

/// Problems that the log names at once; the rest is a number. A folder of foreign rules would
/// otherwise fill it.
const PROBLEMS_LOGGED_MAX: usize = 50;

/// Loads policies and hands them to whoever works from them.
#[derive(Debug)]
pub(super) struct Policies {
    loader: Mutex<Loader>,
    is_watched: bool,
    /// The brain itself is never an indicator, whatever a feed says.
    own: Vec<IpAddr>,
    wanted: watch::Sender<Arc<SensorPolicies>>,
    /// What the engine's detectors were made from, as far as it is known: empty until the first
    /// reload.
    at_work: tokio::sync::Mutex<Made>,
    metrics: Arc<Metrics>,
    /// Exceptions whose end was told.
    told: Mutex<BTreeSet<String>>,
    exceptions: Mutex<Arc<crate::policy::Exceptions>>,
}

impl Policies {
    pub(super) fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let folders = Folders::new(config.policies.dir.clone(), &config.policies.extra);
        let own = [config.ingest.listen.ip(), config.http.listen.ip()];
        Self {
            is_watched: folders.is_watched(),
            loader: Mutex::new(Loader::new(folders)),
            own: own.into_iter().filter(|ip| !ip.is_unspecified()).collect(),
            wanted: watch::Sender::default(),
            at_work: tokio::sync::Mutex::default(),
            metrics,
            told: Mutex::default(),
            exceptions: Mutex::default(),
        }
    }

    /// Begins to hear what is wanted of sensors.
    pub(super) fn wanted(&self) -> watch::Receiver<Arc<SensorPolicies>> {
        self.wanted.subscribe()
    }

    /// Reads the policies; broken files are told and the rest is used.
    pub(super) fn load(&self) -> Result<PolicySet> {
        let loaded = locked(&self.loader).load();
        let mut set = loaded.inspect_err(|_| {
            metrics::count(&self.metrics.policy_loads, "refused");
            locked(&self.loader).give_up();
        })?;
        set.protect(&self.own);
        log_problems(&set);
        let outcome = if set.errors.is_empty() { "clean" } else { "with_errors" };
        metrics::count(&self.metrics.policy_loads, outcome);
        self.metrics.policy_errors.set(set.errors.len() as i64);
        self.metrics.policy_kept.set(set.kept.len() as i64);
        self.metrics.policy_rules.set(set.rules.len() as i64);
        self.wanted.send_replace(Arc::clone(&set.sensors));
        *locked(&self.exceptions) = Arc::clone(&set.exceptions);
        self.tell_ended();
        tracing::info!(
            revision = %set.revision,
            rules = set.rules.len(),
            errors = set.errors.len(),
            kept = set.kept.len(),
            "policies are loaded"
        );
        Ok(set)
    }

    /// Names exceptions that have ended, each once.
    fn tell_ended(&self) {
        let ended = locked(&self.exceptions).ended(clock::now_ns());
        let mut told = locked(&self.told);
        for one in ended.iter().filter(|one| one.is_over) {
            let line = format!("{}:{}: {}", one.file, one.line, one.message);
            if !told.contains(&line) {
                tracing::warn!("{line}");
                told.insert(line);
            }
        }
        // What was mended may end again.
        told.retain(|line| ended.iter().any(|one| line.starts_with(&one.file)));
    }

    /// Reads the policies and gives them to the engine; returns when it works from them.
    pub(super) async fn reload(self: &Arc<Self>, engine: &mpsc::Sender<Input>) -> Result<()> {
        // One after the other: a set leaves out what it has in common with the one before it.
        let mut at_work = self.at_work.lock().await;
        let (this, made) = (Arc::clone(self), at_work.clone());
        // Compiling thousands of rules does not belong on the threads that serve the network, nor
        // on the engine's.
        let ready = tokio::task::spawn_blocking(move || {
            let set = this.load()?;
            anyhow::Ok((Prepared::new(&set, &made), Arc::clone(&set.exceptions)))
        });
        let (detectors, exceptions) = ready.await.context("loading the policies panicked")??;
        let (made, (replaced, taken)) = (detectors.made(), oneshot::channel());
        let policy = Box::new(NewPolicy { detectors, exceptions, replaced });
        let ended = || anyhow!("the engine has ended");
        engine.send(Input::Policy(policy)).await.map_err(|_| ended())?;
        *at_work = made;
        let replaced = taken.await.map_err(|_| ended())?;
        tokio::task::spawn_blocking(move || drop(replaced));
        Ok(())
    }

    /// Loads the policies again each time that they have changed, until `stop` turns true.
    pub(super) async fn watch(
        self: Arc<Self>,
        engine: mpsc::Sender<Input>,
        mut stop: watch::Receiver<bool>,
    ) {
        if !self.is_watched {
            return;
        }
        let mut was_told = false;
        loop {
            let pause = locked(&self.loader).pause();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let result = match self.is_due().await {
                Ok(true) => self.reload(&engine).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            // A folder that stays away is told once.
            let is_wrong = result.is_err();
            if let (Err(error), false) = (result, was_told) {
                tracing::error!(error = format!("{error:#}"), "the policies stay as they were");
            }
            was_told = is_wrong;
        }
    }

    async fn is_due(self: &Arc<Self>) -> Result<bool> {
        let this = Arc::clone(self);
        let look = tokio::task::spawn_blocking(move || {
            this.tell_ended();
            locked(&this.loader).is_due()
        });
        Ok(look.await.context("looking at the policies panicked")??)
    }
}

fn log_problems(set: &PolicySet) {
    for error in set.errors.iter().take(PROBLEMS_LOGGED_MAX) {
        tracing::error!(%error, "a policy is not used");
    }
    let more = set.errors.len().saturating_sub(PROBLEMS_LOGGED_MAX);
    if more > 0 {
        tracing::error!(more, "further policies are not used; `policy test` names all of them");
    }
}

/// What a lock guards stays valid wherever a panic cuts in.
fn locked<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
