//! Measures what watching costs: what `cargo xtask bench` starts once all is built.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tests::bench::{self, Options, report};
use tests::interrupt;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", about = "Measures what watching costs")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Bare system calls, execs and connections on a watched host.
    Host {
        /// Print one row per line as JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// Pairs of runs, alone and watched.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        pairs: u32,
        /// Part of the usual number of operations, for trying things out.
        #[arg(long, default_value_t = 1.0, hide = true)]
        scale: f64,
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
    let What::Host { json, pairs, scale } = *what;
    if !json {
        println!("{}", report::heading());
    }
    bench::host(Options { pairs, scale }, |row| {
        if json {
            println!("{}", row.to_json());
        } else {
            println!("{}", row.to_line());
        }
    })
}
