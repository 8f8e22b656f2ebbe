//! Packets, sockets and who uses them.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use wire::record as wired;

/// TCP flag bits of [`Counters::tcp_flags`] (RFC 9293, section 3.1).
pub mod tcp_flag {
    /// The sender has finished.
    pub const FIN: u8 = 0x01;
    /// Opens a connection.
    pub const SYN: u8 = 0x02;
    /// Refuses or aborts a connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// IP protocol numbers that detectors name.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
}

/// Packets of one direction in one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets with SYN, SYN-ACK included.
    pub syns: u32,
    /// Bits of [`tcp_flag`], joined by or.
    pub tcp_flags: u8,
    /// Initial sequence number of the direction's sender.
    pub isn: Option<u32>,
}

/// Who opened a flow or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The host did.
    Outgoing,
    /// The peer did.
    Incoming,
    /// Not known.
    Unknown,
}

/// What a flow did in one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The host's end; for ICMP the port is the type.
    pub local: SocketAddr,
    /// The peer's end; for ICMP the port is the code.
    pub remote: SocketAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// IP version: 4, 6, or 0 for anything else.
    pub family: u8,
    /// Whether addresses and ports are exact.
    pub exact: bool,
    /// Who opened it.
    pub direction: Direction,
    /// Interface index on the host.
    pub ifindex: u32,
    /// VLAN ids, the outer first; 0 without a tag.
    pub vlans: [u16; 2],
    /// What the packets travelled in, and its number.
    pub tunnel: Option<(Tunnel, u32)>,
    /// Last packet of the tick.
    pub last_ns: u64,
    /// Packets that arrived.
    pub ingress: Counters,
    /// Packets that left.
    pub egress: Counters,
}

/// How a TCP socket's state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionEvent {
    /// The process connected.
    Connected,
    /// The process tried to connect and failed.
    ConnectFailed,
    /// A peer connected to a listening socket.
    Accepted,
    /// The process started to listen.
    Listen,
    /// The process stopped to listen.
    ListenClosed,
    /// The connection was closed.
    Closed,
    /// One that this build does not know.
    Unknown,
}

/// A TCP socket's change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// What changed.
    pub event: ConnectionEvent,
    /// IP protocol number.
    pub protocol: u8,
    /// The host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

closed! {
    /// What a flow's packets travelled in.
    pub enum Tunnel in tunnel {
        /// IP in IP.
        Ip = IP,
        /// GRE.
        Gre = GRE,
        /// VXLAN.
        Vxlan = VXLAN,
    }
}

/// What a process sent and received through a socket in one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Last call of the tick.
    pub last_ns: u64,
    /// IP protocol number.
    pub protocol: u8,
    /// Who opened the connection.
    pub direction: Direction,
    /// The host's end.
    pub local: SocketAddr,
    /// The peer's end; unspecified when the socket has many peers.
    pub remote: SocketAddr,
    /// Bytes of payload sent.
    pub sent: u64,
    /// Bytes of payload received.
    pub received: u64,
    /// Calls that sent.
    pub sends: u64,
    /// Calls that received.
    pub receives: u64,
}

/// One-packet probes of a source in one tick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Last probe of the tick.
    pub last_ns: u64,
    /// Who probes.
    pub source: IpAddr,
    /// Whether the source is a peer or the host.
    pub direction: Direction,
    /// Probes in all.
    pub packets: u64,
    /// Connection attempts that nobody answered.
    pub syns: u64,
    /// Attempts answered by a reset.
    pub resets: u64,
    /// Attempts answered by ICMP unreachable.
    pub unreachables: u64,
    /// FIN, NULL and Xmas probes.
    pub odd: u64,
    /// HyperLogLog registers of distinct destination addresses, one byte each.
    pub addresses: Bytes,
    /// The same of distinct destination ports.
    pub ports: Bytes,
}

pub(super) fn flow(r: &wired::Flow) -> Flow {
    Flow {
        local: end(r.local, r.local_port),
        remote: end(r.remote, r.remote_port),
        protocol: r.protocol,
        family: r.family,
        exact: r.detail == wired::flow_detail::EXACT,
        direction: direction(r.direction),
        ifindex: r.ifindex,
        vlans: [r.vlan, r.inner_vlan],
        tunnel: (r.tunnel != wired::tunnel::NONE).then(|| (Tunnel::of(r.tunnel), r.tunnel_id)),
        last_ns: r.last_ns,
        ingress: counters(&r.ingress),
        egress: counters(&r.egress),
    }
}

fn counters(c: &wired::Counters) -> Counters {
    let wired::Counters { packets, bytes, syns, tcp_flags, isn } = *c;
    Counters { packets, bytes, syns, tcp_flags, isn }
}

pub(super) fn connection(r: &wired::Connection) -> Connection {
    use wired::connection_event as event;
    Connection {
        event: match r.event {
            event::CONNECTED => ConnectionEvent::Connected,
            event::CONNECT_FAILED => ConnectionEvent::ConnectFailed,
            event::ACCEPTED => ConnectionEvent::Accepted,
            event::LISTEN => ConnectionEvent::Listen,
            event::LISTEN_CLOSED => ConnectionEvent::ListenClosed,
            event::CLOSED => ConnectionEvent::Closed,
            _ => ConnectionEvent::Unknown,
        },
        protocol: r.protocol,
        local: end(r.local, r.local_port),
        remote: end(r.remote, r.remote_port),
    }
}

pub(super) fn used(r: &wired::Use) -> Use {
    Use {
        last_ns: r.last_ns,
        protocol: r.protocol,
        direction: direction(r.direction),
        local: end(r.local, r.local_port),
        remote: end(r.remote, r.remote_port),
        sent: r.sent,
        received: r.received,
        sends: r.sends,
        receives: r.receives,
    }
}

pub(super) fn sweep(r: wired::Sweep<Bytes>) -> Sweep {
    Sweep {
        last_ns: r.last_ns,
        source: r.source.to_ip(),
        direction: direction(r.direction),
        packets: r.packets,
        syns: r.syns,
        resets: r.resets,
        unreachables: r.unreachables,
        odd: r.odd,
        addresses: r.addresses,
        ports: r.ports,
    }
}

pub(super) fn direction(number: u8) -> Direction {
    match number {
        wired::direction::OUTGOING => Direction::Outgoing,
        wired::direction::INCOMING => Direction::Incoming,
        _ => Direction::Unknown,
    }
}

pub(super) fn end(address: wired::Address, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_ip(), port)
}
