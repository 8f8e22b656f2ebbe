//! Ctrl-C and SIGTERM end a wait instead of the process, so that every guard is dropped.
//!
//! A handler only sets a flag; all waiting goes through this module, which looks at the flag.

use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// How long a wait may take to notice the flag.
const SLICE: Duration = Duration::from_millis(50);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note(_signal: nix::libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}

/// Installs the handlers. Programs started later have the default ones again, as exec resets them.
pub fn install() -> Result<()> {
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores into an atomic, which is async-signal-safe.
        unsafe { sigaction(signal, &action) }.context("failed to install a signal handler")?;
    }
    Ok(())
}

/// Whether an end was asked for.
pub fn asked() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Fails once an end was asked for, so that `?` unwinds through all guards.
pub fn check() -> Result<()> {
    if asked() {
        bail!(Error::new(ErrorKind::Interrupted, "interrupted"));
    }
    Ok(())
}

/// Sleeps, or fails as soon as an end was asked for.
pub fn sleep(duration: Duration) -> Result<()> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(SLICE));
    }
}

/// Asks again and again until there is an answer, the time is over or an end was asked for.
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        check()?;
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() >= end {
            bail!("{what} did not happen within {} s", limit.as_secs());
        }
        thread::sleep(SLICE);
    }
}
