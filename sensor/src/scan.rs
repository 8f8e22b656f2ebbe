//! Executables and scripts, looked at with YARA rules when they are first seen.
//!
//! The rules come from the brain's policy. The looking is done by another process, the scanner,
//! which is handed open files; here is decided which. What is executed is opened at once, by the
//! process that runs it, so that a program that deletes itself is looked at too.
//!
//! Every file that is seen is scanned, or skipped for a reason that is counted.
//!
//! # Reading order
//! [`rules`] (from the brain to the disk), [`opener`] (a thread that opens files), [`known`] (each
//! content once), [`client`] (a thread that has them scanned), [`link`] (the scanner's socket),
//! [`found`] (what is told).

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use wire::record::{File, file_action, scan_trigger};

use self::client::Client;
use self::found::Found;
use self::opener::Job;
use self::rules::{Rules, Shared};
use crate::convert::Executed;
use crate::hash::FileId;
use crate::health::HookText;
use crate::observation::Text;
use crate::privileged::{self, ProcLink};
use crate::process::Key;

pub mod client;
pub mod found;
pub mod known;
pub mod link;
pub mod opener;
pub mod rules;

/// Where the scanner listens, unless the configuration says otherwise.
pub const SOCKET: &str = "/run/sakuramori-scanner/socket";
/// Files that wait to be opened. More at once come from a storm of new files; the rest are told as
/// skipped.
const WAITING_MAX: usize = 512;
/// The init process, which has the host's own root.
const INIT: u32 = 1;
/// Bits of a mode that let anybody execute a file.
const EXECUTE: u32 = 0o111;

/// Reasons for which a file is not scanned.
pub mod reason {
    /// It is larger than what is scanned.
    pub const TOO_LARGE: &str = "too_large";
    /// There was too much to do.
    pub const RATE: &str = "rate";
    /// The rules took too long.
    pub const TIMEOUT: &str = "timeout";
    /// It was gone, or another one, before it could be scanned.
    pub const GONE: &str = "gone";
    /// It may not be read.
    pub const UNREADABLE: &str = "unreadable";
    /// The scanner of this host does not run.
    pub const NO_SCANNER: &str = "no_scanner";
    /// The scanner ended over it.
    pub const SCANNER_ENDED: &str = "scanner_ended";
    /// None of the rules can be used.
    pub const NO_RULES: &str = "no_rules";
    /// The sensor ends.
    pub const STOPPED: &str = "stopped";

    /// All of them.
    pub const ALL: [&str; 9] =
        [TOO_LARGE, RATE, TIMEOUT, GONE, UNREADABLE, NO_SCANNER, SCANNER_ENDED, NO_RULES, STOPPED];
}

/// A file that may be worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who executed or wrote it.
    pub key: Key,
    /// Its path, as that process has it.
    pub path: Box<[u8]>,
    /// When, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// See [`scan_trigger`].
    pub trigger: u8,
}

/// What came of a candidate.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Rules match.
    Found(Box<Found>),
    /// None does.
    Clean,
    /// It was scanned before, or is no candidate after all.
    Known,
    /// It was not scanned, for one of [`reason::ALL`].
    Skipped(&'static str),
}

/// A candidate, the content by which it was asked for if that was known, and what came of it.
#[derive(Debug)]
pub struct Done {
    /// The candidate.
    pub candidate: Candidate,
    /// Which content was asked for.
    pub asked: Option<FileId>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What became of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Scanned without a match.
    pub clean: u64,
    /// Scanned with a match.
    pub found: u64,
    /// Seen again.
    pub known: u64,
    /// Not scanned, in the order of [`reason::ALL`].
    pub skipped: [u64; reason::ALL.len()],
}

/// Decides what is scanned, and hears what came of it.
#[derive(Debug)]
pub struct Scans {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    done: Receiver<Done>,
    /// Contents that wait, and paths whose content is not known yet.
    waiting: HashSet<FileId>,
    waiting_paths: HashSet<Box<[u8]>>,
    /// Mount namespaces of processes that last: the sensor's own and the host's.
    lasting: Vec<(u64, u32)>,
    /// What was refused, or given up at the end.
    refused: Vec<Done>,
    stats: Stats,
}

/// Starts to scan as soon as there are rules; returns who takes those. `None` when the system gives
/// no threads.
pub fn start(socket: &Path, state_dir: &Path) -> Option<(Scans, Rules)> {
    let shared = Arc::new(Shared::new(state_dir));
    let rules = Rules::new(Arc::clone(&shared));
    let (jobs, to_open) = sync_channel(WAITING_MAX);
    let (opened, to_scan) = sync_channel(opener::OPENED_MAX);
    let (tell, done) = sync_channel(2 * WAITING_MAX);
    let (opener_shared, opener_tell) = (Arc::clone(&shared), tell.clone());
    let open = move || opener::run(&to_open, &opened, &opener_tell, &opener_shared.known);
    let mut client = Client::new(socket, Arc::clone(&shared));
    let scan = move || client.run(&to_scan, &tell);
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let started = thread("scan-open").spawn(open).and_then(|_| thread("scan").spawn(scan));
    if let Err(error) = started {
        tracing::warn!(%error, "files are not scanned");
        return None;
    }
    let scans = Scans {
        shared,
        jobs,
        done,
        waiting: HashSet::new(),
        waiting_paths: HashSet::new(),
        lasting: [std::process::id(), INIT].into_iter().filter_map(lasting).collect(),
        refused: Vec::new(),
        stats: Stats::default(),
    };
    Some((scans, rules))
}

/// Returns the mount namespace of a process, and the process.
fn lasting(pid: u32) -> Option<(u64, u32)> {
    privileged::namespace(pid, ProcLink::MountNamespace).map(|namespace| (namespace, pid))
}

impl Scans {
    /// Asks about what was executed, and about the script that it is to run.
    pub fn executed(&mut self, executed: &Executed) {
        if !self.shared.is_on() {
            return;
        }
        let process = &executed.process;
        let candidate = |path: &Text, trigger| Candidate {
            key: process.key,
            path: Box::from(&**path),
            time_ns: executed.exec.time_ns,
            trigger,
        };
        let instead = self.instead(process.namespaces[1]);
        let job = |candidate, asked| Job { candidate, asked, instead, late: false };
        self.ask(job(candidate(&process.exe, scan_trigger::EXECUTED), Some(executed.file)));
        if !process.script.is_empty() {
            self.ask(job(candidate(&process.script, scan_trigger::SCRIPT), None));
        }
    }

    /// Asks about a watched file that was written or made executable, a moment later.
    pub fn touched(&mut self, file: &File<Text>, key: Option<Key>, mounts: u32) {
        let Some(key) = key.filter(|_| self.shared.is_on() && file.error == 0) else { return };
        let path = match file.action {
            file_action::OPEN_WRITE | file_action::CREATE | file_action::MODE => &file.path,
            file_action::RENAME | file_action::LINK => &file.target,
            _ => return,
        };
        // A file that is made gets its bits at once or by a change of mode.
        if file.mode & EXECUTE == 0 && file.action != file_action::RENAME {
            return;
        }
        let (path, time_ns) = (Box::from(&**path), file.time_ns);
        let candidate = Candidate { key, path, time_ns, trigger: scan_trigger::WRITTEN };
        let instead = self.instead(mounts);
        self.ask(Job { candidate, asked: None, instead, late: true });
    }

    fn instead(&self, mounts: u32) -> Option<u32> {
        let same = self.lasting.iter().find(|(namespace, _)| *namespace == u64::from(mounts));
        same.map(|(_, pid)| *pid)
    }

    fn ask(&mut self, job: Job) {
        let is_known = match &job.asked {
            Some(file) => self.shared.known.has(file) || !self.waiting.insert(*file),
            None => !self.waiting_paths.insert(job.candidate.path.clone()),
        };
        if is_known {
            self.stats.known += 1;
        } else if let Err(refused) = self.jobs.try_send(job) {
            let (std::sync::mpsc::TrySendError::Full(job)
            | std::sync::mpsc::TrySendError::Disconnected(job)) = refused;
            self.refused.push(job.done(Outcome::Skipped(reason::RATE)));
        }
    }

    /// Takes in what was done since.
    pub fn take_in(&mut self) -> Vec<Done> {
        let mut done = std::mem::take(&mut self.refused);
        done.extend(self.done.try_iter());
        done.iter().for_each(|done| self.settle(done));
        done
    }

    /// Takes in what was done, and gives up what still waits.
    pub fn finish(&mut self) -> Vec<Done> {
        let mut done = self.take_in();
        let files = self.waiting.drain().map(|file| (Some(file), Box::default()));
        let paths = self.waiting_paths.drain().map(|path| (None, path));
        let given_up = files.chain(paths).map(|(asked, path)| {
            let (key, trigger) = (Key::default(), scan_trigger::EXECUTED);
            let candidate = Candidate { key, path, time_ns: 0, trigger };
            Done { candidate, asked, outcome: Outcome::Skipped(reason::STOPPED) }
        });
        let given_up: Vec<Done> = given_up.collect();
        given_up.iter().for_each(|done| self.settle(done));
        done.extend(given_up);
        done
    }

    fn settle(&mut self, done: &Done) {
        match &done.asked {
            Some(file) => self.waiting.remove(file),
            None => self.waiting_paths.remove(&done.candidate.path),
        };
        match &done.outcome {
            Outcome::Found(_) => self.stats.found += 1,
            Outcome::Clean => self.stats.clean += 1,
            Outcome::Known => self.stats.known += 1,
            Outcome::Skipped(why) => {
                let place = reason::ALL.iter().position(|known| known == why);
                place.into_iter().for_each(|place| self.stats.skipped[place] += 1);
            }
        }
    }

    /// Tells in coverage what became of the files; nothing while there are no rules, or no scanner.
    pub fn text(&self) -> Option<HookText> {
        let state = self.shared.state();
        if !self.shared.is_on() && self.stats == Stats::default() {
            return None;
        }
        let Stats { clean, found, known, skipped } = &self.stats;
        let skipped: Vec<String> = reason::ALL
            .iter()
            .zip(skipped)
            .filter(|(_, files)| **files > 0)
            .map(|(reason, files)| format!("{files} {}", reason.replace('_', " ")))
            .collect();
        let skipped = if skipped.is_empty() { "none".to_owned() } else { skipped.join(", ") };
        let told = format!(
            "{} rules: {} scanned, {found} matched, {known} known already; skipped: {skipped}",
            state.rules,
            clean + found,
        );
        Some(["scans".to_owned(), told, state.problem])
    }
}

/// Where rules are kept, in the state directory.
pub(crate) fn bundle_path(state_dir: &Path) -> PathBuf {
    state_dir.join("rules.json")
}

#[cfg(test)]
mod tests;
