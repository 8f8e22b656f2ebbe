//! Who holds the programs: this process, or the loader for it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::drain::Drain;
use crate::health::{self, HookText};
use crate::privileged::protocol::{self, Request};
use crate::privileged::remote::Remote;
use crate::probe::{Maps, ProbeError, Probes, Settings};

/// The programs' holder.
#[derive(Debug)]
pub enum Holder {
    /// This process has the privileges itself.
    Own(Box<Probes>),
    /// Another process has them.
    Loader(&'static Remote),
}

/// What the loader says of itself and of the programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Every hook as coverage tells it.
    pub hooks: Vec<HookText>,
    /// Processor time that the loader has used.
    pub cpu_ns: u64,
    /// Memory that it holds.
    pub memory_bytes: u64,
}

impl Holder {
    /// Loads and attaches the programs in this process.
    pub fn own(settings: &Settings) -> Result<(Self, Drain), ProbeError> {
        let mut probes = Probes::load(settings)?;
        let drain = probes.drain()?;
        Ok((Self::Own(Box::new(probes)), drain))
    }

    /// Takes the maps of the programs that the loader holds. Returns the number of their load too,
    /// which tells whether their counters are those that an earlier worker read.
    pub fn remote(loader: &'static Remote) -> Result<(Self, Drain, u64)> {
        let answer = loader.ask(&Request::of(protocol::START, 0, 0))?;
        let text = String::from_utf8(answer.bytes).context("the loader's maps have no names")?;
        let (load, names) = text.split_once('\n').unwrap_or((&text, ""));
        let load = load.parse().context("the loader's maps have no number")?;
        let mut maps = Maps::from_descriptors(names.lines().zip(answer.descriptors))?;
        Ok((Self::Loader(loader), Drain::take(&mut maps, None)?, load))
    }

    /// Returns what became of each hook, and the loader's own figures.
    pub fn status(&self) -> Status {
        match self {
            Self::Own(probes) => {
                let hooks = probes.report().iter().map(health::hook).collect();
                Status { hooks, ..Status::default() }
            }
            Self::Loader(loader) => {
                let bytes = loader.bytes(&Request::of(protocol::STATUS, 0, 0));
                bytes
                    .map_err(|error| error.to_string())
                    .and_then(|bytes| {
                        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
                    })
                    .unwrap_or_else(|error| silent(&error))
            }
        }
    }

    /// Starts or stops counting system calls.
    pub fn set_syscall_counting(&mut self, on: bool) -> Result<()> {
        match self {
            Self::Own(probes) => Ok(probes.set_syscall_counting(on)?),
            Self::Loader(loader) => {
                let request = Request::of(protocol::COUNT_SYSCALLS, u32::from(on), 0);
                loader.ask(&request).map(drop).context("the loader refuses")
            }
        }
    }

    /// Makes a harmless execution that must be seen. Nothing when this process holds the programs:
    /// `watch` shows everything, and would show that too.
    pub fn canary(&self, number: u32) -> Option<Result<()>> {
        match self {
            Self::Own(_) => None,
            Self::Loader(loader) => {
                let sent = loader.ask(&Request::of(protocol::CANARY, number, 0));
                Some(sent.map(drop).map_err(Into::into))
            }
        }
    }

    /// Does what is due now and then; the loader does it by itself.
    pub fn tend(&mut self) {
        if let Self::Own(probes) = self {
            probes.tend();
        }
    }
}

/// A loader that does not answer cannot say whether the hooks are there.
fn silent(error: &str) -> Status {
    let reason = format!("the loader does not answer: {error}");
    Status { hooks: vec![["loader".to_owned(), String::new(), reason]], ..Status::default() }
}
