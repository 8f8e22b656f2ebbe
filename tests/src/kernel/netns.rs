//! Throw-away network namespaces, joined by a virtual cable.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use anyhow::{Context as _, Result, bail};
use sensor::netns;

use super::watch::Sums;

/// Every namespace of a trial starts so, to be found if a trial is killed.
const PREFIX: &str = "smk-t";
/// The cable's end in either namespace.
pub const INTERFACE: &str = "veth0";

/// Two namespaces with one cable, `a` at `.1` and `b` at `.2`; gone when dropped.
pub struct Pair {
    pub a: Namespace,
    pub b: Namespace,
}

pub struct Namespace {
    name: String,
}

/// Says why no namespaces can be made here, if so.
pub fn unavailable() -> Option<&'static str> {
    let tool = Command::new("ip").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    tool.is_err().then_some("needs `ip` (package iproute2) to make network namespaces")
}

/// Numbers the namespaces of this process.
static COUNT: AtomicU32 = AtomicU32::new(0);

impl Pair {
    pub fn new() -> Result<Self> {
        let number = COUNT.fetch_add(1, Relaxed);
        let name = |end| format!("{PREFIX}-{}-{number}-{end}", std::process::id());
        let (a, b) = (Namespace::new(name("a"))?, Namespace::new(name("b"))?);
        let ends = ["type", "veth", "peer", "name", INTERFACE, "netns", &b.name];
        a.ip(&[&["link", "add", INTERFACE][..], &ends].concat())?;
        for (end, last) in [(&a, 1), (&b, 2)] {
            end.quiet()?;
            end.ip(&["link", "set", "lo", "up"])?;
            end.ip(&["link", "set", INTERFACE, "up"])?;
            end.ip(&["addr", "add", &format!("192.0.2.{last}/24"), "dev", INTERFACE])?;
            let v6 = format!("2001:db8::{last}/64");
            end.ip(&["-6", "addr", "add", &v6, "dev", INTERFACE, "nodad"])?;
        }
        Ok(Self { a, b })
    }
}

impl Namespace {
    /// One with nothing but loopback.
    pub fn alone() -> Result<Self> {
        let number = COUNT.fetch_add(1, Relaxed);
        let namespace = Self::new(format!("{PREFIX}-{}-{number}", std::process::id()))?;
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn new(name: String) -> Result<Self> {
        run(&["netns", "add", &name])?;
        Ok(Self { name })
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/run/netns/{}", self.name))
    }

    pub fn ip(&self, arguments: &[&str]) -> Result<()> {
        run(&[&["-n", &self.name][..], arguments].concat())
    }

    /// Keeps the kernel from sending anything of its own accord.
    fn quiet(&self) -> Result<()> {
        self.inside(|| {
            for (file, value) in [("router_solicitations", "0"), ("accept_dad", "0")] {
                for which in ["all", "default", INTERFACE] {
                    let path = format!("/proc/sys/net/ipv6/conf/{which}/{file}");
                    // A kernel without IPv6 has no such files, and nothing to keep quiet.
                    let _missing = fs::write(path, value);
                }
            }
        })
    }

    /// Runs `work` in the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(netns::inside(Some(&self.path()), work)?)
    }

    /// Returns what the interface itself counted.
    pub fn counters(&self) -> Result<Counters> {
        let text = self.inside(|| fs::read_to_string("/proc/thread-self/net/dev"))??;
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix(INTERFACE)?.strip_prefix(':'))
            .context("the interface is gone")?;
        let numbers: Vec<u64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        match numbers[..] {
            [rx_bytes, rx_packets, _, _, _, _, _, _, tx_bytes, tx_packets, _, tx_dropped, ..] => {
                Ok(Counters {
                    sums: Sums { rx_packets, rx_bytes, tx_packets, tx_bytes },
                    tx_dropped,
                })
            }
            _ => bail!("/proc/net/dev has an unknown form: {line}"),
        }
    }
}

/// What an interface counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// What came and what left.
    pub sums: Sums,
    /// What was to leave when the driver had no room.
    pub tx_dropped: u64,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run(&["netns", "del", &self.name]) {
            eprintln!("namespace {} is left behind: {error:#}", self.name);
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("could not run ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
