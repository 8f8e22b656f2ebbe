//! Measures what the product says against what independent tools and people say, on real material
//! that lies beside the repository.

use std::path::PathBuf;

use anyhow::Result;

mod flows;
mod logins;
mod sigma;

/// What is compared.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Name {
    /// What captures hold: packets, bytes, conversations, DNS messages, TLS greetings.
    Flows,
    /// What logs say of log-ins.
    Logins,
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
    /// Print one row per line as JSON.
    #[arg(long)]
    json: bool,
}

/// Compares; `false` when something is not as it must be.
pub fn run(options: &Options) -> Result<bool> {
    match options.name {
        Name::Flows => flows::run(options.material.as_deref(), options.json),
        Name::Logins => logins::run(options.material.as_deref(), options.json),
        Name::Sigma => sigma::run(options.material.as_deref(), options.json),
    }
}
