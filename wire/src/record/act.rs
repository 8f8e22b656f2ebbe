//! What a process does to others, to its own memory, and with its privileges.

use serde::{Deserialize, Serialize};

use super::{Address, ProcessRef, with_texts};

with_texts! {
    /// A process touched memory in a way that injection and fileless execution need.
    pub struct Memory {
        /// When.
        time_ns: u64,
        /// Who did it.
        process: ProcessRef,
        /// Whose memory it is, when it is another process's.
        target: ProcessRef,
        /// See [`memory_action`].
        action: u8,
        /// Bits of [`memory_flag`].
        flags: u32,
        /// `ptrace`'s request, `memfd_create`'s flags, `mprotect`'s protection, or the descriptor.
        argument: u64,
        /// Address in the target.
        address: u64,
        /// Bytes.
        length: u64,
        /// How often in the tick.
        count: u64,
        /// Error number when the call failed, else 0.
        error: u32,
        /// Peer of the socket that became a standard stream.
        remote: Address,
        /// Its port.
        remote_port: u16,
    }
    texts {
        /// Name of the memory file.
        name,
    }
}

/// Values of [`Memory::action`].
pub mod memory_action {
    /// `ptrace`: the process asked to be traced by its parent.
    pub const TRACE_ME: u8 = 1;
    /// `ptrace`: attached or seized another process.
    pub const ATTACH: u8 = 2;
    /// `ptrace`: wrote another process's memory.
    pub const POKE: u8 = 3;
    /// `ptrace`: wrote another process's registers.
    pub const SET_REGISTERS: u8 = 4;
    /// `ptrace`: read another process; counted per tick.
    pub const PEEK: u8 = 5;
    /// `process_vm_readv`.
    pub const VM_READ: u8 = 6;
    /// `process_vm_writev`.
    pub const VM_WRITE: u8 = 7;
    /// Another process's `/proc/PID/mem` was opened for writing.
    pub const PROC_MEM_OPEN: u8 = 8;
    /// Another process's `/proc/PID/mem` was written.
    pub const PROC_MEM_WRITE: u8 = 9;
    /// `memfd_create`.
    pub const MEMORY_FILE: u8 = 10;
    /// Writable memory became executable; counted per tick.
    pub const WRITE_TO_EXEC: u8 = 11;
    /// Memory was mapped writable and executable; counted per tick.
    pub const MAP_WRITE_EXEC: u8 = 12;
    /// A socket became descriptor 0, 1 or 2.
    pub const STREAM_SOCKET: u8 = 13;
    /// `ptrace`: let another process go on; counted per tick.
    pub const RESUME: u8 = 14;
}

/// Bits of [`Memory::flags`].
pub mod memory_flag {
    /// Arguments are what the process passed; they may have changed before the kernel read them.
    pub const RACY: u32 = 1 << 0;
    /// Whether the call succeeded is not known.
    pub const RESULT_UNKNOWN: u32 = 1 << 1;
    /// The call came through a 32-bit interface.
    pub const COMPAT: u32 = 1 << 2;
    /// The name is cut.
    pub const TRUNCATED: u32 = 1 << 4;
}

with_texts! {
    /// A process used or gained a privilege.
    pub struct Privilege {
        /// When.
        time_ns: u64,
        /// The process.
        process: ProcessRef,
        /// Another process that it concerns, such as the owner of a namespace that was entered.
        target: ProcessRef,
        /// See [`privilege_action`].
        action: u8,
        /// Bits of [`privilege_flag`].
        flags: u32,
        /// Flags of the call (mount, clone), `bpf`'s command, or the namespace's inode.
        argument: u64,
        /// `bpf`'s program or map type, the kind of a namespace, or which call mounted: `mount` 1,
        /// `move_mount` 2, `open_tree` 3, `fsopen` 4, `fsmount` 5, `chroot` 6.
        kind: u32,
        /// How often in the tick.
        count: u64,
        /// Error number when the call failed, else 0.
        error: u32,
        /// What credentials became, when they changed.
        credentials: Option<CredentialChange>,
    }
    texts {
        /// What it was done to: a module, a mount point, a program.
        name,
        /// Where from: a device or directory that was mounted, or content that was written.
        source,
        /// File system type.
        type_name,
    }
}

/// Values of [`Privilege::action`].
pub mod privilege_action {
    /// A kernel module was loaded; the name is its name.
    pub const MODULE_LOADED: u8 = 1;
    /// User, group or capabilities changed.
    pub const CREDENTIALS: u8 = 2;
    /// `capset`.
    pub const CAPABILITIES: u8 = 3;
    /// `bpf`: a program was loaded.
    pub const BPF_PROGRAM: u8 = 4;
    /// `bpf`: a map was created.
    pub const BPF_MAP: u8 = 5;
    /// `bpf`: a program was attached.
    pub const BPF_ATTACH: u8 = 6;
    /// `bpf`: another command that changes something.
    pub const BPF_OTHER: u8 = 7;
    /// Something was mounted.
    pub const MOUNT: u8 = 8;
    /// Something was unmounted.
    pub const UNMOUNT: u8 = 9;
    /// The root was changed (`pivot_root`, `chroot`).
    pub const ROOT: u8 = 10;
    /// A namespace was entered.
    pub const NAMESPACE_ENTERED: u8 = 11;
    /// Namespaces were created.
    pub const NAMESPACE_CREATED: u8 = 12;
    /// `userfaultfd`.
    pub const USERFAULTFD: u8 = 13;
    /// A cgroup's `release_agent` was written; the source is the content, where known.
    pub const RELEASE_AGENT: u8 = 14;
    /// `io_uring_setup`; the argument is its flags.
    pub const URING_SETUP: u8 = 15;
    /// A kernel module was removed.
    pub const MODULE_REMOVED: u8 = 16;
}

/// Bits of [`Privilege::flags`].
pub mod privilege_flag {
    /// Arguments are what the process passed; they may have changed before the kernel read them.
    pub const RACY: u32 = 1 << 0;
    /// Whether the call succeeded is not known.
    pub const RESULT_UNKNOWN: u32 = 1 << 1;
    /// The call came through a 32-bit interface.
    pub const COMPAT: u32 = 1 << 2;
    /// Only one thread of the process changed.
    pub const ONE_THREAD: u32 = 1 << 3;
    /// A name is cut.
    pub const TRUNCATED: u32 = 1 << 4;
    /// What the credentials were before is not known.
    pub const BEFORE_UNKNOWN: u32 = 1 << 5;
}

/// Credentials before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialChange {
    /// What they were.
    pub before: Credentials,
    /// What they are.
    pub after: Credentials,
}

/// Who a task is for the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// Permitted capabilities, one bit each.
    pub permitted: u64,
}

/// Requests that a process gave to io_uring in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uring {
    /// End of the tick.
    pub time_ns: u64,
    /// The process.
    pub process: ProcessRef,
    /// `IORING_OP_*` (io_uring.h).
    pub opcode: u8,
    /// Requests.
    pub count: u64,
}
