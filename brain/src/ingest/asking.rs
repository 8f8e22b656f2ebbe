//! Asks a host over its control stream what its clocks say.

use std::sync::Arc;
use std::time::Duration;

use quinn::SendStream;
use tokio::sync::Notify;
use tokio::time::Instant;
use wire::control::{Control, TimeProbe, TimeReply};

use super::Shared;
use super::frame;
use super::refusal::Refused;
use crate::clock;
use crate::fleet::Reading;
use crate::identity::SensorId;

/// The first questions come soon after each other, for one of them may have had to wait behind
/// something; later ones find a clock that was set, and keep up with the drift.
const SOON: Duration = Duration::from_secs(2);
const SOON_QUESTIONS: u32 = 3;
const LATER: Duration = Duration::from_secs(30);

/// Batches wait so long for the first answer; whoever does not give it is believed less.
const PATIENCE: Duration = Duration::from_secs(1);

/// The questions of one session.
pub(super) struct Asking<'a> {
    shared: &'a Shared,
    id: SensorId,
    /// Questions so far, and the number of the last.
    number: u32,
    /// When the one was asked that is not answered yet.
    asked: Option<Instant>,
    next: Instant,
    /// Told when a batch's times are not as they were.
    doubt: Arc<Notify>,
    /// Whether the host's batches need not wait for an answer any more.
    settled: bool,
}

impl<'a> Asking<'a> {
    /// Returns the questions of a session; `knows_time` says whether the sensor answers any.
    pub(super) fn new(shared: &'a Shared, id: SensorId, knows_time: bool) -> Self {
        let (next, settled) = (Instant::now(), !knows_time);
        Self { shared, id, number: 0, asked: None, next, doubt: Arc::default(), settled }
    }

    /// Returns what to tell when a batch's times are not as they were.
    pub(super) fn doubt(&self) -> Arc<Notify> {
        Arc::clone(&self.doubt)
    }

    /// Whether batches may be taken.
    pub(super) fn is_settled(&self) -> bool {
        self.settled
    }

    /// Waits until there is something to do: for ever in a session that knows nothing of time.
    pub(super) async fn due(&self) {
        match self.asked {
            None if self.settled && self.number == 0 => std::future::pending().await,
            None => tokio::select! {
                () = tokio::time::sleep_until(self.next) => {}
                () = self.doubt.notified() => {}
            },
            Some(asked) if !self.settled => tokio::time::sleep_until(asked + PATIENCE).await,
            Some(_) => std::future::pending().await,
        }
    }

    /// Asks, or stops waiting for an answer.
    pub(super) async fn go_on(&mut self, control: &mut SendStream) -> Result<(), Refused> {
        if self.asked.is_some() {
            self.settled = true;
            return Ok(());
        }
        self.number = self.number.wrapping_add(1);
        self.asked = Some(Instant::now());
        // A stream that takes no more ends the session elsewhere.
        let probe = Control::TimeProbe(TimeProbe { number: self.number });
        frame::write(control, &probe).await.map(|_| ())
    }

    /// Takes in an answer that came at `heard`.
    pub(super) fn answered(&mut self, reply: TimeReply, heard: Instant) -> Result<(), Refused> {
        let Some(asked) = self.asked.take().filter(|_| reply.number == self.number) else {
            return Err(Refused::new("unexpected_message", "a time that nobody asked for"));
        };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let error_ns = nanos(heard.saturating_duration_since(asked)) / 2;
        let heard_ns = clock::now_ns().saturating_sub(nanos(heard.elapsed()));
        let brain_ns = heard_ns.saturating_sub(error_ns);
        let (boot_ns, unix_ns) = (reply.clock.boot_ns, reply.clock.unix_ns);
        let reading = Reading { boot_ns, unix_ns, brain_ns, error_ns };
        if let Some(step_ns) = self.shared.fleet.heard_time(self.id, reading) {
            self.shared.metrics.clock_steps.inc();
            tracing::warn!(sensor = %self.id, by_s = step_ns / 1_000_000_000, "a host's clock was set");
        }
        self.settled = true;
        let wait = if self.number < SOON_QUESTIONS { SOON } else { LATER };
        self.next = Instant::now() + wait.mul_f64(0.5 + rand::random::<f64>());
        Ok(())
    }
}
