//! A program in a place: started inside a cgroup and a network namespace, ended with its guard.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, setsid};

/// How long a program may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks at a program that is ending.
const END_PAUSE: Duration = Duration::from_millis(10);

/// Where a program runs.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its cgroup.
    pub cgroup: PathBuf,
    /// Its network namespace; our own when absent.
    pub netns: Option<PathBuf>,
}

impl Place {
    /// Prepares a command that will run here.
    ///
    /// The child moves itself between fork and exec, so the exec already happens in the place and
    /// the host's sensor sees it.
    pub fn command(&self, program: impl AsRef<Path>) -> Result<Command> {
        let procs = self.cgroup.join("cgroup.procs");
        let mut procs = OpenOptions::new()
            .write(true)
            .open(&procs)
            .with_context(|| format!("failed to open {}", procs.display()))?;
        let netns = match &self.netns {
            Some(path) => Some(
                File::open(path).with_context(|| format!("failed to open {}", path.display()))?,
            ),
            None => None,
        };
        let mut command = Command::new(program.as_ref());
        let enter = move || {
            // A session of its own keeps the terminal's Ctrl-C away, as the fleet ends its programs
            // in order, and keeps an interactive shell from taking the terminal.
            setsid()?;
            set_pdeathsig(Signal::SIGKILL)?;
            procs.write_all(b"0")?;
            if let Some(netns) = &netns {
                setns(netns, CloneFlags::CLONE_NEWNET)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only makes system calls on descriptors that
        // were opened before, and allocates nothing.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
}

impl Running {
    /// Starts a command.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("failed to start {name}"))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The child, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Fails when the program has ended, which a server must not do by itself.
    pub fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself with {status}", self.name),
        }
    }

    /// Waits for its end, at most for the given time.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > end {
                bail!("{} still runs after {} s", self.name, limit.as_secs());
            }
            thread::sleep(END_PAUSE);
        }
    }

    /// Asks the program to end and waits for it.
    pub fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(END_LIMIT)
    }

    /// Sends a signal to the program alone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.group(), signal).with_context(|| format!("failed to signal {}", self.name))
    }

    /// Kills the program at once, as a crash would.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    fn group(&self) -> Pid {
        // Linux process numbers are at most 2^22, so the sign is never touched.
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Until it is waited for, the number cannot belong to anyone else.
        if let Ok(None) = self.child.try_wait() {
            // The group's other members, such as a shell's programs, are ours as well.
            let _ = killpg(self.group(), Signal::SIGKILL);
            let _ = self.kill();
        }
    }
}
