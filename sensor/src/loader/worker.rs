//! Starts the worker: a fork that keeps two descriptors, gives up everything, and runs the app.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::prctl;
use nix::sys::signal::SigSet;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{ForkResult, Pid, fchdir, fork, getppid};

use crate::app;
use crate::config::Config;
use crate::privileged::{self, protocol, remote::Remote};
use crate::sandbox::{self, Plan, account::Account};

/// Shown in process lists instead of the program's name.
const NAME: &std::ffi::CStr = c"sakuramori-work";
/// Highest descriptor that is closed one by one on kernels without a call for a range.
const DESCRIPTORS_OLD: RawFd = 4096;
/// Exit code of a worker that panicked.
const PANICKED: i32 = 101;

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) pid: Pid,
    /// Where it asks.
    pub(super) socket: OwnedFd,
    pub(super) started: Instant,
    /// When it last asked.
    pub(super) heard: Instant,
    /// Whether it collects.
    pub(super) ready: bool,
    /// Whether its end is asked for, because another one is to take its place.
    pub(super) replaced: bool,
}

impl Worker {
    /// Starts one. This process must have no other thread.
    pub(super) fn start(
        config: &Config,
        account: Option<&Account>,
        state: &OwnedFd,
    ) -> Result<Self> {
        let (near, far) = protocol::pair().context("cannot make a way to the worker")?;
        let loader = Pid::this();
        // SAFETY: this process has one thread, so the child inherits no lock that is held.
        match unsafe { fork() }.context("cannot start the worker")? {
            ForkResult::Parent { child } => {
                let now = Instant::now();
                Ok(Self {
                    pid: child,
                    socket: near,
                    started: now,
                    heard: now,
                    ready: false,
                    replaced: false,
                })
            }
            ForkResult::Child => {
                let work = || work(config, account.cloned(), state, far, loader);
                let code = match catch_unwind(AssertUnwindSafe(work)) {
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => {
                        eprintln!("sakuramori-sensor: {error:#}");
                        1
                    }
                    Err(_) => PANICKED,
                };
                // SAFETY: ends this process without dropping anything of the loader's, which would
                // detach the programs.
                unsafe { libc::_exit(code) }
            }
        }
    }
}

/// Everything that the worker does.
fn work(
    config: &Config,
    account: Option<Account>,
    state: &OwnedFd,
    socket: OwnedFd,
    loader: Pid,
) -> Result<()> {
    close_all_but([state.as_fd(), socket.as_fd()]);
    SigSet::all().thread_unblock().context("cannot take signals")?;
    prctl::set_name(NAME).context("cannot take a name")?;
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    // The folders above may be closed to another user, so it is reached from inside.
    fchdir(state).context("cannot enter the state directory")?;
    let config = Config { state_dir: PathBuf::from("."), ..config.clone() };
    let state = state.try_clone().context("cannot keep the state directory")?;
    let readable = config.host_root.iter().cloned().collect();
    let plan = Plan { account, state, readable };
    let held = sandbox::enter(&plan).context("cannot give up privileges")?;
    ensure!(getppid() == loader, "the loader is gone");
    tracing::info!(held = held.sentence(), missing = held.missing.join("; "), "sandboxed");
    privileged::use_loader(Remote::new(socket));
    let loader = privileged::loader().context("no way to the loader")?;
    app::run(&config, loader, &held)
}

/// Closes what belongs to the loader: programs stay attached as long as anybody holds their links.
fn close_all_but(kept: [BorrowedFd<'_>; 2]) {
    let mut kept = kept.map(|fd| fd.as_raw_fd());
    kept.sort_unstable();
    let [low, high] = kept;
    for (first, last) in [(3, low - 1), (low + 1, high - 1), (high + 1, RawFd::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: the owners of these descriptors are the loader's, which this process never runs
        // nor drops.
        let answer = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if answer != 0 {
            for fd in first..=last.min(DESCRIPTORS_OLD) {
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
        }
    }
}
