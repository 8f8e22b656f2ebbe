//! What processes do to memory and with privileges: numbers, and the counters of what they do
//! often.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What was done to memory.
pub mod memory {
    /// `ptrace`: the process asked to be traced by its parent.
    pub const TRACE_ME: u32 = 1;
    /// `ptrace`: attached or seized another process.
    pub const ATTACH: u32 = 2;
    /// `ptrace`: wrote another process's memory.
    pub const POKE: u32 = 3;
    /// `ptrace`: wrote another process's registers.
    pub const SET_REGISTERS: u32 = 4;
    /// `ptrace`: read another process; only counted.
    pub const PEEK: u32 = 5;
    /// `process_vm_readv`.
    pub const VM_READ: u32 = 6;
    /// `process_vm_writev`.
    pub const VM_WRITE: u32 = 7;
    /// Another process's `/proc/PID/mem` was opened for writing.
    pub const PROC_MEM_OPEN: u32 = 8;
    /// Another process's `/proc/PID/mem` was written.
    pub const PROC_MEM_WRITE: u32 = 9;
    /// `memfd_create`.
    pub const MEMORY_FILE: u32 = 10;
    /// Memory was made executable after it was made writable; only counted.
    pub const WRITE_TO_EXEC: u32 = 11;
    /// Memory was mapped writable and executable; only counted.
    pub const MAP_WRITE_EXEC: u32 = 12;
    /// A socket became descriptor 0, 1 or 2.
    pub const STREAM_SOCKET: u32 = 13;
    /// `ptrace`: let another process go on; only counted.
    pub const RESUME: u32 = 14;
    /// The largest of them.
    pub const LAST: u32 = RESUME;
}

/// What was done with privileges. Module loads have a record of their own.
pub mod privilege {
    /// User, group or capabilities changed.
    pub const CREDENTIALS: u32 = 34;
    /// `bpf`: a program was loaded.
    pub const BPF_PROGRAM: u32 = 36;
    /// `bpf`: a map was created.
    pub const BPF_MAP: u32 = 37;
    /// `bpf`: a program was attached.
    pub const BPF_ATTACH: u32 = 38;
    /// `bpf`: another command that changes something.
    pub const BPF_OTHER: u32 = 39;
    /// Something was mounted.
    pub const MOUNT: u32 = 40;
    /// Something was unmounted.
    pub const UNMOUNT: u32 = 41;
    /// The root was changed.
    pub const ROOT: u32 = 42;
    /// A namespace was entered.
    pub const NAMESPACE_ENTERED: u32 = 43;
    /// Namespaces were created.
    pub const NAMESPACE_CREATED: u32 = 44;
    /// `userfaultfd`.
    pub const USERFAULTFD: u32 = 45;
    /// A cgroup's `release_agent` was written, or opened for that.
    pub const RELEASE_AGENT: u32 = 46;
    /// `io_uring_setup`.
    pub const URING_SETUP: u32 = 47;
    /// A kernel module was removed.
    pub const MODULE_REMOVED: u32 = 48;
    /// The smallest of them.
    pub const FIRST: u32 = CREDENTIALS;
    /// The largest of them.
    pub const LAST: u32 = MODULE_REMOVED;
}

/// A request to io_uring; only counted, by opcode.
pub const URING: u32 = 64;

/// Which of several calls an act was, as `kind` of mounts and roots says.
pub mod call_kind {
    /// `mount`, `umount2` and `pivot_root`.
    pub const CLASSIC: u32 = 1;
    /// `move_mount`.
    pub const MOVE: u32 = 2;
    /// `open_tree` with a clone.
    pub const TREE: u32 = 3;
    /// `fsopen`.
    pub const OPEN: u32 = 4;
    /// `fsmount`.
    pub const DETACHED: u32 = 5;
    /// `chroot`.
    pub const CHROOT: u32 = 6;
}

/// Bits of the records' `flags`.
pub mod flag {
    /// Arguments are what the process passed; they may have changed before the kernel read them.
    pub const RACY: u32 = 1 << 0;
    /// Whether the call succeeded is not known.
    pub const RESULT_UNKNOWN: u32 = 1 << 1;
    /// The call came through a 32-bit interface.
    pub const COMPAT: u32 = 1 << 2;
    /// Only one thread of the process changed.
    pub const ONE_THREAD: u32 = 1 << 3;
    /// A name was longer than the record has room for.
    pub const TRUNCATED: u32 = 1 << 4;
}

/// What a value of the table of acts grows by when an act was told at once. Below it, the value
/// counts those that were not.
pub const TOLD: u64 = 1 << 48;

/// Who did what to whom; its value, one a CPU, is how often, in the terms of [`TOLD`].
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ActKey {
    /// Start of the process, nanoseconds since boot.
    pub start_ns: u64,
    /// Start of the process that it was done to.
    pub target_start_ns: u64,
    /// Thread group id.
    pub tgid: u32,
    /// Thread group id of the process that it was done to; 0 when there is none.
    pub target_tgid: u32,
    /// One of [`memory`], [`privilege`] or [`URING`].
    pub action: u32,
    /// What tells acts of one kind apart: an opcode, an error, which of several calls it was.
    pub code: u32,
}

const _: () = assert!(size_of::<ActKey>() == 32);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for ActKey {}
