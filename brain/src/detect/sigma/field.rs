//! Names of Sigma's taxonomy, and what they mean in our records.

use std::borrow::Cow;
use std::fmt::Write as _;

use wire::record::process_flag::{ARGS_UNKNOWN, CWD_UNKNOWN, EXE_UNKNOWN};

use crate::record::{
    Connection, ConnectionEvent, Dns, Event, EventKind, File, FileAction, Login, Process, protocol,
};

/// A source of log that rules can name, and what of ours it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Log {
    /// Executions.
    ProcessCreation,
    /// Files that were made or written.
    FileEvent,
    /// Connections that were opened.
    NetworkConnection,
    /// Names that were asked for.
    DnsQuery,
    /// Every line about log-ins.
    Auth,
    /// Those of sshd.
    Sshd,
    /// Those of sudo.
    Sudo,
}

impl Log {
    /// Returns the log of a rule's category or service.
    pub(super) fn parse(category: Option<&str>, service: Option<&str>) -> Result<Self, String> {
        match (category, service) {
            (Some("process_creation"), None) => Ok(Self::ProcessCreation),
            (Some("file_event"), None) => Ok(Self::FileEvent),
            (Some("network_connection"), None) => Ok(Self::NetworkConnection),
            (Some("dns_query"), None) => Ok(Self::DnsQuery),
            (None, Some("auth")) => Ok(Self::Auth),
            (None, Some("sshd")) => Ok(Self::Sshd),
            (None, Some("sudo")) => Ok(Self::Sudo),
            (Some(other), None) => Err(format!(
                "category `{other}` is not supported; process_creation, file_event, \
                 network_connection and dns_query are"
            )),
            (None, Some(other)) => Err(format!(
                "there is no log of service `{other}` here; there are auth, sshd and sudo"
            )),
            (Some(_), Some(_)) => Err("no log has both a category and a service here".to_owned()),
            (None, None) => Err("`category` is missing, such as process_creation".to_owned()),
        }
    }

    /// Returns whether an event is an entry of the log.
    pub(super) fn has(self, event: &Event) -> bool {
        match (self, &event.kind) {
            (Self::ProcessCreation, EventKind::Exec(_)) => event.process.is_some(),
            (Self::FileEvent, EventKind::File(file)) => is_written(file),
            (Self::NetworkConnection, EventKind::Connection(connection)) => is_opened(connection),
            (Self::DnsQuery, EventKind::Dns(dns)) => !dns.is_response(),
            (Self::Auth, EventKind::Login(_)) => true,
            (Self::Sshd, EventKind::Login(login)) => login.service == "sshd",
            (Self::Sudo, EventKind::Login(login)) => login.service == "sudo",
            _ => false,
        }
    }

    fn holds(self, field: Field) -> bool {
        use Field as F;
        match self {
            Self::ProcessCreation => field <= F::ParentProcessId,
            Self::FileEvent => field <= F::ProcessId || field == F::TargetFilename,
            Self::NetworkConnection => {
                field <= F::ProcessId || (F::DestinationIp..=F::Protocol).contains(&field)
            }
            Self::DnsQuery => field <= F::ProcessId || field == F::QueryName,
            Self::Auth | Self::Sshd | Self::Sudo => field >= F::Message,
        }
    }
}

fn is_written(file: &File) -> bool {
    use FileAction::{Create, Link, OpenWrite, Rename, Symlink};
    file.error == 0 && matches!(file.action, Create | Link | OpenWrite | Rename | Symlink)
}

fn is_opened(connection: &Connection) -> bool {
    matches!(connection.event, ConnectionEvent::Connected | ConnectionEvent::Accepted)
}

/// A field that rules can name here. Those of the acting process come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Field {
    Image,
    CommandLine,
    User,
    CurrentDirectory,
    LogonId,
    Hashes,
    ProcessId,
    ParentImage,
    ParentCommandLine,
    ParentUser,
    ParentProcessId,
    TargetFilename,
    DestinationIp,
    DestinationPort,
    SourceIp,
    SourcePort,
    Initiated,
    Protocol,
    QueryName,
    /// The whole message: what keywords are looked for in.
    Message,
    TargetUser,
    SudoCommand,
    SourceHost,
}

/// Fields with their names, in the order of [`Field`].
const NAMES: [(&str, Field); 23] = [
    ("Image", Field::Image),
    ("CommandLine", Field::CommandLine),
    ("User", Field::User),
    ("CurrentDirectory", Field::CurrentDirectory),
    ("LogonId", Field::LogonId),
    ("Hashes", Field::Hashes),
    ("ProcessId", Field::ProcessId),
    ("ParentImage", Field::ParentImage),
    ("ParentCommandLine", Field::ParentCommandLine),
    ("ParentUser", Field::ParentUser),
    ("ParentProcessId", Field::ParentProcessId),
    ("TargetFilename", Field::TargetFilename),
    ("DestinationIp", Field::DestinationIp),
    ("DestinationPort", Field::DestinationPort),
    ("SourceIp", Field::SourceIp),
    ("SourcePort", Field::SourcePort),
    ("Initiated", Field::Initiated),
    ("Protocol", Field::Protocol),
    ("QueryName", Field::QueryName),
    ("Message", Field::Message),
    ("USER", Field::TargetUser),
    ("COMMAND", Field::SudoCommand),
    ("RemoteHost", Field::SourceHost),
];

impl Field {
    /// Returns the field of that name in a log. One that no record can ever fill is an error: read
    /// as absent it would turn `not` around and switch the rule's meaning.
    pub(super) fn parse(name: &str, log: Log) -> Result<Self, String> {
        let known = || NAMES.iter().filter(|(_, field)| log.holds(*field));
        if let Some((_, field)) = known().find(|(known, _)| *known == name) {
            return Ok(*field);
        }
        let known: Vec<&str> = known().map(|(name, _)| *name).collect();
        let known = known.join(", ");
        Err(format!("field `{name}` is not collected; a rule can use {known}"))
    }
}

/// A field's value as it is, and in lower case for patterns that ignore it.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub(super) plain: Cow<'a, [u8]>,
    pub(super) lower: Vec<u8>,
}

impl<'a> Text<'a> {
    fn new(plain: impl Into<Cow<'a, [u8]>>) -> Self {
        let plain = plain.into();
        Self { lower: plain.to_ascii_lowercase(), plain }
    }

    fn shown(value: impl std::fmt::Display) -> Self {
        Self::new(value.to_string().into_bytes())
    }
}

/// All fields of one event; `None` is absent.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>([Option<Text<'a>>; NAMES.len()]);

impl<'a> Fields<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        let mut fields = Self([const { None }; NAMES.len()]);
        if let Some(process) = &event.process {
            fields.process(process);
        }
        match &event.kind {
            EventKind::File(file) => fields.file(file),
            EventKind::Connection(connection) => fields.connection(connection),
            EventKind::Dns(dns) => fields.dns(dns),
            EventKind::Login(login) => fields.login(login),
            _ => {}
        }
        fields
    }

    pub(super) fn get(&self, field: Field) -> Option<&Text<'a>> {
        self.0[field as usize].as_ref()
    }

    fn set(&mut self, field: Field, value: Option<Text<'a>>) {
        self.0[field as usize] = value;
    }

    fn process(&mut self, process: &'a Process) {
        self.set(Field::Image, image(process));
        self.set(Field::CommandLine, command_line(process));
        self.set(Field::User, text(&process.user));
        let directory = (!process.has(CWD_UNKNOWN)).then(|| text(&process.cwd)).flatten();
        self.set(Field::CurrentDirectory, directory);
        self.set(Field::LogonId, process.session.map(Text::shown));
        self.set(Field::Hashes, hashes(process));
        self.set(Field::ProcessId, Some(Text::shown(process.key.pid)));
        let Some(parent) = process.parent.as_deref() else { return };
        self.set(Field::ParentImage, image(parent));
        self.set(Field::ParentCommandLine, command_line(parent));
        self.set(Field::ParentUser, text(&parent.user));
        self.set(Field::ParentProcessId, Some(Text::shown(parent.key.pid)));
    }

    /// A file that was renamed or linked has its new name in the end.
    fn file(&mut self, file: &'a File) {
        let to = matches!(file.action, FileAction::Rename | FileAction::Link);
        let name = if to && !file.target.is_empty() { &file.target } else { &file.path };
        self.set(Field::TargetFilename, text(name));
    }

    fn connection(&mut self, connection: &Connection) {
        let own = connection.event == ConnectionEvent::Connected;
        let (from, to) = match own {
            true => (connection.local, connection.remote),
            false => (connection.remote, connection.local),
        };
        self.set(Field::SourceIp, Some(Text::shown(from.ip())));
        self.set(Field::SourcePort, Some(Text::shown(from.port())));
        self.set(Field::DestinationIp, Some(Text::shown(to.ip())));
        self.set(Field::DestinationPort, Some(Text::shown(to.port())));
        self.set(Field::Initiated, Some(Text::shown(own)));
        let name = if connection.protocol == protocol::TCP { "tcp" } else { "udp" };
        self.set(Field::Protocol, Some(Text::shown(name)));
    }

    fn dns(&mut self, dns: &'a Dns) {
        self.set(Field::QueryName, text(&dns.name));
    }

    fn login(&mut self, login: &'a Login) {
        self.set(Field::Message, text(&login.message));
        self.set(Field::TargetUser, text(&login.target_user));
        self.set(Field::SudoCommand, text(&login.command));
        self.set(Field::SourceHost, text(&login.remote_name));
    }
}

fn text(value: &[u8]) -> Option<Text<'_>> {
    (!value.is_empty()).then(|| Text::new(value))
}

fn image(process: &Process) -> Option<Text<'_>> {
    (!process.has(EXE_UNKNOWN)).then(|| Text::new(process.exe_path()))
}

fn command_line(process: &Process) -> Option<Text<'_>> {
    (!process.has(ARGS_UNKNOWN)).then(|| Text::new(process.command_line_bytes()))
}

/// `SHA256=…`, as Sysmon writes it.
fn hashes(process: &Process) -> Option<Text<'static>> {
    if process.sha256.is_empty() {
        return None;
    }
    let mut hashes = "SHA256=".to_owned();
    for byte in &process.sha256 {
        // Writing to a string cannot fail.
        let _ = write!(hashes, "{byte:02X}");
    }
    Some(Text::new(hashes.into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_enum() {
        const LOGS: [Log; 5] = [
            Log::ProcessCreation,
            Log::FileEvent,
            Log::NetworkConnection,
            Log::DnsQuery,
            Log::Auth,
        ];
        for (at, (name, field)) in NAMES.iter().enumerate() {
            assert_eq!(*field as usize, at);
            assert!(LOGS.iter().any(|log| Field::parse(name, *log) == Ok(*field)), "{name}");
        }
        for (name, log) in [
            ("IntegrityLevel", Log::ProcessCreation),
            ("TargetFilename", Log::ProcessCreation),
            ("ParentImage", Log::FileEvent),
            ("Image", Log::Sshd),
        ] {
            assert!(Field::parse(name, log).unwrap_err().contains("not collected"));
        }
    }
}
