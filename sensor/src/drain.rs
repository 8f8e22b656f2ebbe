//! Reads what the kernel programs wrote: records from the rings, counters from the maps.

use sensor_abi::{
    fault::Fault,
    flow::{FlowKey, FlowStats},
    record as abi,
    seen::Signal,
    syscall::SyscallKey,
};

/// An execution, with its path put in order.
#[derive(Clone, Debug)]
pub struct ExecView<'a> {
    /// What every record has.
    pub header: abi::Header,
    /// Parent's start time, nanoseconds since boot.
    pub parent_start_ns: u64,
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Device of the executable's file system, as the kernel's `s_dev` has it.
    pub exe_dev: u32,
    /// Parent's thread group id.
    pub parent_tgid: u32,
    /// Bits of [`abi::exec_flag`].
    pub flags: u32,
    /// Effective user id.
    pub euid: u32,
    /// Group id.
    pub gid: u32,
    /// Descriptors 0, 1 and 2.
    pub stdio: [abi::Stdio; 3],
    /// Task name after the execution.
    pub comm: [u8; abi::COMM_LEN],
    /// The executable's path from the root; without a leading slash when it was cut.
    pub path: Vec<u8>,
    /// Arguments, each ended by NUL.
    pub args: &'a [u8],
}

/// One record from a ring.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// A program was executed.
    Exec(ExecView<'a>),
    /// A process was created.
    Fork(&'a abi::Fork),
    /// A process ended.
    Exit(&'a abi::Exit),
    /// A TCP socket changed its state.
    Socket(&'a abi::Socket),
    /// A kernel module was loaded.
    Module(&'a abi::Module),
}

/// What one emptying of the rings gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed on.
    pub records: u64,
    /// Records that were not understood and so were dropped.
    pub undecodable: u64,
}

/// The maps that the sensor reads.
#[derive(Debug)]
pub struct Drain {}

impl Drain {
    /// Empties the rings without waiting, and hands each record to `on`.
    pub fn records(&mut self, _on: &mut dyn FnMut(Record<'_>)) -> Drained {
        Drained::default()
    }

    /// Returns what was counted per flow since the last call.
    pub fn flows(&mut self) -> Vec<(FlowKey, FlowStats)> {
        Vec::new()
    }

    /// Returns the system calls counted since the last call.
    pub fn syscalls(&mut self) -> Vec<(SyscallKey, u64)> {
        Vec::new()
    }

    /// Returns the totals of each fault since load, indexed by [`Fault`].
    pub fn faults(&mut self) -> [u64; Fault::COUNT] {
        [0; Fault::COUNT]
    }

    /// Returns the totals of events seen since load, indexed by [`Signal`].
    pub fn seen(&mut self) -> [u64; Signal::COUNT] {
        [0; Signal::COUNT]
    }
}
