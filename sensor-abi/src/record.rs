//! Records that travel through a ring buffer: rare events that matter one by one.
//!
//! Every record starts with a [`Header`]; `kind` says which struct follows in the same bytes. The
//! sensor refuses a record whose kind or length it does not know, and counts it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub mod exec;
pub mod file;
pub mod payload;

pub use exec::{Exec, exec_flag};
pub mod memory;
pub mod privilege;

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
    /// [`super::file::File`], on the file ring.
    pub const FILE: u32 = 16;
    /// [`super::memory::Memory`], on the security ring.
    pub const MEMORY: u32 = 24;
    /// [`super::privilege::Privilege`], on the security ring.
    pub const PRIVILEGE: u32 = 32;
    /// [`super::privilege::Credentials`], on the security ring.
    pub const CREDENTIALS: u32 = 33;
    /// [`super::privilege::Mount`], on the security ring.
    pub const MOUNT: u32 = 34;
    /// [`super::payload::Payload`], on the payload ring.
    pub const PAYLOAD: u32 = 48;
}

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
    /// A process sent through a datagram socket for the first time.
    pub const SENT: u8 = 7;
    /// A process received through a datagram socket that it has not sent through.
    pub const RECEIVED: u8 = 8;
}

/// A TCP socket changed its state, or a datagram socket was used, with the process that did it.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Socket {
    /// The owner; `tgid` is 0 when it is not known.
    pub header: Header,
    /// Local address (v4-mapped for IPv4).
    pub local_addr: [u8; 16],
    /// Peer address, likewise.
    pub remote_addr: [u8; 16],
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// Low half of the address of the kernel's socket: tells listeners apart that share a port.
    pub sock: u32,
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
const _: () = assert!(size_of::<Socket>() == 88);
const _: () = assert!(size_of::<Module>() == 104);

#[cfg(feature = "user")]
macro_rules! pod {
    ($($t:ty),*) => {$(
        // SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
        unsafe impl aya::Pod for $t {}
    )*};
}
#[cfg(feature = "user")]
pod!(Header, Stdio, Fork, Exit, Socket, Module);
