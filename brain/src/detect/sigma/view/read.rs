//! Reads fields out of our records.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use wire::record::process_flag::{ARGS_UNKNOWN, CWD_UNKNOWN, EXE_UNKNOWN};

use super::super::values::{Presence, Slot, Values};
use super::{Code, View, audit_type, field};
use crate::record::{
    Connection, ConnectionEvent, Direction, Dns, DnsAnswer, Event, EventKind, File, FileAction,
    Login, LoginAction, MemoryAction, PrivilegeAction, Process, protocol,
};

/// Adds the field's values to `slot`.
pub(in super::super) fn read(
    view: View,
    code: Code,
    event: &Event,
    values: &mut Values,
    slot: &mut Slot,
) {
    slot.presence = slot.presence.max(Presence::Blank);
    if let Some(text) = field::constant(view, code) {
        return values.push(slot, text.as_bytes());
    }
    let mut reader = Reader { values, slot };
    if let Some(process) = event.process.as_deref()
        && reader.process(code, process)
    {
        return;
    }
    match code {
        Code::Time => return reader.time(event.time_ns),
        Code::HostName => return reader.some(event.host.name.as_bytes()),
        _ => {}
    }
    match &event.kind {
        EventKind::File(file) => reader.file(code, file),
        EventKind::Connection(connection) => reader.connection(code, connection),
        EventKind::Dns(dns) => reader.dns(code, dns),
        EventKind::Login(login) => reader.login(code, login),
        EventKind::Flow(flow) => match code {
            Code::BytesSent => reader.shown(flow.egress.bytes),
            Code::BytesReceived => reader.shown(flow.ingress.bytes),
            Code::Protocol => reader.protocol(flow.protocol),
            _ => reader.ends(code, flow.local, flow.remote, flow.direction),
        },
        EventKind::Tls(tls) => match code {
            Code::ServerName => reader.some(&tls.server_name),
            Code::Ja4 => reader.some(&tls.ja4),
            Code::Protocol => reader.some(b"tcp"),
            _ => reader.ends(code, tls.local, tls.remote, tls.direction),
        },
        EventKind::Memory(memory) => match code {
            Code::Syscall => reader.some(memory_call(memory.action)),
            Code::Success => reader.success(memory.error),
            Code::TargetImage => reader.target(memory.target.as_deref()),
            Code::TargetProcessId => {
                let target = memory.target.as_deref();
                target.into_iter().for_each(|target| reader.shown(target.key.pid));
            }
            _ => {}
        },
        EventKind::Privilege(privilege) => match code {
            Code::Syscall => reader.some(privilege_call(privilege.action, privilege.kind)),
            Code::Success => reader.success(privilege.error),
            Code::ModuleName | Code::ImageLoaded => reader.some(&privilege.name),
            _ => {}
        },
        EventKind::Exec(_) => match code {
            Code::Syscall => reader.some(b"execve"),
            Code::Success => reader.some(b"yes"),
            _ => {}
        },
        _ => {}
    }
}

struct Reader<'a> {
    values: &'a mut Values,
    slot: &'a mut Slot,
}

impl Reader<'_> {
    fn some(&mut self, text: &[u8]) {
        self.values.push_some(self.slot, text);
    }

    fn shown(&mut self, value: impl std::fmt::Display) {
        self.values.push_shown(self.slot, value);
    }

    fn time(&mut self, time_ns: u64) {
        let stamp = jiff::Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
        self.shown(stamp.strftime("%Y-%m-%d %H:%M:%S.%3f"));
    }

    /// Reads what the acting process says; `false` when the field is about something else.
    fn process(&mut self, code: Code, process: &Process) -> bool {
        match code {
            Code::Image | Code::Exe | Code::SourceImage => self.image(process),
            Code::ImageName => self.image_name(process),
            Code::CommandLine => self.command_line(process),
            Code::User => self.some(&process.user),
            Code::CurrentDirectory if process.has(CWD_UNKNOWN) => {}
            Code::CurrentDirectory => self.some(&process.cwd),
            Code::LogonId => process.session.into_iter().for_each(|session| self.shown(session)),
            Code::Hashes => self.hash("SHA256=", &process.sha256, true),
            Code::Sha256 => self.hash("", &process.sha256, false),
            Code::ProcessId => self.shown(process.key.pid),
            Code::Script => self.some(&process.script),
            Code::Environment => {
                for variable in process.env.split(|byte| *byte == 0).filter(|one| !one.is_empty()) {
                    self.values.push(self.slot, variable);
                }
            }
            Code::Container => self.some(&process.container),
            Code::Terminal => self.some(&process.tty),
            Code::Uid => self.shown(process.uid),
            Code::Euid => self.shown(process.euid),
            Code::Gid => self.shown(process.gid),
            Code::AuditUid => process.login_uid.into_iter().for_each(|uid| self.shown(uid)),
            Code::Comm => self.some(&process.comm),
            Code::Argument(number) => {
                if let Some(argument) = arguments(process).nth(usize::from(number)) {
                    self.values.push(self.slot, argument);
                }
            }
            Code::ArgumentCount if process.has(ARGS_UNKNOWN) => {}
            Code::ArgumentCount => self.shown(process.arguments().count()),
            _ => return self.parent(code, process.parent.as_deref()),
        }
        true
    }

    fn parent(&mut self, code: Code, parent: Option<&Process>) -> bool {
        match (code, parent) {
            (Code::ParentImage, Some(parent)) => self.image(parent),
            (Code::ParentImageName, Some(parent)) => self.image_name(parent),
            (Code::ParentCommandLine, Some(parent)) => self.command_line(parent),
            (Code::ParentUser, Some(parent)) => self.some(&parent.user),
            (Code::ParentProcessId | Code::ParentPid, Some(parent)) => self.shown(parent.key.pid),
            (
                Code::ParentImage
                | Code::ParentImageName
                | Code::ParentCommandLine
                | Code::ParentUser
                | Code::ParentProcessId
                | Code::ParentPid,
                None,
            ) => {}
            _ => return false,
        }
        true
    }

    fn image(&mut self, process: &Process) {
        if !process.has(EXE_UNKNOWN) {
            self.some(process.exe_path());
        }
    }

    fn image_name(&mut self, process: &Process) {
        if !process.has(EXE_UNKNOWN) {
            self.some(process.exe_name());
        }
    }

    /// The arguments joined by spaces. Nothing is quoted, as Sigma's `CommandLine` expects.
    fn command_line(&mut self, process: &Process) {
        let arguments = process.args.strip_suffix(b"\0").unwrap_or(&process.args);
        if process.has(ARGS_UNKNOWN) || arguments.is_empty() {
            return;
        }
        let joined = arguments.iter().map(|&byte| if byte == 0 { b' ' } else { byte });
        self.values.push_with(self.slot, |out| out.extend(joined));
    }

    fn hash(&mut self, front: &str, hash: &[u8], capitals: bool) {
        if hash.is_empty() {
            return;
        }
        let mut text = front.to_owned();
        for byte in hash {
            // Writing to a string cannot fail.
            let _ = if capitals { write!(text, "{byte:02X}") } else { write!(text, "{byte:02x}") };
        }
        self.some(text.as_bytes());
    }

    fn target(&mut self, target: Option<&Process>) {
        target.into_iter().for_each(|target| self.image(target));
    }

    fn success(&mut self, error: u32) {
        self.some(if error == 0 { b"yes" } else { b"no" });
    }

    fn protocol(&mut self, number: u8) {
        match number {
            protocol::TCP => self.some(b"tcp"),
            protocol::UDP => self.some(b"udp"),
            protocol::ICMP | protocol::ICMPV6 => self.some(b"icmp"),
            other => self.shown(other),
        }
    }

    /// A file that was renamed or linked has its new name in the end.
    fn file(&mut self, code: Code, file: &File) {
        let moved = matches!(file.action, FileAction::Rename | FileAction::Link);
        let moved = moved && !file.target.is_empty();
        match code {
            Code::TargetFilename | Code::AuditName if moved => self.some(&file.target),
            Code::TargetFilename | Code::AuditName | Code::ImageLoaded => self.some(&file.path),
            Code::SourceFilename if moved => self.some(&file.path),
            Code::NameType => self.some(name_type(file.action)),
            Code::Inode if file.inode > 0 => self.shown(file.inode),
            Code::Mode if file.mode > 0 => self.shown(format_args!("{:#o}", file.mode)),
            Code::FileFlags => self.shown(file.flags),
            Code::Success => self.success(file.error),
            _ => {}
        }
    }

    fn connection(&mut self, code: Code, connection: &Connection) {
        let own = connection.event != ConnectionEvent::Accepted;
        let (from, to) = match own {
            true => (connection.local, connection.remote),
            false => (connection.remote, connection.local),
        };
        match code {
            Code::SourceIp => self.shown(from.ip()),
            Code::SourcePort => self.shown(from.port()),
            Code::DestinationIp => self.shown(to.ip()),
            Code::DestinationPort => self.shown(to.port()),
            Code::Initiated => self.shown(own),
            Code::Protocol => self.protocol(connection.protocol),
            Code::FirewallAction => self.some(b"accept"),
            Code::SocketAddress => self.shown(connection.remote.ip()),
            Code::SocketPort => self.shown(connection.remote.port()),
            Code::Syscall if own => self.some(b"connect"),
            Code::Success if connection.event == ConnectionEvent::ConnectFailed => self.some(b"no"),
            Code::Success => self.some(b"yes"),
            _ => {}
        }
    }

    /// The end that asked, and the one that was asked.
    fn ends(&mut self, code: Code, local: SocketAddr, remote: SocketAddr, direction: Direction) {
        let (from, to) = match direction {
            Direction::Incoming => (remote, local),
            _ => (local, remote),
        };
        match code {
            Code::LocalIp => self.shown(from.ip()),
            Code::LocalPort => self.shown(from.port()),
            Code::RemoteIp => self.shown(to.ip()),
            Code::RemotePort => self.shown(to.port()),
            _ => {}
        }
    }

    fn dns(&mut self, code: Code, dns: &Dns) {
        match code {
            Code::QueryName => self.some(&dns.name),
            Code::QueryType => match type_name(dns.query_type) {
                Some(name) => self.some(name.as_bytes()),
                None => self.shown(dns.query_type),
            },
            Code::QueryStatus if dns.is_response() => match response_name(dns.response_code) {
                Some(name) => self.some(name.as_bytes()),
                None => self.shown(dns.response_code),
            },
            Code::Rejected => self.shown(dns.response_code == 5),
            Code::Answers => {
                dns.answers.iter().for_each(|answer| self.answer(answer));
            }
            Code::Protocol => self.protocol(dns.transport),
            // A resolver on the host is asked by peers.
            _ if dns.local.port() == 53 => {
                self.ends(code, dns.remote, dns.local, Direction::Outgoing)
            }
            _ => self.ends(code, dns.local, dns.remote, Direction::Outgoing),
        }
    }

    fn answer(&mut self, answer: &DnsAnswer) {
        if let Ok(octets) = <[u8; 4]>::try_from(&answer.data[..])
            && answer.kind == 1
        {
            return self.shown(IpAddr::from(octets));
        }
        if let Ok(octets) = <[u8; 16]>::try_from(&answer.data[..])
            && answer.kind == 28
        {
            return self.shown(IpAddr::from(octets));
        }
        self.some(&answer.data);
    }

    fn login(&mut self, code: Code, login: &Login) {
        match code {
            Code::Message => self.some(&login.message),
            Code::LineUser => self.some(&login.user),
            Code::TargetUser => self.some(&login.target_user),
            Code::SudoCommand => self.some(&login.command),
            Code::SudoDirectory => self.some(&login.cwd),
            Code::RemoteHost | Code::AuditAddress => self.some(&login.remote_name),
            Code::LineProgram => self.some(&login.service),
            Code::LineMethod => self.some(&login.method),
            Code::LineAction => self.some(action_name(login.action)),
            Code::LineTerminal | Code::AuditTerminal => self.some(&login.tty),
            Code::LineProcessId | Code::ProcessId if login.pid > 0 => self.shown(login.pid),
            Code::AuditType => audit_type(login).into_iter().for_each(|t| self.some(t.as_bytes())),
            Code::Account if login.target_user.is_empty() => self.some(&login.user),
            Code::Account => self.some(&login.target_user),
            Code::AuditResult => {
                use LoginAction::{Failed, InvalidUser, Refused, TooMany};
                let failed = matches!(login.action, Failed | InvalidUser | Refused | TooMany);
                self.some(if failed { b"failed" } else { b"success" });
            }
            _ => {}
        }
    }
}

fn arguments(process: &Process) -> impl Iterator<Item = &[u8]> {
    let known = if process.has(ARGS_UNKNOWN) { 0 } else { usize::MAX };
    process.arguments().take(known)
}

fn name_type(action: FileAction) -> &'static [u8] {
    match action {
        FileAction::Create | FileAction::Rename | FileAction::Link | FileAction::Symlink => {
            b"CREATE"
        }
        FileAction::Unlink => b"DELETE",
        _ => b"NORMAL",
    }
}

/// Returns the call that did it, where only one can.
fn memory_call(action: MemoryAction) -> &'static [u8] {
    use MemoryAction as M;
    match action {
        M::TraceMe | M::Attach | M::Poke | M::SetRegisters | M::Peek => b"ptrace",
        M::VmRead => b"process_vm_readv",
        M::VmWrite => b"process_vm_writev",
        M::MemoryFile => b"memfd_create",
        M::WriteToExec => b"mprotect",
        M::MapWriteExec => b"mmap",
        _ => b"",
    }
}

/// Returns the call that did it, where only one can; `kind` says which call mounted.
fn privilege_call(action: PrivilegeAction, kind: u32) -> &'static [u8] {
    use PrivilegeAction as P;
    match action {
        P::Capabilities => b"capset",
        P::BpfProgram | P::BpfMap | P::BpfAttach | P::BpfOther => b"bpf",
        P::Mount => match kind {
            2 => b"move_mount",
            3 => b"open_tree",
            4 => b"fsopen",
            5 => b"fsmount",
            _ => b"mount",
        },
        P::Unmount => b"umount2",
        P::Root if kind == 6 => b"chroot",
        P::Root => b"pivot_root",
        P::NamespaceEntered => b"setns",
        P::NamespaceCreated => b"unshare",
        P::Userfaultfd => b"userfaultfd",
        P::UringSetup => b"io_uring_setup",
        P::ModuleRemoved => b"delete_module",
        _ => b"",
    }
}

fn type_name(number: u16) -> Option<&'static str> {
    Some(match number {
        1 => "A",
        2 => "NS",
        5 => "CNAME",
        6 => "SOA",
        10 => "NULL",
        12 => "PTR",
        15 => "MX",
        16 => "TXT",
        28 => "AAAA",
        33 => "SRV",
        35 => "NAPTR",
        41 => "OPT",
        43 => "DS",
        48 => "DNSKEY",
        64 => "SVCB",
        65 => "HTTPS",
        252 => "AXFR",
        255 => "ANY",
        _ => return None,
    })
}

fn response_name(number: u8) -> Option<&'static str> {
    Some(match number {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        _ => return None,
    })
}

fn action_name(action: LoginAction) -> &'static [u8] {
    use LoginAction as L;
    match action {
        L::Accepted => b"accepted",
        L::Failed => b"failed",
        L::InvalidUser => b"invalid_user",
        L::SessionOpened => b"session_opened",
        L::SessionClosed => b"session_closed",
        L::LeftEarly => b"left_early",
        L::Disconnected => b"disconnected",
        L::TooMany => b"too_many",
        L::Command => b"command",
        L::Refused => b"refused",
        L::AccountCreated => b"account_created",
        L::AccountChanged => b"account_changed",
        L::AccountDeleted => b"account_deleted",
        L::PasswordChanged => b"password_changed",
        L::Probe => b"probe",
        L::Throttled => b"throttled",
        L::Other | L::Unknown => b"",
    }
}
