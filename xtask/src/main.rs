//! All of Sakuramori's automation: `cargo xtask --help` lists it.

mod bench;
mod build;
mod chart;
mod count;
mod eval;
mod fuzz;
mod setup;
mod shell;
mod test;
mod tidy;
mod verify;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use setup::Need;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about = "Builds, tests, shows and measures Sakuramori")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Find or install what is missing: toolchains, bpf-linker, Node, distribution packages.
    Setup {
        /// Only say what is there and what is missing.
        #[arg(long)]
        check: bool,
        /// What to set up for; everything when not given.
        #[arg(value_enum)]
        needs: Vec<Need>,
    },
    /// Build the console, the kernel programs, the sensor and the brain.
    Build {
        /// Optimise fully, as for production.
        #[arg(long)]
        release: bool,
    },
    /// Run every test that this machine can run, and say which were skipped and why.
    Test {
        /// Leave out the slow ones: other kernels, the demo and the browser.
        #[arg(long)]
        quick: bool,
    },
    /// Show three hosts under attack: starts a brain, sensors and the attack on this machine.
    Demo {
        /// End once the findings are in, and exit with 0 only when they are the right ones.
        #[arg(long)]
        once: bool,
        /// Print one finding per line as JSON instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Boot Debian kernels in QEMU and run the kernel trials there.
    Vm {
        /// Kernel version, such as 6.1; may be given several times. Default: 6.1 and 6.12.
        #[arg(long)]
        kernel: Vec<String>,
        /// Options of the trials' program, such as a part of the names of the trials to run.
        #[arg(last = true)]
        options: Vec<String>,
    },
    /// Say what each kernel program costs the verifier, on this kernel and in the guests; fail when
    /// one has grown by a fifth.
    Verify {
        /// Make the checked-in table anew.
        #[arg(long)]
        write: bool,
    },
    /// Measure speed against peers, in one run.
    Bench {
        /// What to measure.
        #[arg(value_enum)]
        name: bench::Name,
        /// Print one row per line as JSON.
        #[arg(long)]
        json: bool,
        /// For `sigma`: a folder of rules instead; may be given several times.
        #[arg(long, value_name = "DIR")]
        rules: Vec<std::path::PathBuf>,
    },
    /// Run a brain and sensors' transport while packets are lost, programs killed and disks full,
    /// and hold the journal against what was sent.
    Chaos {
        /// How many seeds.
        #[arg(long, default_value_t = 10)]
        seeds: u64,
        /// The first one.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print one trial per line as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare what the product says of real material with what others say of it.
    Eval(eval::Options),
    /// Check the Helm chart: lint, schemas, pod security, and the sensor confined as its pod is.
    Chart {
        /// Leave out the trial, which needs everything built and root.
        #[arg(long)]
        rendered: bool,
    },
    /// Give hostile bytes to every parser of the sensor and of the protocol, led by coverage.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = fuzz::SECONDS)]
        seconds: u64,
        /// Targets; all of them when none is named.
        targets: Vec<String>,
    },
    /// Check the rules of this code base that a machine can judge.
    Tidy,
    /// What continuous integration runs: the same as `test`.
    Ci,
}

fn main() -> ExitCode {
    if let Some(code) = fuzz::wrapped() {
        return code;
    }
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a command; `false` means that it ran and found something wrong.
fn run(command: Command) -> Result<bool> {
    match command {
        Command::Setup { check, needs } => setup::run(&needs, check),
        Command::Build { release } => build::run(release).map(|_| true),
        Command::Test { quick } => test::run(quick),
        Command::Ci => test::run(false),
        Command::Demo { once, json } => demo(once, json),
        Command::Vm { kernel, options } => {
            setup::ensure(&[Need::Build, Need::Vm])?;
            vm::run(&kernel, &options)
        }
        Command::Bench { name, json, rules } => bench::run(name, json, rules),
        Command::Verify { write } => verify::run(write),
        Command::Chaos { seeds, seed, json } => chaos(seeds, seed, json),
        Command::Eval(options) => eval::run(&options),
        Command::Chart { rendered } => {
            setup::ensure(&[Need::Chart])?;
            if !rendered {
                setup::ensure(&[Need::Build, Need::Demo])?;
                build::run(false)?;
            }
            chart::check(!rendered).map(|count| count.failed == 0 && count.passed > 0)
        }
        Command::Fuzz { seconds, targets } => fuzz::run(seconds, &targets),
        Command::Tidy => tidy::run(&shell::root()).map(|()| true),
    }
}

fn demo(once: bool, json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo])?;
    let programs = build::run(false)?;
    let mut demo = shell::as_root(programs.join("demo"));
    demo.args(once.then_some("--once")).args(json.then_some("--json"));
    shell::succeeds(&mut demo)
}

fn chaos(seeds: u64, seed: u64, json: bool) -> Result<bool> {
    setup::ensure(&[Need::Build, Need::Demo])?;
    let programs = build::run(false)?;
    let mut chaos = shell::as_root(programs.join("chaos"));
    chaos.args(["--seeds", &seeds.to_string(), "--seed", &seed.to_string()]);
    shell::succeeds(chaos.args(json.then_some("--json")))
}
