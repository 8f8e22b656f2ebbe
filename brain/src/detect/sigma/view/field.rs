//! Names of fields, and what they mean in our records.
//!
//! The first name of each is the one that Sigma's taxonomy uses for the log; those behind it are
//! what the Elastic Common Schema and other shippers call the same.

use super::View;

/// A field of our records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in super::super) enum Code {
    Image,
    ImageName,
    CommandLine,
    User,
    CurrentDirectory,
    Environment,
    LogonId,
    Hashes,
    Sha256,
    ProcessId,
    Script,
    Container,
    Terminal,
    ParentImage,
    ParentImageName,
    ParentCommandLine,
    ParentUser,
    ParentProcessId,
    Time,
    HostName,
    TargetFilename,
    SourceFilename,
    FileFlags,
    ImageLoaded,
    SourceImage,
    TargetImage,
    TargetProcessId,
    DestinationIp,
    DestinationPort,
    SourceIp,
    SourcePort,
    Initiated,
    Protocol,
    QueryName,
    QueryType,
    QueryStatus,
    Answers,
    LocalIp,
    LocalPort,
    RemoteIp,
    RemotePort,
    Rejected,
    FirewallAction,
    BytesSent,
    BytesReceived,
    ServerName,
    Ja4,
    AuditType,
    Argument(u8),
    ArgumentCount,
    Syscall,
    Success,
    Uid,
    Euid,
    Gid,
    AuditUid,
    ParentPid,
    Comm,
    Exe,
    AuditName,
    NameType,
    Inode,
    Mode,
    SocketAddress,
    SocketPort,
    Account,
    AuditAddress,
    AuditTerminal,
    AuditResult,
    ModuleName,
    Message,
    LineUser,
    TargetUser,
    SudoCommand,
    SudoDirectory,
    RemoteHost,
    LineProgram,
    LineMethod,
    LineAction,
    LineTerminal,
    LineProcessId,
}

/// A set of views.
type Views = &'static [View];

/// Those whose events have an acting process that Sysmon's names describe.
const PROCESS: Views = &[
    View::ProcessCreation,
    View::ProcessTermination,
    View::ProcessAccess,
    View::FileEvent,
    View::FileChange,
    View::FileRename,
    View::FileDelete,
    View::FileAccess,
    View::ImageLoad,
    View::DriverLoad,
    View::NetworkConnection,
    View::DnsQuery,
];
const FILE: Views =
    &[View::FileEvent, View::FileChange, View::FileRename, View::FileDelete, View::FileAccess];
const AUDIT: Views = &[
    View::AuditExecve,
    View::AuditSyscall,
    View::AuditPath,
    View::AuditSockaddr,
    View::AuditKernModule,
    View::AuditUser,
];
const LINE: Views =
    &[View::Sshd, View::Sudo, View::Cron, View::Clamav, View::Vsftpd, View::Guacamole, View::Auth];
const ENDS: Views = &[View::NetworkConnection];
const ZEEK: Views = &[View::ZeekDns, View::ZeekConn, View::ZeekSsl];

/// Fields: in which views, what, and under which names.
const FIELDS: &[(Views, Code, &[&str])] = &[
    (PROCESS, Code::Image, &["Image", "process.executable"]),
    (PROCESS, Code::ImageName, &["process.name"]),
    (PROCESS, Code::CommandLine, &["CommandLine", "process.command_line"]),
    (PROCESS, Code::User, &["User", "user.name", "process.user.name"]),
    (PROCESS, Code::CurrentDirectory, &["CurrentDirectory", "process.working_directory"]),
    (PROCESS, Code::LogonId, &["LogonId"]),
    (PROCESS, Code::Hashes, &["Hashes"]),
    (PROCESS, Code::Sha256, &["sha256", "process.hash.sha256"]),
    (PROCESS, Code::ProcessId, &["ProcessId", "process.pid"]),
    (PROCESS, Code::Script, &["ScriptName", "process.script"]),
    (PROCESS, Code::Environment, &["EnvironmentVariables", "process.env_vars"]),
    (PROCESS, Code::Container, &["ContainerId", "container.id"]),
    (PROCESS, Code::Terminal, &["TerminalName", "process.tty"]),
    (PROCESS, Code::ParentImage, &["ParentImage", "process.parent.executable"]),
    (PROCESS, Code::ParentImageName, &["process.parent.name"]),
    (PROCESS, Code::ParentCommandLine, &["ParentCommandLine", "process.parent.command_line"]),
    (PROCESS, Code::ParentUser, &["ParentUser", "process.parent.user.name"]),
    (PROCESS, Code::ParentProcessId, &["ParentProcessId", "process.parent.pid"]),
    (FILE, Code::TargetFilename, &["TargetFilename", "file.path"]),
    (FILE, Code::FileFlags, &["FileFlags"]),
    (
        &[View::FileEvent, View::FileRename],
        Code::SourceFilename,
        &["SourceFilename", "file.path.original"],
    ),
    (&[View::ImageLoad, View::DriverLoad], Code::ImageLoaded, &["ImageLoaded", "dll.path"]),
    (&[View::ProcessAccess], Code::SourceImage, &["SourceImage"]),
    (&[View::ProcessAccess], Code::TargetImage, &["TargetImage", "Target.process.executable"]),
    (&[View::ProcessAccess], Code::TargetProcessId, &["TargetProcessId", "Target.process.pid"]),
    (ENDS, Code::DestinationIp, &["DestinationIp", "destination.ip"]),
    (ENDS, Code::DestinationPort, &["DestinationPort", "destination.port"]),
    (ENDS, Code::SourceIp, &["SourceIp", "source.ip"]),
    (ENDS, Code::SourcePort, &["SourcePort", "source.port"]),
    (ENDS, Code::Initiated, &["Initiated"]),
    (ENDS, Code::Protocol, &["Protocol", "network.transport"]),
    (&[View::DnsQuery], Code::QueryName, &["QueryName", "dns.question.name"]),
    (&[View::DnsQuery], Code::QueryType, &["QueryType", "dns.question.type"]),
    (&[View::Dns], Code::QueryName, &["query", "dns.question.name", "QueryName"]),
    (&[View::Dns], Code::QueryType, &["record_type", "dns.question.type"]),
    (&[View::Dns], Code::Answers, &["answer", "dns.answers.data", "dns.resolved_ip"]),
    (&[View::Dns], Code::QueryStatus, &["rcode", "dns.response_code"]),
    (&[View::Dns], Code::RemoteIp, &["dst_ip", "destination.ip"]),
    (&[View::Dns], Code::RemotePort, &["dst_port", "destination.port"]),
    (&[View::Dns], Code::LocalIp, &["src_ip", "source.ip"]),
    (&[View::Dns], Code::LocalPort, &["src_port", "source.port"]),
    (&[View::Firewall], Code::DestinationIp, &["dst_ip", "destination.ip"]),
    (&[View::Firewall], Code::DestinationPort, &["dst_port", "destination.port"]),
    (&[View::Firewall], Code::SourceIp, &["src_ip", "source.ip"]),
    (&[View::Firewall], Code::SourcePort, &["src_port", "source.port"]),
    (&[View::Firewall], Code::Protocol, &["protocol", "network.transport"]),
    (&[View::Firewall], Code::FirewallAction, &["action", "event.action"]),
    (ZEEK, Code::LocalIp, &["id.orig_h", "source.ip"]),
    (ZEEK, Code::LocalPort, &["id.orig_p", "source.port"]),
    (ZEEK, Code::RemoteIp, &["id.resp_h", "destination.ip"]),
    (ZEEK, Code::RemotePort, &["id.resp_p", "destination.port"]),
    (ZEEK, Code::Protocol, &["proto", "network.transport"]),
    (&[View::ZeekDns], Code::QueryName, &["query", "dns.question.name"]),
    (&[View::ZeekDns], Code::QueryType, &["qtype_name", "dns.question.type"]),
    (&[View::ZeekDns], Code::Answers, &["answers", "dns.answers.data"]),
    (&[View::ZeekDns], Code::QueryStatus, &["rcode_name", "dns.response_code"]),
    (&[View::ZeekDns], Code::Rejected, &["rejected"]),
    (&[View::ZeekConn], Code::BytesSent, &["orig_bytes", "source.bytes"]),
    (&[View::ZeekConn], Code::BytesReceived, &["resp_bytes", "destination.bytes"]),
    (&[View::ZeekSsl], Code::ServerName, &["server_name", "tls.client.server_name"]),
    (&[View::ZeekSsl], Code::Ja4, &["ja4", "tls.client.ja4"]),
    (AUDIT, Code::AuditType, &["type", "auditd.message_type"]),
    (AUDIT, Code::ProcessId, &["pid", "process.pid"]),
    (AUDIT, Code::ParentPid, &["ppid", "process.parent.pid"]),
    (AUDIT, Code::Uid, &["uid", "user.id"]),
    (AUDIT, Code::Euid, &["euid", "user.effective.id"]),
    (AUDIT, Code::Gid, &["gid", "user.group.id"]),
    (AUDIT, Code::AuditUid, &["auid", "user.audit.id"]),
    (AUDIT, Code::LogonId, &["ses", "auditd.session"]),
    (AUDIT, Code::Comm, &["comm", "process.name"]),
    (AUDIT, Code::Exe, &["exe", "process.executable"]),
    (AUDIT, Code::CurrentDirectory, &["cwd", "process.working_directory"]),
    (&[View::AuditExecve], Code::ArgumentCount, &["argc", "process.args_count"]),
    (&[View::AuditSyscall], Code::Syscall, &["SYSCALL", "syscall", "auditd.data.syscall"]),
    (&[View::AuditSyscall], Code::Success, &["success", "auditd.result"]),
    (&[View::AuditSyscall], Code::Terminal, &["tty", "auditd.data.tty"]),
    (&[View::AuditPath], Code::AuditName, &["name", "file.path"]),
    (&[View::AuditPath], Code::NameType, &["nametype"]),
    (&[View::AuditPath], Code::Inode, &["inode", "file.inode"]),
    (&[View::AuditPath], Code::Mode, &["mode", "file.mode"]),
    (&[View::AuditSockaddr], Code::SocketAddress, &["laddr", "destination.ip"]),
    (&[View::AuditSockaddr], Code::SocketPort, &["lport", "destination.port"]),
    (&[View::AuditKernModule], Code::ModuleName, &["name"]),
    (&[View::AuditUser], Code::Account, &["acct", "user.name"]),
    (&[View::AuditUser], Code::AuditAddress, &["addr", "hostname", "source.ip"]),
    (&[View::AuditUser], Code::AuditTerminal, &["terminal"]),
    (&[View::AuditUser], Code::AuditResult, &["res", "event.outcome"]),
    (&[View::AuditUser], Code::SudoCommand, &["cmd"]),
    (LINE, Code::Message, &["Message", "message"]),
    (LINE, Code::LineProgram, &["Program", "process.name", "syslog.appname"]),
    (LINE, Code::LineUser, &["User", "user.name", "LogonUser"]),
    (LINE, Code::TargetUser, &["USER", "TargetUser", "user.target.name"]),
    (LINE, Code::SudoCommand, &["COMMAND", "process.command_line"]),
    (LINE, Code::SudoDirectory, &["PWD", "process.working_directory"]),
    (LINE, Code::LineTerminal, &["TTY", "process.tty"]),
    (LINE, Code::RemoteHost, &["RemoteHost", "source.address", "source.ip", "rhost"]),
    (LINE, Code::LineMethod, &["AuthMethod"]),
    (LINE, Code::LineAction, &["Action", "event.action"]),
    (LINE, Code::LineProcessId, &["ProcessId", "process.pid"]),
    (&View::ALL, Code::Time, &["UtcTime", "@timestamp", "timestamp"]),
    (&View::ALL, Code::HostName, &["Computer", "host.name"]),
];

/// Arguments of an execution that rules can name: `a0` and on.
const ARGUMENTS_MAX: u8 = 64;

/// Returns the field that a rule means by `name` in a view.
pub(in super::super) fn resolve(view: View, name: &str) -> Option<Code> {
    let known = |(views, _, names): &&(Views, Code, &[&str])| {
        views.contains(&view) && names.contains(&name)
    };
    if let Some((_, code, _)) = FIELDS.iter().find(known) {
        return Some(*code);
    }
    argument(view, name)
}

fn argument(view: View, name: &str) -> Option<Code> {
    let number = name.strip_prefix("auditd.data.").unwrap_or(name).strip_prefix('a')?;
    let number: u8 = number.parse().ok()?;
    (view == View::AuditExecve && number < ARGUMENTS_MAX).then_some(Code::Argument(number))
}

/// Returns all names of what `name` names, itself among them, in views of which `is_of` holds.
pub(in super::super) fn aliases(name: &str, is_of: impl Fn(View) -> bool) -> Vec<&str> {
    let mut all = vec![name];
    for (views, _, names) in FIELDS {
        if names.contains(&name) && views.iter().any(|view| is_of(*view)) {
            all.extend(names.iter().filter(|other| **other != name));
        }
    }
    all.dedup();
    all
}

/// Returns the fields in which keywords are looked for: what the event itself is about. The
/// process that acts is not searched again with each of its acts.
pub(in super::super) fn searched(view: View) -> &'static [Code] {
    match view {
        View::ProcessCreation => &[Code::Image, Code::CommandLine, Code::CurrentDirectory],
        View::ProcessTermination => &[Code::Image],
        View::FileEvent
        | View::FileChange
        | View::FileRename
        | View::FileDelete
        | View::FileAccess => &[Code::TargetFilename, Code::SourceFilename],
        View::ImageLoad | View::DriverLoad => &[Code::ImageLoaded],
        View::ProcessAccess => &[Code::SourceImage, Code::TargetImage],
        View::NetworkConnection | View::Firewall => {
            &[Code::SourceIp, Code::SourcePort, Code::DestinationIp, Code::DestinationPort]
        }
        View::DnsQuery => &[Code::QueryName],
        View::Dns | View::ZeekDns => &[Code::QueryName, Code::Answers],
        View::ZeekConn => &[Code::LocalIp, Code::RemoteIp],
        View::ZeekSsl => &[Code::ServerName],
        View::AuditExecve => &[Code::CommandLine],
        View::AuditSyscall => &[Code::Syscall, Code::Comm, Code::Exe],
        View::AuditPath => &[Code::AuditName],
        View::AuditSockaddr => &[Code::SocketAddress],
        View::AuditKernModule => &[Code::ModuleName],
        View::AuditUser => &[Code::Account, Code::SudoCommand, Code::AuditAddress],
        View::Sshd
        | View::Sudo
        | View::Cron
        | View::Clamav
        | View::Vsftpd
        | View::Guacamole
        | View::Auth => &[Code::Message],
    }
}

/// Returns the text that a field has in every event of a view.
pub(in super::super) fn constant(view: View, code: Code) -> Option<&'static str> {
    match (view, code) {
        (View::AuditExecve, Code::AuditType) => Some("EXECVE"),
        (View::AuditSyscall, Code::AuditType) => Some("SYSCALL"),
        (View::AuditPath, Code::AuditType) => Some("PATH"),
        (View::AuditSockaddr, Code::AuditType) => Some("SOCKADDR"),
        (View::AuditKernModule, Code::AuditType) => Some("KERN_MODULE"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_field_in_a_view() {
        for view in View::ALL {
            let mut known = std::collections::HashMap::new();
            for (views, code, names) in FIELDS {
                for name in *names {
                    if views.contains(&view) {
                        let other = known.insert(name, code);
                        assert_eq!(other, None, "{name} in {view:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_resolved_within_their_view() {
        for (view, name, expected) in [
            (View::ProcessCreation, "Image", Some(Code::Image)),
            (View::ProcessCreation, "process.executable", Some(Code::Image)),
            (View::ProcessCreation, "TargetFilename", None),
            (View::ProcessCreation, "IntegrityLevel", None),
            (View::AuditExecve, "a12", Some(Code::Argument(12))),
            (View::AuditExecve, "a99", None),
            (View::AuditPath, "name", Some(Code::AuditName)),
            (View::Sshd, "Image", None),
        ] {
            assert_eq!(resolve(view, name), expected, "{name} in {view:?}");
        }
    }
}
