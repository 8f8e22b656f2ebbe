//! One thing that the sensor observed: a record and the processes it names, before it is put into a
//! batch or shown.

use std::rc::Rc;

use wire::batch::Lane;
use wire::record::{Connection, Exec, Exit, Flow, Syscalls};

use crate::ledger::Signal;
use crate::process::Process;

/// A record and who did it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The process that the record names, then its ancestors, nearest first; empty when not known.
    pub lineage: Vec<Rc<Process>>,
    /// In whose ledger it counts.
    pub signal: Signal,
    /// How many events of the kernel it stands for: flows stand for packets, system call records
    /// for calls, all others for themselves.
    pub events: u64,
    /// What happened. Its process reference is set when it gets into a batch.
    pub record: Record,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A program was executed.
    Exec(Exec),
    /// A process ended.
    Exit(Exit),
    /// Packets of a flow were counted.
    Flow(Flow),
    /// A TCP socket changed its state.
    Connection(Connection),
    /// A kernel module was loaded.
    Module {
        /// When.
        time_ns: u64,
        /// The module's name.
        name: Vec<u8>,
    },
    /// System calls were counted.
    Syscalls(Syscalls),
}

impl Record {
    /// Returns the lane that the record travels in.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Exec(_) | Self::Module { .. } => Lane::Security,
            _ => Lane::Bulk,
        }
    }
}
