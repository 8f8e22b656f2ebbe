//! Our records as entries of logs that Sigma knows.
//!
//! One record is told in several logs at once: an execution is an entry of `process_creation`, and
//! two records of `auditd`. Each such telling is a view. `policies/README.md` has the table.

use super::logsource::LogSource;
use crate::record::{
    ConnectionEvent, Event, EventKind, FileAction, Login, LoginAction, PrivilegeAction,
};

pub(super) mod field;
mod read;

pub(super) use field::Code;
pub(super) use read::read;

/// One way in which a record is an entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum View {
    /// A program was executed.
    ProcessCreation,
    /// A process ended.
    ProcessTermination,
    /// A process touched another one's memory.
    ProcessAccess,
    /// A file was made or opened for writing, or got a name.
    FileEvent,
    /// A file's mode, owner or length was changed.
    FileChange,
    /// A file was renamed.
    FileRename,
    /// A file was removed.
    FileDelete,
    /// A watched file was opened for reading.
    FileAccess,
    /// A library was loaded.
    ImageLoad,
    /// A kernel module was loaded.
    DriverLoad,
    /// A connection was opened.
    NetworkConnection,
    /// A name was asked for.
    DnsQuery,
    /// A message of the name service, question or answer.
    Dns,
    /// A connection that was let through.
    Firewall,
    /// An answer of the name service.
    ZeekDns,
    /// Packets of a flow.
    ZeekConn,
    /// A TLS greeting.
    ZeekSsl,
    /// `type=EXECVE`.
    AuditExecve,
    /// `type=SYSCALL`.
    AuditSyscall,
    /// `type=PATH`.
    AuditPath,
    /// `type=SOCKADDR`.
    AuditSockaddr,
    /// `type=KERN_MODULE`.
    AuditKernModule,
    /// `type=USER_…`, `ADD_USER` and the like.
    AuditUser,
    /// A line of sshd.
    Sshd,
    /// A line of sudo.
    Sudo,
    /// A line of cron.
    Cron,
    /// A line of ClamAV.
    Clamav,
    /// A line of vsftpd.
    Vsftpd,
    /// A line of guacd.
    Guacamole,
    /// A line of another service that lets users in.
    Auth,
}

impl View {
    /// All of them, in order.
    pub const ALL: [View; 30] = [
        Self::ProcessCreation,
        Self::ProcessTermination,
        Self::ProcessAccess,
        Self::FileEvent,
        Self::FileChange,
        Self::FileRename,
        Self::FileDelete,
        Self::FileAccess,
        Self::ImageLoad,
        Self::DriverLoad,
        Self::NetworkConnection,
        Self::DnsQuery,
        Self::Dns,
        Self::Firewall,
        Self::ZeekDns,
        Self::ZeekConn,
        Self::ZeekSsl,
        Self::AuditExecve,
        Self::AuditSyscall,
        Self::AuditPath,
        Self::AuditSockaddr,
        Self::AuditKernModule,
        Self::AuditUser,
        Self::Sshd,
        Self::Sudo,
        Self::Cron,
        Self::Clamav,
        Self::Vsftpd,
        Self::Guacamole,
        Self::Auth,
    ];

    /// Returns the log sources that the view's events are from.
    pub fn log_sources(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::ProcessCreation => &[("linux", "process_creation", "")],
            Self::ProcessTermination => &[("linux", "process_termination", "")],
            Self::ProcessAccess => &[("linux", "process_access", "")],
            Self::FileEvent => &[("linux", "file_event", "")],
            Self::FileChange => &[("linux", "file_change", "")],
            Self::FileRename => &[("linux", "file_rename", "")],
            Self::FileDelete => &[("linux", "file_delete", "")],
            Self::FileAccess => &[("linux", "file_access", "")],
            Self::ImageLoad => &[("linux", "image_load", "")],
            Self::DriverLoad => &[("linux", "driver_load", "")],
            Self::NetworkConnection => &[("linux", "network_connection", "")],
            Self::DnsQuery => &[("linux", "dns_query", "")],
            Self::Dns => &[("linux", "dns", "")],
            Self::Firewall => &[("linux", "firewall", "")],
            Self::ZeekDns => &[("zeek", "", "dns")],
            Self::ZeekConn => &[("zeek", "", "conn")],
            Self::ZeekSsl => &[("zeek", "", "ssl")],
            Self::AuditExecve
            | Self::AuditSyscall
            | Self::AuditPath
            | Self::AuditSockaddr
            | Self::AuditKernModule
            | Self::AuditUser => &[("linux", "", "auditd")],
            Self::Sshd => &[("linux", "", "sshd"), ("linux", "", "auth"), ("linux", "", "syslog")],
            Self::Sudo => &[("linux", "", "sudo"), ("linux", "", "auth"), ("linux", "", "syslog")],
            Self::Cron => &[("linux", "", "cron"), ("linux", "", "auth"), ("linux", "", "syslog")],
            Self::Clamav => &[("linux", "", "clamav"), ("linux", "", "syslog")],
            Self::Vsftpd => {
                &[("linux", "", "vsftpd"), ("linux", "", "auth"), ("linux", "", "syslog")]
            }
            Self::Guacamole => {
                &[("linux", "", "guacamole"), ("linux", "", "auth"), ("linux", "", "syslog")]
            }
            Self::Auth => &[("linux", "", "auth"), ("linux", "", "syslog")],
        }
    }

    /// Returns whether another view tells the same in plainer words. A rule that names no more
    /// than the product looks at that one alone, so that it matches once.
    fn is_retelling(self) -> bool {
        (Self::Dns..=Self::AuditUser).contains(&self)
    }

    /// Returns whether a rule for `source` is about events that are seen so.
    pub fn is_of(self, source: &LogSource) -> bool {
        if self.is_retelling() && source.category.is_none() && source.service.is_none() {
            return false;
        }
        let part =
            |rule: &Option<Box<str>>, event: &str| rule.as_deref().is_none_or(|rule| rule == event);
        self.log_sources().iter().any(|(product, category, service)| {
            part(&source.product, product)
                && part(&source.category, category)
                && part(&source.service, service)
        })
    }

    /// Returns whether any of our sensors delivers events for rules of `source`.
    pub fn any_is_of(source: &LogSource) -> bool {
        Self::ALL.iter().any(|view| view.is_of(source))
    }
}

/// Calls `see` with each view of the event.
pub(super) fn of(event: &Event, mut see: impl FnMut(View)) {
    match &event.kind {
        EventKind::Exec(_) if event.process.is_some() => {
            see(View::ProcessCreation);
            see(View::AuditExecve);
            see(View::AuditSyscall);
        }
        EventKind::Exit { .. } => see(View::ProcessTermination),
        EventKind::File(file) => {
            if file.error == 0 {
                // A file that gets its name by renaming is there from then on.
                if file.action == FileAction::Rename {
                    see(View::FileEvent);
                }
                of_file(file.action).into_iter().for_each(&mut see);
            }
            see(View::AuditPath);
            see(View::AuditSyscall);
        }
        EventKind::Connection(connection) => {
            use ConnectionEvent::{Accepted, ConnectFailed, Connected};
            if matches!(connection.event, Connected | Accepted) {
                see(View::NetworkConnection);
                see(View::Firewall);
            }
            if matches!(connection.event, Connected | Accepted | ConnectFailed) {
                see(View::AuditSockaddr);
                see(View::AuditSyscall);
            }
        }
        EventKind::Dns(dns) => {
            see(View::Dns);
            see(if dns.is_response() { View::ZeekDns } else { View::DnsQuery });
        }
        EventKind::Flow(_) => see(View::ZeekConn),
        EventKind::Tls(_) => see(View::ZeekSsl),
        EventKind::Memory(memory) => {
            if memory.target.is_some() {
                see(View::ProcessAccess);
            }
            see(View::AuditSyscall);
        }
        EventKind::Privilege(privilege) => {
            if privilege.action == PrivilegeAction::ModuleLoaded && privilege.error == 0 {
                see(View::DriverLoad);
                see(View::AuditKernModule);
            }
            see(View::AuditSyscall);
        }
        EventKind::Login(login) => {
            see(of_line(&login.service));
            if audit_type(login).is_some() {
                see(View::AuditUser);
            }
        }
        _ => {}
    }
}

fn of_file(action: FileAction) -> Option<View> {
    Some(match action {
        FileAction::Create | FileAction::OpenWrite | FileAction::Link | FileAction::Symlink => {
            View::FileEvent
        }
        FileAction::Rename => View::FileRename,
        FileAction::Unlink => View::FileDelete,
        FileAction::OpenRead => View::FileAccess,
        FileAction::Mode | FileAction::Owner | FileAction::Truncate => View::FileChange,
        FileAction::MapCode => View::ImageLoad,
        FileAction::Connect | FileAction::Unknown => return None,
    })
}

/// Returns the view of a line by the program that wrote it.
fn of_line(service: &[u8]) -> View {
    match service {
        b"sshd" | b"sshd-session" | b"sshd-auth" => View::Sshd,
        b"sudo" => View::Sudo,
        b"cron" | b"CRON" | b"crond" | b"crontab" | b"anacron" => View::Cron,
        b"clamd" | b"clamav" | b"clamscan" | b"clamonacc" | b"freshclam" | b"clamav-milter" => {
            View::Clamav
        }
        b"vsftpd" => View::Vsftpd,
        b"guacd" | b"guacamole" => View::Guacamole,
        _ => View::Auth,
    }
}

/// Returns the type of audit record that tells what the line tells.
pub(super) fn audit_type(login: &Login) -> Option<&'static str> {
    Some(match login.action {
        LoginAction::Accepted | LoginAction::Failed => "USER_AUTH",
        LoginAction::InvalidUser => "USER_LOGIN",
        LoginAction::SessionOpened => "USER_START",
        LoginAction::SessionClosed => "USER_END",
        LoginAction::Command => "USER_CMD",
        LoginAction::AccountCreated => "ADD_USER",
        LoginAction::AccountDeleted => "DEL_USER",
        LoginAction::AccountChanged => "USER_MGMT",
        LoginAction::PasswordChanged => "USER_CHAUTHTOK",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_stand_in_order_and_are_of_the_sources_they_name() {
        for (at, view) in View::ALL.into_iter().enumerate() {
            assert_eq!(view as usize, at);
            for (product, category, service) in view.log_sources() {
                assert!(view.is_of(&LogSource::new(product, category, service)), "{view:?}");
            }
            assert!(!view.is_of(&LogSource::new("windows", "", "")));
        }
        let linux = LogSource::new("linux", "", "");
        assert!(View::ProcessCreation.is_of(&linux) && View::Sshd.is_of(&linux));
        assert!(!View::AuditExecve.is_of(&linux), "the same execution would match twice");
        assert!(View::any_is_of(&LogSource::new("zeek", "", "dns")));
        assert!(!View::any_is_of(&LogSource::new("zeek", "", "smb_files")));
    }
}
