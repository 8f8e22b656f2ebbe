//! Opens files while they are there: a thread that does little else.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use wire::record::scan_trigger;

use super::known::Known;
use super::{Candidate, Done, Outcome, reason};
use crate::hash::FileId;
use crate::hash::worker::is_still;
use crate::privileged::{self, executable};

/// Open files that wait for the scanner. Each is a descriptor, of which the sensor needs few else.
pub const OPENED_MAX: usize = 128;
/// Whoever writes a file has so long to finish it.
const SETTLE_TIME: Duration = Duration::from_secs(1);
/// Written files that wait for that.
const LATE_MAX: usize = 512;
/// Files opened per second over time, and at once: a script is looked up at each execution, to see
/// whether it is still the same.
const OPENS_PER_SECOND: u32 = 100;
const OPENS_BURST: u32 = 1_000;

/// A file to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The file.
    pub candidate: Candidate,
    /// Which content, where the kernel told.
    pub asked: Option<FileId>,
    /// A lasting process that sees the same files, for when the process itself is gone.
    pub instead: Option<u32>,
    /// Whether it is still being written.
    pub late: bool,
}

impl Job {
    /// Says what came of it.
    pub fn done(self, outcome: Outcome) -> Done {
        Done { candidate: self.candidate, asked: self.asked, outcome }
    }
}

/// An open file.
#[derive(Debug)]
pub struct Opened {
    /// What asked for it.
    pub job: Job,
    /// The file.
    pub file: File,
    /// Which content it had when it was opened.
    pub id: FileId,
}

/// Opens files until nobody asks any more.
pub fn run(
    jobs: &Receiver<Job>,
    opened: &SyncSender<Opened>,
    tell: &SyncSender<Done>,
    known: &Known,
) {
    let mut late: VecDeque<(Instant, Job)> = VecDeque::new();
    let mut allowance = Allowance { left: OPENS_BURST, since: Instant::now() };
    loop {
        let due = late.front().map(|(due, _)| due.saturating_duration_since(Instant::now()));
        let next = match due {
            Some(Duration::ZERO) => Ok(None),
            due => jobs.recv_timeout(due.unwrap_or(SETTLE_TIME)).map(Some),
        };
        let job = match next {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => continue,
            Ok(None) => late.pop_front().map(|(_, job)| job),
            Ok(Some(job)) if job.late && late.len() < LATE_MAX => {
                late.push_back((Instant::now() + SETTLE_TIME, job));
                None
            }
            Ok(job) => job,
        };
        let Some(job) = job else { continue };
        let done = match allowance.take(Instant::now()) {
            true => one(job, opened, known),
            false => Some(job.done(Outcome::Skipped(reason::RATE))),
        };
        if done.is_some_and(|done| tell.send(done).is_err()) {
            return;
        }
    }
}

/// Opens one file and hands it on, or says why not.
fn one(job: Job, opened: &SyncSender<Opened>, known: &Known) -> Option<Done> {
    let file = match open(&job) {
        Ok(file) => file,
        Err(outcome) => return Some(job.done(outcome)),
    };
    let Ok(metadata) = file.metadata() else {
        return Some(job.done(Outcome::Skipped(reason::GONE)));
    };
    let id = job.asked.unwrap_or_else(|| FileId::shown_by(&metadata));
    if known.has(&id) {
        return Some(job.done(Outcome::Known));
    }
    match opened.try_send(Opened { job, file, id }) {
        Ok(()) => None,
        Err(TrySendError::Full(opened) | TrySendError::Disconnected(opened)) => {
            Some(opened.job.done(Outcome::Skipped(reason::RATE)))
        }
    }
}

/// Opens what the process runs; when it is gone, what its path names now, which must be the file
/// that was executed.
fn open(job: &Job) -> Result<File, Outcome> {
    let Candidate { key, path, trigger, .. } = &job.candidate;
    let is_meant = |file: &File| job.asked.is_none_or(|id| is_still(file, &id));
    if *trigger == scan_trigger::EXECUTED
        && let Ok(file) = privileged::open_exe(key.pid)
        && is_meant(&file)
    {
        return Ok(file);
    }
    // A cut path does not start at the root, and names nothing.
    if !path.starts_with(b"/") {
        return Err(Outcome::Skipped(reason::GONE));
    }
    let named = executable::open(key.pid, path).or_else(|error| match job.instead {
        Some(pid) if is_gone(&error) => executable::open(pid, path),
        _ => Err(error),
    });
    match named {
        Ok(file) if is_meant(&file) => Ok(file),
        Ok(_) => Err(Outcome::Skipped(reason::GONE)),
        Err(error) => Err(why_not(&error)),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH))
}

fn why_not(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH | libc::ENOTDIR) => Outcome::Skipped(reason::GONE),
        // A file that nobody may execute is none that this is about.
        Some(libc::ENOEXEC) => Outcome::Known,
        _ => Outcome::Skipped(reason::UNREADABLE),
    }
}

/// So many files may be opened, and more with time.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let earned = (now - self.since).as_millis() * u128::from(OPENS_PER_SECOND) / 1_000;
        if earned > 0 {
            let earned = u32::try_from(earned).unwrap_or(u32::MAX);
            self.left = self.left.saturating_add(earned).min(OPENS_BURST);
            self.since = now;
        }
        let any = self.left > 0;
        self.left = self.left.saturating_sub(1);
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_of_files_is_held_to_a_rate() {
        let start = Instant::now();
        let mut allowance = Allowance { left: OPENS_BURST, since: start };
        let taken = (0..2 * OPENS_BURST).filter(|_| allowance.take(start)).count();
        assert_eq!(taken as u32, OPENS_BURST);
        let second = start + Duration::from_secs(1);
        let taken = (0..2 * OPENS_BURST).filter(|_| allowance.take(second)).count();
        assert_eq!(taken as u32, OPENS_PER_SECOND);
    }
}
