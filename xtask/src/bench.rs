//! Measuring what watching costs; the benchmark itself is a program of the `tests` crate.

use anyhow::Result;
use clap::ValueEnum;

use crate::setup::{self, Need};
use crate::{build, shell};

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// What a sensor adds to storms of all kinds, takes at rest, and sends; beside its peers.
    Sensor,
}

/// Builds what is shipped and measures it.
pub fn run(name: Name, json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo, Need::Bench])?;
    let programs = build::run(true)?;
    let mut bench = shell::as_root(programs.join("bench"));
    match name {
        Name::Sensor => bench.arg("sensor"),
    };
    shell::succeeds(bench.args(json.then_some("--json")))
}
