//! Tells people of findings, at their pace: a message for a new one, a digest when there are many,
//! a reminder when old ones go on. Detection never waits for it.
//!
//! What is due is what the outbox does not hold, so nothing has to be queued twice, and a crash
//! between sending and noting repeats one message at the most.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::board::{Board, Change};
use crate::clock::{self, SECOND_NS};
use crate::finding::{Finding, FindingId, State};
use crate::metrics::{self, Metrics};
use crate::rate::RateLimit;
use crate::store::Store;
use crate::store::outbox::Sent;

mod address;
mod backoff;
mod slack;
mod webhook;

pub use webhook::{Webhook, WebhookError};

use backoff::Backoff;
use webhook::Delivery;

/// What is due is looked at this often: sightings that come together are told together.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A finding older than this when it is first looked at is history, not news: a webhook that is set
/// up on an old brain must not tell a year.
const NEWS_NS: u64 = 24 * 3600 * SECOND_NS;

/// Findings that go on are told again this often.
const REMIND_EVERY: Duration = Duration::from_secs(10 * 60);

/// After this many failures in a row a message is still tried, but the log is told.
const FAILURES_TOLD: u32 = 5;

/// What decides who is told of what.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Findings below are not sent.
    pub min_severity: f64,
    /// Messages in a minute.
    pub max_per_minute: u32,
    /// Findings that began before this are not news. The present, when the outbox was lost.
    pub floor_ns: u64,
}

/// The task that sends.
#[derive(Debug)]
pub struct Notifier {
    board: Arc<Board>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    webhook: Webhook,
    rules: Rules,
    rate: RateLimit<()>,
    due: BTreeSet<FindingId>,
    going_on: BTreeSet<FindingId>,
    /// Sent, but not in the outbox yet, for want of room on the disk.
    unnoted: BTreeMap<FindingId, Sent>,
}

impl Notifier {
    /// Puts the parts together.
    pub fn new(
        board: Arc<Board>,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        webhook: Webhook,
        rules: Rules,
    ) -> Self {
        let per_second = f64::from(rules.max_per_minute) / 60.0;
        // The whole minute's worth may go at once; what is more becomes a digest.
        let rate = RateLimit::new(rules.max_per_minute, per_second);
        let (due, going_on, unnoted) = Default::default();
        Self { board, store, metrics, webhook, rules, rate, due, going_on, unnoted }
    }

    /// Sends until `stop` turns true.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.board.changes();
        let mut stop_now = stop.clone();
        self.look_at_all();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut remind = Instant::now() + REMIND_EVERY;
        loop {
            tokio::select! {
                () = stopped(&mut stop_now) => return,
                change = changes.recv() => match change {
                    Ok(Change::Finding(finding)) => self.look_at(&finding),
                    Ok(Change::Host(_)) => {}
                    Err(RecvError::Lagged(_)) => self.look_at_all(),
                    Err(RecvError::Closed) => return,
                },
                _ = look.tick() => {
                    if !self.due.is_empty() {
                        self.send_due(&mut stop).await;
                    } else if Instant::now() >= remind {
                        self.remind(&mut stop).await;
                        remind = Instant::now() + REMIND_EVERY;
                    }
                }
            }
        }
    }

    fn look_at_all(&mut self) {
        for finding in self.board.all() {
            self.look_at(&finding);
        }
    }

    fn look_at(&mut self, finding: &Finding) {
        if finding.severity.value() < self.rules.min_severity || finding.state != State::Open {
            return;
        }
        let sent = match self.unnoted.get(&finding.id) {
            Some(sent) => Ok(Some(sent.clone())),
            None => self.store.outbox.get(&finding.id),
        };
        match sent {
            Ok(None) => {
                let now_ns = clock::now_ns();
                let is_news = finding.first_ns >= self.rules.floor_ns
                    && now_ns.saturating_sub(finding.first_ns) < NEWS_NS;
                if is_news {
                    self.due.insert(finding.id.clone());
                }
            }
            Ok(Some(sent)) if finding.count > sent.count => {
                self.going_on.insert(finding.id.clone());
            }
            Ok(Some(_)) => {}
            Err(error) => tracing::error!(%error, "the outbox cannot be read"),
        }
    }

    /// Sends what is due: one message each while the rate allows, then one for all the rest.
    async fn send_due(&mut self, stop: &mut watch::Receiver<bool>) {
        let mut findings: Vec<Arc<Finding>> = Vec::new();
        for id in &self.due {
            findings.extend(self.board.get(id).filter(|f| f.state == State::Open));
        }
        self.due.clear();
        findings.sort_by_key(|f| (std::cmp::Reverse(f.severity), f.first_ns));
        let mut rest = findings.into_iter();
        while let Some(finding) = rest.next() {
            // One permit is kept for the digest, so that it does not wait for a minute.
            if rest.len() > 0 && self.is_last_permit() {
                let all: Vec<_> = std::iter::once(finding).chain(rest).collect();
                self.wait_for_permit(stop).await;
                self.send(slack::digest(&all, self.webhook.console()), &all, "digested", stop)
                    .await;
                return;
            }
            self.wait_for_permit(stop).await;
            let message = slack::finding(&finding, self.webhook.console());
            self.send(message, &[finding], "sent", stop).await;
        }
    }

    fn is_last_permit(&mut self) -> bool {
        let now_ns = clock::now_ns();
        let mut probe = self.rate.clone();
        probe.take((), now_ns).is_err() || probe.check((), now_ns).is_err()
    }

    async fn wait_for_permit(&mut self, stop: &mut watch::Receiver<bool>) {
        while let Err(wait_ns) = self.rate.take((), clock::now_ns()) {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_nanos(wait_ns.max(1_000_000))) => {}
                () = stopped(stop) => return,
            }
        }
    }

    /// Tells in one message which findings go on.
    async fn remind(&mut self, stop: &mut watch::Receiver<bool>) {
        let ids = std::mem::take(&mut self.going_on);
        let findings: Vec<Arc<Finding>> = ids.iter().filter_map(|id| self.board.get(id)).collect();
        if findings.is_empty() {
            return;
        }
        self.wait_for_permit(stop).await;
        let message = slack::reminder(&findings, self.webhook.console());
        self.send(message, &findings, "reminded", stop).await;
    }

    /// Sends one message until it arrives, then notes what it told.
    async fn send(
        &mut self,
        message: serde_json::Value,
        findings: &[Arc<Finding>],
        outcome: &'static str,
        stop: &mut watch::Receiver<bool>,
    ) {
        let mut backoff = Backoff::default();
        loop {
            let wait = match self.webhook.post(&message).await {
                Delivery::Done => break,
                Delivery::Refused(why) => {
                    // The receiver will not take it later either, such as a message that it finds
                    // too long.
                    tracing::error!(why, "the webhook refused a message");
                    metrics::count(&self.metrics.notifications, "refused");
                    break;
                }
                Delivery::Later { after, why } => {
                    metrics::count(&self.metrics.notifications, "retried");
                    if backoff.failures() == FAILURES_TOLD {
                        tracing::error!(why, "the webhook does not take messages; they are kept");
                    }
                    backoff.next(rand::random()).max(after.unwrap_or_default())
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // It is still due at the next start.
                () = stopped(stop) => return,
            }
        }
        metrics::count(&self.metrics.notifications, outcome);
        let time_ns = clock::now_ns();
        let sent = findings.iter().map(|f| (f.id.clone(), Sent { time_ns, count: f.count }));
        self.unnoted.extend(sent);
        let note: Vec<_> = self.unnoted.clone().into_iter().collect();
        let store = Arc::clone(&self.store);
        let noted = tokio::task::spawn_blocking(move || store.outbox.note(&note)).await;
        match noted {
            Ok(Err(error)) => {
                tracing::error!(%error, "messages are not noted as sent; a restart sends them again");
            }
            _ => self.unnoted.clear(),
        }
    }
}

/// Waits until the brain shuts down.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that nobody is left to say so.
    let _ = stop.wait_for(|stop| *stop).await;
}
