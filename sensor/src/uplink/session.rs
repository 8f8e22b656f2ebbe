//! One session: hello, welcome, a stream per lane, acknowledgements.

use std::borrow::Cow;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, RecvStream, SendStream};
use thiserror::Error;
use tokio::sync::mpsc;
use wire::batch::{Clock, Lane, Position};
use wire::codec;
use wire::control::{Control, Hello, Refusal, RuleReply, TimeProbe, TimeReply, Welcome};

use crate::clock::ClockPair;
use crate::frame::{self, FrameIoError};
use crate::outbox::Outbox;
use crate::scan::rules::{self, Rules};
use crate::tuning::Tuning;

/// The security lane's frames go before bulk that waits for the same packets.
const SECURITY_PRIORITY: i32 = 1;
/// A brain that takes batches and acknowledges none for so long is stuck; another session may help.
const ACK_TIME: Duration = Duration::from_secs(60);

/// How long a refusal is waited for after a stream broke.
const FAREWELL_TIME: Duration = Duration::from_millis(500);

/// What a sensor that scans nothing says of rules.
const NO_SCANS: &str = "this sensor scans no files";
/// Answers that may wait: the brain sends one message after the other.
const ANSWERS_MAX: usize = 4;

/// Who takes what the brain wants.
#[derive(Clone, Copy, Debug)]
pub struct Takers<'a> {
    /// Settings.
    pub tuning: &'a Tuning,
    /// Rules, where files are scanned.
    pub rules: Option<&'a Rules>,
}

/// Why a session ended.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The connection or what came over it broke.
    #[error(transparent)]
    Broken(#[from] FrameIoError),
    /// The brain said no.
    #[error("the brain refused the session ({reason}): {message}")]
    Refused {
        /// Stable name.
        reason: String,
        /// For the operator.
        message: String,
    },
    /// The brain said something that has no place here.
    #[error("the brain sent a message that has no place in a session")]
    Unexpected,
    /// Batches wait and nothing is acknowledged.
    #[error("the brain has acknowledged nothing for {} s", ACK_TIME.as_secs())]
    Stuck,
    /// The certificate is due.
    #[error("the session ends so that the certificate is renewed")]
    Renewal,
}

/// Serves a session until it breaks.
pub async fn run(
    connection: &Connection,
    hello: Hello,
    outbox: &Outbox,
    takers: Takers<'_>,
) -> Result<(), SessionError> {
    let epoch = hello.epoch;
    let opened = connection.open_bi().await;
    let (mut send, mut control) = opened.map_err(broken)?;
    frame::write(&mut send, &Control::Hello(hello)).await?;
    let welcome = match frame::timely(frame::read(&mut control)).await? {
        Control::Welcome(welcome) => welcome,
        Control::Refusal(refusal) => return Err(refused(refusal)),
        _ => return Err(SessionError::Unexpected),
    };
    welcomed(outbox, epoch, &welcome);
    let (say, to_say) = mpsc::channel(ANSWERS_MAX);
    let ended = tokio::select! {
        ended = send_lane(connection, outbox, Lane::Security) => ended,
        ended = send_lane(connection, outbox, Lane::Bulk) => ended,
        ended = speak(&mut send, to_say, takers.rules) => ended,
        ended = listen(&mut control, &say, outbox, takers) => return ended,
    };
    // A brain that refuses says why before it closes; that is worth more than the broken stream.
    match tokio::time::timeout(FAREWELL_TIME, frame::read(&mut control)).await {
        Ok(Ok(Control::Refusal(refusal))) => Err(refused(refusal)),
        _ => ended,
    }
}

/// What the brain has is done; everything else goes out anew.
fn welcomed(outbox: &Outbox, epoch: u64, welcome: &Welcome) {
    for (lane, seq) in Lane::ALL.into_iter().zip(welcome.durable) {
        outbox.acknowledge(Position { epoch, lane, seq });
    }
    outbox.rewind();
    tracing::info!(security = welcome.durable[0], bulk = welcome.durable[1], "session begins");
}

async fn send_lane(
    connection: &Connection,
    outbox: &Outbox,
    lane: Lane,
) -> Result<(), SessionError> {
    let mut stream = connection.open_uni().await.map_err(broken)?;
    if lane == Lane::Security {
        stream.set_priority(SECURITY_PRIORITY).map_err(broken)?;
    }
    let takes_columns = takes_columns(connection);
    loop {
        let frame = outbox.next(lane).await;
        let frame = match takes_columns {
            true => Cow::Borrowed(&*frame),
            false => codec::in_rows(&frame).map_err(broken)?,
        };
        stream.write_all(&frame).await.map_err(broken)?;
    }
}

/// Whether the brain is one that takes batches as columns.
fn takes_columns(connection: &Connection) -> bool {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.and_then(|data| data.protocol).is_some_and(|protocol| protocol == wire::ALPN_COLUMNS)
}

/// An answer, and what is to be done once it is on its way.
type Answer<'a> = (Control, Option<&'a Tuning>);

/// Answers the brain, and tells what becomes of rules.
async fn speak(
    send: &mut SendStream,
    mut to_say: mpsc::Receiver<Answer<'_>>,
    rules: Option<&Rules>,
) -> Result<(), SessionError> {
    let mut states = rules.map(Rules::follow);
    let mut state = async || match &mut states {
        Some(states) => match states.changed().await {
            Ok(()) => states.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    };
    loop {
        tokio::select! {
            Some((answer, then)) = to_say.recv() => {
                frame::write(send, &answer).await?;
                then.into_iter().for_each(Tuning::begin);
            }
            state = state() => {
                // Rules that are only on their way have no verdict yet.
                if state.rules > 0 || !state.problem.is_empty() {
                    frame::write(send, &Control::RuleReply(rules::reply(&state))).await?;
                }
            }
        }
    }
}

/// Takes acknowledgements, questions of time, settings and rules until the session breaks.
async fn listen<'a>(
    control: &mut RecvStream,
    say: &mpsc::Sender<Answer<'a>>,
    outbox: &Outbox,
    takers: Takers<'a>,
) -> Result<(), SessionError> {
    loop {
        // Coverage goes out every few seconds, so there is always something to acknowledge.
        let answer = tokio::time::timeout(ACK_TIME, frame::read(control)).await;
        let message = answer.map_err(|_| SessionError::Stuck)??;
        let answer = match message {
            Control::Ack(ack) => {
                outbox.acknowledge(ack.position);
                continue;
            }
            Control::Settings(settings) => {
                let (reply, new) = takers.tuning.take(&settings);
                (Control::SettingsReply(reply), new.then_some(takers.tuning))
            }
            Control::TimeProbe(TimeProbe { number }) => {
                let ClockPair { boot_ns, unix_ns } = ClockPair::now();
                (Control::TimeReply(TimeReply { number, clock: Clock { boot_ns, unix_ns } }), None)
            }
            Control::RuleOffer(offer) => {
                let reply = match takers.rules {
                    Some(rules) => rules.offered(&offer),
                    None => RuleReply {
                        revision: offer.revision,
                        wanted: false,
                        rules: 0,
                        problem: NO_SCANS.to_owned(),
                    },
                };
                (Control::RuleReply(reply), None)
            }
            Control::RulePart(part) => match takers.rules.and_then(|rules| rules.take(part)) {
                Some(reply) => (Control::RuleReply(reply), None),
                None => continue,
            },
            Control::Refusal(refusal) => return Err(refused(refusal)),
            _ => return Err(SessionError::Unexpected),
        };
        if say.send(answer).await.is_err() {
            return Err(SessionError::Unexpected);
        }
    }
}

fn refused(refusal: Refusal) -> SessionError {
    SessionError::Refused { reason: refusal.reason, message: refusal.message }
}

fn broken(error: impl std::fmt::Display) -> SessionError {
    FrameIoError::Stream(error.to_string()).into()
}
