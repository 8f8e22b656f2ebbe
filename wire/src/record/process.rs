//! Processes: what they are, when they start and end, and what they do often.

use serde::{Deserialize, Serialize};

use super::{Address, with_texts};

/// Index of a process in its batch, plus one; 0 means that the process is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessRef(pub u32);

impl ProcessRef {
    /// Returns the index into `Batch::processes`.
    pub fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

with_texts! {
    /// A process that records of the batch name, or an ancestor of one.
    pub struct Process {
        /// Process id in the root namespace.
        pid: u32,
        /// When it started; with the host and `pid` it names a process for good.
        start_ns: u64,
        /// Its parent, when known.
        parent: ProcessRef,
        /// Real user id.
        uid: u32,
        /// Effective user id.
        euid: u32,
        /// Group id.
        gid: u32,
        /// User id with which its session logged in (`loginuid`), plus one; 0 when it did not.
        login_uid: u32,
        /// Audit session id, plus one; 0 without one.
        session: u32,
        /// Effective capabilities, one bit each (capability.h).
        capabilities: u64,
        /// Inode number of the executable.
        exe_inode: u64,
        /// Device of the executable's file system.
        exe_dev: u32,
        /// Process id inside its own namespace; 0 when it is the same or not known.
        namespace_pid: u32,
        /// Inode number of its PID namespace; 0 when not known.
        pid_namespace: u32,
        /// … of its mount namespace.
        mount_namespace: u32,
        /// … of its network namespace.
        network_namespace: u32,
        /// … of its user namespace.
        user_namespace: u32,
        /// Bits of [`process_flag`].
        flags: u32,
    }
    texts {
        /// Path of the executable.
        exe,
        /// Task name.
        comm,
        /// Arguments, each ended by NUL.
        args,
        /// User name of `uid`, empty when not known.
        user,
        /// Path of the cgroup, relative to its hierarchy's root.
        cgroup,
        /// Container id, empty outside containers.
        container,
        /// Kubernetes namespace and pod, `namespace/name`, or the pod's uid; else empty.
        pod,
        /// SHA-256 of the executable, 32 bytes; empty when not known.
        sha256,
        /// Working directory when it was executed.
        cwd,
        /// Path of the script that the executable interprets; empty when it is none.
        script,
        /// Watched environment variables, `NAME=value`, each ended by NUL.
        env,
        /// Terminal, such as `pts/0`; empty without one.
        tty,
    }
}

/// Bits of [`Process::flags`].
pub mod process_flag {
    /// The arguments are cut.
    pub const ARGS_TRUNCATED: u32 = 1 << 0;
    /// The arguments could not be read.
    pub const ARGS_UNKNOWN: u32 = 1 << 1;
    /// The executable's path is cut or could not be read.
    pub const EXE_UNKNOWN: u32 = 1 << 2;
    /// The process was found in `/proc` when the sensor started, not seen to start.
    pub const SEEDED: u32 = 1 << 3;
    /// The image is an anonymous memory file.
    pub const MEMFD: u32 = 1 << 4;
    /// The image has no name left in any directory.
    pub const UNLINKED: u32 = 1 << 5;
    /// The image lies on an overlay's upper layer: it is not from the container's image.
    pub const UPPER_LAYER: u32 = 1 << 6;
    /// The environment was longer than what is searched.
    pub const ENV_TRUNCATED: u32 = 1 << 7;
    /// The working directory is cut or could not be read.
    pub const CWD_UNKNOWN: u32 = 1 << 8;
    /// The executable's hash is not made yet.
    pub const HASH_PENDING: u32 = 1 << 9;
    /// The executable will not be hashed: it is too large, or gone.
    pub const HASH_MISSING: u32 = 1 << 10;
}

/// What a standard file descriptor leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stdio {
    /// See [`stdio_kind`].
    pub kind: u8,
    /// Peer of an internet socket.
    pub remote: Address,
    /// Peer's port.
    pub remote_port: u16,
    /// Local port.
    pub local_port: u16,
}

/// Values of [`Stdio::kind`].
pub mod stdio_kind {
    /// Closed, or could not be read.
    pub const NONE: u8 = 0;
    /// Regular file or block device.
    pub const FILE: u8 = 1;
    /// Pipe.
    pub const PIPE: u8 = 2;
    /// Character device: a terminal or `/dev/null`.
    pub const DEVICE: u8 = 3;
    /// Unix socket.
    pub const UNIX_SOCKET: u8 = 4;
    /// IPv4 or IPv6 socket.
    pub const INET_SOCKET: u8 = 5;
    /// Another kind of socket or file.
    pub const OTHER: u8 = 6;
}

/// A program was executed; the process has all about the program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// When.
    pub time_ns: u64,
    /// The process, as it is after the execution.
    pub process: ProcessRef,
    /// Descriptors 0, 1 and 2.
    pub stdio: [Stdio; 3],
}

/// A process ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// When.
    pub time_ns: u64,
    /// The process.
    pub process: ProcessRef,
    /// Exit status as `wait` reports it.
    pub code: u32,
    /// How long the process lived; 0 when not known.
    pub duration_ns: u64,
}

/// What a process did often in one tick: counted, not listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// End of the tick.
    pub time_ns: u64,
    /// The process.
    pub process: ProcessRef,
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
    /// Links and symbolic links made.
    pub links: u64,
    /// Modes and owners changed.
    pub attribute_changes: u64,
}

/// System calls of a process group in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Syscalls {
    /// End of the tick.
    pub time_ns: u64,
    /// The process.
    pub process: ProcessRef,
    /// System call number on the host's architecture.
    pub number: u32,
    /// Calls counted.
    pub count: u64,
    /// For how long calls were counted in the tick; less than the tick when sampled.
    pub window_ns: u64,
    /// Calls that took from 2^i up to 2^(i+1) nanoseconds, for i from 0 on; trailing zeros are left
    /// out. Empty when times were not taken.
    pub latency: Vec<u32>,
}
