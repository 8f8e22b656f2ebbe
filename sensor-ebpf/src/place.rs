//! Where a packet is counted that belongs to no flow known yet: in a table entry of its own, under
//! a coarser key, or also in the sketch of who probes.
//!
//! A sender who makes up addresses must not fill the flow table, since real connections would then
//! fall into coarser counts. So an entry has to be earned:
//!
//! * A SYN that arrives earns one when a socket of the host listens there. Otherwise it is a probe,
//!   and so are a RST that no connection waits for, the RST that refuses a SYN, an ICMP error that
//!   says unreachable, and TCP without SYN, RST and ACK, which no stack sends (FIN, NULL and Xmas
//!   scans). Probes count under the pair of addresses, and in the source's sketch
//!   (`sensor_abi::sketch`): who scans shows as one record, however many ports and hosts it tries.
//! * A forwarded SYN (to a container, say) has no listener on the host and counts as a probe too,
//!   but its answer earns the entry, and tells both initial sequence numbers by itself.
//! * The last quarter of the table is kept for TCP with a connected socket. A flood against a port
//!   that is open fills three quarters at most; from then on SYNs of either direction go to the
//!   sketches, everything else without a socket to the pairs. Whoever does complete the handshake
//!   gets an entry at its last segment: the half-open socket vouches for both sequence numbers.
//!
//! No packet leaves the sums in any of these cases. What is left to a forger: entries for answers
//! that it makes the host send, up to the mark; then pairs, prefixes and protocols; and sketches,
//! of which the least recently used are evicted, and counted.

use sensor_abi::parse::headers::{Headers, Way, protocol, quoted, tcp_flag};

/// What a packet is, by its headers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Neither opens nor refuses anything.
    Ordinary,
    /// Opens a TCP connection.
    Syn,
    /// Refuses or aborts one.
    Reset,
    /// TCP flags that no stack sends.
    Odd,
    /// An ICMP error that says unreachable.
    Unreachable,
}

/// The host's socket that a TCP packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// There is none.
    None,
    /// It listens.
    Listening,
    /// A SYN was answered, the last segment of the handshake is awaited.
    Opening,
    /// Anything else: connecting, connected, or closed a moment ago.
    Connected,
}

/// Who may still get an entry in the exact table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everyone.
    Any,
    /// Connections with a socket.
    Proven,
    /// Nobody.
    Full,
}

impl Room {
    /// Returns who may get an entry in a table for `max` that has `entries`.
    #[inline(always)]
    pub const fn left(entries: u64, max: u64) -> Self {
        if entries >= max {
            Self::Full
        } else if entries >= max - max / 4 {
            Self::Proven
        } else {
            Self::Any
        }
    }
}

/// Where a packet is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an entry of its own.
    Exact,
    /// Likewise; the packet completes a handshake whose begin was counted elsewhere.
    Completed,
    /// Under a coarser key.
    Coarse,
    /// Under a coarser key, and in the sketch of the host itself.
    OwnProbe,
    /// Under a coarser key, and in the sketch of the other end.
    Probe,
}

/// Returns whether the packet's socket decides, which costs as much to look for as an entry.
#[inline(always)]
pub fn needs_socket(headers: &Headers, way: Way, room: Room) -> bool {
    match shape(headers) {
        Shape::Unreachable | Shape::Odd => false,
        Shape::Syn => way == Way::Ingress && room == Room::Any,
        Shape::Reset => refusal(headers, way) != Refusal::Own && !aborts(headers, way),
        Shape::Ordinary => room == Room::Proven && headers.tcp.is_some(),
    }
}

/// Decides. `socket` is the packet's, or [`Socket::None`] where it is not needed.
#[inline(always)]
pub fn place(headers: &Headers, way: Way, room: Room, socket: Socket) -> Place {
    match shape(headers) {
        // The error answers who sent the packet that it quotes.
        Shape::Unreachable => probe_of_host(way == Way::Ingress),
        Shape::Odd => probe_of_host(way == Way::Egress),
        Shape::Syn => match way {
            Way::Egress if room == Room::Any => Place::Exact,
            Way::Egress => Place::OwnProbe,
            Way::Ingress if socket == Socket::None || room != Room::Any => Place::Probe,
            Way::Ingress => Place::Exact,
        },
        Shape::Reset => reset(headers, way, room, socket),
        Shape::Ordinary if room == Room::Any => Place::Exact,
        Shape::Ordinary if room == Room::Full || headers.tcp.is_none() => Place::Coarse,
        Shape::Ordinary => match (socket, way) {
            (Socket::Connected, _) => Place::Exact,
            (Socket::Opening, Way::Ingress) => Place::Completed,
            _ => Place::Coarse,
        },
    }
}

/// Tells the shape of a packet.
#[inline(always)]
pub fn shape(headers: &Headers) -> Shape {
    let Some(tcp) = headers.tcp else {
        let is_icmp = matches!(headers.key.protocol, protocol::ICMP | protocol::ICMPV6);
        let unreachable = is_icmp && quoted::is_unreachable(&headers.key);
        return if unreachable { Shape::Unreachable } else { Shape::Ordinary };
    };
    let has = |flag: u8| tcp.flags & flag != 0;
    match (has(tcp_flag::SYN), has(tcp_flag::RST), has(tcp_flag::ACK)) {
        (true, true, _) => Shape::Odd,
        (true, _, false) if has(tcp_flag::FIN) => Shape::Odd,
        (true, _, false) => Shape::Syn,
        (_, true, _) => Shape::Reset,
        (false, _, false) => Shape::Odd,
        _ => Shape::Ordinary,
    }
}

/// Whose attempt a RST refuses, if it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The other end's: the host refuses.
    Own,
    /// The host's: it is refused.
    Others,
    None,
}

/// A refusal of a SYN acknowledges it and has no sequence number of its own (RFC 9293, 3.10.7.1).
#[inline(always)]
fn refusal(headers: &Headers, way: Way) -> Refusal {
    match (acknowledges(headers) && headers.tcp.is_some_and(|tcp| tcp.seq == 0), way) {
        (false, _) => Refusal::None,
        (true, Way::Egress) => Refusal::Own,
        (true, Way::Ingress) => Refusal::Others,
    }
}

/// A RST that leaves with both numbers aborts a real connection, whose socket may be gone by now:
/// segments to nowhere are answered without acknowledgement.
#[inline(always)]
fn aborts(headers: &Headers, way: Way) -> bool {
    way == Way::Egress && acknowledges(headers) && refusal(headers, way) == Refusal::None
}

#[inline(always)]
fn acknowledges(headers: &Headers) -> bool {
    headers.tcp.is_some_and(|tcp| tcp.flags & tcp_flag::ACK != 0)
}

#[inline(always)]
fn reset(headers: &Headers, way: Way, room: Room, socket: Socket) -> Place {
    let refusal = refusal(headers, way);
    if refusal == Refusal::Own {
        return Place::Probe;
    }
    if socket == Socket::None && !aborts(headers, way) {
        return probe_of_host(refusal == Refusal::Others);
    }
    if room == Room::Any { Place::Exact } else { Place::Coarse }
}

#[inline(always)]
const fn probe_of_host(own: bool) -> Place {
    if own { Place::OwnProbe } else { Place::Probe }
}

#[cfg(test)]
mod tests;
