//! A sensor's kernel side under test: loaded, drained, and asked until something has happened.

use std::{
    ops::Deref,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use sensor::{
    drain::{Drain, ExecView, Record},
    probe::{OBJECT_EMBEDDED, Probes, SWITCHABLE, Settings, SyscallMode},
};
use sensor_abi::{
    flow::{FlowKey, FlowStats},
    record as abi,
    seen::Signal,
};

use crate::skip;

/// How long something that must happen may take; a guest without hardware help is slow.
const DEADLINE: Duration = Duration::from_secs(20);
/// How often the rings are looked at.
const POLL: Duration = Duration::from_millis(5);

/// A record that outlives its ring.
#[derive(Clone, Debug)]
pub enum Event {
    Exec(Box<Exec>),
    Fork(abi::Fork),
    Exit(abi::Exit),
    Socket(abi::Socket),
    Module(abi::Module),
    Memory(Box<abi::memory::Memory>),
    Privilege(Box<abi::privilege::Privilege>),
    Credentials(Box<abi::privilege::Credentials>),
    Mount(Box<abi::privilege::Mount>),
    Payload,
    File(Box<File>),
}

/// A watched file that was touched.
#[derive(Clone, Debug)]
pub struct File {
    pub fixed: abi::file::File,
    pub path: Vec<u8>,
    pub target: Vec<u8>,
}

/// An execution that outlives its ring.
#[derive(Clone, Debug)]
pub struct Exec {
    pub fixed: abi::Exec,
    pub path: Vec<u8>,
    pub args: Vec<u8>,
    pub cwd: Vec<u8>,
    pub script: Vec<u8>,
    pub interpreter: Vec<u8>,
    pub env: Vec<u8>,
}

impl Exec {
    fn new(view: &ExecView<'_>) -> Self {
        Self {
            fixed: view.fixed,
            path: view.path.clone(),
            args: view.args.to_vec(),
            cwd: view.cwd.clone(),
            script: view.script.to_vec(),
            interpreter: view.interpreter.to_vec(),
            env: view.env.to_vec(),
        }
    }
}

impl Deref for Exec {
    type Target = abi::Exec;

    fn deref(&self) -> &abi::Exec {
        &self.fixed
    }
}

/// Settings that want these signals and no others, beside what is always on: each program that is
/// not loaded saves a guest without hardware help a good part of a second.
pub fn only(signals: &[Signal]) -> Settings {
    let off = SWITCHABLE.into_iter().filter(|signal| !signals.contains(signal)).collect();
    Settings { off, syscalls: SyscallMode::Off, ..Settings::default() }
}

/// Why no program can be loaded here, if so.
pub fn unavailable() -> Option<&'static str> {
    if !OBJECT_EMBEDDED {
        return Some("built without the kernel programs: `cargo xtask setup` installs a toolchain");
    }
    skip::without_root()
}

pub struct Watch {
    pub probes: Probes,
    pub drain: Drain,
}

impl Watch {
    pub fn start(settings: &Settings) -> Result<Self> {
        let mut probes = Probes::load(settings).context("could not load the programs")?;
        let drain = probes.drain().context("could not take the maps")?;
        Ok(Self { probes, drain })
    }

    /// Collects records until `done` says that they are all there.
    pub fn until(
        &mut self,
        what: &str,
        mut done: impl FnMut(&[Event]) -> bool,
    ) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        let start = Instant::now();
        loop {
            let drained = self.drain.records(&mut |record| events.push(keep(&record)));
            if drained.undecodable > 0 {
                bail!("{} records could not be decoded", drained.undecodable);
            }
            if done(&events) {
                return Ok(events);
            }
            if start.elapsed() > DEADLINE {
                let faults = self.drain.faults();
                bail!("no {what} among {} records; faults {faults:?}", events.len());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Collects records until one fits, and returns it.
    pub fn find<T>(&mut self, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> Result<T> {
        let mut found = None;
        self.until(what, |events| {
            found = events.iter().find_map(&mut fits);
            found.is_some()
        })?;
        found.context("found, then not")
    }
}

fn keep(record: &Record<'_>) -> Event {
    match record {
        Record::Exec(view) => Event::Exec(Box::new(Exec::new(view))),
        Record::Fork(fork) => Event::Fork(**fork),
        Record::Exit(exit) => Event::Exit(**exit),
        Record::Socket(socket) => Event::Socket(**socket),
        Record::Module(module) => Event::Module(**module),
        Record::Memory(memory) => Event::Memory(Box::new(**memory)),
        Record::Privilege(privilege) => Event::Privilege(Box::new(**privilege)),
        Record::Credentials(credentials) => Event::Credentials(Box::new(**credentials)),
        Record::Mount(mount) => Event::Mount(Box::new(**mount)),
        Record::File(view) => Event::File(Box::new(File {
            fixed: *view.fixed,
            path: view.path.to_vec(),
            target: view.target.to_vec(),
        })),
        Record::Payload(..) => Event::Payload,
    }
}

/// What both directions of some flows come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub rx_packets: u64,
    pub rx_bytes: u64,
    pub tx_packets: u64,
    pub tx_bytes: u64,
}

pub fn sums(flows: &[(FlowKey, FlowStats)]) -> Sums {
    flows.iter().fold(Sums::default(), |sums, (_, stats)| Sums {
        rx_packets: sums.rx_packets + stats.ingress.packets,
        rx_bytes: sums.rx_bytes + stats.ingress.bytes,
        tx_packets: sums.tx_packets + stats.egress.packets,
        tx_bytes: sums.tx_bytes + stats.egress.bytes,
    })
}
