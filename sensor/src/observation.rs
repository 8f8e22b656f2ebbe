//! One thing that the sensor observed: a record and the processes it names, before it is put into a
//! batch or shown.

use std::rc::Rc;

use wire::batch::Lane;
use wire::record::{
    Activity, Connection, Dns, Exec, Exit, File, Flow, Inventory, Login, Memory, Privilege, Scan,
    Sweep, Syscalls, Tls, Uring, Use,
};

use crate::ledger::Signal;
use crate::process::Process;

/// A string from the host: bytes, as they are.
pub type Text = Rc<[u8]>;

/// A record and who did it.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The process that the record names, then its ancestors, nearest first; empty when not known.
    pub lineage: Vec<Rc<Process>>,
    /// The process that it was done to and its ancestors, when it was done to another one.
    pub target: Vec<Rc<Process>>,
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
    /// System calls were counted.
    Syscalls(Syscalls),
    /// Forks and acts on files were counted.
    Activity(Activity),
    /// A process sent or received through a socket.
    Use(Use),
    /// One-packet probes were counted.
    Sweep(Sweep<Text>),
    /// A DNS message was seen.
    Dns(Dns<Text>),
    /// A TLS greeting was seen.
    Tls(Tls<Text>),
    /// A watched file was touched.
    File(File<Text>),
    /// Memory was touched.
    Memory(Memory<Text>),
    /// A privilege was used or gained.
    Privilege(Privilege<Text>),
    /// Requests to io_uring were counted.
    Uring(Uring),
    /// Somebody logged in, or tried to.
    Login(Login<Text>),
    /// The host has something.
    Inventory(Inventory<Text>),
    /// A rule matched a file.
    Scan(Scan<Text>),
}

impl Record {
    /// Returns the lane that the record travels in.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Exec(_)
            | Self::Memory(_)
            | Self::Privilege(_)
            | Self::File(_)
            | Self::Login(_)
            | Self::Scan(_) => Lane::Security,
            _ => Lane::Bulk,
        }
    }

    /// Shows each of the record's strings to `see`.
    pub fn each_text<'a>(&'a self, see: impl FnMut(&'a Text)) {
        match self {
            Self::Exec(_)
            | Self::Exit(_)
            | Self::Flow(_)
            | Self::Connection(_)
            | Self::Syscalls(_)
            | Self::Activity(_)
            | Self::Use(_)
            | Self::Uring(_) => {}
            Self::Sweep(record) => record.each_text(see),
            Self::Dns(record) => record.each_text(see),
            Self::Tls(record) => record.each_text(see),
            Self::File(record) => record.each_text(see),
            Self::Memory(record) => record.each_text(see),
            Self::Privilege(record) => record.each_text(see),
            Self::Login(record) => record.each_text(see),
            Self::Inventory(record) => record.each_text(see),
            Self::Scan(record) => record.each_text(see),
        }
    }
}
