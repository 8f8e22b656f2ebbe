//! When the rings are read: soon after something came, seldom while nothing does.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep};

/// Least time between two looks at the rings, and the most that a security record waits in the
/// sensor: what comes together is read together.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Time between two looks while nothing comes. Records wake the sensor; what does not announce
/// itself, such as a line of a log, waits so long.
const REST_INTERVAL: Duration = Duration::from_millis(500);
/// How long the first record after a rest waits for those that belong to it. More than the time
/// after which records are in order.
const GATHER: Duration = Duration::from_millis(5);

/// The times at which to read.
#[derive(Debug)]
pub struct Polls {
    wake: Option<Wake>,
    next: Pin<Box<Sleep>>,
    polled: Instant,
    at_rest: bool,
}

impl Polls {
    /// Begins at once. Where the rings cannot wake anybody, there is never a rest.
    pub fn new(rings: [BorrowedFd<'_>; 4]) -> Self {
        let wake = Wake::new(rings)
            .inspect_err(|error| tracing::warn!(%error, "records do not wake the sensor"));
        let (wake, next) = (wake.ok(), Box::pin(sleep(Duration::ZERO)));
        Self { wake, next, polled: Instant::now(), at_rest: false }
    }

    /// Waits until it is time to read. Nothing is lost when the waiting is given up.
    pub async fn due(&mut self) {
        if self.at_rest
            && let Some(wake) = &self.wake
        {
            tokio::select! {
                () = self.next.as_mut() => return,
                () = wake.woken() => {}
            }
            self.at_rest = false;
            let soon = (Instant::now() + GATHER).max(self.polled + POLL_INTERVAL);
            self.next.as_mut().reset(soon);
        }
        self.next.as_mut().await;
    }

    /// Plans the next time; `at_rest` says that this time there was nothing to read.
    pub fn polled(&mut self, at_rest: bool) {
        self.polled = Instant::now();
        self.at_rest = at_rest && self.wake.is_some();
        let interval = if self.at_rest { REST_INTERVAL } else { POLL_INTERVAL };
        self.next.as_mut().reset(self.polled + interval);
    }
}

/// Waits for records without looking.
#[derive(Debug)]
struct Wake {
    rings: Vec<AsyncFd<OwnedFd>>,
}

impl Wake {
    fn new(rings: [BorrowedFd<'_>; 4]) -> io::Result<Self> {
        let watched = |ring: BorrowedFd<'_>| {
            let ring = ring.try_clone_to_owned()?;
            // SAFETY: an `OwnedFd` is the same open descriptor for as long as it lives.
            let watched = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
            watched.map_err(io::Error::from)
        };
        Ok(Self { rings: rings.into_iter().map(watched).collect::<io::Result<_>>()? })
    }

    /// Ends when a record came into any ring since the last time. One that was read meanwhile
    /// counts too.
    async fn woken(&self) {
        std::future::poll_fn(|context| {
            let mut woken = Poll::Pending;
            for ring in &self.rings {
                // An error means that the runtime ends, and this future with it.
                while let Poll::Ready(Ok(mut guard)) = ring.poll_read_ready(context) {
                    guard.clear_ready();
                    woken = Poll::Ready(());
                }
            }
            woken
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Write as _, pipe};
    use std::os::fd::AsFd as _;

    use super::*;

    fn rings() -> ([PipeReader; 4], [PipeWriter; 4]) {
        let ends = [(); 4].map(|()| pipe().unwrap());
        let readers = ends.each_ref().map(|(reader, _)| reader.try_clone().unwrap());
        (readers, ends.map(|(_, writer)| writer))
    }

    async fn waited(polls: &mut Polls) -> Duration {
        let start = Instant::now();
        polls.due().await;
        start.elapsed()
    }

    #[tokio::test]
    async fn a_record_ends_a_rest_and_reading_is_never_too_often() {
        let (readers, mut writers) = rings();
        let mut polls = Polls::new(readers.each_ref().map(|reader| reader.as_fd()));
        assert!(waited(&mut polls).await < POLL_INTERVAL, "the first time is at once");
        polls.polled(false);
        assert!(waited(&mut polls).await >= POLL_INTERVAL - Duration::from_millis(1));
        polls.polled(true);
        assert!(waited(&mut polls).await >= REST_INTERVAL - Duration::from_millis(1));
        polls.polled(true);
        writers[3].write_all(b"x").unwrap();
        let woken = waited(&mut polls).await;
        assert!(woken >= POLL_INTERVAL - Duration::from_millis(1), "{woken:?}");
        assert!(woken < REST_INTERVAL, "{woken:?}");
        // What came was seen, although nobody read it: only what is new ends the next rest.
        polls.polled(true);
        assert!(waited(&mut polls).await >= REST_INTERVAL - Duration::from_millis(1));
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_no_record() {
        let (readers, mut writers) = rings();
        let mut polls = Polls::new(readers.each_ref().map(|reader| reader.as_fd()));
        polls.polled(true);
        writers[0].write_all(b"x").unwrap();
        let given_up = tokio::time::timeout(POLL_INTERVAL / 4, polls.due()).await;
        assert!(given_up.is_err(), "it gathers records for longer");
        assert!(waited(&mut polls).await < REST_INTERVAL - POLL_INTERVAL);
    }
}
