//! Packets, sockets and who uses them.

use serde::{Deserialize, Serialize};

use super::{Address, ProcessRef, with_texts};

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
    /// Inner VLAN id of a double tag, else 0.
    pub inner_vlan: u16,
    /// See [`tunnel`]: what the packets travelled in, when tunnels are looked into.
    pub tunnel: u8,
    /// VXLAN network identifier or GRE key, else 0.
    pub tunnel_id: u32,
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
    /// Addresses are prefixes (IPv4 /24, IPv6 /64); ports are not known.
    pub const PREFIX: u8 = 3;
}

/// Values of [`Flow::tunnel`].
pub mod tunnel {
    /// None.
    pub const NONE: u8 = 0;
    /// IP in IP (RFC 2003, RFC 4213).
    pub const IP: u8 = 1;
    /// GRE (RFC 2784, RFC 2890).
    pub const GRE: u8 = 2;
    /// VXLAN (RFC 7348).
    pub const VXLAN: u8 = 3;
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

with_texts! {
    /// One-packet probes of a source in one tick. Distinct counts are HyperLogLog registers, one
    /// byte each, which can be merged over ticks and hosts (Flajolet et al. 2007).
    pub struct Sweep {
        /// First probe.
        first_ns: u64,
        /// Last probe.
        last_ns: u64,
        /// The local process that probes, when it is one of ours.
        process: ProcessRef,
        /// Who probes.
        source: Address,
        /// See [`direction`]: whether the source is a peer or the host.
        direction: u8,
        /// Probes in all.
        packets: u64,
        /// Connection attempts that nobody answered.
        syns: u64,
        /// Attempts answered by a reset.
        resets: u64,
        /// Attempts answered by ICMP unreachable.
        unreachables: u64,
        /// FIN, NULL and Xmas probes.
        odd: u64,
    }
    texts {
        /// Registers of distinct destination addresses.
        addresses,
        /// Registers of distinct destination ports.
        ports,
    }
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

/// What a process sent and received through a socket in one tick.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// First call.
    pub first_ns: u64,
    /// Last call.
    pub last_ns: u64,
    /// Who called.
    pub process: ProcessRef,
    /// IP protocol number.
    pub protocol: u8,
    /// See [`direction`].
    pub direction: u8,
    /// The host's address.
    pub local: Address,
    /// The peer's address; unspecified when the socket has many peers.
    pub remote: Address,
    /// The host's port.
    pub local_port: u16,
    /// The peer's port; 0 when the socket has many peers.
    pub remote_port: u16,
    /// Bytes of payload sent.
    pub sent: u64,
    /// Bytes of payload received.
    pub received: u64,
    /// Calls that sent.
    pub sends: u64,
    /// Calls that received.
    pub receives: u64,
}
