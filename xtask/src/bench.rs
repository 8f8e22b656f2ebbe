//! Measuring what watching, sending and deciding cost; the benchmarks themselves are programs of
//! the crates `tests`, `transport` and `sigma-peers`.

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
    /// Bytes of a record on the wire beside JSON and Protobuf, and how fast batches are packed.
    Wire,
    /// Batches on disk and acknowledged in a second, beside NATS JetStream.
    Ingest,
    /// What very many sensors cost a brain, and how soon their batches are acknowledged.
    Fleet,
    /// How long a brain takes to serve again, with a long journal and a large fleet behind it.
    Restart,
    /// How soon a fleet is back after its brain was away.
    Herd,
    /// How long it takes from an event in a kernel to the finding that a brain has of it.
    Latency,
}

/// Builds what is shipped and measures it.
pub fn run(name: Name, json: bool, rules: Vec<PathBuf>) -> Result<bool> {
    match name {
        Name::Sensor => sensor("sensor", json),
        Name::Latency => sensor("latency", json),
        Name::Sigma => sigma(json, rules),
        Name::Wire => transport("wire", json),
        // Without the peer it still runs, and says so.
        Name::Ingest => transport("ingest", json),
        Name::Fleet => with_brain("fleet", json),
        Name::Restart => with_brain("restart", json),
        Name::Herd => with_brain("herd", json),
    }
}

/// Measures real sensors, which takes root.
fn sensor(what: &str, json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo, Need::Bench])?;
    let programs = build::run(true)?;
    let mut bench = shell::as_root(programs.join("bench"));
    shell::succeeds(bench.arg(what).args(json.then_some("--json")))
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

/// Measures the brain that is shipped.
fn with_brain(what: &str, json: bool) -> Result<bool> {
    let mut brain = shell::cargo();
    shell::must(brain.args(["build", "--locked", "--quiet", "--release", "-p", "brain"]))?;
    transport(what, json)
}

/// Measures the transport.
fn transport(what: &str, json: bool) -> Result<bool> {
    let mut bench = shell::cargo();
    bench.args(["run", "--locked", "--quiet", "--release", "-p", "transport"]);
    bench.args(["--bin", "transport_bench", "--", what]).args(json.then_some("--json"));
    shell::succeeds(&mut bench)
}
