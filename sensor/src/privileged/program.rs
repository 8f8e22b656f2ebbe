//! Programs of the host that are asked for what only they can read: the journal, and rpm's
//! database. Which there are and with what arguments is fixed here; one number may differ.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::loader;
use super::protocol::{self, Request};

/// Fields of the journal that are asked for.
const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_UID,_EXE,\
    _SOURCE_REALTIME_TIMESTAMP";
/// Messages of the facilities `auth` and `authpriv`, and of sshd whatever facility it is set to.
const MATCHES: [&str; 8] = [
    "SYSLOG_FACILITY=4",
    "SYSLOG_FACILITY=10",
    "+",
    "SYSLOG_IDENTIFIER=sshd",
    "SYSLOG_IDENTIFIER=sshd-session",
    "SYSLOG_IDENTIFIER=sshd-auth",
    "SYSLOG_IDENTIFIER=sudo",
    "SYSLOG_IDENTIFIER=su",
];
/// What rpm prints for each package.
const RPM_FORMAT: &str = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\n";

/// A program that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Follows the journal from a second on, counted since the Unix epoch.
    Journal,
    /// Lists rpm's packages.
    Packages,
}

impl Program {
    /// All of them, in the order of their numbers.
    pub const ALL: &[Self] = &[Self::Journal, Self::Packages];

    fn command(self, number: u32) -> Command {
        match self {
            Self::Journal => {
                let mut command = Command::new("/usr/bin/journalctl");
                command.args(["--follow", "--no-tail", "--quiet", "--all", "--output=json"]);
                command.arg(FIELDS).arg(format!("--since=@{number}")).args(MATCHES);
                command
            }
            Self::Packages => {
                let mut command = Command::new("/usr/bin/rpm");
                command.args(["-qa", "--qf", RPM_FORMAT]);
                command
            }
        }
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Running {
    output: File,
    /// Not there when it is the loader's.
    child: Option<Child>,
}

impl Running {
    /// Starts a command of the caller's.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let (child, output) = spawn(&mut command)?;
        Self::of(output, Some(child))
    }

    fn of(output: OwnedFd, child: Option<Child>) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(output.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(output.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self { output: File::from(output), child })
    }

    /// Reads what it has printed, without waiting for more.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.output.read(buffer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already; waiting for it then returns at once.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Starts a program: through the loader where there is one, for it may read more.
pub fn start(program: Program, number: u32) -> io::Result<Running> {
    match loader() {
        Some(loader) => {
            let request = Request::of(protocol::START_PROGRAM, number, program as u32);
            Running::of(loader.descriptor(&request)?, None)
        }
        None => Running::start(program.command(number)),
    }
}

/// Starts a program here; returns the end of the pipe that it prints to.
pub(crate) fn start_here(program: Program, number: u32) -> io::Result<(Child, OwnedFd)> {
    spawn(&mut program.command(number))
}

fn spawn(command: &mut Command) -> io::Result<(Child, OwnedFd)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((child, output.into()))
}
