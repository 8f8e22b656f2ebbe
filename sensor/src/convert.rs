//! The kernel's records → the wire's. The only file that names both crates.

use sensor_abi::act::ActKey;
use sensor_abi::activity::{ActivityCounts, ActivityKey};
use sensor_abi::flow::{Direction, FlowKey, FlowStats};
use sensor_abi::record as abi;
use sensor_abi::record::socket_event;
use sensor_abi::syscall::{LATENCY_FIRST, SyscallKey, SyscallStats};
use wire::record::{
    Address, Connection, Counters, Exit, Flow, Privilege, ProcessRef, Syscalls, connection_event,
    direction, privilege_action,
};

pub mod act;
pub mod file;
pub mod payload;
mod process;
pub mod sweep;
mod usage;

pub use process::Executed;
pub use usage::{UseCount, listening, usage};

use crate::clock::ClockPair;
use crate::drain;
use crate::ledger::Signal;
use crate::observation::{Record, Text};
use crate::owner::{Owner, Place, TCP, Tuple};
use crate::payload::Payload;
use crate::process::Key;

/// TCP flag bits (RFC 9293, section 3.1).
const TCP_SYN: u8 = 0x02;
/// IP protocol numbers of ICMP and ICMPv6, and their echo requests.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const ICMP_ECHO_REQUEST: u16 = 8;
const ICMPV6_ECHO_REQUEST: u16 = 128;

/// A flow as the drain gives it.
pub type FlowCount = (FlowKey, FlowStats);
/// Counted acts of a process as the drain gives them.
pub type ActivityCount = (ActivityKey, ActivityCounts);
/// Counted system calls as the drain gives them.
pub type SyscallCount = (SyscallKey, SyscallStats);

/// A counted act as the drain gives it.
pub type ActCount = (ActKey, u64);

/// Who did something and when, as every ring record says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The process, `None` when the kernel acted by itself.
    pub process: Option<Key>,
    /// When, nanoseconds since boot.
    pub time_ns: u64,
    /// cgroup v2 id.
    pub cgroup_id: u64,
    /// Real user id.
    pub uid: u32,
}

/// What a ring record says, owned, so that records of both rings can be put in order of time.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who and when.
    pub head: Head,
    /// In whose ledger it counts.
    pub signal: Signal,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum What {
    /// A program was executed; the process is as it is afterwards.
    Exec(Box<Executed>),
    /// A process was created by another.
    Fork {
        /// The new process.
        child: Key,
        /// Who created it.
        parent: Key,
    },
    /// A process ended.
    Exit(Exit),
    /// A TCP socket changed its state, or a datagram socket was used for the first time.
    Socket(Box<SocketEvent>),
    /// A packet carried a message.
    Payload(Box<Payload>),
    /// Anything that says all about itself, and the process that it was done to.
    Record(Box<Record>, Option<Key>),
}

impl What {
    fn about((record, done_to): (Record, Option<Key>)) -> Self {
        Self::Record(Box::new(record), done_to)
    }
}

/// Converts a ring record; `None` for an event that this build does not know.
pub fn event(record: &drain::Record<'_>, clock: ClockPair) -> Option<Event> {
    let (header, signal, what) = match record {
        drain::Record::Exec(view) => {
            (&view.fixed.header, Signal::Exec, What::Exec(Box::new(process::exec(view, clock))))
        }
        drain::Record::Fork(record) => {
            let child = Key::new(record.header.tgid, record.header.start_ns);
            let parent = Key::new(record.parent_tgid, record.parent_start_ns);
            (&record.header, Signal::Fork, What::Fork { child, parent })
        }
        drain::Record::Exit(record) => {
            (&record.header, Signal::Exit, What::Exit(process::exit(record, clock)))
        }
        drain::Record::Socket(record) => {
            (&record.header, Signal::Socket, What::Socket(Box::new(socket(record, clock)?)))
        }
        drain::Record::File(view) => {
            let record = Record::File(file::file(view, clock));
            (&view.fixed.header, Signal::File, What::Record(Box::new(record), None))
        }
        drain::Record::Payload(fixed, bytes) => return payload::event(fixed, bytes, clock),
        drain::Record::Module(record) => {
            let module = Privilege {
                time_ns: clock.unix(record.header.time_ns),
                action: privilege_action::MODULE_LOADED,
                count: 1,
                name: Text::from(until_nul(&record.name)),
                ..Privilege::default()
            };
            let what = What::Record(Box::new(Record::Privilege(module)), None);
            (&record.header, Signal::Module, what)
        }
        drain::Record::Memory(record) => {
            (&record.header, Signal::Memory, What::about(act::memory(record, clock)?))
        }
        drain::Record::Privilege(record) => {
            (&record.act.header, Signal::Privilege, What::about(act::privilege(record, clock)?))
        }
        drain::Record::Credentials(record) => {
            (&record.act.header, Signal::Privilege, What::about(act::credentials(record, clock)?))
        }
        drain::Record::Mount(record) => {
            (&record.act.header, Signal::Privilege, What::about(act::mount(record, clock)?))
        }
    };
    Some(Event { head: head(header), signal, what })
}

fn head(header: &abi::Header) -> Head {
    Head {
        process: (header.tgid != 0).then(|| Key::new(header.tgid, header.start_ns)),
        time_ns: header.time_ns,
        cgroup_id: header.cgroup_id,
        uid: header.uid,
    }
}

/// A change of a socket.
#[derive(Clone, Debug)]
pub struct SocketEvent {
    /// Its ends.
    pub tuple: Tuple,
    /// Which socket.
    pub place: Place,
    /// What it means for the table of owners.
    pub change: SocketChange,
    /// What there is to report.
    pub connection: Connection,
}

/// What a socket's change of state means for the table of owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketChange {
    /// A connection was opened, from which side.
    Opened(Owner),
    /// A connection attempt failed.
    Failed(Owner),
    /// A connection was closed.
    Closed,
    /// Somebody listens on the local port.
    Listening,
    /// Nobody listens there any more.
    NotListening,
    /// A process began to use it, which is worth no report.
    Used,
}

/// Converts a socket's change of state; `None` for one that this build does not know.
fn socket(record: &abi::Socket, clock: ClockPair) -> Option<SocketEvent> {
    let process = head(&record.header).process;
    let owner = |direction| Owner { process, direction };
    let (event, change) = match record.event {
        socket_event::CONNECTED => {
            (connection_event::CONNECTED, SocketChange::Opened(owner(direction::OUTGOING)))
        }
        socket_event::CONNECT_FAILED => {
            (connection_event::CONNECT_FAILED, SocketChange::Failed(owner(direction::OUTGOING)))
        }
        socket_event::ACCEPTED => {
            (connection_event::ACCEPTED, SocketChange::Opened(owner(direction::INCOMING)))
        }
        socket_event::LISTEN => (connection_event::LISTEN, SocketChange::Listening),
        socket_event::LISTEN_CLOSED => {
            (connection_event::LISTEN_CLOSED, SocketChange::NotListening)
        }
        socket_event::CLOSED => (connection_event::CLOSED, SocketChange::Closed),
        // Who receives before it sends, and from anybody, serves.
        socket_event::RECEIVED if record.remote_port == 0 => {
            (connection_event::LISTEN, SocketChange::Listening)
        }
        socket_event::SENT | socket_event::RECEIVED => (0, SocketChange::Used),
        _ => return None,
    };
    let tuple = Tuple {
        protocol: record.protocol,
        local: record.local_addr,
        local_port: record.local_port,
        remote: record.remote_addr,
        remote_port: record.remote_port,
    };
    let connection = Connection {
        time_ns: clock.unix(record.header.time_ns),
        process: ProcessRef::default(),
        event,
        protocol: record.protocol,
        local: Address(record.local_addr),
        remote: Address(record.remote_addr),
        local_port: record.local_port,
        remote_port: record.remote_port,
    };
    let place = Place { netns: record.netns, sock: record.sock };
    Some(SocketEvent { tuple, place, change, connection })
}

/// Converts a flow's counters, and says what they suggest about who opened it.
pub fn flow(key: &FlowKey, stats: &FlowStats, clock: ClockPair) -> (Tuple, u8, Flow) {
    let tuple = Tuple {
        protocol: key.protocol,
        local: key.local_addr,
        local_port: key.local_port,
        remote: key.remote_addr,
        remote_port: key.remote_port,
    };
    let firsts = [stats.ingress.first_ns, stats.egress.first_ns];
    let first_ns = firsts.into_iter().filter(|&first| first > 0).min().unwrap_or(0);
    let flow = Flow {
        first_ns: clock.unix(first_ns),
        last_ns: clock.unix(stats.ingress.last_ns.max(stats.egress.last_ns)),
        process: ProcessRef::default(),
        local: Address(key.local_addr),
        remote: Address(key.remote_addr),
        local_port: key.local_port,
        remote_port: key.remote_port,
        protocol: key.protocol,
        family: key.family,
        vlan: key.vlan,
        inner_vlan: key.inner_vlan,
        tunnel: key.tunnel,
        tunnel_id: key.tunnel_id,
        ifindex: key.ifindex,
        detail: key.detail,
        direction: direction::UNKNOWN,
        ingress: counters(&stats.ingress),
        egress: counters(&stats.egress),
    };
    (tuple, guess_direction(key, stats), flow)
}

/// Converts counted system calls; returns the pid as well, since a count names no start time.
pub fn syscalls(calls: &SyscallCount, time_ns: u64, window_ns: u64) -> (u32, Syscalls) {
    let (key, stats) = calls;
    let used = stats.latency.iter().rposition(|&calls| calls > 0).map_or(0, |last| last + 1);
    // The wire's buckets start at one nanosecond.
    let mut latency = vec![0; if used > 0 { LATENCY_FIRST as usize } else { 0 }];
    latency.extend_from_slice(&stats.latency[..used]);
    let (process, number, count) = (ProcessRef::default(), key.number, stats.count);
    (key.tgid, Syscalls { time_ns, process, number, count, window_ns, latency })
}

/// Who opened a flow, from its packets. Of a TCP flow only a SYN tells: who answered one did not
/// open it, and its sender's first packet is the earliest. Of the others the first packet does,
/// when we saw the flow begin.
fn guess_direction(key: &FlowKey, stats: &FlowStats) -> u8 {
    let (ingress, egress) = (&stats.ingress, &stats.egress);
    let outgoing_first =
        ingress.packets == 0 || (egress.packets > 0 && egress.first_ns < ingress.first_ns);
    let answered = |direction: &Direction| direction.state & FlowStats::ANSWERED != 0;
    let from = |outgoing| if outgoing { direction::OUTGOING } else { direction::INCOMING };
    match (key.protocol, key.local_port) {
        (TCP, _) if answered(egress) != answered(ingress) => from(answered(ingress)),
        (TCP, _) => match (syn(ingress), syn(egress)) {
            (true, true) => from(outgoing_first),
            (true, false) => direction::INCOMING,
            (false, true) => direction::OUTGOING,
            (false, false) => direction::UNKNOWN,
        },
        // An echo request is asked by who sends it; its reply is another flow, which answers.
        (ICMP, ICMP_ECHO_REQUEST) | (ICMPV6, ICMPV6_ECHO_REQUEST) => from(egress.packets > 0),
        (ICMP | ICMPV6, _) => direction::UNKNOWN,
        _ => from(outgoing_first),
    }
}

fn syn(direction: &Direction) -> bool {
    direction.tcp_flags & TCP_SYN != 0
}

fn counters(counted: &Direction) -> Counters {
    Counters {
        packets: counted.packets,
        bytes: counted.bytes,
        syns: u32::from(counted.syns),
        tcp_flags: counted.tcp_flags,
        isn: (counted.state & FlowStats::HAS_ISN != 0).then_some(counted.isn),
    }
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOCK: ClockPair = ClockPair { boot_ns: 1_000, unix_ns: 51_000 };

    fn packets(packets: u64, first_ns: u64, tcp_flags: u8) -> Direction {
        Direction { packets, first_ns, last_ns: first_ns + 5, tcp_flags, ..Direction::default() }
    }

    fn guess(protocol: u8, local_port: u16, ingress: Direction, egress: Direction) -> u8 {
        let key = FlowKey { protocol, local_port, ..FlowKey::default() };
        flow(&key, &FlowStats { ingress, egress }, CLOCK).1
    }

    #[test]
    fn who_sent_the_first_syn_opened_the_connection() {
        let none = Direction::default();
        let (early, late) = (packets(3, 100, 0x12), packets(3, 200, 0x12));
        assert_eq!(guess(TCP, 80, early, late), direction::INCOMING);
        assert_eq!(guess(TCP, 80, late, early), direction::OUTGOING);
        assert_eq!(guess(TCP, 80, none, packets(1, 9, 0x02)), direction::OUTGOING);
        assert_eq!(guess(TCP, 80, packets(1, 9, 0x02), packets(1, 10, 0x14)), direction::INCOMING);
        assert_eq!(guess(TCP, 80, packets(1, 9, 0x10), packets(1, 10, 0x10)), direction::UNKNOWN);
    }

    #[test]
    fn who_answered_a_syn_did_not_open_the_connection() {
        let answer = Direction { state: FlowStats::ANSWERED, ..packets(3, 100, 0x12) };
        let other = packets(3, 100, 0x10);
        assert_eq!(guess(TCP, 80, other, answer), direction::INCOMING);
        assert_eq!(guess(TCP, 80, answer, other), direction::OUTGOING);
    }

    #[test]
    fn datagrams_are_opened_by_who_sent_the_first() {
        let none = Direction::default();
        assert_eq!(guess(17, 5000, packets(1, 20, 0), packets(1, 10, 0)), direction::OUTGOING);
        assert_eq!(guess(17, 5000, packets(1, 20, 0), none), direction::INCOMING);
        assert_eq!(guess(ICMPV6, 128, none, packets(1, 1, 0)), direction::OUTGOING);
        assert_eq!(guess(ICMPV6, 129, packets(1, 1, 0), none), direction::UNKNOWN);
    }

    #[test]
    fn a_flow_keeps_its_span_and_its_sequence_numbers() {
        let mut ingress = packets(2, 1_200, 0x12);
        (ingress.isn, ingress.state, ingress.syns) = (77, FlowStats::HAS_ISN, 1);
        let stats = FlowStats { ingress, egress: packets(1, 1_100, 0x02) };
        let (_, _, flow) = flow(&FlowKey::default(), &stats, CLOCK);
        assert_eq!((flow.first_ns, flow.last_ns), (51_100, 51_205));
        assert_eq!((flow.ingress.isn, flow.egress.isn, flow.ingress.syns), (Some(77), None, 1));
    }
}
