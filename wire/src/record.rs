//! One struct per signal, as it travels.
//!
//! Times are nanoseconds since the Unix epoch by the sensor's clock. Addresses are 16 bytes, IPv4
//! mapped into IPv6 (RFC 4291, section 2.5.5.2). Numbers that come from a closed set travel as
//! integers and are parsed where they arrive; a value from a newer sensor is "unknown", not an
//! error.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::text::StrId;

/// Index of a process in its batch, plus one; 0 means that the process is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessRef(pub u32);

impl ProcessRef {
    /// Returns the index into `Batch::processes`.
    pub fn index(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }
}

/// An address in 16 bytes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// Returns the address in its own family.
    pub fn to_ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => Self(v6.octets()),
        }
    }
}

/// A process that records of the batch name, or an ancestor of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the root namespace.
    pub pid: u32,
    /// When it started; with the host and `pid` it names a process for good.
    pub start_ns: u64,
    /// Its parent, when known.
    pub parent: ProcessRef,
    /// Path of the executable.
    pub exe: StrId,
    /// Task name.
    pub comm: StrId,
    /// Arguments, each ended by NUL.
    pub args: StrId,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Group id.
    pub gid: u32,
    /// User name of `uid`, empty when not known.
    pub user: StrId,
    /// Path of the cgroup, relative to its hierarchy's root.
    pub cgroup: StrId,
    /// Container id, empty outside containers.
    pub container: StrId,
    /// Bits of [`process_flag`].
    pub flags: u32,
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

/// A program was executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// When.
    pub time_ns: u64,
    /// The process, as it is after the execution.
    pub process: ProcessRef,
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Device of the executable's file system.
    pub exe_dev: u32,
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
}

/// Packets in one direction of a flow, since the flow's last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets as the interface counts them.
    pub packets: u64,
    /// Bytes with the link-layer header.
    pub bytes: u64,
    /// Packets with SYN.
    pub syns: u32,
    /// TCP flags seen, joined by or.
    pub tcp_flags: u8,
    /// Initial sequence number of this direction's sender.
    pub isn: Option<u32>,
}

/// What a flow did in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// First packet of the tick.
    pub first_ns: u64,
    /// Last packet of the tick.
    pub last_ns: u64,
    /// Owner of the local end.
    pub process: ProcessRef,
    /// The host's address.
    pub local: Address,
    /// The peer's address.
    pub remote: Address,
    /// The host's port; for ICMP the type.
    pub local_port: u16,
    /// The peer's port; for ICMP the code; for non-IP the EtherType.
    pub remote_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// IP version: 4, 6, or 0 for anything else.
    pub family: u8,
    /// Outer VLAN id, 0 without a tag.
    pub vlan: u16,
    /// Interface index on the host.
    pub ifindex: u32,
    /// See [`flow_detail`].
    pub detail: u8,
    /// See [`direction`].
    pub direction: u8,
    /// Packets that arrived.
    pub ingress: Counters,
    /// Packets that left.
    pub egress: Counters,
}

/// Values of [`Flow::detail`]: how much of the key is exact.
pub mod flow_detail {
    /// All of it.
    pub const EXACT: u8 = 0;
    /// Ports are not known.
    pub const NO_PORTS: u8 = 1;
    /// Only family and protocol are known.
    pub const PROTOCOL_ONLY: u8 = 2;
}

/// Values of [`Flow::direction`]: who opened it.
pub mod direction {
    /// Not known.
    pub const UNKNOWN: u8 = 0;
    /// The host did.
    pub const OUTGOING: u8 = 1;
    /// The peer did.
    pub const INCOMING: u8 = 2;
}

/// A TCP socket changed its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// When.
    pub time_ns: u64,
    /// The owner.
    pub process: ProcessRef,
    /// See [`connection_event`].
    pub event: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// The host's address.
    pub local: Address,
    /// The peer's address.
    pub remote: Address,
    /// The host's port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
}

/// Values of [`Connection::event`]; the same numbers as the kernel programs use.
pub mod connection_event {
    /// The process connected.
    pub const CONNECTED: u8 = 1;
    /// The process tried to connect and failed.
    pub const CONNECT_FAILED: u8 = 2;
    /// A peer connected to the process's listening socket.
    pub const ACCEPTED: u8 = 3;
    /// The process started to listen.
    pub const LISTEN: u8 = 4;
    /// The process stopped to listen.
    pub const LISTEN_CLOSED: u8 = 5;
    /// The connection was closed.
    pub const CLOSED: u8 = 6;
}

/// A process used or gained a privilege.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privilege {
    /// When.
    pub time_ns: u64,
    /// The process.
    pub process: ProcessRef,
    /// See [`privilege_action`].
    pub action: u8,
    /// What it was done to, such as the module's name.
    pub target: StrId,
}

/// Values of [`Privilege::action`].
pub mod privilege_action {
    /// A kernel module was loaded; the target is its name.
    pub const MODULE_LOADED: u8 = 1;
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
}

/// What the sensor saw, delivered and lost since the last such record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Begin of the span.
    pub start_ns: u64,
    /// End of the span.
    pub end_ns: u64,
    /// Every hook of the probe table.
    pub hooks: Vec<Hook>,
    /// One line per signal and outcome.
    pub ledger: Vec<LedgerLine>,
    /// Longest time that a record waited in a ring before the sensor read it.
    pub drain_lag_ns: u64,
    /// Processor time of the sensor in the span.
    pub cpu_ns: u64,
    /// Resident memory of the sensor.
    pub memory_bytes: u64,
}

/// One hook of the probe table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Name in the probe table, such as `flow-ingress`.
    pub name: StrId,
    /// How it is attached, such as `xdp native` or `tracepoint`; empty when it is not.
    pub attached: StrId,
    /// Why not, or what stands in; empty when the preferred way is attached.
    pub reason: StrId,
}

/// How many records of a signal met an outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// Signal, such as `exec`.
    pub signal: StrId,
    /// `seen`, `delivered`, or the reason of a loss.
    pub outcome: StrId,
    /// Records.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_family() {
        for text in ["10.1.2.3", "::1", "2001:db8::7"] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(Address::from(ip).to_ip(), ip);
        }
    }
}
