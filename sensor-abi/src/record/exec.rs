//! The record of an execution: the one record of many parts, packed behind a fixed one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{COMM_LEN, Header, Stdio};

/// Longest argument text, in bytes; more is cut and flagged.
pub const ARGS_MAX: usize = 4096;
/// Room for each walked path, leaf first; more is cut and flagged.
pub const PATH_MAX: usize = 1024;
/// Most directories that a path may have.
pub const PATH_DEPTH_MAX: usize = 40;
/// Longest name of a script, with NUL; more is cut and flagged.
pub const SCRIPT_MAX: usize = 512;
/// Longest name of an interpreter, with NUL. The kernel reads no more of a `#!` line than this.
pub const INTERPRETER_MAX: usize = 256;
/// Room for all environment variables of a record; more is cut and flagged.
pub const ENV_MAX: usize = 1024;
/// Longest single environment variable, name, value and NUL; more is cut and flagged.
pub const ENV_ENTRY_MAX: usize = 256;
/// Variables of an environment that are looked at; a shell has some 30. More are cut and flagged.
pub const ENV_LOOKED_AT: usize = 128;
/// Bytes copied to look at one variable. The next one starts where it ends, so a longer one takes
/// several looks.
pub const ENV_LOOK_BYTES: usize = 2048;
/// Length of a terminal's name, such as `pts/12`; more is cut.
pub const TTY_LEN: usize = 16;

/// A program was executed.
///
/// In the ring follow, packed in this order and `*_len` bytes each: the executable's path, the
/// arguments, the working directory, the script, the interpreter, the environment.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    /// What every record has.
    pub header: Header,
    /// Parent's start time, nanoseconds since boot.
    pub parent_start_ns: u64,
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Bytes of the executable.
    pub exe_size: u64,
    /// When the executable's content changed, nanoseconds since the Unix epoch.
    pub exe_mtime_ns: u64,
    /// When the executable's inode changed, likewise. No program can set it.
    pub exe_ctime_ns: u64,
    /// Effective capabilities, one bit each.
    pub capabilities: u64,
    /// Device of the executable's file system, as `super_block.s_dev` has it.
    pub exe_dev: u32,
    /// Parent's thread group id.
    pub parent_tgid: u32,
    /// Bits of [`exec_flag`].
    pub flags: u32,
    /// Effective user id.
    pub euid: u32,
    /// Group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// User id of the log-in that the process descends from, all ones without one.
    pub loginuid: u32,
    /// The audit subsystem's session, all ones without one.
    pub session: u32,
    /// Inode numbers of the namespaces: processes, mounts, network, users.
    pub pid_ns: u32,
    /// Mounts.
    pub mnt_ns: u32,
    /// Network.
    pub net_ns: u32,
    /// Users.
    pub user_ns: u32,
    /// Process id inside its own namespace.
    pub inner_pid: u32,
    /// Bytes of the executable's path: its names, leaf first, each ended by NUL.
    pub path_len: u16,
    /// Bytes of the arguments, each ended by NUL, as `mm->arg_start` had them.
    pub args_len: u16,
    /// Bytes of the working directory, as the path.
    pub cwd_len: u16,
    /// Bytes of the script's name as it was passed to the kernel, with NUL; 0 when the kernel
    /// executed a program without an interpreter.
    pub script_len: u16,
    /// Bytes of the interpreter's name as the script or the kernel's settings give it, with NUL.
    pub interpreter_len: u16,
    /// Bytes of the environment variables that were asked for, each ended by NUL.
    pub env_len: u16,
    /// Name of the controlling terminal, ended by NUL unless it fills the room; empty without one.
    pub tty: [u8; TTY_LEN],
    /// Descriptors 0, 1 and 2.
    pub stdio: [Stdio; 3],
    /// Task name after the execution.
    pub comm: [u8; COMM_LEN],
}

/// Bits of [`Exec::flags`].
pub mod exec_flag {
    /// The image is an anonymous memory file (`memfd_create`).
    pub const MEMFD: u32 = 1 << 0;
    /// The image has no name left in any directory.
    pub const UNLINKED: u32 = 1 << 1;
    /// Arguments were longer than the record has room for.
    pub const ARGS_TRUNCATED: u32 = 1 << 2;
    /// Arguments could not be read.
    pub const ARGS_UNREADABLE: u32 = 1 << 3;
    /// The path was deeper or longer than the record has room for.
    pub const PATH_TRUNCATED: u32 = 1 << 4;
    /// The working directory was.
    pub const CWD_TRUNCATED: u32 = 1 << 5;
    /// The script's name was.
    pub const SCRIPT_TRUNCATED: u32 = 1 << 6;
    /// The way that this hook is attached does not tell whether a script was run.
    pub const SCRIPT_UNKNOWN: u32 = 1 << 7;
    /// Not all of the environment was looked at, or a variable was too long.
    pub const ENV_TRUNCATED: u32 = 1 << 8;
    /// The environment could not be read.
    pub const ENV_UNREADABLE: u32 = 1 << 9;
    /// The image is on an overlay file system.
    pub const OVERLAY: u32 = 1 << 10;
    /// … in its upper layer: it was written after the overlay was mounted.
    pub const UPPER_LAYER: u32 = 1 << 11;
    /// On an overlay file system, but this kernel does not tell in which layer.
    pub const LAYER_UNKNOWN: u32 = 1 << 12;
}

impl Exec {
    /// Bytes of the record before the variable part.
    pub const FIXED: usize = size_of::<Self>();
    /// Bytes of the longest record.
    pub const LONGEST: usize =
        Self::FIXED + 2 * PATH_MAX + ARGS_MAX + SCRIPT_MAX + INTERPRETER_MAX + ENV_MAX;
}
const _: () = assert!(Exec::FIXED == 256);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for Exec {}
