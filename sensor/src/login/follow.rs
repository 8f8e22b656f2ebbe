//! Where log-ins are read from, and how many are taken.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use wire::record::{Address, Login, ProcessRef, login_action, login_flag};

use super::event::{Action, Event, Parsed, Service};
use super::journal::{self, Entry, Journal};
use super::line;
use super::tail::{Position, Tail};
use super::time::Calendar;
use crate::atomic_file;
use crate::host_file::HostFiles;
use crate::observation::Text;

/// Logs that are read unless others are named; the last only where the first two are missing.
const FILES: [&str; 3] = ["/var/log/auth.log", "/var/log/secure", "/var/log/messages"];
/// The journal's socket, there while journald runs, and the folders of its files.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
const JOURNAL_FOLDERS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];
/// The journal's own reader.
const JOURNALCTL: &str = "/usr/bin/journalctl";
/// The host's time zone.
const LOCALTIME: &str = "/etc/localtime";
const LOCALTIME_MAX: u64 = 64 * 1024;
/// Where a state directory keeps the positions.
const POSITIONS_FILE: &str = "login-positions";
const POSITIONS_MAX: u64 = 64 * 1024;

/// Time between two looks at the logs. A finding may be so much later; a look costs two calls of
/// the kernel for each file.
const LOOK_NS: u64 = 250_000_000;
/// Time between two times that positions are kept: after a crash so much is read again.
const KEEP_NS: u64 = 10_000_000_000;
/// Bytes read in one look, which is 4 MiB/s: more than rsyslog writes while sshd is flooded.
const LOOK_BYTES: usize = 1024 * 1024;
/// Log-ins taken per second for a long time, and at once. A host that is tried a thousand times a
/// second is known to be attacked without the rest.
const RATE_PER_SECOND: u64 = 1_000;
const BURST: u64 = 5_000;
/// Logs that can be named.
pub const FILES_MAX: usize = 16;

/// Where log-ins are read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The journal where journald runs, else files: never both, since they hold the same.
    #[default]
    Auto,
    /// The journal.
    Journald,
    /// Files.
    File,
    /// Nowhere.
    Off,
}

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// From where.
    pub source: Source,
    /// Which files; empty for those that distributions have.
    pub files: Vec<PathBuf>,
    /// Where positions are kept; nowhere when `None`.
    pub state_dir: Option<PathBuf>,
}

/// What became of lines since the last look: each event was handed on, or lost for a reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events handed on.
    pub taken: u64,
    /// Events beyond the rate.
    pub throttled: u64,
    /// Times that lines may be missing because a log was cut or rotated away; each counts as one,
    /// since nobody knows how many lines there were.
    pub gaps: u64,
    /// Journal entries that were too long, or not what they should be.
    pub broken: u64,
}

/// The logs of the host.
#[derive(Debug)]
pub struct Logins {
    files: HostFiles,
    calendar: Calendar,
    journal: Option<Journal>,
    tails: Vec<Tail>,
    /// Whether files stand in when the journal cannot be read.
    fall_back: bool,
    keep: Option<PathBuf>,
    kept: Positions,
    kept_ns: u64,
    looked_ns: u64,
    allowance: Allowance,
    warned: bool,
}

/// What the state directory keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Positions {
    journal: Option<journal::Position>,
    files: Vec<(PathBuf, Vec<Position>)>,
}

/// A bucket of tokens.
#[derive(Debug)]
struct Allowance {
    tokens: u64,
    filled_ns: u64,
}

impl Allowance {
    fn fill(&mut self, now_ns: u64) {
        let new = now_ns.saturating_sub(self.filled_ns) / (1_000_000_000 / RATE_PER_SECOND);
        if new > 0 {
            self.tokens = (self.tokens.saturating_add(new)).min(BURST);
            self.filled_ns = now_ns;
        }
    }

    fn take(&mut self) -> bool {
        let left = self.tokens.checked_sub(1);
        self.tokens = left.unwrap_or(0);
        left.is_some()
    }
}

impl Logins {
    /// Chooses the source. Nothing is read before the first look.
    pub fn new(settings: &Settings) -> Self {
        // The loader knows logs by their place in the same list.
        let mut listed = logs(&settings.files);
        let paths = match settings.files.is_empty() {
            true => below(Path::new("/")),
            false => listed.clone(),
        };
        let keep = settings.state_dir.as_ref().map(|dir| dir.join(POSITIONS_FILE));
        listed.extend(keep.clone());
        listed.push(PathBuf::from(LOCALTIME));
        let files = HostFiles::of_logs(listed);
        let localtime = files.read(Path::new(LOCALTIME), LOCALTIME_MAX).ok();
        let kept = keep.as_deref().and_then(|path| load(&files, path)).unwrap_or_default();
        let live = settings.source == Source::Auto && journal_is_live();
        let mut logins = Self {
            files,
            calendar: Calendar::new(localtime.as_deref()),
            journal: None,
            tails: Vec::new(),
            fall_back: settings.source == Source::Auto,
            keep,
            kept,
            kept_ns: 0,
            looked_ns: 0,
            allowance: Allowance { tokens: BURST, filled_ns: 0 },
            warned: false,
        };
        match settings.source {
            Source::Off => {}
            Source::Auto if !live => logins.follow_files(paths),
            Source::File => logins.follow_files(paths),
            Source::Auto | Source::Journald => {
                logins.journal = Some(Journal::new(logins.kept.journal.clone()));
            }
        }
        logins
    }

    fn follow_files(&mut self, paths: Vec<PathBuf>) {
        let kept = &self.kept.files;
        let resume = |path: &PathBuf| {
            kept.iter().find(|(known, _)| known == path).map(|(_, kept)| kept.clone())
        };
        self.tails = (paths.into_iter())
            .map(|path| Tail::new(path.clone(), resume(&path).unwrap_or_default()))
            .collect();
    }

    /// Looks at the logs, unless the last look was a moment ago, and hands on what they say.
    /// Times are nanoseconds since boot and since the Unix epoch.
    pub fn poll(&mut self, boot_ns: u64, unix_ns: u64, on: &mut dyn FnMut(Login<Text>)) -> Tally {
        if boot_ns < self.looked_ns.saturating_add(LOOK_NS) && self.looked_ns > 0 {
            return Tally::default();
        }
        self.look(boot_ns, unix_ns, on)
    }

    /// Looks at the logs.
    fn look(&mut self, boot_ns: u64, unix_ns: u64, on: &mut dyn FnMut(Login<Text>)) -> Tally {
        self.looked_ns = boot_ns;
        self.allowance.fill(boot_ns);
        self.calendar.set_now(unix_ns);
        let mut tally = Tally::default();
        self.read_journal(boot_ns, unix_ns, &mut tally, on);
        self.read_files(boot_ns, &mut tally, on);
        if boot_ns >= self.kept_ns.saturating_add(KEEP_NS) {
            self.kept_ns = boot_ns;
            self.keep();
        }
        tally
    }

    fn read_journal(
        &mut self,
        now: u64,
        unix_ns: u64,
        tally: &mut Tally,
        on: &mut dyn FnMut(Login<Text>),
    ) {
        let Some(journal) = &mut self.journal else { return };
        let allowance = &mut self.allowance;
        let outcome = journal.poll(now, unix_ns, LOOK_BYTES, &mut |entry| {
            if let Some(login) = of_entry(&entry) {
                hand_on(login, allowance, tally, on);
            }
        });
        tally.broken += outcome.broken;
        if outcome.given_up && self.fall_back {
            tracing::warn!("the journal cannot be read; log files are read instead");
            self.journal = None;
            self.follow_files(below(Path::new("/")));
        } else if outcome.given_up && !self.warned {
            self.warned = true;
            tracing::warn!("the journal cannot be read: log-ins are not seen");
        }
    }

    fn read_files(&mut self, now: u64, tally: &mut Tally, on: &mut dyn FnMut(Login<Text>)) {
        let Self { tails, files, calendar, allowance, warned, .. } = self;
        let mut budget = LOOK_BYTES;
        for tail in tails {
            let polled = tail.poll(files, now, &mut budget, &mut |text, cut| {
                if let Some(login) = of_line(text, cut, calendar) {
                    hand_on(login, allowance, tally, on);
                }
            });
            tally.gaps += tail.take_gaps();
            if let (Err(error), false) = (polled, *warned) {
                *warned = true;
                let path = crate::escape::visible(tail.path().as_os_str().as_encoded_bytes());
                tracing::warn!(path, %error, "cannot read a log");
            }
        }
    }

    /// Keeps the positions, if they changed.
    pub fn keep(&mut self) {
        let Some(path) = &self.keep else { return };
        let now = Positions {
            journal: self.journal.as_ref().and_then(Journal::position).cloned(),
            files: (self.tails.iter())
                .map(|tail| (tail.path().to_owned(), tail.positions()))
                .collect(),
        };
        if now == self.kept {
            return;
        }
        let Ok(text) = serde_json::to_vec(&now) else { return };
        match atomic_file::write(path, &text, 0o600) {
            Ok(()) => self.kept = now,
            Err(error) => tracing::warn!(%error, "cannot keep the positions in logs"),
        }
    }
}

fn load(files: &HostFiles, path: &Path) -> Option<Positions> {
    serde_json::from_slice(&files.read(path, POSITIONS_MAX).ok()?).ok()
}

/// Returns the logs that may be read: those that are named, else those of the distributions.
pub fn logs(named: &[PathBuf]) -> Vec<PathBuf> {
    match named.is_empty() {
        true => FILES.map(PathBuf::from).to_vec(),
        false => named.iter().take(FILES_MAX).cloned().collect(),
    }
}

/// Returns the logs that are read by default of a host whose files are below a folder.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let [auth, secure, messages] = FILES.map(|path| root.join(path.trim_start_matches('/')));
    match auth.exists() || secure.exists() {
        true => vec![auth, secure],
        false => vec![auth, secure, messages],
    }
}

/// Returns whether journald runs and has files to read.
fn journal_is_live() -> bool {
    let has_files = |folder: &&str| {
        let machines = Path::new(folder).read_dir().into_iter().flatten().flatten();
        machines.take(8).any(|machine| machine.path().join("system.journal").exists())
    };
    Path::new(JOURNAL_SOCKET).exists()
        && Path::new(JOURNALCTL).exists()
        && JOURNAL_FOLDERS.iter().any(has_files)
}

fn hand_on(
    login: Login<Text>,
    allowance: &mut Allowance,
    tally: &mut Tally,
    on: &mut dyn FnMut(Login<Text>),
) {
    if allowance.take() {
        tally.taken += 1;
        on(login);
    } else {
        tally.throttled += 1;
    }
}

/// Returns what a line of a log file says; `None` when it is about nothing of ours.
pub fn of_line(text: &[u8], cut: bool, calendar: &Calendar) -> Option<Login<Text>> {
    let line = line::parse(text)?;
    let mut login = record(line.program, line.message)?;
    login.time_ns = calendar.moment(line.stamp);
    login.pid = line.pid;
    login.flags |= if cut { login_flag::CUT } else { 0 };
    Some(login)
}

/// Returns what an entry of the journal says.
pub fn of_entry(entry: &Entry) -> Option<Login<Text>> {
    let cut = entry.message.len() > super::LINE_MAX;
    let message = &entry.message[..entry.message.len().min(super::LINE_MAX)];
    let mut login = record(&entry.program, message)?;
    (login.time_ns, login.pid) = (entry.time_ns, entry.pid);
    login.flags |= if cut { login_flag::CUT } else { 0 };
    login.flags |= if is_foreign(entry) { login_flag::FOREIGN_WRITER } else { 0 };
    Some(login)
}

/// Anybody may write to the journal under any name; only the path and the user are the journal's
/// own findings. A writer that was gone before it was looked at is not judged.
fn is_foreign(entry: &Entry) -> bool {
    let name = entry.exe.rsplit(|&b| b == b'/').next().unwrap_or_default();
    if name.is_empty() {
        return false;
    }
    match super::service(&entry.program) {
        Some(Service::Sshd) => !name.starts_with(b"sshd"),
        Some(Service::Sudo) => !name.starts_with(b"sudo"),
        Some(Service::Su) => name != b"su" && name != b"runuser",
        _ => entry.uid.is_some_and(|uid| uid != 0) && !super::account::PROGRAMS.contains(&name),
    }
}

fn record(program: &[u8], message: &[u8]) -> Option<Login<Text>> {
    let event = match super::parse(program, message) {
        Parsed::Event(event) => event,
        Parsed::Unknown => {
            let login = Login {
                action: login_action::OTHER,
                count: 1,
                service: Text::from(program),
                message: Text::from(message.trim_ascii()),
                ..empty()
            };
            return Some(login);
        }
        Parsed::Dull | Parsed::Foreign => return None,
    };
    let marks = [
        (event.marks.invalid_user, login_flag::INVALID_USER),
        (event.marks.preauth, login_flag::PREAUTH),
        (event.marks.ambiguous, login_flag::AMBIGUOUS),
        (event.marks.continued, login_flag::CONTINUED),
    ];
    let command = event.action == Action::Command
        || (event.service == Service::Sudo && !event.directory.is_empty());
    let (command, detail) = match command {
        true => (event.detail, &b""[..]),
        false => (&b""[..], event.detail),
    };
    Some(Login {
        action: action(&event),
        flags: marks.iter().filter(|(set, _)| *set).fold(0, |all, (_, bit)| all | bit),
        count: event.repeated.max(1),
        remote: event.remote.map(Address::from).unwrap_or_default(),
        remote_port: event.remote_port,
        service: Text::from(service(&event)),
        user: Text::from(event.user),
        target_user: Text::from(event.target),
        method: Text::from(event.method),
        key: Text::from(event.key),
        tty: Text::from(event.tty),
        command: Text::from(command),
        cwd: Text::from(event.directory),
        remote_name: Text::from(event.remote_text),
        detail: Text::from(detail),
        message: Text::from(message.trim_ascii()),
        ..empty()
    })
}

fn empty() -> Login<Text> {
    Login { process: ProcessRef::default(), ..Login::default() }
}

/// Programs that belong together get one name, the others keep theirs.
fn service<'a>(event: &Event<'a>) -> &'a [u8] {
    match event.service {
        Service::Sshd => b"sshd",
        Service::Sudo => b"sudo",
        Service::Su => b"su",
        Service::Login => b"login",
        Service::Cron => b"cron",
        Service::Logind | Service::Account | Service::Other => event.program,
    }
}

fn action(event: &Event<'_>) -> u8 {
    match event.action {
        Action::Accepted => login_action::ACCEPTED,
        Action::Failed => login_action::FAILED,
        Action::InvalidUser => login_action::INVALID_USER,
        Action::Refused => login_action::REFUSED,
        Action::TooMany => login_action::TOO_MANY,
        Action::Disconnected if event.marks.preauth => login_action::LEFT_EARLY,
        Action::Disconnected => login_action::DISCONNECTED,
        Action::Probe => login_action::PROBE,
        Action::Throttled => login_action::THROTTLED,
        Action::SessionOpened => login_action::SESSION_OPENED,
        Action::SessionClosed => login_action::SESSION_CLOSED,
        Action::Command => login_action::COMMAND,
        Action::AccountAdded | Action::GroupAdded => login_action::ACCOUNT_CREATED,
        Action::AccountChanged | Action::GroupChanged => login_action::ACCOUNT_CHANGED,
        Action::AccountRemoved | Action::GroupRemoved => login_action::ACCOUNT_DELETED,
        Action::PasswordChanged => login_action::PASSWORD_CHANGED,
    }
}

#[cfg(test)]
mod tests;
