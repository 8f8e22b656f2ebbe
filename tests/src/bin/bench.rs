//! Measures what watching costs: what `cargo xtask bench` starts once all is built.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;
use tests::bench::{self, Options, idle::Idle, report, size, watcher::Stand};
use tests::interrupt;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures what watching costs")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What a sensor adds to storms of all kinds, takes at rest, and sends; beside its peers.
    Sensor {
        /// Print one row per line as JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// Pairs of runs, alone and watched.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        pairs: u32,
        /// Part of the usual number of operations, for trying things out.
        #[arg(long, default_value_t = 1.0, hide = true)]
        scale: f64,
        /// Leave the peers out, for trying things out.
        #[arg(long, hide = true)]
        alone: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse().what) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::asked() => ExitCode::from(130),
        Err(error) => {
            eprintln!("the benchmark failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(what: &What) -> Result<()> {
    interrupt::install()?;
    let What::Sensor { json, pairs, scale, alone } = *what;
    let tell = |value: Value, line: String| match json {
        true => println!("{value}"),
        false => println!("{line}"),
    };
    if !json {
        println!("{}", report::heading());
    }
    let stand = Stand::new()?;
    bench::storms(&stand, Options { pairs, scale, peers: !alone }, |row| {
        tell(row.to_json(), row.to_line())
    })?;
    let idle = Idle::measure(&stand, scale)?;
    tell(idle.to_json(), idle.to_lines());
    for size in size::measure(&stand)? {
        tell(size.to_json(), size.to_line());
    }
    Ok(())
}
