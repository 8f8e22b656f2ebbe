//! The fleet's daily life: what must not become a finding.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::stage::Stage;
use crate::fleet::{OUTSIDE, WATCHED, address};
use crate::interrupt;

/// Pause between two rounds, so that a minute is a minute and not a load test.
const ROUND_PAUSE: Duration = Duration::from_millis(500);
/// A job as cron starts it.
const JOB: &str = "date > /dev/null; ls /tmp > /dev/null; id -u > /dev/null";

/// Repeats rounds of benign traffic for the given time, at least one.
pub fn traffic(stage: &Stage, length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    loop {
        round(stage)?;
        let left = end.saturating_duration_since(Instant::now());
        interrupt::sleep(ROUND_PAUSE.min(left))?;
        if left <= ROUND_PAUSE {
            return Ok(());
        }
    }
}

fn round(stage: &Stage) -> Result<()> {
    let app = format!("{}:8080", address("app-1").ipv4);
    let database = format!("{}:5432", address("db-1").ipv4);
    let names = format!("{}:53", address(OUTSIDE).ipv4);
    stage.act("web-1", &["http-get", &app, "--count", "5"])?;
    stage.act("app-1", &["http-get", &database, "--count", "5"])?;
    for host in WATCHED {
        stage.act(host, &["dns-query", &names, &format!("{host}.example")])?;
        let status = stage.run(host, Path::new("/bin/sh"), &["-c", JOB])?;
        ensure!(status.success(), "the job of {host} ended with {status}");
    }
    stage.act("web-1", &["ping", address("db-1").ipv6, "--count", "3"])?;
    stage.act("db-1", &["ping", address("app-1").ipv6, "--count", "3"])
}
