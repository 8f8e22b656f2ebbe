//! Measures what the product says against what independent tools and people say, on real material
//! that lies beside the repository.

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::{self, Need};
use crate::{build, shell};

mod atomic;
mod flows;
mod logins;
mod sigma;

/// What is compared.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Name {
    /// Atomic Red Team's tests, run in a throw-away guest: which of them are found.
    Atomic,
    /// What captures hold: packets, bytes, conversations, DNS messages, TLS greetings.
    Flows,
    /// What logs say of log-ins.
    Logins,
    /// Each row of the catalogue acted out on this kernel, and benign twins.
    Runtime,
    /// Which rules match which events, beside an independent engine.
    Sigma,
}

/// Options of all of them.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What to compare.
    #[arg(value_enum)]
    name: Name,
    /// Folder of the material; without one, a folder beside the repository, if it is there.
    #[arg(long, value_name = "DIR")]
    material: Option<PathBuf>,
    /// Only tests whose technique begins like this, such as `T1070` (for `atomic`).
    #[arg(long, default_value = "")]
    only: String,
    /// Folder of public Sigma rules that the brain is given besides its own (for `atomic`).
    #[arg(long, value_name = "DIR")]
    rules: Option<PathBuf>,
    /// Print one row per line as JSON.
    #[arg(long)]
    json: bool,
}

/// Compares; `false` when something is not as it must be.
pub fn run(options: &Options) -> Result<bool> {
    let material = options.material.as_deref();
    match options.name {
        Name::Atomic => {
            atomic::run(material, options.rules.as_deref(), &options.only, options.json)
        }
        Name::Flows => flows::run(material, options.json),
        Name::Logins => logins::run(material, options.json),
        Name::Runtime => runtime(options.json),
        Name::Sigma => sigma::run(material, options.json),
    }
}

/// Acts each row out as root, in namespaces and cgroups of its own.
fn runtime(json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo])?;
    let programs = build::run(false)?;
    let mut runtime = shell::as_root(programs.join("runtime"));
    shell::succeeds(runtime.args(json.then_some("--json")))
}
