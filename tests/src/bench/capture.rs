//! Two peers on the wire: tcpdump, which keeps packets, and softflowd, which counts flows. Neither
//! knows a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::watcher::{HOSTS, Seen, Stand};
use crate::fleet::process::Running;
use crate::interrupt;

const INTERFACE: &str = "eth0";
const START_LIMIT: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(30);
/// Where softflowd would send its flows; nobody listens, which it does not mind.
const COLLECTOR: &str = "127.0.0.1:9";

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Writes packets to a file.
    Tcpdump,
    /// Exports flows.
    Softflowd,
}

impl Tool {
    fn program(self) -> &'static str {
        match self {
            Self::Tcpdump => "/usr/bin/tcpdump",
            Self::Softflowd => "/usr/sbin/softflowd",
        }
    }

    /// Says why it cannot run here.
    pub fn impossible(self) -> Option<String> {
        let program = Path::new(self.program());
        (!program.is_file()).then(|| format!("{} is not installed", program.display()))
    }
}

/// One on each host.
#[derive(Debug)]
pub struct Capture {
    tool: Tool,
    running: Vec<(Running, PathBuf)>,
}

/// Asks a flow exporter for its counters.
const CONTROL: &str = "/usr/sbin/softflowctl";

impl Capture {
    /// Starts one on each host and waits until they listen.
    pub fn start(stand: &Stand, tool: Tool) -> Result<Self> {
        let mut running = Vec::new();
        for host in HOSTS {
            let folder = stand.hosts.subfolder(&format!("capture-{host}"))?;
            let said = folder.join("said");
            let mut command = stand.hosts.place(host).command(tool.program())?;
            match tool {
                Tool::Tcpdump => {
                    let file = folder.join("packets.pcap");
                    command.args(["-i", INTERFACE, "-n", "-s", "96", "-Z", "root", "-w"]).arg(file);
                }
                Tool::Softflowd => {
                    let control = folder.join("control");
                    command.args(["-i", INTERFACE, "-n", COLLECTOR, "-v", "9", "-d"]);
                    command.arg("-c").arg(&control).arg("-p").arg(folder.join("pid"));
                }
            }
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?);
            let mut process = Running::start(tool.program(), &mut command)?;
            interrupt::eventually("the capture to begin", START_LIMIT, || {
                process.alive()?;
                let text = fs::read_to_string(&said)?;
                Ok((text.contains("listening on") || text.contains("data collection"))
                    .then_some(()))
            })?;
            running.push((process, said));
        }
        Ok(Self { tool, running })
    }

    /// Their processes.
    pub fn processes(&self) -> Vec<u32> {
        self.running.iter().map(|(process, _)| process.pid()).collect()
    }

    /// Ends them, whereupon they say what they saw: packets on both hosts.
    pub fn stop(&mut self) -> Result<Seen> {
        let mut seen = Seen::default();
        for (process, said) in &mut self.running {
            let control = said.with_file_name("control");
            let mut command = Command::new(CONTROL);
            command.arg("-c").arg(control).arg("statistics");
            let counters = match self.tool {
                Tool::Tcpdump => String::new(),
                Tool::Softflowd => String::from_utf8_lossy(&command.output()?.stdout).into_owned(),
            };
            process.signal(Signal::SIGINT)?;
            process.wait(END_LIMIT)?;
            let text = fs::read_to_string(&*said).context("a capture said nothing")?;
            match self.tool {
                Tool::Tcpdump => {
                    seen.recorded += number_before(&text, " packets captured");
                    seen.lost += number_before(&text, " packets dropped by kernel");
                }
                Tool::Softflowd => {
                    seen.recorded += number_after(&counters, "Packets processed: ");
                    seen.lost += number_after(&counters, "dropped by libpcap: ");
                }
            }
        }
        self.running.clear();
        Ok(seen)
    }
}

fn number_before(text: &str, words: &str) -> u64 {
    let before = text.split(words).next().filter(|before| before.len() < text.len());
    let digits = before.and_then(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn number_after(text: &str, words: &str) -> u64 {
    let after = text.split_once(words).map(|(_, after)| after);
    let digits = after.and_then(|after| after.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_words_are_read() {
        let text = "x: listening on eth0\n120 packets captured\n3 packets dropped by kernel\n";
        assert_eq!(number_before(text, " packets captured"), 120);
        assert_eq!(number_before(text, " packets dropped by kernel"), 3);
        assert_eq!(number_before(text, " absent"), 0);
        assert_eq!(number_after("Packets processed: 77\n", "Packets processed: "), 77);
    }
}
