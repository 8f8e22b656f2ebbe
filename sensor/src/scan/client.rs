//! Has files scanned, one after the other: a thread that keeps the connection.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

use scanner_abi::message::{Answer, MessageError, Outcome as Said};

use super::found::Found;
use super::link::{Link, SIZE_MAX};
use super::opener::Opened;
use super::rules::{Shared, State};
use super::{Done, Outcome, reason};
use crate::hash::worker::{NICE, is_still};
use crate::pace::Pace;

/// Time between two looks whether there are other rules.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes scanned per second over time, and at once: some 5 % of a core with thousands of rules.
const BYTES_PER_SECOND: u64 = 8 * 1024 * 1024;
const BURST_BYTES: u64 = 64 * 1024 * 1024;
/// What a file costs besides its bytes: the way there and back, and each rule's condition.
const FILE_BYTES: u64 = 32 * 1024;
/// Pause before a scanner is connected to again that is not there or has ended, doubled each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A scanner that ended longer ago does not count against the next.
const FAILURES_KEPT: Duration = Duration::from_secs(600);

/// Keeps the connection, and the rules on it.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    shared: Arc<Shared>,
    revision: Arc<str>,
    link: Option<Link>,
    failures: u32,
    failed: Instant,
    again: Instant,
    pace: Pace,
}

impl Client {
    /// Knows where the scanner is; connects when there are rules.
    pub fn new(path: &Path, shared: Arc<Shared>) -> Self {
        let (now, pace) = (Instant::now(), Pace::new(BYTES_PER_SECOND, BURST_BYTES));
        let (path, revision) = (path.to_owned(), Arc::from(""));
        Self { path, shared, revision, link: None, failures: 0, failed: now, again: now, pace }
    }

    /// Scans until nobody asks any more.
    pub fn run(&mut self, opened: &Receiver<Opened>, tell: &SyncSender<Done>) {
        // Without it the waiting only competes harder.
        // SAFETY: a plain system call; 0 means the calling thread.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
        loop {
            if let Some(revision) = self.shared.take_wanted() {
                (self.revision, self.link, self.failures) = (revision, None, 0);
                self.again = Instant::now();
            }
            self.connect();
            let done = match opened.recv_timeout(LOOK_INTERVAL) {
                Ok(opened) => self.one(opened),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if tell.send(done).is_err() {
                return;
            }
        }
    }

    /// Connects when that is due, and hands the rules over.
    fn connect(&mut self) {
        if self.link.is_some() || self.revision.is_empty() || Instant::now() < self.again {
            return;
        }
        let state = |rules, problem| State { revision: self.revision.to_string(), rules, problem };
        match self.start() {
            Ok((link, state)) => {
                if !state.problem.is_empty() {
                    tracing::error!(problem = state.problem, "some rules are not used");
                }
                tracing::info!(rules = state.rules, revision = state.revision, "files are scanned");
                self.link = Some(link);
                self.shared.tell(state);
            }
            Err(problem) => {
                tracing::warn!(problem, "files are not scanned");
                let state = state(0, problem);
                self.failed();
                self.shared.tell(state);
            }
        }
    }

    fn start(&self) -> Result<(Link, State), String> {
        let socket = self.path.display();
        let opened = Link::open(&self.path);
        if !matches!(&opened, Err(error) if error.kind() == io::ErrorKind::NotFound) {
            self.shared.scanner_found();
        }
        let mut link = opened.map_err(|error| {
            format!("no scanner listens on {socket}: {error}; start sakuramori-scanner.socket")
        })?;
        let bundle = self.shared.bundle();
        let bundle = bundle.map_err(|error| format!("the rules cannot be read: {error}"))?;
        let compiled = link.compile(&bundle).map_err(|error| {
            format!("the scanner ended over the rules: {error}; try them with its command `check`")
        })?;
        let mut problem = compiled.problems.join("; ");
        if compiled.more > 0 {
            problem.push_str(&format!("; and {} files more", compiled.more));
        }
        let (revision, rules) = (self.revision.to_string(), compiled.rules as u32);
        Ok((link, State { revision, rules, problem }))
    }

    fn one(&mut self, opened: Opened) -> Done {
        let outcome = self.scan(&opened);
        opened.job.done(outcome)
    }

    fn scan(&mut self, opened: &Opened) -> Outcome {
        let Opened { file, id, .. } = opened;
        if self.shared.known.has(id) {
            return Outcome::Known;
        }
        if id.size > SIZE_MAX {
            self.shared.known.add(*id);
            return Outcome::Skipped(reason::TOO_LARGE);
        }
        let Some(link) = &mut self.link else { return Outcome::Skipped(reason::NO_SCANNER) };
        self.pace.keep(id.size + FILE_BYTES);
        match link.scan(file) {
            Ok(answer) => self.answered(&answer, file, opened),
            Err(error) => {
                tracing::warn!(%error, "the scanner is gone");
                // A file that ends the scanner is not given to the next one.
                self.shared.known.add(*id);
                self.link = None;
                self.failed();
                Outcome::Skipped(match is_late(&error) {
                    true => reason::TIMEOUT,
                    false => reason::SCANNER_ENDED,
                })
            }
        }
    }

    fn answered(&self, answer: &Answer, file: &File, opened: &Opened) -> Outcome {
        let scanned = match answer.outcome {
            Said::Done => answer.scanned(),
            Said::NoRules => return Outcome::Skipped(reason::NO_RULES),
            Said::Unreadable => return Outcome::Skipped(reason::UNREADABLE),
            said @ (Said::TooLarge | Said::Timeout) => {
                self.shared.known.add(opened.id);
                let why = if said == Said::Timeout { reason::TIMEOUT } else { reason::TOO_LARGE };
                return Outcome::Skipped(why);
            }
        };
        let Ok(scanned) = scanned else { return Outcome::Skipped(reason::SCANNER_ENDED) };
        if !is_still(file, &opened.id) {
            return Outcome::Skipped(reason::GONE);
        }
        self.shared.known.add(opened.id);
        if scanned.matches.is_empty() {
            return Outcome::Clean;
        }
        let revision = Arc::clone(&self.revision);
        Outcome::Found(Box::new(Found { file: opened.id, revision, scanned }))
    }

    /// Waits longer each time before the next connection.
    fn failed(&mut self) {
        let now = Instant::now();
        if now - self.failed > FAILURES_KEPT {
            self.failures = 0;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        (self.failures, self.failed, self.again) = (self.failures + 1, now, now + pause);
    }
}

/// Returns whether the scanner was silent for too long.
fn is_late(error: &MessageError) -> bool {
    let late = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    matches!(error, MessageError::Socket(error) if late.contains(&error.kind()))
}
