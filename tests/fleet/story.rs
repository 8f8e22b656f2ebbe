//! The whole demo, started and judged like a user would.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::demo::expect;
use tests::{binaries, fleet};

/// Benign traffic is kept short here; the demo's own minute is a matter of showing.
pub const BENIGN_SECONDS: &str = "5";

/// The demo exits with 0 and prints the findings; afterwards nothing is left.
pub fn demo_finds_the_attack() -> Result<()> {
    let label = "test-story";
    let output = Command::new(binaries::find(binaries::DEMO)?)
        .args(["--once", "--json", "--label", label, "--benign-seconds", BENIGN_SECONDS])
        .stdin(Stdio::null())
        .output()
        .context("failed to start the demo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the demo ended with {}:\n{said}", output.status);
    let findings: Vec<Value> = std::str::from_utf8(&output.stdout)?
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()
        .context("the demo printed something that is no JSON")?;
    let mut problems = expect::missing(&findings);
    problems.extend(expect::unwanted(&findings));
    ensure!(problems.is_empty(), "{problems:?}");
    let left = fleet::leftovers(label)?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}
