//! What a sensor sends: a bounded, numbered set of records with all that they refer to.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;
use crate::record::{
    Activity, Connection, Coverage, Dns, Exec, Exit, File, Flow, Inventory, Login, Memory,
    Privilege, Process, ProcessRef, Scan, Sweep, Syscalls, Tls, Uring, Use,
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

impl Position {
    /// Returns whether it is in the same sequence as `last` and not after it.
    pub fn is_up_to(self, last: Self) -> bool {
        (self.epoch, self.lane) == (last.epoch, last.lane) && self.seq <= last.seq
    }
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
    /// What processes do often.
    pub activities: Vec<Activity>,
    /// What processes send and receive through sockets.
    pub uses: Vec<Use>,
    /// One-packet probes.
    pub sweeps: Vec<Sweep>,
    /// DNS messages.
    pub dns: Vec<Dns>,
    /// TLS greetings.
    pub tls: Vec<Tls>,
    /// Watched files.
    pub files: Vec<File>,
    /// Memory touched.
    pub memory: Vec<Memory>,
    /// Requests to io_uring.
    pub urings: Vec<Uring>,
    /// Log-ins.
    pub logins: Vec<Login>,
    /// What the host has.
    pub inventory: Vec<Inventory>,
    /// Files that rules matched.
    pub scans: Vec<Scan>,
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
            activities: Vec::new(),
            uses: Vec::new(),
            sweeps: Vec::new(),
            dns: Vec::new(),
            tls: Vec::new(),
            files: Vec::new(),
            memory: Vec::new(),
            urings: Vec::new(),
            logins: Vec::new(),
            inventory: Vec::new(),
            scans: Vec::new(),
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
            + self.activities.len()
            + self.uses.len()
            + self.sweeps.len()
            + self.dns.len()
            + self.tls.len()
            + self.files.len()
            + self.memory.len()
            + self.urings.len()
            + self.logins.len()
            + self.inventory.len()
            + self.scans.len()
            + usize::from(self.coverage.is_some())
    }

    /// Moves the times of all records, as when the host's clock was wrong. What names a process is
    /// no time, and stays.
    pub fn shift(&mut self, by_ns: i64) {
        let shift = |time: &mut u64| *time = time.saturating_add_signed(by_ns);
        let shift_both = |first: &mut u64, last: &mut u64| [first, last].map(shift);
        self.execs.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.exits.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.flows.iter_mut().for_each(|r| _ = shift_both(&mut r.first_ns, &mut r.last_ns));
        self.connections.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.privileges.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.syscalls.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.activities.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.uses.iter_mut().for_each(|r| _ = shift_both(&mut r.first_ns, &mut r.last_ns));
        self.sweeps.iter_mut().for_each(|r| _ = shift_both(&mut r.first_ns, &mut r.last_ns));
        self.dns.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.tls.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.files.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.memory.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.urings.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.logins.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.inventory.iter_mut().for_each(|r| shift(&mut r.time_ns));
        self.scans.iter_mut().for_each(|r| shift(&mut r.time_ns));
        if let Some(coverage) = &mut self.coverage {
            let _ = shift_both(&mut coverage.start_ns, &mut coverage.end_ns);
            // 0 stands for never.
            if coverage.canary_ns > 0 {
                shift(&mut coverage.canary_ns);
            }
        }
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
        }
        for message in &self.dns {
            at_most("answers", message.answers.len(), limits::ANSWERS_MAX)?;
        }
        for calls in &self.syscalls {
            at_most("latency buckets", calls.latency.len(), limits::LATENCY_MAX)?;
        }
        if let Some(coverage) = &self.coverage {
            at_most("hooks", coverage.hooks.len(), limits::HOOKS_MAX)?;
            at_most("ledger lines", coverage.ledger.len(), limits::LEDGER_MAX)?;
            at_most("maps", coverage.maps.len(), limits::MAPS_MAX)?;
        }
        let StrId(string) = self.highest_string();
        if !self.strings.contains(StrId(string)) {
            return Err(BatchError::OutOfRange { what: "string", index: string });
        }
        let ProcessRef(process) = self.highest_process();
        if process as usize > self.processes.len() {
            return Err(BatchError::OutOfRange { what: "process", index: process });
        }
        Ok(())
    }

    /// Returns the highest index into the string table that anything names.
    fn highest_string(&self) -> StrId {
        let mut highest = 0;
        let mut see = |id: &StrId| highest = highest.max(id.0);
        self.processes.iter().for_each(|r| r.each_text(&mut see));
        self.privileges.iter().for_each(|r| r.each_text(&mut see));
        self.sweeps.iter().for_each(|r| r.each_text(&mut see));
        self.dns.iter().for_each(|r| r.each_text(&mut see));
        self.tls.iter().for_each(|r| r.each_text(&mut see));
        self.files.iter().for_each(|r| r.each_text(&mut see));
        self.memory.iter().for_each(|r| r.each_text(&mut see));
        self.logins.iter().for_each(|r| r.each_text(&mut see));
        self.inventory.iter().for_each(|r| r.each_text(&mut see));
        self.scans.iter().for_each(|r| r.each_text(&mut see));
        if let Some(coverage) = &self.coverage {
            coverage
                .hooks
                .iter()
                .for_each(|h| [h.name, h.attached, h.reason].iter().for_each(&mut see));
            coverage.ledger.iter().for_each(|l| [l.signal, l.outcome].iter().for_each(&mut see));
            coverage.maps.iter().for_each(|m| see(&m.name));
        }
        StrId(highest)
    }

    /// Returns the highest process that a record names.
    fn highest_process(&self) -> ProcessRef {
        let named = (self.execs.iter().map(|r| r.process))
            .chain(self.exits.iter().map(|r| r.process))
            .chain(self.flows.iter().map(|r| r.process))
            .chain(self.connections.iter().map(|r| r.process))
            .chain(self.privileges.iter().flat_map(|r| [r.process, r.target]))
            .chain(self.syscalls.iter().map(|r| r.process))
            .chain(self.activities.iter().map(|r| r.process))
            .chain(self.uses.iter().map(|r| r.process))
            .chain(self.sweeps.iter().map(|r| r.process))
            .chain(self.dns.iter().map(|r| r.process))
            .chain(self.tls.iter().map(|r| r.process))
            .chain(self.files.iter().map(|r| r.process))
            .chain(self.memory.iter().flat_map(|r| [r.process, r.target]))
            .chain(self.urings.iter().map(|r| r.process))
            .chain(self.logins.iter().map(|r| r.process))
            .chain(self.scans.iter().map(|r| r.process));
        ProcessRef(named.map(|process| process.0).max().unwrap_or(0))
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
        batch.privileges.push(Privilege { name: StrId(9), ..Privilege::default() });
        assert_eq!(batch.check(), Err(BatchError::OutOfRange { what: "string", index: 9 }));
    }

    #[test]
    fn too_many_records_are_refused() {
        let mut batch = batch();
        batch.exits = vec![Exit::default(); limits::RECORDS_MAX + 1];
        assert!(matches!(batch.check(), Err(BatchError::TooMany { what: "records", .. })));
    }
}
