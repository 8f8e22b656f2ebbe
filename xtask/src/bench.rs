//! Measuring what watching costs; the benchmark itself is a program of the `tests` crate.

use anyhow::Result;
use clap::ValueEnum;

use crate::setup::{self, Need};
use crate::{build, shell};

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// Bare system calls, execs and connections on a watched host.
    Host,
}

/// Builds what is shipped and measures it.
pub fn run(name: Name, json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo, Need::Bench])?;
    let programs = build::run(true)?;
    let mut bench = shell::as_root(programs.join("bench"));
    match name {
        Name::Host => bench.arg("host"),
    };
    shell::succeeds(bench.args(json.then_some("--json")))
}
