//! Chaos trials: what `cargo xtask chaos` starts once all is built, and the sensors of them.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tests::chaos::{self, sensor};
use tests::interrupt;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask chaos", about = "Loses packets, kills programs and fills disks")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Trials at the same time.
    #[arg(long, default_value_t = 2)]
    together: u64,
    /// Print one trial per line as JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A sensor's transport, fed from standard input.
    #[command(hide = true)]
    Sensor(sensor::Settings),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let good = match &arguments.role {
        Some(Role::Sensor(settings)) => sensor::run(settings).map(|()| true),
        None => interrupt::install().and_then(|()| run(&arguments)),
    };
    match good {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(_) if interrupt::asked() => ExitCode::from(130),
        Err(error) => {
            eprintln!("chaos failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let Arguments { seeds, seed, together, json, .. } = *arguments;
    chaos::run(&chaos::Options { seed, seeds, together, json })
}
