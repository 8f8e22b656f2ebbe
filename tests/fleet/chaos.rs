//! A few seeds of chaos; `cargo xtask chaos --seeds 200` runs more.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tests::{binaries, figure};

/// Seeds that are run each time: together they kill, cut and fill everything that can be.
const SEEDS: &str = "3";

/// Whatever happens, each event is in the journal once or counted as lost.
pub fn every_event_arrives_once_or_is_counted() -> Result<()> {
    let output = Command::new(binaries::find(binaries::CHAOS)?)
        .args(["--seeds", SEEDS, "--together", SEEDS])
        .stdin(Stdio::null())
        .output()
        .context("failed to start the chaos trials")?;
    let told = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "chaos ended with {}:\n{told}{said}", output.status);
    figure::tell("T-04", told.lines().last().unwrap_or_default());
    Ok(())
}
