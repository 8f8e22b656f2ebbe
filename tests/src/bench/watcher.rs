//! Who watches: nobody, the least program, our sensors, and peers. And the stand on which all of it
//! happens.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::Result;

use super::audit::{self, Audit, Quiet};
use super::capture::{Capture, Tool};
use super::cpu;
use super::fleet::Sensors;
use super::floor::Floor;
use super::trace::{self, Trace};
use super::workload::Workload;
use crate::binaries;
use crate::fleet::brain::{Brain, Settings};
use crate::fleet::process::Running;
use crate::fleet::{Hosts, address};

/// The hosts at both ends of the network workloads; the first one runs all workloads.
pub const HOSTS: [&str; 2] = ["web-1", "db-1"];
/// Port of the server that connections go to.
const PORT: u16 = 9000;

/// Two hosts, a server, and a brain that our sensors can report to.
#[derive(Debug)]
pub struct Stand {
    _servers: [Running; 2],
    _quiet: Quiet,
    /// The brain is another machine's: it runs all the time, but only on processors that nobody
    /// else wants.
    pub brain: Arc<Brain>,
    /// The hosts.
    pub hosts: Hosts,
    /// The program that plays the workloads.
    pub actor: PathBuf,
    /// Host that the workloads run on.
    pub client: &'static str,
    /// Where connections go to, on another host.
    pub server: SocketAddr,
}

impl Stand {
    /// Starts hosts, server and brain.
    pub fn new() -> Result<Self> {
        let hosts = Hosts::new("bench")?;
        let actor = binaries::find(binaries::ACTOR)?;
        let server = SocketAddr::new(address("db-1").ipv4.parse()?, PORT);
        let serve = |role: &str| -> Result<Running> {
            let mut command = hosts.place("db-1").command(&actor)?;
            command.args([role, &server.to_string()]).stdin(Stdio::null());
            Running::start("a server", &mut command)
        };
        let servers = [serve("accept-serve")?, serve("datagram-sink")?];
        let brain = Arc::new(Brain::start(Settings {
            folder: hosts.subfolder("brain")?,
            place: hosts.control(),
            webhook: None,
            http: SocketAddr::from(([127, 0, 0, 1], 0)),
        })?);
        cpu::leave_to_others(brain.pid())?;
        Ok(Self {
            _servers: servers,
            _quiet: Quiet::new()?,
            brain,
            hosts,
            actor,
            client: "web-1",
            server,
        })
    }
}

/// A kind of watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: shows the noise of the run.
    Nothing,
    /// Programs that only count, on the hooks that the workload passes.
    Floor,
    /// One sensor per host, so that both ends of a connection are seen.
    Sensor,
    /// The audit subsystem with its daemon and one rule.
    Auditd,
    /// One program that prints, or counts where printing would be hopeless.
    Bpftrace,
    /// Keeps every packet.
    Tcpdump,
    /// Counts flows.
    Softflowd,
}

/// What a watcher saw in one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records, or counted operations, of the kind that the workload makes.
    pub recorded: u64,
    /// What the watcher itself says it lost.
    pub lost: u64,
}

impl Kind {
    /// All kinds; nobody comes first, as the others are judged by it.
    pub const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Floor,
        Self::Sensor,
        Self::Auditd,
        Self::Bpftrace,
        Self::Tcpdump,
        Self::Softflowd,
    ];

    /// Its name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing (A/A)",
            Self::Floor => "floor",
            Self::Sensor => "sakuramori",
            Self::Auditd => "auditd",
            Self::Bpftrace => "bpftrace",
            Self::Tcpdump => "tcpdump",
            Self::Softflowd => "softflowd",
        }
    }

    /// Whether it does a comparable job for a workload.
    pub fn watches(self, workload: Workload) -> bool {
        match (self, workload) {
            (Self::Tcpdump | Self::Softflowd, Workload::Connect | Workload::Flood { .. }) => true,
            (Self::Tcpdump | Self::Softflowd, _) => false,
            (Self::Auditd | Self::Bpftrace, Workload::Flood { .. }) => false,
            _ => true,
        }
    }

    /// Whether somebody else made it.
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Nothing | Self::Floor | Self::Sensor)
    }

    /// Says why it cannot run here, or nothing when it can.
    pub fn impossible(self, workload: Workload) -> Option<String> {
        match self {
            Self::Nothing | Self::Sensor => None,
            Self::Floor => Floor::impossible(workload),
            Self::Tcpdump => Tool::Tcpdump.impossible(),
            Self::Softflowd => Tool::Softflowd.impossible(),
            Self::Auditd => audit::impossible(),
            Self::Bpftrace => trace::impossible(),
        }
    }

    /// Starts it and waits until it watches.
    pub fn start(self, stand: &Stand, workload: Workload) -> Result<Watcher> {
        Ok(match self {
            Self::Nothing => Watcher::Nothing,
            Self::Floor => Watcher::Floor(Floor::start(stand, workload)?),
            Self::Tcpdump => Watcher::Capture(Capture::start(stand, Tool::Tcpdump)?),
            Self::Softflowd => Watcher::Capture(Capture::start(stand, Tool::Softflowd)?),
            Self::Sensor => Watcher::Sensors(Sensors::start(stand, workload)?),
            Self::Auditd => Watcher::Audit(Audit::start(&stand.hosts, workload)?),
            Self::Bpftrace => Watcher::Trace(Trace::start(&stand.hosts, workload)?),
        })
    }
}

/// A watcher at work.
#[derive(Debug)]
pub enum Watcher {
    /// Nobody.
    Nothing,
    /// Programs that only count.
    Floor(Floor),
    /// tcpdump or softflowd.
    Capture(Capture),
    /// Ours.
    Sensors(Sensors),
    /// auditd.
    Audit(Audit),
    /// bpftrace.
    Trace(Trace),
}

impl Watcher {
    /// The processes and kernel threads whose time is its cost.
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Self::Nothing | Self::Floor(_) => Vec::new(),
            Self::Capture(capture) => capture.processes(),
            Self::Sensors(sensors) => sensors.processes(),
            Self::Audit(audit) => audit.processes(),
            Self::Trace(trace) => trace.processes(),
        }
    }

    /// Ends it and says what it saw.
    pub fn stop(&mut self) -> Result<Seen> {
        match self {
            Self::Nothing => Ok(Seen::default()),
            Self::Floor(floor) => floor.stop(),
            Self::Capture(capture) => capture.stop(),
            Self::Sensors(sensors) => sensors.stop(),
            Self::Audit(audit) => audit.stop(),
            Self::Trace(trace) => trace.stop(),
        }
    }
}
