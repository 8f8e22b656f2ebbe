//! The live stream: changes as server-sent events.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::stream::{self, Stream};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::error::ApiError;
use super::{Context, Queue, hosts, overview, view};
use crate::board::Change;
use crate::identity::SensorId;

/// The overview is sent this often, and so are hosts that changed: a host changes with each batch.
const OVERVIEW_EVERY: Duration = Duration::from_secs(2);

/// Keeps proxies from closing a quiet stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A stream ends after this long; the browser asks again, and then must still be logged in.
const LIFETIME: Duration = Duration::from_secs(30 * 60);

/// One reader.
struct Reader {
    context: Arc<Context>,
    changes: Receiver<Change>,
    tick: Interval,
    hosts: BTreeSet<SensorId>,
    queue: Queue,
    ends: Instant,
    _place: OwnedSemaphorePermit,
}

/// Answers with the stream.
pub(super) async fn live(
    State(context): State<Arc<Context>>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let place = Arc::clone(&context.live_streams).try_acquire_owned().map_err(|_| {
        let message = "Too many live streams are open; close another window first.";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", message)
    })?;
    let mut tick = tokio::time::interval(OVERVIEW_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let reader = Reader {
        changes: context.board.changes(),
        context,
        tick,
        hosts: BTreeSet::new(),
        queue: Queue::new(),
        ends: Instant::now() + LIFETIME,
        _place: place,
    };
    let events = stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((Ok(event), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Reader {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.ends) => return None,
                _ = self.tick.tick() => self.take_tick(),
                change = self.changes.recv() => match change {
                    Ok(Change::Finding(finding)) => self.push("finding", &view::finding(&finding)),
                    Ok(Change::Host(id)) => {
                        self.hosts.insert(id);
                    }
                    // Too slow to hear everything: a new stream begins with a fresh look.
                    Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
                },
            }
        }
    }

    fn take_tick(&mut self) {
        let changed: Vec<String> =
            std::mem::take(&mut self.hosts).iter().map(ToString::to_string).collect();
        for host in hosts::some(&self.context, &changed) {
            self.push("host", &host);
        }
        self.push("overview", &overview::value(&self.context));
    }

    fn push(&mut self, name: &str, data: &Value) {
        // The JSON is one line, so it cannot break out of the event.
        self.queue.push_back(Event::default().event(name).data(data.to_string()));
    }
}
