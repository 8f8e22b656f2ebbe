//! The brain's own records, made from the wire's by checked conversion.
//!
//! A [`wire::batch::Batch`] holds columns and indexes; detectors want events in time order with
//! their process at hand. Numbers from closed sets become enums here; a value that this build does
//! not know becomes `Unknown`, because a newer sensor is not an error.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use wire::batch::Batch;
use wire::record as wired;
use wire::text::StrId;

/// Defines an enum of a closed set that travels as a number; a number that this build does not know
/// is `Unknown`.
macro_rules! closed {
    (
        $(#[$meta:meta])*
        pub enum $name:ident in $module:ident {
            $($(#[$variant_meta:meta])* $variant:ident = $number:ident,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* $variant,)*
            /// One that this build does not know.
            Unknown,
        }

        impl $name {
            pub(super) fn of(number: u8) -> Self {
                match number {
                    $(wire::record::$module::$number => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }
        }
    };
}

mod act;
mod file;
mod host;
mod network;
mod payload;
mod process;
mod scan;

pub use act::{Activity, Memory, MemoryAction, Privilege, PrivilegeAction, Uring};
pub use file::{File, FileAction, open_flag};
pub use host::{Inventory, InventoryChange, InventoryKind, Login, LoginAction};
pub use network::{
    Connection, ConnectionEvent, Counters, Direction, Flow, Sweep, Tunnel, Use, protocol, tcp_flag,
};
pub use payload::{Dns, DnsAnswer, Tls};
pub use process::{Namespaces, Process, ProcessKey};
pub use scan::{Scan, ScanTrigger};

use network::end;

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
        /// How long it lived; 0 when not known.
        duration_ns: u64,
    },
    /// Packets passed.
    Flow(Flow),
    /// A TCP socket changed its state.
    Connection(Connection),
    /// The process sent or received through a socket.
    Use(Use),
    /// One-packet probes were counted.
    Sweep(Sweep),
    /// A DNS message was seen.
    Dns(Dns),
    /// A TLS greeting was seen.
    Tls(Tls),
    /// A watched file was touched.
    File(File),
    /// Memory was touched.
    Memory(Memory),
    /// The process used a privilege.
    Privilege(Privilege),
    /// Requests to io_uring were counted.
    Uring(Uring),
    /// Forks and acts on files were counted.
    Activity(Activity),
    /// System calls were counted.
    Syscalls {
        /// System call number on the host's architecture.
        number: u32,
        /// Calls counted.
        count: u64,
        /// For how long calls were counted.
        window_ns: u64,
        /// Calls that took from 2^i up to 2^(i+1) nanoseconds, for i from 0 on.
        latency: Vec<u32>,
    },
    /// Somebody logged in or tried to, or an account was changed.
    Login(Login),
    /// The host has something, or no longer has it.
    Inventory(Inventory),
    /// A rule matched a file.
    Scan(Scan),
    /// The sensor reported its own state; for detectors, proof that time passed on the host.
    Heartbeat {
        /// When the sensor started, nanoseconds since the Unix epoch by its clock.
        sensor_start_ns: u64,
    },
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

/// Returns the batch's records in time order, records of equal time in the order of [`Kind`] and
/// then of the batch.
pub fn events(batch: &Batch, host: &Arc<Host>) -> Vec<Event> {
    let source = Source { batch, processes: process::from_batch(batch) };
    order(batch)
        .into_iter()
        .map(|(time_ns, kind, index)| {
            let (process, kind) = event(&source, kind, index as usize);
            let process = source.process(process);
            Event { host: Arc::clone(host), time_ns, process, kind }
        })
        .collect()
}

/// The batch's columns, in the order in which records of equal time are taken: a process starts
/// before it acts, and acts before it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Inventory,
    Login,
    Exec,
    Privilege,
    Memory,
    File,
    Scan,
    Connection,
    Dns,
    Tls,
    Use,
    Flow,
    Sweep,
    Uring,
    Activity,
    Syscalls,
    Exit,
    Coverage,
}

fn order(batch: &Batch) -> Vec<(u64, Kind, u32)> {
    let mut order = Vec::with_capacity(batch.record_count());
    fn add(order: &mut Vec<(u64, Kind, u32)>, kind: Kind, times: impl Iterator<Item = u64>) {
        order.extend(times.enumerate().map(|(index, time_ns)| (time_ns, kind, index as u32)));
    }
    add(&mut order, Kind::Inventory, batch.inventory.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Login, batch.logins.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Exec, batch.execs.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Privilege, batch.privileges.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Memory, batch.memory.iter().map(|r| r.time_ns));
    add(&mut order, Kind::File, batch.files.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Scan, batch.scans.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Connection, batch.connections.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Dns, batch.dns.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Tls, batch.tls.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Use, batch.uses.iter().map(|r| r.first_ns));
    add(&mut order, Kind::Flow, batch.flows.iter().map(|r| r.first_ns));
    add(&mut order, Kind::Sweep, batch.sweeps.iter().map(|r| r.first_ns));
    add(&mut order, Kind::Uring, batch.urings.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Activity, batch.activities.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Syscalls, batch.syscalls.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Exit, batch.exits.iter().map(|r| r.time_ns));
    add(&mut order, Kind::Coverage, batch.coverage.iter().map(|r| r.end_ns));
    order.sort_unstable();
    order
}

/// A batch and its processes, while its records are converted.
struct Source<'a> {
    batch: &'a Batch,
    processes: Vec<Arc<Process>>,
}

impl Source<'_> {
    fn process(&self, named: wired::ProcessRef) -> Option<Arc<Process>> {
        named.index().and_then(|index| self.processes.get(index)).cloned()
    }

    fn text(&self, id: &StrId) -> Bytes {
        string(self.batch, *id)
    }
}

fn event(source: &Source<'_>, kind: Kind, index: usize) -> (wired::ProcessRef, EventKind) {
    let batch = source.batch;
    let text = |id: &StrId| source.text(id);
    match kind {
        Kind::Exec => {
            let r = &batch.execs[index];
            (r.process, EventKind::Exec(exec(source, r)))
        }
        Kind::Exit => {
            let r = &batch.exits[index];
            (r.process, EventKind::Exit { code: r.code, duration_ns: r.duration_ns })
        }
        Kind::Flow => {
            let r = &batch.flows[index];
            (r.process, EventKind::Flow(network::flow(r)))
        }
        Kind::Connection => {
            let r = &batch.connections[index];
            (r.process, EventKind::Connection(network::connection(r)))
        }
        Kind::Use => {
            let r = &batch.uses[index];
            (r.process, EventKind::Use(network::used(r)))
        }
        Kind::Sweep => {
            let r = &batch.sweeps[index];
            (r.process, EventKind::Sweep(network::sweep(r.map_texts(text))))
        }
        Kind::Dns => {
            let r = &batch.dns[index];
            (r.process, EventKind::Dns(payload::dns(r.map_texts(text))))
        }
        Kind::Tls => {
            let r = &batch.tls[index];
            (r.process, EventKind::Tls(payload::tls(r.map_texts(text))))
        }
        Kind::File => {
            let r = &batch.files[index];
            (r.process, EventKind::File(file::file(r.map_texts(text))))
        }
        Kind::Memory => {
            let r = &batch.memory[index];
            let target = source.process(r.target);
            (r.process, EventKind::Memory(act::memory(r.map_texts(text), target)))
        }
        Kind::Privilege => {
            let r = &batch.privileges[index];
            let target = source.process(r.target);
            (r.process, EventKind::Privilege(act::privilege(r.map_texts(text), target)))
        }
        Kind::Uring => {
            let r = &batch.urings[index];
            (r.process, EventKind::Uring(Uring { opcode: r.opcode, count: r.count }))
        }
        Kind::Activity => {
            let r = &batch.activities[index];
            (r.process, EventKind::Activity(act::activity(r)))
        }
        Kind::Syscalls => {
            let r = &batch.syscalls[index];
            let (number, count, window_ns) = (r.number, r.count, r.window_ns);
            let latency = r.latency.clone();
            (r.process, EventKind::Syscalls { number, count, window_ns, latency })
        }
        Kind::Login => {
            let r = &batch.logins[index];
            (r.process, EventKind::Login(host::login(r.map_texts(text))))
        }
        Kind::Inventory => {
            let r = &batch.inventory[index];
            let none = wired::ProcessRef::default();
            (none, EventKind::Inventory(host::inventory(r.map_texts(text))))
        }
        Kind::Scan => {
            let r = &batch.scans[index];
            (r.process, EventKind::Scan(scan::scan(r.map_texts(text))))
        }
        Kind::Coverage => {
            let sensor_start_ns = source.batch.position.epoch;
            (wired::ProcessRef(0), EventKind::Heartbeat { sensor_start_ns })
        }
    }
}

fn exec(source: &Source<'_>, r: &wired::Exec) -> Exec {
    let process = source.process(r.process);
    let (exe_inode, exe_dev) = process.map_or((0, 0), |p| (p.exe_inode, p.exe_dev));
    Exec { exe_inode, exe_dev, stdio: r.stdio.map(|s| stdio(&s)) }
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

fn string(batch: &Batch, id: StrId) -> Bytes {
    Bytes::copy_from_slice(batch.strings.bytes(id))
}

/// Returns the address as one number, IPv4 mapped into IPv6, for tables and masks.
pub fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

#[cfg(test)]
mod tests;
