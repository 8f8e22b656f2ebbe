//! What is repeated: a bare system call, an open, an exec, a TCP connection, a datagram.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::watcher::Stand;
use crate::fleet::process::Running;

/// Longest single run; a watcher may slow a workload down several times.
const LIMIT: Duration = Duration::from_secs(120);

/// A file that every system has and that no rule of any watcher names.
const UNWATCHED: &str = "/usr/share/common-licenses/GPL-2";

/// A workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// `getppid`, the cheapest there is.
    Syscall,
    /// A file that nobody watches, opened and closed.
    Open,
    /// `posix_spawn` of `/bin/true`.
    Exec,
    /// A TCP connection between two hosts, opened and closed.
    Connect,
    /// A small datagram to another host, of one of so many flows.
    Flood {
        /// How many.
        flows: u32,
    },
}

/// All workloads in the order in which they run.
pub const WORKLOADS: [Workload; 6] = [
    Workload::Syscall,
    Workload::Open,
    Workload::Exec,
    Workload::Connect,
    Workload::Flood { flows: 1 },
    Workload::Flood { flows: 1024 },
];

impl Workload {
    /// Its name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Syscall => "syscall",
            Self::Open => "open",
            Self::Exec => "exec",
            Self::Connect => "connect",
            Self::Flood { flows: 1 } => "flood-1",
            Self::Flood { .. } => "flood",
        }
    }

    /// Operations of one run: about a second's worth.
    pub fn operations(self, scale: f64) -> u64 {
        let usual = match self {
            Self::Syscall => 5_000_000.0,
            Self::Open => 500_000.0,
            Self::Exec => 1_500.0,
            Self::Connect => 20_000.0,
            Self::Flood { .. } => 400_000.0,
        };
        ((usual * scale) as u64).max(10)
    }

    /// Runs it once on the client's host and returns how long it took.
    pub fn run(self, stand: &Stand, operations: u64) -> Result<u64> {
        let count = operations.to_string();
        let server = stand.server.to_string();
        let flows;
        let arguments = match self {
            Self::Syscall => vec!["storm", "syscall", &count],
            Self::Open => vec!["storm", "open", UNWATCHED, &count],
            Self::Exec => vec!["storm", "exec", &count],
            Self::Connect => vec!["storm", "connect", &server, &count],
            Self::Flood { flows: number } => {
                flows = number.to_string();
                vec!["storm", "flood", &server, &count, &flows]
            }
        };
        let mut command = stand.hosts.place(stand.client).command(&stand.actor)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut storm = Running::start("the storm", &mut command)?;
        let status = storm.wait(LIMIT)?;
        ensure!(status.success(), "the storm ended with {status}");
        let mut said = String::new();
        let output = storm.child().stdout.as_mut().context("the storm has no output")?;
        output.read_to_string(&mut said)?;
        let said: Value = serde_json::from_str(&said).context("the storm printed no JSON")?;
        said["nanoseconds"].as_u64().context("the storm printed no time")
    }
}
