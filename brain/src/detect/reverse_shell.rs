//! Reverse shells.
//!
//! **What.** A shell obeys a peer that the host itself connected to.
//!
//! **Evidence.** One of three: a shell or interpreter whose standard input is an internet socket;
//! an interactive shell on a terminal, pipe or pair of sockets whose parent holds a connection that
//! it opened; an explicitly interactive shell on pipes beside a process that opens a connection
//! (`mkfifo` with `nc`). Each names the peer's address and port.
//!
//! **False positives.** Programs that start a shell for their user while they are connected
//! (`psql`, `ssh` and the like) are named in the settings, and so are servers of inetd's kind,
//! which hand an *accepted* connection to a program. `sh -c` below a service that talks to its
//! database is a command, not a session, and stays quiet. A shell on a connection that the host
//! accepted is a bound shell: a type of its own, of medium severity.
//!
//! **Method.** Records of executions and connections joined by process, in either order, since they
//! travel in different lanes. Per host: a bounded table of open connections by owner, and of recent
//! interactive shells by parent.

use std::net::SocketAddr;
use std::sync::Arc;

use super::shell::{Session, is_interpreter, is_shell, session};
use super::{Detector, HOSTS_MAX, KindText, PerHost, Reporter};
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Connection, ConnectionEvent, Event, EventKind, Exec, Host, Process, Stdio};
use crate::text;
use crate::window::keyed::Keyed;

mod table;

use table::{Opened, Shell, Table};

const REVERSE: KindText = KindText {
    name: "Execution:Host/ReverseShell",
    guardduty: Some("Execution:Runtime/ReverseShell"),
    description: "A shell takes its commands from a peer that this host connected to. Somebody \
        else is most likely typing on this host.",
    remediation: "Isolate the host, keep the shell's process tree and its connections, and find \
        out which program started it. Treat every credential that its user can read as stolen.",
    techniques: &["T1059.004", "T1095"],
};

const BOUND: KindText = KindText {
    name: "Execution:Host/SuspiciousShellCreated",
    guardduty: Some("Execution:Runtime/SuspiciousShellCreated"),
    description: "An interactive shell was attached to a connection that this host accepted, by a \
        program that is not known to do so.",
    remediation: "Find out which program listens there and who connected. If it is not a remote \
        access service that you run, isolate the host.",
    techniques: &["T1059.004"],
};

/// A shell whose input and output are the connection leaves little doubt.
const SEVERITY_STDIO: f64 = 8.5;
/// Only its input is: commands come from outside, answers go elsewhere.
const SEVERITY_INPUT_ONLY: f64 = 7.5;
/// A parent or neighbour holds the connection.
const SEVERITY_JOINED: f64 = 8.0;
/// The peer is this host: a tunnel, or a developer's tool.
const SEVERITY_LOOPBACK: f64 = 5.0;
const SEVERITY_BOUND: f64 = 5.5;

/// Ports from which clients connect by default (`net.ipv4.ip_local_port_range`).
const EPHEMERAL_PORT_MIN: u16 = 32_768;

/// The detector.
#[derive(Debug)]
pub struct ReverseShell {
    settings: policy::ReverseShell,
    reverse: Reporter,
    bound: Reporter,
    hosts: PerHost<Table>,
}

impl ReverseShell {
    /// Returns the detector.
    pub fn new(active: &Active<policy::ReverseShell>) -> Self {
        Self {
            settings: active.settings.clone(),
            reverse: Reporter::new(&REVERSE, &active.policy),
            bound: Reporter::new(&BOUND, &active.policy),
            hosts: Keyed::new(HOSTS_MAX),
        }
    }

    fn on_exec(&mut self, event: &Event, exec: &Exec, out: &mut Vec<Signal>) {
        let Some(process) = &event.process else { return };
        let shell = is_shell(process);
        if !shell && !is_interpreter(process) {
            return;
        }
        if let Stdio::InetSocket { remote, local_port } = exec.stdio[0] {
            out.extend(self.on_socket(event, process, exec, remote, local_port));
            return;
        }
        if shell && awaits_orders(process, exec) {
            self.on_session(event, process, exec, out);
        }
    }

    /// Judges a shell whose standard input is an internet socket.
    fn on_socket(
        &mut self,
        event: &Event,
        process: &Arc<Process>,
        exec: &Exec,
        remote: SocketAddr,
        local_port: u16,
    ) -> Option<Signal> {
        // Without a peer nobody gives orders yet.
        if remote.port() == 0 || remote.ip().is_unspecified() {
            return None;
        }
        let table = self.hosts.get_or(&event.host.id, Table::default);
        let accepted = table.accepted(local_port, remote).unwrap_or({
            // Who opened it is not known (yet): a client's port is high, a server's is not.
            local_port < EPHEMERAL_PORT_MIN && local_port < remote.port()
        });
        let both = matches!(exec.stdio[1], Stdio::InetSocket { .. })
            || matches!(exec.stdio[2], Stdio::InetSocket { .. });
        let on = if both { "its standard input and output" } else { "its standard input" };
        let what = format!("{} had {on} on a socket to {remote}", process.command_line());
        if accepted {
            let parent = process.parent.as_deref().map_or(&b""[..], Process::exe_name);
            let expected = named(&self.settings.inetd_parents, parent)
                || !is_shell(process)
                || session(process) == Session::Command;
            return (!expected).then(|| {
                let seen = Seen { what, remote, kind: EvidenceKind::Exec };
                report(&self.bound, event, process, SEVERITY_BOUND, "Shell for", seen)
            });
        }
        let severity = if both { SEVERITY_STDIO } else { SEVERITY_INPUT_ONLY };
        let seen = Seen { what, remote, kind: EvidenceKind::Exec };
        Some(self.reversed(event, process, severity, seen))
    }

    /// Judges an interactive shell by the connections of its parent and of its neighbours, and
    /// remembers it for those that are not known yet.
    fn on_session(
        &mut self,
        event: &Event,
        process: &Arc<Process>,
        exec: &Exec,
        out: &mut Vec<Signal>,
    ) {
        let Some(parent) = &process.parent else { return };
        if named(&self.settings.benign_parents, parent.exe_name()) {
            return;
        }
        let slack = self.settings.join_slack_ms * 1_000_000;
        let shell = Shell {
            process: Process::bounded(process),
            time_ns: event.time_ns,
            piped: exec.stdio[0] == Stdio::Pipe,
        };
        let table = self.hosts.get_or(&event.host.id, Table::default);
        let held = table.held_by(parent.key, event.time_ns.saturating_add(slack));
        let beside = if shell.piped { table.opened_beside(&shell, slack) } else { None };
        table.remember_shell(parent.key, shell);
        if let Some(opened) = held {
            let seen = held_by_parent(process, parent, opened.remote);
            out.push(self.reversed(event, process, SEVERITY_JOINED, seen));
        } else if let Some(opened) = beside {
            let seen = held_beside(process, opened.remote);
            out.push(self.reversed(event, process, SEVERITY_JOINED, seen));
        }
    }

    fn on_connection(&mut self, event: &Event, connection: &Connection, out: &mut Vec<Signal>) {
        let table = self.hosts.get_or(&event.host.id, Table::default);
        match connection.event {
            ConnectionEvent::Accepted => {
                table.note_accepted(connection.local.port(), connection.remote, true);
            }
            ConnectionEvent::Closed => {
                table.close(event.process.as_ref().map(|p| p.key), connection);
            }
            ConnectionEvent::Connected => {
                table.note_accepted(connection.local.port(), connection.remote, false);
                if let Some(process) = &event.process {
                    self.on_connected(event, process, connection, out);
                }
            }
            _ => {}
        }
    }

    /// Judges recent interactive shells by a connection that their parent or neighbour opened.
    fn on_connected(
        &mut self,
        event: &Event,
        owner: &Arc<Process>,
        connection: &Connection,
        out: &mut Vec<Signal>,
    ) {
        let slack = self.settings.join_slack_ms * 1_000_000;
        let remote = connection.remote;
        let opened = Opened { time_ns: event.time_ns, local_port: connection.local.port(), remote };
        let table = self.hosts.get_or(&event.host.id, Table::default);
        let parent = owner.parent.as_ref().map(|parent| parent.key);
        table.note_opened(owner.key, parent, opened);
        // A connection that came long after the shell is the program's own business.
        let near = |shell: &Shell| shell.time_ns.saturating_add(slack) >= event.time_ns;
        let children = table.shells_below(owner.key).filter(|shell| near(shell));
        let mut seen: Vec<(Arc<Process>, Seen)> = children
            .map(|shell| {
                (Arc::clone(&shell.process), held_by_parent(&shell.process, owner, remote))
            })
            .collect();
        if let Some(parent) = parent {
            let beside = table.shells_below(parent).filter(|shell| {
                shell.piped
                    && near(shell)
                    && event.time_ns.saturating_add(slack) >= shell.time_ns
                    && shell.process.key != owner.key
                    && session(&shell.process) == Session::Explicit
            });
            seen.extend(
                beside
                    .map(|shell| (Arc::clone(&shell.process), held_beside(&shell.process, remote))),
            );
        }
        for (process, seen) in seen {
            out.push(self.reversed(event, &process, SEVERITY_JOINED, seen));
        }
    }

    fn reversed(&self, event: &Event, process: &Arc<Process>, severity: f64, seen: Seen) -> Signal {
        let loopback = seen.remote.ip().to_canonical().is_loopback();
        let severity = if loopback { SEVERITY_LOOPBACK } else { severity };
        report(&self.reverse, event, process, severity, "Reverse shell from", seen)
    }
}

/// What was seen, in words and with its peer.
struct Seen {
    what: String,
    remote: SocketAddr,
    kind: EvidenceKind,
}

fn held_by_parent(process: &Process, parent: &Process, remote: SocketAddr) -> Seen {
    let what = format!(
        "{} was started by {}, which held a connection to {remote}",
        process.command_line(),
        parent.name()
    );
    Seen { what, remote, kind: EvidenceKind::Connection }
}

fn held_beside(process: &Process, remote: SocketAddr) -> Seen {
    let what = format!(
        "{} was on a pipe beside a process that opened a connection to {remote}",
        process.command_line()
    );
    Seen { what, remote, kind: EvidenceKind::Connection }
}

fn report(
    reporter: &Reporter,
    event: &Event,
    process: &Arc<Process>,
    severity: f64,
    words: &str,
    seen: Seen,
) -> Signal {
    let Seen { what, remote, kind } = seen;
    let host: &Arc<Host> = &event.host;
    let subject = remote.to_string();
    let mut signal = reporter.signal(host, event.time_ns, Some(process), severity, &subject);
    let (name, host) = (process.name(), text::visible_str(&host.name));
    signal.title = match words {
        "Shell for" => format!("Shell {name} for {remote} on {host}"),
        words => format!("{words} {name} to {remote} on {host}"),
    };
    signal.actors.push(Actor { kind: ActorKind::Address, value: remote.ip().to_string() });
    signal.evidence.push(Evidence {
        time_ns: event.time_ns,
        kind,
        summary: what,
        fields: vec![
            ("remote_address", remote.ip().to_string().into()),
            ("remote_port", u64::from(remote.port()).into()),
            ("executable", process.executable().into()),
            ("command_line", process.command_line().into()),
            ("pid", u64::from(process.key.pid).into()),
        ],
        slot: None,
    });
    signal
}

/// Returns whether a shell waits for somebody's commands: on a terminal, or told with `-i` to take
/// a pipe for one. A shell that merely reads a pipe is how programs run scripts.
fn awaits_orders(process: &Process, exec: &Exec) -> bool {
    match (session(process), exec.stdio[0]) {
        (Session::Command, _) => false,
        (_, Stdio::Device) => exec.stdio.iter().all(|stdio| *stdio == Stdio::Device),
        (Session::Explicit, Stdio::Pipe | Stdio::UnixSocket) => true,
        _ => false,
    }
}

fn named(list: &[String], name: &[u8]) -> bool {
    list.iter().any(|known| known.as_bytes() == name)
}

impl Detector for ReverseShell {
    fn name(&self) -> &'static str {
        "reverse_shell"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        match &event.kind {
            EventKind::Exec(exec) => self.on_exec(event, exec, out),
            EventKind::Connection(connection) => self.on_connection(event, connection, out),
            EventKind::Exit { .. } => {
                if let (Some(process), Some(table)) =
                    (&event.process, self.hosts.get(&event.host.id))
                {
                    table.forget(process.key);
                }
            }
            _ => {}
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}

    fn evicted(&self) -> u64 {
        self.hosts.evicted()
    }
}
