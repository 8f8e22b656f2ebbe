//! `sakuramori-sensor`: flags → configuration → what was asked for → exit code.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sensor::cli::{Cli, Command};
use sensor::config::Config;
use sensor::{alive, doctor, loader, log, login, memory, replay, watch};

/// Exit code of a wrong command line or configuration.
const WRONG_USE: u8 = 2;

fn main() -> ExitCode {
    memory::return_early();
    let cli = Cli::parse();
    if let Command::Completions { shell } = cli.command {
        Cli::print_completions(shell);
        return ExitCode::SUCCESS;
    }
    if let Command::Canary { .. } = cli.command {
        return ExitCode::SUCCESS;
    }
    let config = match cli.configuration() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("sakuramori-sensor: {error}");
            return ExitCode::from(WRONG_USE);
        }
    };
    log::start(config.log_level, config.log_format);
    match run(cli, config) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sakuramori-sensor: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli, config: Config) -> Result<ExitCode> {
    match cli.command {
        Command::Run(_) => loader::run(cli, config),
        Command::Doctor { json, .. } => doctor::run(&config, json),
        Command::Watch { json, .. } => watch::run(&config, json).map(|()| ExitCode::SUCCESS),
        Command::Replay(args) => replay::run(&config, &args.options()),
        Command::Logins { files } => login::show::run(&files).map(|()| ExitCode::SUCCESS),
        Command::Health { max_age_s } => Ok(alive::run(&config.state_dir, max_age_s)),
        Command::Canary { .. } | Command::Completions { .. } => Ok(ExitCode::SUCCESS),
    }
}
