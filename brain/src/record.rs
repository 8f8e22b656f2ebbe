//! The brain's own records, made from the wire's by checked conversion.
//!
//! A [`wire::batch::Batch`] holds columns and indexes; detectors want events in time order with
//! their process at hand. Numbers from closed sets become enums here; a value that this build does
//! not know becomes `Unknown`, because a newer sensor is not an error.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use wire::batch::Batch;
use wire::record as wired;
use wire::text::StrId;

mod process;

pub use process::{Process, ProcessKey};

/// A sensor's identity, bound by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub Arc<str>);

/// A host as the brain knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its sensor's identity.
    pub id: HostId,
    /// The name under which it is shown.
    pub name: String,
    /// The role that its join token gave it.
    pub role: String,
}

/// Something that happened on a host.
#[derive(Clone, Debug)]
pub struct Event {
    /// Where.
    pub host: Arc<Host>,
    /// When, nanoseconds since the Unix epoch by the host's clock.
    pub time_ns: u64,
    /// Which process it is about, where known.
    pub process: Option<Arc<Process>>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventKind {
    /// The process executed a program.
    Exec(Exec),
    /// The process ended.
    Exit {
        /// Exit status as `wait` reports it.
        code: u32,
    },
    /// Packets passed.
    Flow(Flow),
    /// A TCP socket changed its state.
    Connection(Connection),
    /// The process used a privilege.
    Privilege(Privilege),
    /// System calls were counted.
    Syscalls {
        /// System call number on the host's architecture.
        number: u32,
        /// Calls counted.
        count: u64,
        /// For how long calls were counted.
        window_ns: u64,
    },
    /// The sensor reported its own state; for detectors, proof that time passed on the host.
    Heartbeat,
}

/// A program's execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// Inode number of the executable.
    pub exe_inode: u64,
    /// Device of the executable's file system.
    pub exe_dev: u32,
    /// Descriptors 0, 1 and 2.
    pub stdio: [Stdio; 3],
}

/// What a standard descriptor leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdio {
    /// Closed, or could not be read.
    None,
    /// Regular file or block device.
    File,
    /// Pipe.
    Pipe,
    /// Character device: a terminal or `/dev/null`.
    Device,
    /// Unix socket.
    UnixSocket,
    /// IPv4 or IPv6 socket.
    InetSocket {
        /// Its peer; port 0 when it is not connected.
        remote: SocketAddr,
        /// The local port.
        local_port: u16,
    },
    /// Another kind, or one that this build does not know.
    Unknown,
}

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

/// A use of privilege.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// A kernel module was loaded.
    ModuleLoaded {
        /// Its name.
        name: bytes::Bytes,
    },
    /// One that this build does not know.
    Unknown,
}

/// Returns the batch's records in time order, records of equal time in the order of [`Kind`] and
/// then of the batch.
pub fn events(batch: &Batch, host: &Arc<Host>) -> Vec<Event> {
    let processes = process::from_batch(batch);
    order(batch)
        .into_iter()
        .map(|(time_ns, kind, index)| {
            let (process, kind) = event(batch, kind, index as usize);
            let process = process.index().and_then(|index| processes.get(index)).cloned();
            Event { host: Arc::clone(host), time_ns, process, kind }
        })
        .collect()
}

/// The batch's columns, in the order in which records of equal time are taken: a process starts
/// before it acts, and acts before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Exec,
    Privilege,
    Connection,
    Flow,
    Syscalls,
    Exit,
    Coverage,
}

fn order(batch: &Batch) -> Vec<(u64, Kind, u32)> {
    let mut order = Vec::with_capacity(batch.record_count());
    fn add(order: &mut Vec<(u64, Kind, u32)>, kind: Kind, times: impl Iterator<Item = u64>) {
        order.extend(times.enumerate().map(|(index, time_ns)| (time_ns, kind, index as u32)));
    }
    add(&mut order, Kind::Exec, batch.execs.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Privilege, batch.privileges.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Connection, batch.connections.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Flow, batch.flows.iter().map(|r| r.first_ns));
    add(&mut order, Kind::Syscalls, batch.syscalls.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Exit, batch.exits.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Coverage, batch.coverage.iter().map(|r| r.end_ns));
    order.sort_unstable();
    order
}

fn event(batch: &Batch, kind: Kind, index: usize) -> (wired::ProcessRef, EventKind) {
    match kind {
        Kind::Exec => {
            let r = &batch.execs[index];
            let stdio = r.stdio.map(|s| stdio(&s));
            let process = r.process.index().and_then(|at| batch.processes.get(at));
            let (exe_inode, exe_dev) = process.map_or((0, 0), |p| (p.exe_inode, p.exe_dev));
            let exec = Exec { exe_inode, exe_dev, stdio };
            (r.process, EventKind::Exec(exec))
        }
        Kind::Exit => {
            let r = &batch.exits[index];
            (r.process, EventKind::Exit { code: r.code })
        }
        Kind::Flow => {
            let r = &batch.flows[index];
            (r.process, EventKind::Flow(flow(r)))
        }
        Kind::Connection => {
            let r = &batch.connections[index];
            (r.process, EventKind::Connection(connection(r)))
        }
        Kind::Privilege => {
            let r = &batch.privileges[index];
            (r.process, EventKind::Privilege(privilege(batch, r)))
        }
        Kind::Syscalls => {
            let r = &batch.syscalls[index];
            let (number, count, window_ns) = (r.number, r.count, r.window_ns);
            (r.process, EventKind::Syscalls { number, count, window_ns })
        }
        Kind::Coverage => (wired::ProcessRef(0), EventKind::Heartbeat),
    }
}

fn stdio(stdio: &wired::Stdio) -> Stdio {
    use wired::stdio_kind as kind;
    match stdio.kind {
        kind::NONE => Stdio::None,
        kind::FILE => Stdio::File,
        kind::PIPE => Stdio::Pipe,
        kind::DEVICE => Stdio::Device,
        kind::UNIX_SOCKET => Stdio::UnixSocket,
        kind::INET_SOCKET => Stdio::InetSocket {
            remote: end(stdio.remote, stdio.remote_port),
            local_port: stdio.local_port,
        },
        _ => Stdio::Unknown,
    }
}

fn flow(r: &wired::Flow) -> Flow {
    Flow {
        local: end(r.local, r.local_port),
        remote: end(r.remote, r.remote_port),
        protocol: r.protocol,
        family: r.family,
        exact: r.detail == wired::flow_detail::EXACT,
        direction: match r.direction {
            wired::direction::OUTGOING => Direction::Outgoing,
            wired::direction::INCOMING => Direction::Incoming,
            _ => Direction::Unknown,
        },
        last_ns: r.last_ns,
        ingress: counters(&r.ingress),
        egress: counters(&r.egress),
    }
}

fn counters(c: &wired::Counters) -> Counters {
    let wired::Counters { packets, bytes, syns, tcp_flags, isn } = *c;
    Counters { packets, bytes, syns, tcp_flags, isn }
}

fn connection(r: &wired::Connection) -> Connection {
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

fn privilege(batch: &Batch, r: &wired::Privilege) -> Privilege {
    match r.action {
        wired::privilege_action::MODULE_LOADED => {
            Privilege::ModuleLoaded { name: string(batch, r.name) }
        }
        _ => Privilege::Unknown,
    }
}

fn end(address: wired::Address, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_ip(), port)
}

fn string(batch: &Batch, id: StrId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(batch.strings.bytes(id))
}

/// Returns the address as one number, IPv4 mapped into IPv6, for tables and masks.
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}
