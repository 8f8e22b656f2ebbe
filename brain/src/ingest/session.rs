//! One sensor's session: hello, batches, acknowledgements.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use wire::batch::{Lane, Position};
use wire::codec;
use wire::control::{
    Ack, Control, Hello, Refusal, RuleOffer, RuleReply, Settings, SettingsReply, TimeReply, Welcome,
};
use wire::limits::HELLO_TIME;

use super::asking::Asking;
use super::frame;
use super::pace::{self, Pace};
use super::refusal::Refused;
use super::{Shared, tls};
use crate::clock;
use crate::identity::SensorId;
use crate::journal::{Append, Appended, Journal};
use crate::metrics;
use crate::policy::{SensorPolicies, SensorPolicy};
use crate::text;

/// Batches of a session that may wait for the disk.
const PENDING_MAX: usize = 16;

/// Answers to settings and rules that may wait; a sensor gets one message at a time.
const REPLIES_MAX: usize = 4;

/// A refusal gets so long to reach the sensor before the connection is closed.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// When a host's times move by more against the brain's, its clock may have been set.
const DOUBT_NS: u64 = clock::SECOND_NS;

/// A batch on its way to the disk.
struct Pending {
    position: Position,
    answer: oneshot::Receiver<Appended>,
}

/// Serves a session until it ends; a broken rule is an error.
pub(super) async fn run(
    shared: &Arc<Shared>,
    connection: &Connection,
    knows_time: bool,
) -> Result<(), Refused> {
    let Some(id) = tls::sensor_id(connection) else {
        return Err(Refused::new(
            "no_client_certificate",
            "a session needs a client certificate; enrol first",
        ));
    };
    let number = shared.connection_number();
    let Some((mut control, receive, hello)) = begin(connection).await? else { return Ok(()) };
    let superseded = shared.sessions.begin(id, number, connection);
    // Between the handshake and now the host may have been revoked; `begin` above made the session
    // visible to whoever revokes it from here on.
    if !shared.store.hosts.is_welcome(id) {
        shared.sessions.end(id, number);
        return Err(Refused::new("revoked_certificate", "the host has been revoked"));
    }
    if superseded {
        shared.metrics.superseded.inc();
        tracing::warn!(sensor = %id, from = %connection.remote_address(),
            "a second connection with one identity took the place of the first");
    }
    let now_ns = clock::now_ns();
    shared.fleet.connected(id, number, connection.remote_address(), &hello, superseded, now_ns);
    shared.board.show_host(id);
    shared.metrics.sessions.inc();
    tracing::info!(sensor = %id, from = %connection.remote_address(), "session begins");
    let asking = Asking::new(shared, id, knows_time);
    let result = serve(shared, connection, id, &mut control, receive, hello.epoch, asking).await;
    shared.metrics.sessions.dec();
    shared.sessions.end(id, number);
    shared.fleet.disconnected(id, number);
    shared.board.show_host(id);
    tracing::info!(sensor = %id, "session ends");
    if let Err(refused) = &result {
        say_farewell(&mut control, refused).await;
    }
    result
}

async fn begin(
    connection: &Connection,
) -> Result<Option<(SendStream, RecvStream, Hello)>, Refused> {
    let opened = tokio::time::timeout(HELLO_TIME, async {
        let Ok((mut send, mut receive)) = connection.accept_bi().await else { return Ok(None) };
        let hello = match read_hello(&mut receive).await {
            Ok(hello) => hello,
            Err(refused) => {
                say_farewell(&mut send, &refused).await;
                return Err(refused);
            }
        };
        Ok(hello.map(|hello| (send, receive, hello)))
    });
    match opened.await {
        Ok(opened) => opened,
        Err(_) => Err(Refused::new("no_hello", "no hello came in time")),
    }
}

async fn read_hello(receive: &mut RecvStream) -> Result<Option<Hello>, Refused> {
    let Some(frame) = frame::read(receive).await? else { return Ok(None) };
    match codec::decode_control(&frame.header, frame.body())? {
        Control::Hello(hello) => Ok(Some(hello)),
        _ => Err(Refused::new("unexpected_message", "a session begins with a hello")),
    }
}

async fn serve(
    shared: &Arc<Shared>,
    connection: &Connection,
    id: SensorId,
    control: &mut SendStream,
    receive: RecvStream,
    epoch: u64,
    mut asking: Asking<'_>,
) -> Result<(), Refused> {
    let durable =
        Lane::ALL.map(|lane| shared.journal.durable(id, Position { epoch, lane, seq: 0 }));
    let welcome = Welcome { durable, brain_unix_ns: clock::now_ns() };
    if !frame::write(control, &Control::Welcome(welcome)).await? {
        return Ok(());
    }
    let (pending, mut waiting) = mpsc::channel(PENDING_MAX);
    let journal = shared.journal.sequence();
    let mut lanes = JoinSet::new();
    let mut tuning = Tuning::new(shared, id);
    tuning.tune(control).await?;
    // A frame may come in parts; a task of its own can wait for the rest.
    let (said, mut replies) = mpsc::channel(REPLIES_MAX);
    let mut listening = JoinSet::new();
    listening.spawn(listen(receive, said));
    let pace = Arc::new(Pace::new(shared.limits.bytes_per_second));
    loop {
        tokio::select! {
            stream = connection.accept_uni(), if asking.is_settled() => match stream {
                Ok(stream) => {
                    let lane = Incoming {
                        shared: Arc::clone(shared),
                        journal: journal.clone(),
                        pace: Arc::clone(&pace),
                        doubt: asking.doubt(),
                        pending: pending.clone(),
                    };
                    lanes.spawn(read_lane(lane, id, stream));
                }
                Err(error) => return Refused::lost(&error).map_or(Ok(()), Err),
            },
            Some(lane) = lanes.join_next(), if !lanes.is_empty() => {
                lane.unwrap_or_else(|_| Err(Refused::internal()))?;
            }
            Some(batch) = waiting.recv() => acknowledge(control, batch, &mut waiting).await?,
            () = tuning.changed() => tuning.tune(control).await?,
            () = asking.due() => asking.go_on(control).await?,
            Some(reply) = replies.recv() => match reply {
                Said::Settled(reply) => tuning.answered(reply)?,
                Said::Tried(reply) => tuning.tried(control, reply).await?,
                Said::Told(reply, heard) => asking.answered(reply, heard)?,
            },
            Some(ended) = listening.join_next() => {
                ended.unwrap_or_else(|_| Err(Refused::internal()))?;
                return drain(control, waiting, lanes).await;
            }
        }
    }
}

/// Reads the control stream until the sensor closes it.
async fn listen(mut receive: RecvStream, said: mpsc::Sender<Said>) -> Result<(), Refused> {
    while let Some(frame) = frame::read(&mut receive).await? {
        let reply = match codec::decode_control(&frame.header, frame.body())? {
            Control::SettingsReply(reply) => Said::Settled(reply),
            Control::RuleReply(reply) => Said::Tried(reply),
            Control::TimeReply(reply) => Said::Told(reply, Instant::now()),
            _ => {
                let why = "after its hello a sensor only answers";
                return Err(Refused::new("unexpected_message", why));
            }
        };
        if said.send(reply).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What a sensor says after its hello.
enum Said {
    Settled(SettingsReply),
    Tried(RuleReply),
    /// With the time at which it came.
    Told(TimeReply, Instant),
}

/// Tells a sensor what the policies want of it, and hears what became of that.
struct Tuning<'a> {
    shared: &'a Shared,
    id: SensorId,
    role: String,
    wanted: watch::Receiver<Arc<SensorPolicies>>,
    told: Option<SensorPolicy>,
    unanswered: usize,
    /// Revision of the rules that were offered.
    offered: Option<String>,
    /// Whether these have been sent: once is enough for each offer.
    sent: bool,
}

impl<'a> Tuning<'a> {
    fn new(shared: &'a Shared, id: SensorId) -> Self {
        let host = shared.store.hosts.get(&id.to_string());
        let role = host.map(|host| host.role).unwrap_or_default();
        let wanted = shared.wanted.clone();
        Self { shared, id, role, wanted, told: None, unanswered: 0, offered: None, sent: false }
    }

    /// Waits for other policies; for ever once the brain is about to end.
    async fn changed(&mut self) {
        if self.wanted.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Sends what is wanted, unless that is what was sent last.
    async fn tune(&mut self, control: &mut SendStream) -> Result<(), Refused> {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        self.offer(control, &wanted.yara.revision).await?;
        let wanted = wanted.of_role(&self.role).cloned();
        if wanted == self.told {
            return Ok(());
        }
        let settings = wanted.as_ref().map(|policy| (policy.revision.clone(), &*policy.text));
        let (revision, text) = settings.unwrap_or_default();
        let settings = Settings { revision, text: text.to_owned() };
        if frame::write(control, &Control::Settings(settings)).await? {
            self.unanswered += 1;
            self.told = wanted;
        }
        Ok(())
    }

    /// Offers the rules, unless that is what was offered last.
    async fn offer(&mut self, control: &mut SendStream, revision: &str) -> Result<(), Refused> {
        if self.offered.as_deref() == Some(revision) {
            return Ok(());
        }
        let offer = RuleOffer { revision: revision.to_owned() };
        if frame::write(control, &Control::RuleOffer(offer)).await? {
            (self.offered, self.sent) = (Some(revision.to_owned()), false);
        }
        Ok(())
    }

    /// Sends the rules to a sensor that asks for them, or notes what became of them.
    async fn tried(&mut self, control: &mut SendStream, reply: RuleReply) -> Result<(), Refused> {
        if self.offered.is_none() || reply.wanted && self.sent {
            let why = "an answer to rules never offered, or rules asked for twice";
            return Err(Refused::new("unexpected_message", why));
        }
        if !reply.wanted {
            if !reply.problem.is_empty() {
                tracing::warn!(sensor = %self.id, revision = %text::visible_str(&reply.revision),
                    problem = %text::visible_str(&reply.problem), "a sensor does not use all rules");
            }
            self.shared.fleet.tried(self.id, &reply);
            return Ok(());
        }
        let wanted = Arc::clone(&self.wanted.borrow());
        // Rules that have changed since are offered anew in a moment.
        if self.offered.as_deref() == Some(&*wanted.yara.revision) {
            self.sent = true;
            for part in wanted.yara.parts() {
                if !frame::write(control, &Control::RulePart(part)).await? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, reply: SettingsReply) -> Result<(), Refused> {
        let Some(unanswered) = self.unanswered.checked_sub(1) else {
            return Err(Refused::new("unexpected_message", "an answer to settings never sent"));
        };
        self.unanswered = unanswered;
        if !reply.problem.is_empty() {
            tracing::warn!(sensor = %self.id, revision = %text::visible_str(&reply.revision),
                problem = %text::visible_str(&reply.problem), "a sensor does not take its settings");
        }
        self.shared.fleet.settled(self.id, &reply);
        Ok(())
    }
}

/// The sensor has closed its side: what it sent is still acknowledged.
async fn drain(
    control: &mut SendStream,
    mut waiting: mpsc::Receiver<Pending>,
    mut lanes: JoinSet<Result<(), Refused>>,
) -> Result<(), Refused> {
    lanes.abort_all();
    while lanes.join_next().await.is_some() {}
    waiting.close();
    while let Some(batch) = waiting.recv().await {
        acknowledge(control, batch, &mut waiting).await?;
    }
    let _ = control.finish();
    Ok(())
}

/// Where what comes in on a lane goes.
struct Incoming {
    shared: Arc<Shared>,
    journal: Journal,
    pace: Arc<Pace>,
    doubt: Arc<Notify>,
    pending: mpsc::Sender<Pending>,
}

async fn read_lane(lane: Incoming, id: SensorId, mut stream: RecvStream) -> Result<(), Refused> {
    let Incoming { shared, journal, pace, doubt, pending } = lane;
    let mut corrected_ns = None;
    while let Some(frame) = frame::read(&mut stream).await? {
        let mut batch = codec::decode_batch(&frame.header, frame.body())?;
        let now_ns = clock::now_ns();
        let correction_ns = shared.fleet.correction_ns(id, &batch, now_ns);
        batch.shift(correction_ns);
        let before_ns = corrected_ns.replace(correction_ns).unwrap_or(correction_ns);
        if correction_ns.abs_diff(before_ns) > DOUBT_NS {
            doubt.notify_one();
        }
        let position = batch.position;
        let records = batch.record_count() as u64;
        let wait = pace.spend(pace::weight(&batch, &frame), now_ns);
        shared.metrics.bytes.inc_by(frame.bytes.len() as u64);
        let (batch, frame) = (Box::new(batch), frame.bytes);
        let append = Append::Batch { sensor: id, batch, correction_ns, frame };
        let answer = journal.append(append).await;
        metrics::count(&shared.metrics.batches, "received");
        shared.metrics.records.inc_by(records);
        if pending.send(Pending { position, answer }).await.is_err() {
            return Ok(());
        }
        if !wait.is_zero() {
            shared.metrics.paced.inc();
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}

/// Waits for the disk, then tells the sensor; what waits behind the batch and is on disk as well is
/// told in the same write. Acknowledgements leave in the order of arrival.
async fn acknowledge(
    control: &mut SendStream,
    first: Pending,
    waiting: &mut mpsc::Receiver<Pending>,
) -> Result<(), Refused> {
    let mut acks = frame::Outgoing::default();
    let mut batch = first;
    // The session has other work, too, so it does not go on for ever.
    for left in (0..PENDING_MAX).rev() {
        let Pending { position, answer } = batch;
        let is_late = answer.is_empty() && !acks.is_empty();
        if is_late {
            acks.write(control).await?;
        }
        match answer.await {
            Ok(Appended::Stored(_) | Appended::Duplicate) => {
                acks.add(&Control::Ack(Ack { position }));
            }
            Ok(Appended::Failed) => {
                acks.write(control).await?;
                return Err(Refused::new(
                    "journal_failed",
                    "the brain cannot write its journal; it takes no batches until it can",
                ));
            }
            // The writer has ended: the brain is shutting down, and the batch stays with the
            // sensor.
            Err(_) => break,
        }
        if is_late || left == 0 {
            break;
        }
        match waiting.try_recv() {
            Ok(next) => batch = next,
            Err(_) => break,
        }
    }
    acks.write(control).await?;
    Ok(())
}

async fn say_farewell(control: &mut SendStream, refused: &Refused) {
    let refusal = Refusal { reason: refused.reason.to_owned(), message: refused.message.clone() };
    let farewell = async {
        let said = frame::write(control, &Control::Refusal(refusal)).await;
        if matches!(said, Ok(true)) && control.finish().is_ok() {
            let _ = control.stopped().await;
        }
    };
    let _ = tokio::time::timeout(FAREWELL_TIME, farewell).await;
}
