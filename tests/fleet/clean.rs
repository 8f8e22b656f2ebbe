//! Nothing is left behind: not after Ctrl-C, and after a kill not beyond the next run.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tests::fleet::Hosts;
use tests::{binaries, fleet, interrupt};

/// Time for a demo to have its hosts.
const START_LIMIT: Duration = Duration::from_secs(30);
/// Time for a demo to end in order.
const END_LIMIT: Duration = Duration::from_secs(60);

/// Ctrl-C in the middle of the benign traffic.
pub fn after_interrupt() -> Result<()> {
    let label = "test-interrupt";
    let status = start_and_signal(label, Signal::SIGINT)?;
    ensure!(status.code() == Some(130), "the interrupted demo ended with {status}");
    let left = fleet::leftovers(label)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// A kill leaves namespaces, but no processes; the next run removes all.
pub fn after_kill_and_next_run() -> Result<()> {
    let label = "test-kill";
    start_and_signal(label, Signal::SIGKILL)?;
    let left = fleet::leftovers(label)?;
    ensure!(!left.is_empty(), "a killed demo cannot have cleaned up");
    drop(Hosts::new(label).context("the next run failed")?);
    let left = fleet::leftovers(label)?;
    ensure!(left.is_empty(), "left behind by the next run: {left:?}");
    Ok(())
}

fn start_and_signal(label: &str, signal: Signal) -> Result<std::process::ExitStatus> {
    let mut demo = Command::new(binaries::find(binaries::DEMO)?)
        .args(["--once", "--json", "--label", label])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("failed to start the demo")?;
    let started = interrupt::eventually("a fleet with processes", START_LIMIT, || {
        let left = fleet::leftovers(label)?;
        // The control group is the last to get its first process: the brain.
        Ok(left
            .iter()
            .any(|item| item.starts_with("cgroup") && !item.ends_with("[]"))
            .then_some(()))
    });
    // Sent in any case, so that a failed wait does not leave a demo running.
    kill(Pid::from_raw(demo.id().cast_signed()), signal).context("failed to signal the demo")?;
    let status = interrupt::eventually("the end of the demo", END_LIMIT, || Ok(demo.try_wait()?))?;
    started.map(|()| status)
}
