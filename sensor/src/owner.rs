//! Sockets → processes, so that flows have an owner and a direction. Pure.

use std::collections::HashMap;

use wire::record::direction;

use crate::process::Key;

/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// Connections remembered. A host with more has flows without a process, which is counted.
const CONNECTIONS_MAX: usize = 32_768;
/// Listening sockets remembered.
const LISTENERS_MAX: usize = 4096;
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
    /// A socket event vouches for it, so silence alone does not end it.
    open: bool,
}

/// The table of sockets.
#[derive(Debug, Default)]
pub struct Owners {
    connections: HashMap<Tuple, Entry>,
    listeners: HashMap<(u8, u16), Key>,
    overflow: u64,
}

impl Owners {
    /// Notes that a connection was opened, by whom, and from which side.
    pub fn opened(&mut self, tuple: Tuple, owner: Owner, now_ns: u64) {
        self.put(tuple, Entry { owner, seen_ns: now_ns, open: true });
    }

    /// Notes an attempt that failed: its packets are still to be drained, then it is forgotten.
    pub fn failed(&mut self, tuple: Tuple, owner: Owner, now_ns: u64) {
        self.put(tuple, Entry { owner, seen_ns: now_ns, open: false });
    }

    /// Notes that a connection was closed; it is kept until its last packets are drained.
    pub fn closed(&mut self, tuple: &Tuple, now_ns: u64) {
        if let Some(entry) = self.connections.get_mut(tuple) {
            entry.open = false;
            entry.seen_ns = now_ns;
        }
    }

    /// Notes who listens on the local port.
    pub fn listening(&mut self, tuple: &Tuple, process: Option<Key>) {
        let Some(process) = process else { return };
        let (protocol, port) = (tuple.protocol, tuple.local_port);
        if self.listeners.len() < LISTENERS_MAX || self.listeners.contains_key(&(protocol, port)) {
            self.listeners.insert((protocol, port), process);
        } else {
            self.overflow += 1;
        }
    }

    /// Notes that the local port is no longer listened on.
    pub fn not_listening(&mut self, tuple: &Tuple) {
        self.listeners.remove(&(tuple.protocol, tuple.local_port));
    }

    /// Returns the process that is known to hold a socket: who opened it, or who listens on its
    /// port.
    pub fn of_socket(&self, tuple: &Tuple) -> Option<Key> {
        let opened = self.connections.get(tuple).and_then(|entry| entry.owner.process);
        opened.or_else(|| self.listeners.get(&(tuple.protocol, tuple.local_port)).copied())
    }

    /// Returns a flow's owner. `guess` is the direction that its packets suggest; the first answer
    /// for a flow is remembered, since later packets tell less.
    pub fn of_flow(&mut self, tuple: Tuple, guess: u8, now_ns: u64) -> Owner {
        if let Some(entry) = self.connections.get_mut(&tuple) {
            entry.seen_ns = now_ns;
            if entry.owner.direction == direction::UNKNOWN {
                entry.owner.direction = guess;
            }
            return entry.owner;
        }
        let listener = self.listeners.get(&(tuple.protocol, tuple.local_port)).copied();
        // A port that is listened on is not also one that the kernel picked for a connection.
        let guess = match (listener, guess) {
            (Some(_), direction::UNKNOWN) => direction::INCOMING,
            (_, guess) => guess,
        };
        let process = listener.filter(|_| guess == direction::INCOMING);
        let owner = Owner { process, direction: guess };
        self.put(tuple, Entry { owner, seen_ns: now_ns, open: false });
        owner
    }

    /// Forgets connections that were closed, and flows that have been silent for long.
    pub fn expire(&mut self, now_ns: u64) {
        self.connections.retain(|tuple, entry| {
            let tcp = tuple.protocol == TCP && entry.owner.process.is_some();
            let kept = if tcp { CLOSED_KEPT_NS } else { SILENT_KEPT_NS };
            entry.open || now_ns.saturating_sub(entry.seen_ns) < kept
        });
    }

    /// Returns how often the table had no room.
    pub fn overflow(&self) -> u64 {
        self.overflow
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
        owners.listening(&tuple(80, 0), Some(Key::new(9, 0)));
        let owner = owners.of_flow(tuple(80, 50_000), direction::UNKNOWN, 0);
        assert_eq!(owner, Owner { process: Some(Key::new(9, 0)), direction: direction::INCOMING });
        owners.not_listening(&tuple(80, 0));
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
