//! Three hosts, one attack, the findings: what `cargo xtask demo` starts once all is built.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tests::{demo, interrupt};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask demo", about = "Shows an attack over three hosts being found")]
struct Arguments {
    /// End once the findings are in, and exit with 0 only when they are the right ones.
    #[arg(long)]
    once: bool,
    /// Print one finding per line as JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Seconds of benign traffic before the attack.
    #[arg(long, default_value_t = 60, hide = true)]
    benign_seconds: u64,
    /// Tells fleets apart that run at the same time.
    #[arg(long, default_value = "demo", hide = true)]
    label: String,
}

fn main() -> ExitCode {
    let Arguments { once, json, benign_seconds, label } = Arguments::parse();
    let benign = Duration::from_secs(benign_seconds);
    let options = demo::Options { once, json, benign, label };
    match interrupt::install().and_then(|()| demo::run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // As a shell reports a program that Ctrl-C ended.
        Err(_) if interrupt::asked() => ExitCode::from(130),
        Err(error) => {
            eprintln!("the demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}
