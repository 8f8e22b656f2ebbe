//! auditd with one rule, started for a run and put back as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::cpu;
use super::watcher::Seen;
use super::workload::Workload;
use crate::fleet::Hosts;
use crate::fleet::process::Running;
use crate::interrupt;

/// The kernel queue that its own sample configuration recommends for busy hosts.
const BACKLOG: &str = "8192";
/// Time for the daemon to take the kernel's messages.
const START_LIMIT: Duration = Duration::from_secs(10);

/// Says why it cannot run here.
pub fn impossible() -> Option<String> {
    let Ok(status) = status() else {
        return Some("auditctl is missing, or this kernel has no audit subsystem".to_owned());
    };
    // The kernel forgets a daemon that is gone only when it has something to tell it.
    let daemon = value(&status, "pid");
    if daemon != 0 && Path::new(&format!("/proc/{daemon}")).exists() {
        return Some("another audit daemon runs on this machine".to_owned());
    }
    let rules = ask(&["-l"]).unwrap_or_default();
    let is_foreign = |line: &str| !matches!(line.trim(), "" | "No rules" | "-a never,task");
    rules.lines().any(is_foreign).then(|| "this machine has audit rules of its own".to_owned())
}

/// Keeps the audit subsystem off all new processes while nobody measures it.
///
/// Once auditing was on, the kernel sends every new process through its slow path until the next
/// boot, whether or not it is still on. That would slow all runs after the first one with auditd,
/// and those before it on a machine where auditing was used earlier. One rule prevents it.
#[derive(Debug)]
pub struct Quiet {
    is_ours: bool,
}

impl Quiet {
    /// Sets the rule, where auditing is there and nobody else uses it.
    pub fn new() -> Result<Self> {
        let is_ours = impossible().is_none();
        if is_ours {
            quieten()?;
        }
        Ok(Self { is_ours })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if self.is_ours
            && let Err(error) = control(&["-D"])
        {
            eprintln!("failed to remove the audit rules: {error:#}");
        }
    }
}

fn quieten() -> Result<()> {
    control(&["-D"])?;
    control(&["-a", "never,task"])
}

/// A running daemon with its rule; dropping it puts the audit subsystem back.
#[derive(Debug)]
pub struct Audit {
    process: Running,
    log: PathBuf,
    key: &'static str,
    lost_before: u64,
    backlog_before: u64,
}

impl Audit {
    /// Starts the daemon with a log of its own and sets the rule.
    pub fn start(hosts: &Hosts, workload: Workload) -> Result<Self> {
        let folder = hosts.subfolder("auditd")?;
        let log = folder.join("audit.log");
        if log.exists() {
            fs::remove_file(&log)?;
        }
        fs::write(folder.join("auditd.conf"), configuration(&log))?;
        let before = status()?;
        let mut command = hosts.control().command("/usr/sbin/auditd")?;
        command.args(["-n", "-c"]).arg(&folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Running::start("auditd", &mut command)?;
        let pid = u64::from(process.pid());
        let (key, rule) = rule(workload);
        let audit = Self {
            process,
            log,
            key,
            lost_before: value(&before, "lost"),
            backlog_before: value(&before, "backlog_limit"),
        };
        interrupt::eventually("the audit daemon", START_LIMIT, || {
            Ok((value(&status()?, "pid") == pid).then_some(()))
        })?;
        control(&["-D"])?;
        control(&["-b", BACKLOG])?;
        control(&["-e", "1"])?;
        control(rule)?;
        Ok(audit)
    }

    /// The daemon and the kernel's thread that feeds it.
    pub fn processes(&self) -> Vec<u32> {
        let kernel = cpu::kernel_thread("kauditd");
        [self.process.pid()].into_iter().chain(kernel).collect()
    }

    /// Ends the daemon, which writes out what it has, and counts.
    pub fn stop(&mut self) -> Result<Seen> {
        let lost = value(&status()?, "lost").saturating_sub(self.lost_before);
        control(&["-D"])?;
        self.process.terminate()?;
        let log = fs::read_to_string(&self.log).context("auditd wrote no log")?;
        let mark = format!("key=\"{}\"", self.key);
        let is_record = |line: &&str| line.starts_with("type=SYSCALL") && line.contains(&mark);
        Ok(Seen { recorded: log.lines().filter(is_record).count() as u64, lost })
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        let backlog = self.backlog_before.to_string();
        let put_back = || {
            control(&["-e", "0"])?;
            control(&["-b", &backlog])?;
            quieten()
        };
        if let Err(error) = put_back() {
            eprintln!("failed to put the audit subsystem back: {error:#}");
        }
    }
}

/// The rule that records a workload. Bare calls are not recorded: one rule is enough to slow them.
fn rule(workload: Workload) -> (&'static str, &'static [&'static str]) {
    match workload {
        Workload::Open => {
            ("smk-open", &["-a", "always,exit", "-F", "arch=b64", "-S", "openat", "-k", "smk-open"])
        }
        Workload::Syscall | Workload::Exec | Workload::Flood { .. } => {
            ("smk-exec", &["-a", "always,exit", "-F", "arch=b64", "-S", "execve", "-k", "smk-exec"])
        }
        Workload::Connect => (
            "smk-connect",
            &["-a", "always,exit", "-F", "arch=b64", "-S", "connect", "-k", "smk-connect"],
        ),
    }
}

/// As Debian's, with a log that is large enough for one run.
fn configuration(log: &Path) -> String {
    format!(
        "local_events = yes\nwrite_logs = yes\nlog_file = {}\nlog_group = root\n\
         log_format = ENRICHED\nflush = INCREMENTAL_ASYNC\nfreq = 50\nmax_log_file = 1024\n\
         num_logs = 2\nmax_log_file_action = ROTATE\nspace_left = 75\n\
         space_left_action = IGNORE\nadmin_space_left = 50\nadmin_space_left_action = IGNORE\n\
         disk_full_action = IGNORE\ndisk_error_action = IGNORE\n",
        log.display()
    )
}

fn status() -> Result<String> {
    ask(&["-s"])
}

fn value(status: &str, name: &str) -> u64 {
    let find = |line: &str| {
        let (key, value) = line.split_once(' ')?;
        (key == name).then(|| value.trim().parse().ok()).flatten()
    };
    status.lines().find_map(find).unwrap_or(0)
}

fn control(arguments: &[&str]) -> Result<()> {
    ask(arguments).map(drop)
}

fn ask(arguments: &[&str]) -> Result<String> {
    let output = Command::new("/usr/sbin/auditctl").args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "auditctl {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_by_name() {
        let status = "enabled 1\npid 77\nbacklog_limit 64\nlost 3\nbacklog 0\n";
        assert_eq!(value(status, "pid"), 77);
        assert_eq!(value(status, "backlog"), 0);
        assert_eq!(value(status, "lost"), 3);
        assert_eq!(value(status, "absent"), 0);
    }
}
