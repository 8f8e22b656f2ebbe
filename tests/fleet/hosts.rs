//! The stage itself: hosts reach each other, programs run where they should, nothing is left.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tests::fleet::process::Running;
use tests::fleet::{self, Hosts, address};
use tests::{binaries, interrupt};

const LIMIT: Duration = Duration::from_secs(10);

/// HTTP, DNS and ping between hosts; then all is gone.
pub fn talk_and_leave_nothing() -> Result<()> {
    let label = "test-hosts";
    let hosts = Hosts::new(label)?;
    let actor = binaries::find(binaries::ACTOR)?;
    let start = |host: &str, arguments: &[&str]| {
        let mut command = hosts.place(host).command(&actor)?;
        Running::start("actor", command.args(arguments).stdout(Stdio::null()))
    };
    let _web = start("app-1", &["http-serve", "10.77.0.12:8080"])?;
    let names = start("outside", &["dns-serve", "203.0.113.66:53"])?;
    let procs = fs::read_to_string(hosts.place("outside").cgroup.join("cgroup.procs"))?;
    ensure!(procs.trim() == names.pid().to_string(), "the server is not in its cgroup: {procs:?}");
    let attempts: [(&str, &[&str]); 3] = [
        ("web-1", &["http-get", "10.77.0.12:8080", "--count", "3"]),
        ("db-1", &["dns-query", "203.0.113.66:53", "db-1.example"]),
        ("web-1", &["ping", address("db-1").ipv6, "--count", "2"]),
    ];
    for (host, arguments) in attempts {
        // The servers may still be starting.
        interrupt::eventually(&arguments.join(" "), LIMIT, || {
            Ok(start(host, arguments)?.wait(LIMIT)?.success().then_some(()))
        })?;
    }
    ensure!(!fleet::leftovers(label)?.is_empty(), "a living fleet should be seen");
    drop(hosts);
    let left = fleet::leftovers(label)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// A second fleet of a label is refused while the first lives, and fine after it.
pub fn a_label_is_taken_once() -> Result<()> {
    let first = Hosts::new("test-twice")?;
    if Hosts::new("test-twice").is_ok() {
        bail!("a second fleet of the same label was made");
    }
    drop(first);
    Hosts::new("test-twice").map(drop).context("the label should be free again")
}
