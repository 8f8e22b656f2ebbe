//! What a process does to others, to its own memory, with its privileges, and often.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use wire::record as wired;

use super::Process;
use super::network::end;

closed! {
    /// How memory was touched.
    pub enum MemoryAction in memory_action {
        /// The process asked to be traced by its parent.
        TraceMe = TRACE_ME,
        /// It attached to another process.
        Attach = ATTACH,
        /// It wrote another process's memory by `ptrace`.
        Poke = POKE,
        /// It wrote another process's registers.
        SetRegisters = SET_REGISTERS,
        /// It read another process by `ptrace`.
        Peek = PEEK,
        /// It read another process by `process_vm_readv`.
        VmRead = VM_READ,
        /// It wrote another process by `process_vm_writev`.
        VmWrite = VM_WRITE,
        /// It opened another process's `/proc/PID/mem` for writing.
        ProcMemOpen = PROC_MEM_OPEN,
        /// It wrote another process's `/proc/PID/mem`.
        ProcMemWrite = PROC_MEM_WRITE,
        /// It made an anonymous memory file.
        MemoryFile = MEMORY_FILE,
        /// It made writable memory executable.
        WriteToExec = WRITE_TO_EXEC,
        /// It mapped memory writable and executable.
        MapWriteExec = MAP_WRITE_EXEC,
        /// A socket became a standard stream.
        StreamSocket = STREAM_SOCKET,
        /// It let another process go on by `ptrace`.
        Resume = RESUME,
    }
}

/// Memory was touched in a way that injection and fileless execution need.
#[derive(Clone, Debug)]
pub struct Memory {
    /// How.
    pub action: MemoryAction,
    /// Whose memory it is, when it is another process's.
    pub target: Option<Arc<Process>>,
    /// Bits of [`wired::memory_flag`].
    pub flags: u32,
    /// `ptrace`'s request, `memfd_create`'s flags, `mprotect`'s protection, or the descriptor.
    pub argument: u64,
    /// Address in the target.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// How often in the tick.
    pub count: u64,
    /// Error number when the call failed, else 0.
    pub error: u32,
    /// Peer of the socket that became a standard stream.
    pub remote: SocketAddr,
    /// Name of the memory file.
    pub name: Bytes,
}

pub(super) fn memory(r: wired::Memory<Bytes>, target: Option<Arc<Process>>) -> Memory {
    Memory {
        action: MemoryAction::of(r.action),
        target,
        flags: r.flags,
        argument: r.argument,
        address: r.address,
        length: r.length,
        count: r.count,
        error: r.error,
        remote: end(r.remote, r.remote_port),
        name: r.name,
    }
}

closed! {
    /// Which privilege was used.
    pub enum PrivilegeAction in privilege_action {
        /// A kernel module was loaded.
        ModuleLoaded = MODULE_LOADED,
        /// User, group or capabilities changed.
        Credentials = CREDENTIALS,
        /// Capabilities were set.
        Capabilities = CAPABILITIES,
        /// A BPF program was loaded.
        BpfProgram = BPF_PROGRAM,
        /// A BPF map was made.
        BpfMap = BPF_MAP,
        /// A BPF program was attached.
        BpfAttach = BPF_ATTACH,
        /// Another command of `bpf` that changes something.
        BpfOther = BPF_OTHER,
        /// Something was mounted.
        Mount = MOUNT,
        /// Something was unmounted.
        Unmount = UNMOUNT,
        /// The root was changed.
        Root = ROOT,
        /// A namespace was entered.
        NamespaceEntered = NAMESPACE_ENTERED,
        /// Namespaces were made.
        NamespaceCreated = NAMESPACE_CREATED,
        /// `userfaultfd`.
        Userfaultfd = USERFAULTFD,
        /// A cgroup's `release_agent` was written.
        ReleaseAgent = RELEASE_AGENT,
        /// `io_uring_setup`.
        UringSetup = URING_SETUP,
        /// A kernel module was removed.
        ModuleRemoved = MODULE_REMOVED,
    }
}

/// A privilege was used or gained.
#[derive(Clone, Debug)]
pub struct Privilege {
    /// Which.
    pub action: PrivilegeAction,
    /// Another process that it concerns.
    pub target: Option<Arc<Process>>,
    /// Bits of [`wired::privilege_flag`].
    pub flags: u32,
    /// Flags of the call, `bpf`'s command, or the namespace's inode.
    pub argument: u64,
    /// `bpf`'s program or map type.
    pub kind: u32,
    /// How often in the tick.
    pub count: u64,
    /// Error number when the call failed, else 0.
    pub error: u32,
    /// What credentials became, when they changed.
    pub credentials: Option<wired::CredentialChange>,
    /// What it was done to.
    pub name: Bytes,
    /// Where from, or what was written.
    pub source: Bytes,
    /// File system type.
    pub type_name: Bytes,
}

pub(super) fn privilege(r: wired::Privilege<Bytes>, target: Option<Arc<Process>>) -> Privilege {
    Privilege {
        action: PrivilegeAction::of(r.action),
        target,
        flags: r.flags,
        argument: r.argument,
        kind: r.kind,
        count: r.count,
        error: r.error,
        credentials: r.credentials,
        name: r.name,
        source: r.source,
        type_name: r.type_name,
    }
}

/// Requests that a process gave to io_uring in one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uring {
    /// `IORING_OP_*`.
    pub opcode: u8,
    /// Requests.
    pub count: u64,
}

/// What a process did often in one tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Length of the tick.
    pub window_ns: u64,
    /// Processes that it created.
    pub forks: u64,
    /// Files opened for writing.
    pub write_opens: u64,
    /// Files created.
    pub creates: u64,
    /// Files renamed.
    pub renames: u64,
    /// Files unlinked.
    pub unlinks: u64,
    /// Links made.
    pub links: u64,
    /// Modes and owners changed.
    pub attribute_changes: u64,
}

pub(super) fn activity(r: &wired::Activity) -> Activity {
    Activity {
        window_ns: r.window_ns,
        forks: r.forks,
        write_opens: r.write_opens,
        creates: r.creates,
        renames: r.renames,
        unlinks: r.unlinks,
        links: r.links,
        attribute_changes: r.attribute_changes,
    }
}
