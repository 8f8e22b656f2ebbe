//! The emulator: boots a guest, shows what it prints, and ends it in time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::verdict::Verdict;

/// Time for a guest to power off once it has told how the trials ended.
const POWER_OFF: Duration = Duration::from_secs(10);
/// Times that a kernel is booted which does not reach its first process.
const BOOTS_MAX: u32 = 3;
/// Lines that may wait to be shown; the guest waits when there are more.
const LINES_MAX: usize = 1024;
/// Memory of a guest that holds little more than the trials' program.
const MEMORY: &str = "2G";

/// An emulator that is ended with its owner.
pub(crate) struct Machine(Child);

impl Machine {
    /// Returns what the guest prints, line by line; once.
    pub(crate) fn lines(&mut self) -> Result<Receiver<String>> {
        Ok(lines(self.0.stdout.take().context("the emulator has no output")?))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already in the good case; then both calls only say so.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Boots a kernel and reads its output until it has ended or the time is over. Lines are shown
/// behind the guest's name, since another one may print as well.
///
/// At times an emulated kernel falls while it patches its own code at boot, before anything of ours
/// runs; then it is booted again, and that is said.
pub fn boot(image: &Path, initrd: &Path, name: &str, limit: Duration) -> Result<Verdict> {
    for _ in 1..BOOTS_MAX {
        let verdict = boot_once(image, initrd, name, limit)?;
        if verdict.has_begun() {
            return whole(verdict);
        }
        println!("{name}  the kernel stopped before its first process; it is booted again");
    }
    whole(boot_once(image, initrd, name, limit)?)
}

fn whole(verdict: Verdict) -> Result<Verdict> {
    if !verdict.has_ended() {
        bail!("the guest stopped before the trials had ended ({verdict})");
    }
    Ok(verdict)
}

fn boot_once(image: &Path, initrd: &Path, name: &str, limit: Duration) -> Result<Verdict> {
    let mut machine = start(image, initrd, MEMORY)?;
    let lines = machine.lines()?;
    let mut end = Instant::now() + limit;
    let mut verdict = Verdict::default();
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                println!("{name}  {line}");
                verdict.read_line(&line);
                if verdict.has_ended() {
                    end = end.min(Instant::now() + POWER_OFF);
                }
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) if verdict.has_ended() => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                bail!("the guest did not end within {} s ({verdict})", limit.as_secs());
            }
        }
    }
    Ok(verdict)
}

/// Starts the emulator without hardware help, which is rarely there where tests run.
pub(crate) fn start(image: &Path, initrd: &Path, memory: &str) -> Result<Machine> {
    let mut command = Command::new("qemu-system-x86_64");
    command.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", memory]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.args(["-serial", "stdio", "-append", "console=ttyS0 quiet panic=-1"]);
    command.arg("-kernel").arg(image).arg("-initrd").arg(initrd);
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("failed to start qemu-system-x86_64")?;
    Ok(Machine(child))
}

/// Reads lines in a thread, so that waiting for one can be bounded.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_MAX);
    thread::spawn(move || {
        // By bytes: a kernel in trouble may print anything.
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            if sender.send(printable(&line)).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Firmware and trials may send control codes; none of them reaches the user's terminal.
fn printable(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line);
    line.chars().filter(|letter| !letter.is_control() || *letter == '\t').collect()
}
