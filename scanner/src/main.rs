//! `sakuramori-scanner`: a connection as standard input → answers until it is closed.

use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, accept4, bind, listen, socket,
};
use scanner::{check, sandbox, serve};

/// Sensors that are served at once: the one of the host, and one that takes its place.
const CONNECTIONS_MAX: usize = 4;

/// Looks into files with YARA rules, for a sensor.
///
/// Without a command it serves the connection that is its standard input, as a systemd socket with
/// `Accept=yes` hands it over.
#[derive(Debug, Parser)]
#[command(name = "sakuramori-scanner", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Listens on a socket and starts a process for each connection, where systemd does not.
    Listen {
        /// The socket's path.
        socket: PathBuf,
    },
    /// Compiles the rules in a folder and tries them on the samples beside them.
    Check {
        /// The folder.
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        None => run(),
        Some(What::Listen { socket }) => serve_all(&socket),
        Some(What::Check { folder }) => return report(&folder),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sakuramori-scanner: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        bail!("standard input is a terminal; it must be a connection, or name a command");
    }
    let socket: OwnedFd = stdin.as_fd().try_clone_to_owned().context("no standard input")?;
    for missing in sandbox::enter()? {
        eprintln!("sakuramori-scanner: {missing}");
    }
    serve::run(&socket).context("the sensor is gone")
}

fn serve_all(path: &Path) -> Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    // One that an earlier start left behind.
    let _ = fs::remove_file(path);
    let at = || format!("cannot listen on {}", path.display());
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &UnixAddr::new(path)?).with_context(at)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).with_context(at)?;
    listen(&listener, Backlog::new(CONNECTIONS_MAX as i32)?).with_context(at)?;
    let mut children: Vec<Child> = Vec::new();
    loop {
        let accepted = accept4(std::os::fd::AsRawFd::as_raw_fd(&listener), flags)?;
        // SAFETY: the kernel has just made it, and nobody else knows it.
        let accepted = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(accepted) };
        children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if children.len() == CONNECTIONS_MAX {
            eprintln!("sakuramori-scanner: {CONNECTIONS_MAX} connections are open; one is refused");
            continue;
        }
        let mut command = Command::new(std::env::current_exe().context("no program")?);
        command.stdin(Stdio::from(accepted)).stdout(Stdio::null());
        children.push(command.spawn().context("cannot start a process")?);
    }
}

fn report(folder: &Path) -> ExitCode {
    match check::run(folder) {
        Ok(report) => {
            report.problems.iter().for_each(|problem| println!("{problem}"));
            println!(
                "{} rules in {} files, {} samples, {} problems",
                report.rules,
                report.files,
                report.samples,
                report.problems.len()
            );
            if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("sakuramori-scanner: {error:#}");
            ExitCode::FAILURE
        }
    }
}
