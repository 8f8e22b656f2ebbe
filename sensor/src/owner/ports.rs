//! Local ports → the processes that hold them. Pure.

use super::Tuple;
use crate::process::Key;
use crate::table::Table;

/// Holders remembered, of all ports together.
const HOLDERS_MAX: usize = 16_384;
/// Holders of one port: workers that share it, and those that had it before.
const SHARERS_MAX: usize = 64;
/// How long a holder that nothing vouches for is remembered after it was last seen.
const SILENT_KEPT_NS: u64 = 120_000_000_000;

/// Which socket, as the kernel tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Inode number of its network namespace; 0 when not known.
    pub netns: u32,
    /// Tells sockets that share a port apart; 0 when not known.
    pub sock: u32,
}

/// A process that holds a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its socket.
    pub place: Place,
    /// The address that the socket is bound to; unspecified for all.
    pub local: [u8; 16],
    /// The process.
    pub process: Key,
    /// When it was last seen to hold it.
    pub seen_ns: u64,
    /// Peers are expected to begin.
    pub serves: bool,
    /// Its end will be told, so silence does not end it.
    pub kept: bool,
}

/// Who holds which port.
#[derive(Debug, Default)]
pub struct Ports {
    holders: Table<(u8, u16), Vec<Holder>>,
    total: usize,
    overflow: u64,
}

impl Ports {
    /// Notes that a process holds a port.
    pub fn hold(&mut self, protocol: u8, port: u16, holder: Holder) {
        let holders = self.holders.entry((protocol, port)).or_default();
        let same = |h: &&mut Holder| h.place == holder.place && h.process == holder.process;
        if let Some(known) = holders.iter_mut().find(same) {
            known.seen_ns = known.seen_ns.max(holder.seen_ns);
            (known.local, known.kept) = (holder.local, known.kept || holder.kept);
            known.serves |= holder.serves;
            return;
        }
        if holders.len() >= SHARERS_MAX {
            let oldest = holders.iter().enumerate().min_by_key(|(_, h)| (h.kept, h.seen_ns));
            if let Some((at, _)) = oldest {
                holders.swap_remove(at);
                self.total -= 1;
                self.overflow += 1;
            }
        }
        if self.total >= HOLDERS_MAX {
            self.overflow += 1;
            return;
        }
        holders.push(holder);
        self.total += 1;
    }

    /// Notes that a socket holds a port no more. One that was there before the programs were is
    /// known by its process only.
    pub fn release(&mut self, protocol: u8, port: u16, place: Place, process: Option<Key>) {
        let Some(holders) = self.holders.get_mut(&(protocol, port)) else { return };
        let exactly = holders.iter().position(|h| h.place == place);
        let seeded = |h: &Holder| h.place.sock == 0 && h.place.netns == place.netns;
        let by_process = || holders.iter().position(|h| seeded(h) && Some(h.process) == process);
        let by_port = || holders.iter().position(seeded);
        if let Some(at) = exactly.or_else(by_process).or_else(by_port) {
            holders.swap_remove(at);
            self.total -= 1;
        }
        if holders.is_empty() {
            self.holders.remove(&(protocol, port));
        }
    }

    /// Returns who holds the local port of `tuple` in a network namespace, 0 for any: who is bound
    /// to its address before who is bound to all, and of several the one that was seen last.
    pub fn find(&self, tuple: &Tuple, netns: u32) -> Option<&Holder> {
        let holders = self.holders.get(&(tuple.protocol, tuple.local_port))?;
        let fitting = holders.iter().filter_map(|holder| {
            let here = netns == 0 || holder.place.netns == 0 || holder.place.netns == netns;
            let fit = fit(&holder.local, &tuple.local)?;
            here.then_some((fit, holder.seen_ns, holder))
        });
        fitting.max_by_key(|(fit, seen_ns, _)| (*fit, *seen_ns)).map(|(_, _, holder)| holder)
    }

    /// Forgets holders that have been silent for long.
    pub fn expire(&mut self, now_ns: u64) {
        self.holders.retain(|_, holders| {
            holders.retain(|h| h.kept || now_ns.saturating_sub(h.seen_ns) < SILENT_KEPT_NS);
            !holders.is_empty()
        });
        self.total = self.holders.values().map(Vec::len).sum();
    }

    /// Returns how often there was no room.
    pub fn overflow(&self) -> u64 {
        self.overflow
    }
}

/// How well an address that a socket is bound to fits one that a packet names; `None` when it does
/// not. A socket that is bound to all IPv6 addresses takes IPv4 as well.
fn fit(bound: &[u8; 16], named: &[u8; 16]) -> Option<u8> {
    const ALL_V4: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    const ALL_V6: [u8; 16] = [0; 16];
    let is_v4 = named.starts_with(&ALL_V4[..12]);
    match *bound {
        bound if bound == *named => Some(2),
        ALL_V4 if is_v4 => Some(1),
        ALL_V6 => Some(u8::from(!is_v4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP: u8 = 17;
    const SECOND: u64 = 1_000_000_000;

    fn v4(last: u8) -> [u8; 16] {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, last, 0, 0, last]
    }

    fn holder(pid: u32, sock: u32, local: [u8; 16], seen_ns: u64) -> Holder {
        let place = Place { netns: 1, sock };
        Holder { place, local, process: Key::new(pid, 0), seen_ns, serves: true, kept: false }
    }

    fn who(ports: &Ports, local: [u8; 16], netns: u32) -> Option<u32> {
        let tuple = Tuple { protocol: UDP, local, local_port: 53, ..Tuple::default() };
        ports.find(&tuple, netns).map(|holder| holder.process.pid)
    }

    #[test]
    fn the_address_that_fits_best_wins() {
        let mut ports = Ports::default();
        ports.hold(UDP, 53, holder(1, 1, [0; 16], 3));
        assert_eq!(who(&ports, v4(9), 1), Some(1));
        ports.hold(UDP, 53, holder(2, 2, v4(0), 2));
        ports.hold(UDP, 53, holder(3, 3, v4(9), 1));
        assert_eq!(who(&ports, v4(9), 1), Some(3));
        assert_eq!(who(&ports, v4(8), 1), Some(2));
        assert_eq!(who(&ports, [0xfd; 16], 1), Some(1));
    }

    #[test]
    fn ports_of_other_namespaces_are_other_ports() {
        let mut ports = Ports::default();
        ports.hold(UDP, 53, holder(1, 1, v4(0), 1));
        assert_eq!((who(&ports, v4(9), 1), who(&ports, v4(9), 2)), (Some(1), None));
        assert_eq!(who(&ports, v4(9), 0), Some(1));
    }

    #[test]
    fn workers_that_share_a_port_come_and_go_by_themselves() {
        let mut ports = Ports::default();
        ports.hold(UDP, 53, holder(1, 1, v4(0), 1));
        ports.hold(UDP, 53, holder(2, 2, v4(0), 2));
        assert_eq!(who(&ports, v4(9), 1), Some(2));
        ports.hold(UDP, 53, holder(1, 1, v4(0), 3));
        assert_eq!(who(&ports, v4(9), 1), Some(1));
        ports.release(UDP, 53, Place { netns: 1, sock: 1 }, None);
        assert_eq!(who(&ports, v4(9), 1), Some(2));
    }

    #[test]
    fn a_socket_from_before_is_released_by_its_process() {
        let mut ports = Ports::default();
        ports.hold(UDP, 53, holder(1, 0, v4(0), 1));
        ports.hold(UDP, 53, holder(2, 0, v4(0), 2));
        let gone = Place { netns: 1, sock: 77 };
        ports.release(UDP, 53, gone, Some(Key::new(2, 0)));
        assert_eq!(who(&ports, v4(9), 1), Some(1));
        ports.release(UDP, 53, gone, None);
        assert_eq!((who(&ports, v4(9), 1), ports.total), (None, 0));
    }

    #[test]
    fn silence_ends_what_nothing_vouches_for() {
        let mut ports = Ports::default();
        ports.hold(UDP, 53, holder(1, 1, v4(0), SECOND));
        ports.hold(UDP, 53, Holder { kept: true, ..holder(2, 2, v4(9), SECOND) });
        ports.expire(SECOND + SILENT_KEPT_NS - 1);
        assert_eq!(ports.total, 2);
        ports.expire(SECOND + SILENT_KEPT_NS);
        assert_eq!((ports.total, who(&ports, v4(9), 1)), (1, Some(2)));
    }

    #[test]
    fn one_port_has_a_limit_and_its_oldest_goes() {
        let mut ports = Ports::default();
        for n in 0..=SHARERS_MAX as u32 {
            ports.hold(UDP, 53, holder(n + 1, n, v4(0), u64::from(n)));
        }
        assert_eq!((ports.total, ports.overflow()), (SHARERS_MAX, 1));
        let gone = |h: &Holder| h.process.pid == 1;
        assert!(!ports.holders[&(UDP, 53)].iter().any(gone));
    }
}
