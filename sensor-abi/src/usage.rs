//! What processes sent and received through sockets, counted in the kernel.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Pairs of socket and process in one drain interval; the sensor reads early when half of the table
/// is taken.
pub const USES_MAX: usize = 16_384;

/// A socket and a process that uses it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct UseKey {
    /// Address of the kernel's socket.
    pub sock: u64,
    /// What the kernel hashes of the ends, and the peer's port: tells a socket from the one that
    /// had the address before, which a busy host frees and takes again at once.
    pub ends: u64,
    /// Thread group id of the process.
    pub tgid: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
}

/// What went through it since the table was emptied, and what the socket is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Use {
    /// Bytes of payload sent.
    pub sent: u64,
    /// Bytes of payload received.
    pub received: u64,
    /// Calls that sent.
    pub sends: u64,
    /// Calls that received.
    pub receives: u64,
    /// First call, nanoseconds since boot.
    pub first_ns: u64,
    /// Last call.
    pub last_ns: u64,
    /// The process's start, nanoseconds since boot.
    pub start_ns: u64,
    /// cgroup v2 id of the process.
    pub cgroup_id: u64,
    /// Local address (v4-mapped for IPv4); unspecified when the socket is bound to all.
    pub local_addr: [u8; 16],
    /// Peer address, likewise; unspecified when the socket is not connected.
    pub remote_addr: [u8; 16],
    /// Real user id of the process.
    pub uid: u32,
    /// Inode number of the socket's network namespace.
    pub netns: u32,
    /// Local port, host byte order.
    pub local_port: u16,
    /// Peer port, host byte order; 0 when the socket is not connected.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: [u8; 3],
}

const _: () = assert!(size_of::<UseKey>() == 24);
const _: () = assert!(size_of::<Use>() == 112);

impl Use {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        sent: 0,
        received: 0,
        sends: 0,
        receives: 0,
        first_ns: 0,
        last_ns: 0,
        start_ns: 0,
        cgroup_id: 0,
        local_addr: [0; 16],
        remote_addr: [0; 16],
        uid: 0,
        netns: 0,
        local_port: 0,
        remote_port: 0,
        protocol: 0,
        reserved: [0; 3],
    };

    /// Returns the calls that it stands for.
    pub fn calls(&self) -> u64 {
        self.sends + self.receives
    }
}
