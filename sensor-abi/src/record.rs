//! Records that travel through a ring buffer: rare events that matter one by one.
//!
//! Every record starts with a [`Header`]; `kind` says which struct follows in the same bytes. The
//! sensor refuses a record whose kind or length it does not know, and counts it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Values of [`Header::kind`]. Each signal has a block of numbers.
pub mod kind {
    /// [`super::Exec`], on the security ring.
    pub const EXEC: u32 = 1;
    /// [`super::Fork`], on the process ring.
    pub const FORK: u32 = 2;
    /// [`super::Exit`], on the process ring.
    pub const EXIT: u32 = 3;
    /// [`super::Socket`], on the process ring.
    pub const SOCKET: u32 = 4;
    /// [`super::Module`], on the security ring.
    pub const MODULE: u32 = 5;
}

/// Longest argument text of an [`Exec`], in bytes; more is cut and flagged.
pub const ARGS_MAX: usize = 4096;
/// Room for the executable's path, walked leaf first; more is cut and flagged.
pub const PATH_MAX: usize = 1024;
/// Most directories that a path may have.
pub const PATH_DEPTH_MAX: usize = 40;
/// Length of a task's `comm`.
pub const COMM_LEN: usize = 16;
/// Length of a kernel module's name.
pub const MODULE_NAME_LEN: usize = 64;

/// What every record has.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Header {
    /// See [`kind`].
    pub kind: u32,
    /// Thread group id (what user space calls a process id).
    pub tgid: u32,
    /// When it happened, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// When the process started, nanoseconds since boot; with `tgid` it names a process for good.
    pub start_ns: u64,
    /// cgroup v2 id of the task.
    pub cgroup_id: u64,
    /// Thread id.
    pub tid: u32,
    /// Real user id.
    pub uid: u32,
}

/// Where one of the standard file descriptors leads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Stdio {
    /// Peer address (v4-mapped for IPv4) when it is an internet socket.
    pub remote_addr: [u8; 16],
    /// Peer port, host byte order.
    pub remote_port: u16,
    /// Local port, host byte order.
    pub local_port: u16,
    /// `inode.i_mode` of what the descriptor leads to; 0 when closed or unreadable.
    pub mode: u16,
    /// Address family when it is a socket (`AF_UNIX` 1, `AF_INET` 2, `AF_INET6` 10), else 0.
    pub family: u16,
}

/// A program was executed. `args` and `path` are cut to their lengths in the ring, so the record is
/// `size_of::<ExecFixed>() + args_len + path_len` bytes long: fixed part, then path, then
/// arguments.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exec {
    /// What every record has.
    pub header: Header,
    /// Parent's start time, nanoseconds since boot.
    pub parent_start_ns: u64,
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Device of the executable's file system, as `super_block.s_dev` has it.
    pub exe_dev: u32,
    /// Parent's thread group id.
    pub parent_tgid: u32,
    /// Bits of [`exec_flag`].
    pub flags: u32,
    /// Bytes used in `path`.
    pub path_len: u16,
    /// Bytes used in `args`.
    pub args_len: u16,
    /// Effective user id.
    pub euid: u32,
    /// Group id.
    pub gid: u32,
    /// Descriptors 0, 1 and 2.
    pub stdio: [Stdio; 3],
    /// Task name after the execution.
    pub comm: [u8; COMM_LEN],
    /// Components of the executable's path, leaf first, each ended by NUL.
    pub path: [u8; PATH_MAX],
    /// Arguments, each ended by NUL, as `mm->arg_start` had them.
    pub args: [u8; ARGS_MAX],
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
}

/// A process was created.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fork {
    /// The new process: its `tgid` and `start_ns`.
    pub header: Header,
    /// The parent's start time, nanoseconds since boot.
    pub parent_start_ns: u64,
    /// The parent's thread group id.
    pub parent_tgid: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
}

/// A process ended (its last thread left).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Exit {
    /// The process that ended.
    pub header: Header,
    /// Exit status as `wait` reports it.
    pub code: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
}

/// Values of [`Socket::event`].
pub mod socket_event {
    /// An outgoing TCP connection was established; the process is the one that connected.
    pub const CONNECTED: u8 = 1;
    /// An outgoing TCP connection failed (refused or timed out).
    pub const CONNECT_FAILED: u8 = 2;
    /// An incoming TCP connection was established; the process is the listener's owner.
    pub const ACCEPTED: u8 = 3;
    /// A TCP socket started to listen.
    pub const LISTEN: u8 = 4;
    /// A listening socket was closed.
    pub const LISTEN_CLOSED: u8 = 5;
    /// A connection was closed; the process is the one that closed it, 0 when the kernel did.
    pub const CLOSED: u8 = 6;
}

/// A TCP socket changed its state, with the process that owns it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Socket {
    /// The owner; `tgid` is 0 when it is not known.
    pub header: Header,
    /// Local address (v4-mapped for IPv4).
    pub local_addr: [u8; 16],
    /// Peer address, likewise.
    pub remote_addr: [u8; 16],
    /// Local port, host byte order.
    pub local_port: u16,
    /// Peer port, host byte order.
    pub remote_port: u16,
    /// IP version: 4 or 6.
    pub family: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// See [`socket_event`].
    pub event: u8,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u8,
}

/// A kernel module was loaded.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Module {
    /// The process that asked for it.
    pub header: Header,
    /// The module's name, ended by NUL.
    pub name: [u8; MODULE_NAME_LEN],
}

const _: () = assert!(size_of::<Header>() == 40);
const _: () = assert!(size_of::<Stdio>() == 24);
const _: () = assert!(size_of::<Fork>() == 56);
const _: () = assert!(size_of::<Exit>() == 48);
const _: () = assert!(size_of::<Socket>() == 80);
const _: () = assert!(size_of::<Module>() == 104);

impl Exec {
    /// Bytes of the record before the variable part.
    pub const FIXED: usize = size_of::<Self>() - PATH_MAX - ARGS_MAX;
}
const _: () = assert!(Exec::FIXED == 40 + 8 + 8 + 4 + 4 + 4 + 2 + 2 + 4 + 4 + 72 + 16);

#[cfg(feature = "user")]
macro_rules! pod {
    ($($t:ty),*) => {$(
        // SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
        unsafe impl aya::Pod for $t {}
    )*};
}
#[cfg(feature = "user")]
pod!(Header, Stdio, Exec, Fork, Exit, Socket, Module);
