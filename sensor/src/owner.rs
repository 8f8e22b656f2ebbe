//! Sockets → processes, so that flows have an owner and a direction. Pure.

use wire::record::direction;

use crate::process::Key;
use crate::table::Table;

mod ports;

pub use self::ports::Place;
use self::ports::{Holder, Ports};

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol numbers of UDP and of UDP-Lite, whose sockets need no connection.
const UDP: u8 = 17;
const UDP_LITE: u8 = 136;
/// Connections remembered. A host with more has flows without a process, which is counted.
const CONNECTIONS_MAX: usize = 32_768;
/// How long a closed connection is kept: its last packets are drained one tick after the close.
const CLOSED_KEPT_NS: u64 = 10_000_000_000;
/// How long a flow without any socket event (UDP, ICMP) keeps its direction after its last packet.
const SILENT_KEPT_NS: u64 = 120_000_000_000;

/// Both ends of a connection as the host sees them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// IP protocol number.
    pub protocol: u8,
    /// The host's address.
    pub local: [u8; 16],
    /// The host's port.
    pub local_port: u16,
    /// The peer's address.
    pub remote: [u8; 16],
    /// The peer's port.
    pub remote_port: u16,
}

/// Who a flow belongs to and who opened it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The process at the local end.
    pub process: Option<Key>,
    /// See `wire::record::direction`.
    pub direction: u8,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    owner: Owner,
    seen_ns: u64,
    /// When the owner last sent or received, as far as is known.
    used_ns: u64,
    /// A socket event vouches for it, so silence alone does not end it.
    open: bool,
}

impl Entry {
    fn new(owner: Owner, now_ns: u64, open: bool) -> Self {
        Self { owner, seen_ns: now_ns, used_ns: 0, open }
    }
}

/// The table of sockets.
#[derive(Debug, Default)]
pub struct Owners {
    connections: Table<Tuple, Entry>,
    ports: Ports,
    /// The network namespace of the interfaces that are watched; 0 when not known.
    home: u32,
    overflow: u64,
}

impl Owners {
    /// Says in which network namespace the interfaces are whose flows are asked for.
    pub fn set_home(&mut self, netns: u32) {
        self.home = netns;
    }

    /// Notes that a connection was opened, by whom, and from which side.
    pub fn opened(&mut self, tuple: Tuple, owner: Owner, now_ns: u64) {
        // Its uses may have been told first; who used it since knows better than who listens.
        let user = self.connections.get(&tuple).filter(|entry| entry.used_ns > now_ns).copied();
        let process = user.map_or(owner.process, |entry| entry.owner.process);
        let used_ns = user.map_or(0, |entry| entry.used_ns);
        let entry = Entry::new(Owner { process, ..owner }, now_ns, true);
        self.put(tuple, Entry { used_ns, ..entry });
    }

    /// Notes an attempt that failed: its packets are still to be drained, then it is forgotten.
    pub fn failed(&mut self, tuple: Tuple, owner: Owner, now_ns: u64) {
        self.put(tuple, Entry::new(owner, now_ns, false));
    }

    /// Notes that a connection was closed; it is kept until its last packets are drained.
    pub fn closed(&mut self, tuple: &Tuple, now_ns: u64) {
        if let Some(entry) = self.connections.get_mut(tuple) {
            entry.open = false;
            entry.seen_ns = now_ns;
        }
    }

    /// Notes who listens on the local port.
    pub fn listening(&mut self, tuple: &Tuple, place: Place, process: Option<Key>, now_ns: u64) {
        let Some(process) = process else { return };
        // The end of a datagram socket is not told.
        let kept = tuple.protocol == TCP || place.sock == 0;
        let local = tuple.local;
        let holder = Holder { place, local, process, seen_ns: now_ns, serves: true, kept };
        self.ports.hold(tuple.protocol, tuple.local_port, holder);
    }

    /// Notes that the local port is no longer listened on.
    pub fn not_listening(&mut self, tuple: &Tuple, place: Place, process: Option<Key>) {
        self.ports.release(tuple.protocol, tuple.local_port, place, process);
    }

    /// Notes that a process sent or received through a socket: whoever did so last is the owner.
    /// Returns who opened the connection, as far as is known.
    pub fn used(&mut self, tuple: Tuple, place: Place, process: Key, at_ns: u64) -> u8 {
        if tuple.remote_port == 0 {
            if is_datagram(tuple.protocol) {
                let (local, seen_ns) = (tuple.local, at_ns);
                let (serves, kept) = (false, false);
                let holder = Holder { place, local, process, seen_ns, serves, kept };
                self.ports.hold(tuple.protocol, tuple.local_port, holder);
            }
            return direction::UNKNOWN;
        }
        if let Some(entry) = self.connections.get_mut(&tuple) {
            entry.seen_ns = entry.seen_ns.max(at_ns);
            if at_ns >= entry.used_ns {
                (entry.used_ns, entry.owner.process) = (at_ns, Some(process));
            }
            return entry.owner.direction;
        }
        let serves = self.ports.find(&tuple, place.netns).is_some_and(|holder| holder.serves);
        let direction = match (tuple.protocol, serves) {
            (TCP, true) => direction::INCOMING,
            _ => direction::UNKNOWN,
        };
        let owner = Owner { process: Some(process), direction };
        self.put(tuple, Entry { used_ns: at_ns, ..Entry::new(owner, at_ns, false) });
        direction
    }

    /// Returns the process that is known to hold a socket: who opened it, or who holds its port.
    pub fn of_socket(&self, tuple: &Tuple) -> Option<Key> {
        let opened = self.connections.get(tuple).and_then(|entry| entry.owner.process);
        opened.or_else(|| self.ports.find(tuple, self.home).map(|holder| holder.process))
    }

    /// Returns who listens for a connection that was accepted.
    pub fn listener(&self, tuple: &Tuple, place: Place) -> Option<Key> {
        self.ports.find(tuple, place.netns).map(|holder| holder.process)
    }

    /// Returns a flow's owner. `guess` is the direction that its packets suggest; the first answer
    /// for a flow is remembered, since later packets tell less. Who holds a port is asked for each
    /// time, since ports change hands.
    pub fn of_flow(&mut self, tuple: Tuple, guess: u8, now_ns: u64) -> Owner {
        let holder = self.ports.find(&tuple, self.home).copied();
        // A port that is served is not also one that the kernel picked for a connection.
        let guess = match holder {
            Some(holder) if holder.serves && guess == direction::UNKNOWN => direction::INCOMING,
            _ => guess,
        };
        let mut owner = match self.connections.get_mut(&tuple) {
            Some(entry) => {
                entry.seen_ns = entry.seen_ns.max(now_ns);
                if entry.owner.direction == direction::UNKNOWN {
                    entry.owner.direction = guess;
                }
                entry.owner
            }
            None => {
                let owner = Owner { process: None, direction: guess };
                self.put(tuple, Entry::new(owner, now_ns, false));
                owner
            }
        };
        let holds = |holder: &Holder| {
            is_datagram(tuple.protocol) || (holder.serves && owner.direction == direction::INCOMING)
        };
        owner.process = owner.process.or(holder.filter(holds).map(|holder| holder.process));
        owner
    }

    /// Forgets connections that were closed, and flows that have been silent for long.
    pub fn expire(&mut self, now_ns: u64) {
        self.connections.retain(|tuple, entry| {
            let tcp = tuple.protocol == TCP && entry.owner.process.is_some();
            let kept = if tcp { CLOSED_KEPT_NS } else { SILENT_KEPT_NS };
            entry.open || now_ns.saturating_sub(entry.seen_ns) < kept
        });
        self.ports.expire(now_ns);
    }

    /// Returns how often the table had no room.
    pub fn overflow(&self) -> u64 {
        self.overflow + self.ports.overflow()
    }

    /// Adds an entry. A full table first forgets what is closed, then refuses and counts.
    fn put(&mut self, tuple: Tuple, entry: Entry) {
        if self.connections.len() >= CONNECTIONS_MAX && !self.connections.contains_key(&tuple) {
            if !entry.open {
                self.overflow += 1;
                return;
            }
            self.evict_oldest();
        }
        self.connections.insert(tuple, entry);
    }

    /// Forgets the oldest eighth, closed ones first, so that the cost of a flood is spread: someone
    /// who opens many connections must neither hide the next one's owner nor keep the sensor busy.
    fn evict_oldest(&mut self) {
        let mut ages: Vec<_> =
            self.connections.iter().map(|(t, e)| (e.open, e.seen_ns, *t)).collect();
        let (oldest, _, _) = ages.select_nth_unstable_by_key(CONNECTIONS_MAX / 8, |a| (a.0, a.1));
        for (_, _, tuple) in oldest {
            self.connections.remove(tuple);
        }
        self.overflow += (CONNECTIONS_MAX / 8) as u64;
    }
}

fn is_datagram(protocol: u8) -> bool {
    matches!(protocol, UDP | UDP_LITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn tuple(local_port: u16, remote_port: u16) -> Tuple {
        Tuple { protocol: TCP, local_port, remote_port, ..Tuple::default() }
    }

    fn outgoing(pid: u32) -> Owner {
        Owner { process: Some(Key::new(pid, 0)), direction: direction::OUTGOING }
    }

    #[test]
    fn a_flow_belongs_to_who_connected_until_after_the_close() {
        let mut owners = Owners::default();
        owners.opened(tuple(40_000, 443), outgoing(7), 0);
        owners.expire(1_000 * SECOND);
        let now = 1_000 * SECOND;
        assert_eq!(owners.of_flow(tuple(40_000, 443), direction::UNKNOWN, now), outgoing(7));
        owners.closed(&tuple(40_000, 443), now);
        owners.expire(now + CLOSED_KEPT_NS - 1);
        assert_eq!(owners.of_flow(tuple(40_000, 443), direction::UNKNOWN, now), outgoing(7));
        owners.expire(now + CLOSED_KEPT_NS);
        let unknown = owners.of_flow(tuple(40_000, 443), direction::UNKNOWN, now);
        assert_eq!(unknown, Owner::default());
    }

    #[test]
    fn an_incoming_flow_belongs_to_the_listener() {
        let mut owners = Owners::default();
        owners.listening(&tuple(80, 0), Place::default(), Some(Key::new(9, 0)), 0);
        let owner = owners.of_flow(tuple(80, 50_000), direction::UNKNOWN, 0);
        assert_eq!(owner, Owner { process: Some(Key::new(9, 0)), direction: direction::INCOMING });
        owners.not_listening(&tuple(80, 0), Place::default(), None);
        assert_eq!(owners.of_flow(tuple(80, 50_001), direction::INCOMING, 0).process, None);
    }

    #[test]
    fn the_first_direction_is_remembered() {
        let mut owners = Owners::default();
        let udp = Tuple { protocol: 17, local_port: 5000, remote_port: 53, ..Tuple::default() };
        assert_eq!(owners.of_flow(udp, direction::OUTGOING, 0).direction, direction::OUTGOING);
        let later = owners.of_flow(udp, direction::INCOMING, SECOND);
        assert_eq!(later.direction, direction::OUTGOING);
        owners.expire(SECOND + SILENT_KEPT_NS);
        let much_later = owners.of_flow(udp, direction::INCOMING, 2 * SILENT_KEPT_NS);
        assert_eq!(much_later.direction, direction::INCOMING);
    }

    #[test]
    fn a_connection_belongs_to_who_used_it_last() {
        let mut owners = Owners::default();
        let place = Place { netns: 1, sock: 5 };
        owners.listening(&tuple(80, 0), place, Some(Key::new(1, 0)), 0);
        let incoming = Owner { process: Some(Key::new(1, 0)), direction: direction::INCOMING };
        owners.opened(tuple(80, 5000), incoming, 0);
        let who = |owners: &mut Owners| {
            owners.of_flow(tuple(80, 5000), direction::UNKNOWN, SECOND).process.unwrap().pid
        };
        assert_eq!(who(&mut owners), 1);
        let direction = owners.used(tuple(80, 5000), place, Key::new(2, 0), 30);
        assert_eq!((direction, who(&mut owners)), (direction::INCOMING, 2));
        // Uses of several processes come in no order.
        owners.used(tuple(80, 5000), place, Key::new(3, 0), 20);
        assert_eq!(who(&mut owners), 2);
        owners.used(tuple(80, 5000), place, Key::new(3, 0), 40);
        assert_eq!(who(&mut owners), 3);
        // That it was opened is told after its uses; opened again, it is another connection.
        owners.opened(tuple(80, 5000), incoming, 10);
        assert_eq!(who(&mut owners), 3);
        owners.opened(tuple(80, 5000), incoming, 50);
        assert_eq!(who(&mut owners), 1);
    }

    #[test]
    fn a_datagram_flow_belongs_to_who_holds_its_port() {
        let mut owners = Owners::default();
        let udp = |port| Tuple { protocol: UDP, ..tuple(port, 53) };
        let bound = |port| Tuple { remote_port: 0, ..udp(port) };
        let ask = |owners: &mut Owners, at| {
            let owner = owners.of_flow(udp(40_000), direction::OUTGOING, at);
            owner.process.map(|process| process.pid)
        };
        assert_eq!(ask(&mut owners, 0), None);
        owners.used(bound(40_000), Place { netns: 1, sock: 1 }, Key::new(7, 0), 1);
        assert_eq!(ask(&mut owners, 1), Some(7));
        // The port is taken by another process.
        owners.used(bound(40_000), Place { netns: 1, sock: 2 }, Key::new(8, 0), 2);
        assert_eq!(
            (ask(&mut owners, 2), owners.of_socket(&udp(40_000)).unwrap().pid),
            (Some(8), 8)
        );
        // In another namespace the port is another one.
        owners.set_home(2);
        assert_eq!(ask(&mut owners, 3), None);
        // A connected socket is known by both its ends.
        owners.used(udp(40_000), Place { netns: 2, sock: 3 }, Key::new(9, 0), 3);
        assert_eq!(ask(&mut owners, 4), Some(9));
    }

    #[test]
    fn a_full_table_keeps_open_connections_and_counts() {
        let mut owners = Owners::default();
        for n in 0..CONNECTIONS_MAX as u32 {
            let mut filler = tuple(n as u16, (n >> 16) as u16);
            filler.remote[0] = 1;
            owners.failed(filler, outgoing(1), u64::from(n));
        }
        owners.of_flow(tuple(1, 2), direction::OUTGOING, SECOND);
        assert_eq!((owners.connections.len(), owners.overflow()), (CONNECTIONS_MAX, 1));
        owners.opened(tuple(40_000, 443), outgoing(7), SECOND);
        assert_eq!(owners.of_flow(tuple(40_000, 443), direction::UNKNOWN, SECOND), outgoing(7));
        let eighth = CONNECTIONS_MAX / 8;
        assert_eq!(owners.connections.len(), CONNECTIONS_MAX - eighth + 1);
        assert_eq!(owners.overflow(), eighth as u64 + 1);
    }
}
