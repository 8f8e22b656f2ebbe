//! bpftrace with the program that its users would write for the workload.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;

use super::watcher::Seen;
use super::workload::Workload;
use crate::fleet::Hosts;
use crate::fleet::process::Running;
use crate::interrupt;

const PROGRAM: &str = "/usr/bin/bpftrace";
/// It compiles its program first.
const START_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(30);
/// Number of `getppid`, which the counting program shows beside the process.
const GETPPID: u64 = 110;

/// Says why it cannot run here.
pub fn impossible() -> Option<String> {
    (!std::path::Path::new(PROGRAM).is_file()).then(|| "bpftrace is not installed".to_owned())
}

/// A running program. Only tracepoints are used, as some kernels have no kprobes.
#[derive(Debug)]
pub struct Trace {
    process: Running,
    output: PathBuf,
    errors: PathBuf,
    workload: Workload,
}

impl Trace {
    /// Starts it and waits until its probes are attached.
    pub fn start(hosts: &Hosts, workload: Workload) -> Result<Self> {
        let folder = hosts.subfolder("bpftrace")?;
        let (output, errors) = (folder.join("output"), folder.join("errors"));
        let mut command = hosts.control().command(PROGRAM)?;
        command.args(["-B", "line", "-e", script(workload)]);
        command.stdin(Stdio::null());
        command.stdout(File::create(&output)?).stderr(File::create(&errors)?);
        // Without room for as many keys as there are processes, counting loses some.
        command.env("BPFTRACE_MAP_KEYS_MAX", "16384");
        // SAFETY: between fork and exec the closure only makes system calls on constant paths.
        unsafe { command.pre_exec(mount_tracefs) };
        let process = Running::start("bpftrace", &mut command)?;
        let mut trace = Self { process, output, errors, workload };
        interrupt::eventually("bpftrace attached", START_LIMIT, || {
            trace.process.alive().with_context(|| {
                fs::read_to_string(&trace.errors).unwrap_or_default().trim().to_owned()
            })?;
            Ok(fs::read_to_string(&trace.output)?.contains("ready").then_some(()))
        })?;
        Ok(trace)
    }

    /// Its one process.
    pub fn processes(&self) -> Vec<u32> {
        vec![self.process.pid()]
    }

    /// Ends it as Ctrl-C does, whereupon it prints its counts.
    pub fn stop(&mut self) -> Result<Seen> {
        self.process.signal(Signal::SIGINT)?;
        self.process.wait(END_LIMIT)?;
        let output = fs::read_to_string(&self.output)?;
        let errors = fs::read_to_string(&self.errors)?;
        let recorded = match self.workload {
            Workload::Syscall => counted(&output),
            Workload::Exec => {
                output.lines().filter(|line| line.starts_with("exec ")).count() as u64
            }
            Workload::Open => {
                output.lines().filter(|line| line.starts_with("open ")).count() as u64
            }
            Workload::Connect | Workload::Flood { .. } => {
                output.lines().filter(|line| line.starts_with("state ")).count() as u64
            }
        };
        Ok(Seen { recorded, lost: lost(&output) + lost(&errors) })
    }
}

/// It finds tracepoints through debugfs, which is not mounted everywhere; it gets one of its own.
fn mount_tracefs() -> io::Result<()> {
    const NOTHING: Option<&CStr> = None;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(NOTHING, c"/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)?;
    mount(Some(c"none"), c"/sys/kernel/debug", Some(c"debugfs"), MsFlags::empty(), NOTHING)?;
    // Newer kernels mount it there by themselves, on first use; where it is, this one hides it.
    mount(Some(c"none"), c"/sys/kernel/tracing", Some(c"tracefs"), MsFlags::empty(), NOTHING)?;
    Ok(())
}

fn script(workload: Workload) -> &'static str {
    match workload {
        Workload::Syscall => {
            "BEGIN { printf(\"ready\\n\"); } \
             tracepoint:raw_syscalls:sys_enter { @[pid, args->id] = count(); }"
        }
        Workload::Exec => {
            "BEGIN { printf(\"ready\\n\"); } tracepoint:syscalls:sys_enter_execve \
             { printf(\"exec %d %s \", pid, str(args->filename)); join(args->argv); }"
        }
        Workload::Open => {
            "BEGIN { printf(\"ready\\n\"); } tracepoint:syscalls:sys_enter_openat \
             { printf(\"open %d %s %s\\n\", pid, comm, str(args->filename)); }"
        }
        Workload::Connect | Workload::Flood { .. } => {
            "BEGIN { printf(\"ready\\n\"); } tracepoint:sock:inet_sock_set_state \
             { printf(\"state %d %s %d %d %d %d\\n\", pid, comm, args->oldstate, \
             args->newstate, args->sport, args->dport); }"
        }
    }
}

/// Sums the counts of the workload's call: `@[1234, 110]: 5000000`.
fn counted(output: &str) -> u64 {
    let wanted = format!(", {GETPPID}]");
    output
        .lines()
        .filter_map(|line| line.strip_prefix("@[")?.split_once(": "))
        .filter(|(key, _)| key.ends_with(&wanted))
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

/// Sums what it says it lost: `Lost 123 events`.
fn lost(text: &str) -> u64 {
    text.lines()
        .filter_map(|line| line.split_once("Lost ")?.1.split(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_losses_are_read() {
        assert_eq!(counted("@[7, 110]: 40\n@[8, 110]: 2\n@[8, 1]: 9\n"), 42);
        assert_eq!(lost("Lost 12 events\nx\nLost 30 events\n"), 42);
    }
}
