//! Measuring what watching and deciding cost; the benchmarks themselves are programs of the crates
//! `tests` and `sigma-peers`.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;

use crate::setup::{self, Need};
use crate::{build, shell};

/// Folders of public rules beside the repository, if they are there.
const RULES: [&str; 2] = ["../shared/material/sigma-linux", "../shared/material/sigma-network"];

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Name {
    /// What a sensor adds to storms of all kinds, takes at rest, and sends; beside its peers.
    Sensor,
    /// Events that the Sigma engine decides in a second, with one, ten and a hundred times the
    /// rules, and what rules cost; beside its peers.
    Sigma,
}

/// Builds what is shipped and measures it.
pub fn run(name: Name, json: bool, rules: Vec<PathBuf>) -> Result<bool> {
    match name {
        Name::Sensor => sensor(json),
        Name::Sigma => sigma(json, rules),
    }
}

fn sensor(json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo, Need::Bench])?;
    let programs = build::run(true)?;
    let mut bench = shell::as_root(programs.join("bench"));
    shell::succeeds(bench.arg("sensor").args(json.then_some("--json")))
}

/// Measures with the rules of these folders; without any, with public ones or else our own.
fn sigma(json: bool, mut folders: Vec<PathBuf>) -> Result<bool> {
    if folders.is_empty() {
        let public = RULES.map(|folder| shell::root().join(folder));
        folders.extend(public.into_iter().filter(|folder| folder.is_dir()));
    }
    if folders.is_empty() {
        eprintln!("skipped: public rules, which are not there; name a folder by --rules");
        folders.push(shell::root().join("policies/sigma"));
    }
    let mut bench = shell::cargo();
    bench.args(["run", "--locked", "--quiet", "--release", "-p", "sigma-peers"]);
    bench.args(["--bin", "sigma_bench", "--"]).args(json.then_some("--json"));
    shell::succeeds(bench.args(folders))
}
