//! What a log line says, as slices of the line.

use std::net::IpAddr;

/// Who wrote the line, or for whom PAM did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// OpenSSH's server.
    Sshd,
    /// sudo.
    Sudo,
    /// su and runuser.
    Su,
    /// The login program of a terminal.
    Login,
    /// The daemon that runs jobs at set times.
    Cron,
    /// systemd's log-in manager.
    Logind,
    /// Programs that change accounts: useradd, passwd and the like.
    Account,
    /// Another one that uses PAM; [`Event::program`] names it.
    #[default]
    Other,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Somebody proved who they are, and was let in.
    #[default]
    Accepted,
    /// An attempt failed.
    Failed,
    /// An attempt named a user that does not exist.
    InvalidUser,
    /// A rule, not a wrong proof, kept somebody out.
    Refused,
    /// The peer tried too often and was cut off, or the account was locked for it.
    TooMany,
    /// A connection ended, before or after the log-in.
    Disconnected,
    /// A peer connected that did not go on to log in: no banner, other protocol, no common cipher.
    Probe,
    /// Connections were dropped because there were too many.
    Throttled,
    /// A session began.
    SessionOpened,
    /// A session ended.
    SessionClosed,
    /// A command was run as somebody else.
    Command,
    /// An account was made.
    AccountAdded,
    /// An account was changed.
    AccountChanged,
    /// An account was removed.
    AccountRemoved,
    /// A group was made.
    GroupAdded,
    /// A group was changed, or its members.
    GroupChanged,
    /// A group was removed.
    GroupRemoved,
    /// A password was set, locked or unlocked.
    PasswordChanged,
}

impl Action {
    /// All of them, in order.
    pub const ALL: [Self; 18] = [
        Self::Accepted,
        Self::Failed,
        Self::InvalidUser,
        Self::Refused,
        Self::TooMany,
        Self::Disconnected,
        Self::Probe,
        Self::Throttled,
        Self::SessionOpened,
        Self::SessionClosed,
        Self::Command,
        Self::AccountAdded,
        Self::AccountChanged,
        Self::AccountRemoved,
        Self::GroupAdded,
        Self::GroupChanged,
        Self::GroupRemoved,
        Self::PasswordChanged,
    ];

    /// Returns its name in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::InvalidUser => "invalid_user",
            Self::Refused => "refused",
            Self::TooMany => "too_many",
            Self::Disconnected => "disconnected",
            Self::Probe => "probe",
            Self::Throttled => "throttled",
            Self::SessionOpened => "session_opened",
            Self::SessionClosed => "session_closed",
            Self::Command => "command",
            Self::AccountAdded => "account_added",
            Self::AccountChanged => "account_changed",
            Self::AccountRemoved => "account_removed",
            Self::GroupAdded => "group_added",
            Self::GroupChanged => "group_changed",
            Self::GroupRemoved => "group_removed",
            Self::PasswordChanged => "password_changed",
        }
    }
}

/// What the line is not sure about, or adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Marks {
    /// The user does not exist.
    pub invalid_user: bool,
    /// It happened before the log-in was done.
    pub preauth: bool,
    /// The text can be read in two ways, because somebody chose a name that looks like the
    /// message; the reading that the writer's format makes likelier was taken.
    pub ambiguous: bool,
    /// The line goes on where an earlier one ended.
    pub continued: bool,
}

/// What a line says. All text is part of the line, escapes included; it is what a user or a peer
/// chose to be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event<'a> {
    /// Who says so.
    pub service: Service,
    /// The program, or PAM's service, by its own name.
    pub program: &'a [u8],
    /// What happened.
    pub action: Action,
    /// Who did it: the user that logs in, or that runs a command.
    pub user: &'a [u8],
    /// As whom, or to whom: the target of sudo and su, the account or group that was changed.
    pub target: &'a [u8],
    /// From where, when the line has an address.
    pub remote: Option<IpAddr>,
    /// From where, as the line writes it.
    pub remote_text: &'a [u8],
    /// The peer's port, 0 when not told.
    pub remote_port: u16,
    /// How it was proved, such as `password` or `publickey`.
    pub method: &'a [u8],
    /// Key type and fingerprint.
    pub key: &'a [u8],
    /// The terminal.
    pub tty: &'a [u8],
    /// Working directory of the command.
    pub directory: &'a [u8],
    /// The command, or a reason, or what was changed.
    pub detail: &'a [u8],
    /// How often it happened; 0 counts as 1.
    pub repeated: u32,
    /// What else is known.
    pub marks: Marks,
}

impl<'a> Event<'a> {
    /// Returns an event of which nothing else is known.
    pub fn new(service: Service, action: Action) -> Self {
        Self { service, action, ..Self::default() }
    }

    /// Adds the peer as the line writes it.
    pub fn from(mut self, remote: &'a [u8], port: u16) -> Self {
        self.remote = super::scan::address(remote);
        (self.remote_text, self.remote_port) = (remote, port);
        self
    }
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// It tells of a log-in or an account.
    Event(Event<'a>),
    /// It is understood and tells nothing that matters here.
    Dull,
    /// Its program should be understood here, the line is not.
    Unknown,
    /// It is another program's.
    Foreign,
}
