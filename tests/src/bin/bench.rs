//! Measures what watching costs: what `cargo xtask bench` starts once all is built.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use serde_json::Value;
use tests::bench::{self, Options, idle::Idle, latency::Latency, report, size, watcher::Stand};
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
    /// How long it takes from an event in a kernel to its finding.
    Latency {
        /// Print one row as JSON.
        #[arg(long)]
        json: bool,
        /// Acts that are found.
        #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u32).range(1..))]
        acts: u32,
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
    match *what {
        What::Sensor { json, pairs, scale, alone } => {
            sensor(json, Options { pairs, scale, peers: !alone })
        }
        What::Latency { json, acts } => {
            let latency = Latency::measure(acts)?;
            println!("{}", if json { latency.to_json().to_string() } else { latency.to_line() });
            Ok(())
        }
    }
}

fn sensor(json: bool, options: Options) -> Result<()> {
    let tell = |value: Value, line: String| match json {
        true => println!("{value}"),
        false => println!("{line}"),
    };
    if !json {
        println!("{}", report::heading());
    }
    let stand = Stand::new()?;
    bench::storms(&stand, options, |row| tell(row.to_json(), row.to_line()))?;
    let idle = Idle::measure(&stand, options.scale)?;
    tell(idle.to_json(), idle.to_lines());
    for size in size::measure(&stand)? {
        tell(size.to_json(), size.to_line());
    }
    Ok(())
}
