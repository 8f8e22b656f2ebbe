//! What a sensor sends: a bounded, numbered set of records with all that they refer to.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;
use crate::record::{
    Connection, Coverage, Exec, Exit, Flow, Privilege, Process, ProcessRef, Syscalls,
};
use crate::text::{StrId, StringTable};

/// Which queue a batch travels in; each has its own sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lane {
    /// Executions, module loads and the like: sent at once, dropped last.
    Security,
    /// Counters and bulk records: sent once a tick, dropped first.
    Bulk,
}

impl Lane {
    /// Both lanes, the more urgent first.
    pub const ALL: [Self; 2] = [Self::Security, Self::Bulk];

    /// Returns the lane's name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Security => "security",
            Self::Bulk => "bulk",
        }
    }
}

/// A place in a lane's sequence. With the sensor's identity (from its certificate, never from here)
/// it names a batch for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Position {
    /// When the sensor process started, nanoseconds since the Unix epoch: a new start, a new epoch.
    pub epoch: u64,
    /// The queue.
    pub lane: Lane,
    /// Counts from 1 without gaps.
    pub seq: u64,
}

/// A sensor's two clocks, read together when the batch was cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// `CLOCK_BOOTTIME` in nanoseconds.
    pub boot_ns: u64,
    /// `CLOCK_REALTIME` in nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

/// Records of one span of time. It needs nothing but itself to be understood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its place in the sequence.
    pub position: Position,
    /// The sensor's clocks.
    pub clock: Clock,
    /// Strings that processes and records name.
    pub strings: StringTable,
    /// Processes that records name, and their ancestors.
    pub processes: Vec<Process>,
    /// Program executions.
    pub execs: Vec<Exec>,
    /// Process ends.
    pub exits: Vec<Exit>,
    /// Packet counters.
    pub flows: Vec<Flow>,
    /// TCP state changes.
    pub connections: Vec<Connection>,
    /// Uses of privilege.
    pub privileges: Vec<Privilege>,
    /// System call counters.
    pub syscalls: Vec<Syscalls>,
    /// Ledger and hooks; at most one per batch.
    pub coverage: Option<Coverage>,
}

/// Why a decoded batch cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// A limit of [`limits`] is crossed.
    #[error("batch has {count} {what}, the limit is {max}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How much.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// The string table contradicts itself.
    #[error("string table is broken: {0}")]
    Strings(&'static str),
    /// A record names a string or process that the batch does not hold.
    #[error("{what} {index} is out of range")]
    OutOfRange {
        /// What is named.
        what: &'static str,
        /// The number that names it.
        index: u32,
    },
    /// A process is its own ancestor.
    #[error("process {0} comes before its parent")]
    ParentOrder(u32),
}

impl Batch {
    /// Returns an empty batch.
    pub fn empty(position: Position, clock: Clock) -> Self {
        Self {
            position,
            clock,
            strings: StringTable::default(),
            processes: Vec::new(),
            execs: Vec::new(),
            exits: Vec::new(),
            flows: Vec::new(),
            connections: Vec::new(),
            privileges: Vec::new(),
            syscalls: Vec::new(),
            coverage: None,
        }
    }

    /// Number of records, a coverage record included.
    pub fn record_count(&self) -> usize {
        self.execs.len()
            + self.exits.len()
            + self.flows.len()
            + self.connections.len()
            + self.privileges.len()
            + self.syscalls.len()
            + usize::from(self.coverage.is_some())
    }

    /// Checks limits and that every index leads somewhere. Parents stand before their children, so
    /// a walk up the tree always ends.
    pub fn check(&self) -> Result<(), BatchError> {
        at_most("records", self.record_count(), limits::RECORDS_MAX)?;
        at_most("processes", self.processes.len(), limits::PROCESSES_MAX)?;
        if let Some(fault) = self.strings.fault() {
            return Err(BatchError::Strings(fault));
        }
        for (index, process) in self.processes.iter().enumerate() {
            if process.parent.index().is_some_and(|parent| parent >= index) {
                return Err(BatchError::ParentOrder(index as u32));
            }
            for id in [
                process.exe,
                process.comm,
                process.args,
                process.user,
                process.cgroup,
                process.container,
            ] {
                self.string(id)?;
            }
        }
        let named = (self.execs.iter().map(|r| r.process))
            .chain(self.exits.iter().map(|r| r.process))
            .chain(self.flows.iter().map(|r| r.process))
            .chain(self.connections.iter().map(|r| r.process))
            .chain(self.privileges.iter().map(|r| r.process))
            .chain(self.syscalls.iter().map(|r| r.process));
        for process in named {
            self.process_in_range(process)?;
        }
        for record in &self.privileges {
            self.string(record.target)?;
        }
        if let Some(coverage) = &self.coverage {
            at_most("hooks", coverage.hooks.len(), limits::HOOKS_MAX)?;
            at_most("ledger lines", coverage.ledger.len(), limits::LEDGER_MAX)?;
            for hook in &coverage.hooks {
                for id in [hook.name, hook.attached, hook.reason] {
                    self.string(id)?;
                }
            }
            for line in &coverage.ledger {
                self.string(line.signal)?;
                self.string(line.outcome)?;
            }
        }
        Ok(())
    }

    fn string(&self, id: StrId) -> Result<(), BatchError> {
        if self.strings.contains(id) {
            return Ok(());
        }
        Err(BatchError::OutOfRange { what: "string", index: id.0 })
    }

    fn process_in_range(&self, process: ProcessRef) -> Result<(), BatchError> {
        if process.0 as usize <= self.processes.len() {
            return Ok(());
        }
        Err(BatchError::OutOfRange { what: "process", index: process.0 })
    }
}

fn at_most(what: &'static str, count: usize, max: usize) -> Result<(), BatchError> {
    if count <= max { Ok(()) } else { Err(BatchError::TooMany { what, count, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        Batch::empty(Position { epoch: 1, lane: Lane::Bulk, seq: 1 }, Clock::default())
    }

    #[test]
    fn a_parent_stands_before_its_child() {
        let mut batch = batch();
        batch.processes = vec![
            Process { pid: 1, parent: ProcessRef(0), ..Process::default() },
            Process { pid: 2, parent: ProcessRef(1), ..Process::default() },
        ];
        assert_eq!(batch.check(), Ok(()));
        batch.processes[0].parent = ProcessRef(1);
        assert_eq!(batch.check(), Err(BatchError::ParentOrder(0)));
    }

    #[test]
    fn indexes_out_of_range_are_refused() {
        let mut batch = batch();
        batch.exits.push(Exit { process: ProcessRef(1), ..Exit::default() });
        assert_eq!(batch.check(), Err(BatchError::OutOfRange { what: "process", index: 1 }));
        batch.exits.clear();
        batch.privileges.push(Privilege { target: StrId(9), ..Privilege::default() });
        assert_eq!(batch.check(), Err(BatchError::OutOfRange { what: "string", index: 9 }));
    }

    #[test]
    fn too_many_records_are_refused() {
        let mut batch = batch();
        batch.exits = vec![Exit::default(); limits::RECORDS_MAX + 1];
        assert!(matches!(batch.check(), Err(BatchError::TooMany { what: "records", .. })));
    }
}
