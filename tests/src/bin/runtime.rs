//! Acts every row of the catalogue out: what `cargo xtask eval runtime` starts once all is built.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tests::{interrupt, runtime};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask eval runtime", about = "Acts each row out and judges what is found")]
struct Arguments {
    /// Print one row per line as JSON.
    #[arg(long)]
    json: bool,
    /// Only rows whose name has this in it, and their twins.
    #[arg(long)]
    only: Option<String>,
    /// Tells fleets apart that run at the same time.
    #[arg(long, default_value = "runtime", hide = true)]
    label: String,
}

fn main() -> ExitCode {
    match interrupt::install().and_then(|()| run(Arguments::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt::asked() => ExitCode::from(130),
        Err(error) => {
            eprintln!("the evaluation failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let Arguments { json, only, label } = arguments;
    let report = runtime::run(&runtime::Options { short: false, only, label })?;
    if json {
        print!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(report.is_good())
}
