//! The process that holds the capabilities: loads and attaches the programs, hands their maps to a
//! worker without any, answers its few questions, and starts it again when it ends.
//!
//! It is small, has one thread, parses nothing that comes from a process or a network, and outlives
//! the worker: the programs stay attached and go on counting while a worker is away.
//!
//! # Reading order
//! [`state`] (the folder that the worker gets), [`worker`] (fork and sandbox), [`serve`].

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

use crate::cli::Cli;
use crate::config::Config;
use crate::privileged::program::Program;
use crate::probe::Probes;
use crate::sandbox::account::{self, Account};
use crate::sandbox::capability;
use crate::systemd;

mod serve;
mod state;
mod worker;

use self::worker::Worker;

/// Time between two looks at everything that does not announce itself.
const TEND_INTERVAL: Duration = Duration::from_millis(500);
/// A worker tells that it is alive every few seconds; one that was silent for so long hangs.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// How long a worker may take for its last flush; what it has not sent by then waits on disk.
const STOP_TIME: Duration = Duration::from_secs(8);
/// Pause before a worker is started again that ended soon after its start, doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest such pause: a host is not left unwatched.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A worker that ran for so long had a good start.
const GOOD_START: Duration = Duration::from_secs(30);

/// Runs the sensor until it is told to stop.
///
/// `cli` is what the configuration came from, and comes from again on SIGHUP.
pub fn run(cli: Cli, config: Config) -> Result<ExitCode> {
    let state = state::make(&config.state_dir)?;
    let account = whom(&config)?;
    if let Some(account) = &account {
        state::hand_over(&state, account).context("cannot give the worker its state directory")?;
    }
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
        signals.add(signal);
    }
    signals.thread_block().context("cannot block signals")?;
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = SignalFd::with_flags(&signals, flags).context("cannot read signals")?;
    let pins = match &config.pin {
        // A host is not left unwatched because the programs would not outlive the sensor.
        Some(folder) => state::pin_folder(folder, &config.state_dir)
            .inspect_err(|error| {
                let error = format!("{error:#}");
                tracing::error!(error, "the programs will not outlive the sensor");
            })
            .ok(),
        None => None,
    };
    capability::keep_only(&kept(&config)).context("cannot give up capabilities")?;
    let mut loader = Loader {
        cli,
        config,
        account,
        state,
        signals,
        pins,
        probes: None,
        load: 0,
        worker: None,
        again: Some(Instant::now()),
        pause: PAUSE_MIN,
        told: Told::default(),
        stop_until: None,
        tended: Instant::now(),
        programs: Vec::new(),
        reload_asked: false,
    };
    loader.run()
}

/// Returns whom the worker becomes: nobody else when this process may not choose.
fn whom(config: &Config) -> Result<Option<Account>> {
    let needed = 1 << capability::SETUID | 1 << capability::SETGID;
    if capability::effective()? & needed != needed {
        return Ok(None);
    }
    let name = config.user.as_deref();
    let missing = || format!("there is no user {:?} on this host; set guard.user", name);
    account::find(name).map(Some).with_context(missing)
}

/// The capabilities that the loader keeps.
fn kept(config: &Config) -> Vec<u32> {
    let mut kept = vec![
        capability::BPF,
        capability::PERFMON,
        capability::NET_ADMIN,
        capability::SYS_PTRACE,
        capability::DAC_READ_SEARCH,
        // For the next worker, and to end one that hangs.
        capability::SETUID,
        capability::SETGID,
        capability::SETPCAP,
        capability::KILL,
    ];
    // Only for another network namespace than its own.
    kept.extend(config.scope.netns.as_ref().map(|_| capability::SYS_ADMIN));
    kept
}

/// What coverage tells of the workers.
#[derive(Debug, Default)]
struct Told {
    /// Whether any worker got so far as to collect.
    ready: bool,
    restarts: u64,
    /// Times that somebody stopped a worker without ending it.
    stopped: u64,
    latest: String,
    /// Times that new settings were taken.
    reloads: u64,
    /// Why the latest ones were not.
    refused: Option<String>,
}

/// The loader's state.
#[derive(Debug)]
struct Loader {
    cli: Cli,
    config: Config,
    account: Option<Account>,
    state: OwnedFd,
    signals: SignalFd,
    /// Where maps and links get names.
    pins: Option<PathBuf>,
    probes: Option<Probes>,
    /// Tells one load of the programs from another.
    load: u64,
    worker: Option<Worker>,
    /// When the next worker is due, while there is none.
    again: Option<Instant>,
    pause: Duration,
    told: Told,
    /// Set once the sensor stops: the worker has until then.
    stop_until: Option<Instant>,
    tended: Instant,
    /// Programs of the host that run for the worker.
    programs: Vec<(Program, Child)>,
    /// The worker has new settings from the brain; they are read once it has its answer.
    reload_asked: bool,
}

impl Loader {
    fn run(&mut self) -> Result<ExitCode> {
        loop {
            if self.worker.is_none() && self.again.is_some_and(|due| due <= Instant::now()) {
                self.again = None;
                self.worker =
                    Some(Worker::start(&self.config, self.account.as_ref(), &self.state)?);
                self.exclude_own();
            }
            let asked = self.wait()?;
            while let Some(signal) = self.signals.read_signal().context("cannot read signals")? {
                self.on_signal(Signal::try_from(signal.ssi_signo as i32).ok());
            }
            if asked {
                self.serve_one();
            }
            if let Some(code) = self.reap()? {
                return Ok(code);
            }
            if self.tended.elapsed() >= TEND_INTERVAL {
                self.tended = Instant::now();
                self.tend(asked);
            }
        }
    }

    /// Waits until something happens; returns whether the worker asks.
    fn wait(&self) -> Result<bool> {
        let mut sources = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        if let Some(worker) = &self.worker {
            sources.push(PollFd::new(worker.socket.as_fd(), PollFlags::POLLIN));
        }
        let until_due = self.again.map(|due| due.saturating_duration_since(Instant::now()));
        let time = until_due.unwrap_or(TEND_INTERVAL).min(TEND_INTERVAL);
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        match poll(&mut sources, time) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("cannot wait for the worker"),
        }
        let worker = sources.get(1).and_then(PollFd::revents);
        Ok(worker.is_some_and(|events| events.contains(PollFlags::POLLIN)))
    }

    fn on_signal(&mut self, signal: Option<Signal>) {
        match signal {
            Some(stop @ (Signal::SIGTERM | Signal::SIGINT)) if self.stop_until.is_none() => {
                if stop == Signal::SIGINT
                    && let Some(probes) = &mut self.probes
                {
                    // Whoever ends it by hand wants it gone.
                    probes.unpin();
                }
                self.stop_until = Some(Instant::now() + STOP_TIME);
                self.signal_worker(Signal::SIGTERM);
            }
            Some(Signal::SIGHUP) if self.stop_until.is_none() => self.reload(),
            // A child that ended is looked for on every round.
            _ => {}
        }
    }

    /// Reads the configuration again, all of it or nothing. The worker is replaced by one that
    /// knows the new settings; the programs go on counting, and it goes on with the ledger.
    fn reload(&mut self) {
        let new = match self.cli.configuration() {
            Ok(new) => new,
            Err(error) => {
                tracing::error!(%error, "the new settings are refused; the old ones go on");
                self.told.refused = Some(error.to_string());
                return;
            }
        };
        let old = &self.config;
        let fixed = new.state_dir != old.state_dir
            || (&new.scope.cgroup, &new.scope.netns) != (&old.scope.cgroup, &old.scope.netns)
            || (&new.user, &new.avoid) != (&old.user, &old.avoid)
            || (new.xdp, new.tunnels) != (old.xdp, old.tunnels)
            || new.scanner != old.scanner
            || new.rings != old.rings;
        if fixed {
            let why = "state_dir, user, scope, rings, scan, xdp, tunnels and avoid change with a restart only";
            tracing::error!(why, "the new settings are refused; the old ones go on");
            self.told.refused = Some(why.to_owned());
            return;
        }
        tracing::info!("new settings are taken");
        let changed = self.probes.as_mut().map(|probes| probes.change(&new.probe_settings()));
        if let Some(Err(error)) = changed {
            tracing::error!(%error, "some of the new settings could not be taken");
            self.told.refused = Some(error.to_string());
        } else {
            self.told.refused = None;
        }
        self.config = new;
        self.told.reloads += 1;
        self.worker.iter_mut().for_each(|worker| worker.replaced = true);
        self.signal_worker(Signal::SIGHUP);
    }

    fn signal_worker(&self, signal: Signal) {
        let Some(worker) = &self.worker else { return };
        if let Err(error) = kill(worker.pid, signal) {
            tracing::warn!(%signal, %error, "cannot signal the worker");
        }
    }

    fn tend(&mut self, asked: bool) {
        self.programs.retain_mut(|(_, child)| matches!(child.try_wait(), Ok(None)));
        if std::mem::take(&mut self.reload_asked) && self.stop_until.is_none() {
            self.reload();
        }
        if let Some(probes) = &mut self.probes {
            probes.tend();
        }
        let Some(worker) = &self.worker else { return };
        let silent = !asked && worker.ready && worker.heard.elapsed() > SILENCE_MAX;
        let late = self.stop_until.is_some_and(|until| until <= Instant::now());
        if silent || late {
            tracing::error!(pid = worker.pid.as_raw(), silent, "the worker hangs and is ended");
            self.signal_worker(Signal::SIGKILL);
        }
    }

    /// Looks whether the worker has ended; returns the exit code once nobody is to be started.
    fn reap(&mut self) -> Result<Option<ExitCode>> {
        let Some(worker) = &self.worker else {
            return Ok(self.stop_until.map(|_| ExitCode::SUCCESS));
        };
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        let how = match waitpid(worker.pid, Some(flags)).context("cannot watch the worker")? {
            WaitStatus::Stopped(_, signal) => {
                self.told.stopped += 1;
                self.told.latest = format!("stopped by {signal}, continued");
                tracing::warn!(%signal, "the worker was stopped; it is made to go on");
                self.signal_worker(Signal::SIGCONT);
                return Ok(None);
            }
            WaitStatus::Exited(_, code) => format!("ended with code {code}"),
            WaitStatus::Signaled(_, signal, _) => format!("killed by {signal}"),
            _ => return Ok(None),
        };
        let clean = how == "ended with code 0";
        if self.stop_until.is_some() {
            return Ok(Some(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }));
        }
        if !self.told.ready {
            // Whatever is wrong, it has said so, and would be wrong again.
            return Ok(Some(ExitCode::FAILURE));
        }
        if clean && self.worker.take_if(|worker| worker.replaced).is_some() {
            self.again = Some(Instant::now());
            return Ok(None);
        }
        self.plan_restart(how);
        Ok(None)
    }

    fn plan_restart(&mut self, how: String) {
        let ran = self.worker.take().map_or(Duration::ZERO, |worker| worker.started.elapsed());
        self.pause = match ran >= GOOD_START {
            true => PAUSE_MIN,
            false => (self.pause * 2).min(PAUSE_MAX),
        };
        // The first one comes at once; the rings hold what happens meanwhile.
        let pause =
            if ran >= GOOD_START || self.told.restarts == 0 { Duration::ZERO } else { self.pause };
        self.told.restarts += 1;
        tracing::error!(how, pause_ms = pause.as_millis(), "the worker ended; it is started again");
        self.told.latest = how;
        self.again = Some(Instant::now() + pause);
    }

    /// Keeps the sensor's own doings out of what it reports.
    fn exclude_own(&mut self) {
        let worker = self.worker.as_ref().map_or(0, |worker| worker.pid.as_raw().cast_unsigned());
        let Some(probes) = &mut self.probes else { return };
        if let Err(error) = probes.exclude([std::process::id(), worker]) {
            tracing::warn!(%error, "the sensor's own doings are reported");
        }
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        Program::ALL.iter().for_each(|program| self.end_program(*program));
        systemd::notify("STATUS=Stopped");
    }
}
