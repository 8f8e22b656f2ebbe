//! Packets and bytes per flow, seen from one host.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// IP version and layer below it, as the key's `family` says.
pub mod family {
    /// IPv4; addresses are v4-mapped into 16 bytes (`::ffff:a.b.c.d`).
    pub const IPV4: u8 = 4;
    /// IPv6.
    pub const IPV6: u8 = 6;
    /// Anything else; ports hold nothing, `protocol` holds nothing, `vlan` may be set, and the
    /// EtherType is in `remote_port`.
    pub const OTHER: u8 = 0;
}

/// How much of a key is exact.
pub mod detail {
    /// The 5-tuple as seen.
    pub const EXACT: u8 = 0;
    /// Ports are zero because the exact table was full, or because the packet is a later fragment.
    pub const NO_PORTS: u8 = 1;
    /// Addresses and ports are zero: only family and protocol are known (truncated or table full).
    pub const PROTOCOL_ONLY: u8 = 2;
    /// Ports are zero and addresses are cut to their prefix (IPv4 /24, IPv6 /64), because the table
    /// of address pairs was full too.
    pub const PREFIX: u8 = 3;
}

/// What a packet was wrapped in, as the key's `tunnel` says. The key's addresses, protocol and
/// ports are then the inner packet's.
pub mod tunnel {
    /// Nothing, or tunnels are not looked into.
    pub const NONE: u8 = 0;
    /// IPv4 or IPv6 inside IPv4 or IPv6 (RFC 2003, RFC 4213, RFC 2473); has no id.
    pub const IP: u8 = 1;
    /// GRE (RFC 2784, RFC 2890); the id is its key.
    pub const GRE: u8 = 2;
    /// VXLAN (RFC 7348); the id is its network identifier.
    pub const VXLAN: u8 = 3;
}

/// The two ends of a flow as the host sees them: packets that arrive have the host as destination,
/// packets that leave have it as source, so both directions share one key.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FlowKey {
    /// The host's address (v4-mapped for IPv4), network byte order.
    pub local_addr: [u8; 16],
    /// The peer's address, likewise.
    pub remote_addr: [u8; 16],
    /// Interface index that saw the packet.
    pub ifindex: u32,
    /// The tunnel's own id, 0 without one; see [`tunnel`].
    pub tunnel_id: u32,
    /// The host's port, host byte order; for ICMP the type.
    pub local_port: u16,
    /// The peer's port, host byte order; for ICMP the code; for non-IP the EtherType.
    pub remote_port: u16,
    /// Outer VLAN id, 0 without a tag.
    pub vlan: u16,
    /// Inner VLAN id of a packet with two tags.
    pub inner_vlan: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// See [`family`].
    pub family: u8,
    /// See [`detail`].
    pub detail: u8,
    /// See [`tunnel`].
    pub tunnel: u8,
}

impl FlowKey {
    /// Leaves out the ports, so that all flows between two addresses share the key.
    #[inline(always)]
    pub fn without_ports(&mut self) {
        if self.family != family::OTHER {
            (self.local_port, self.remote_port) = (0, 0);
        }
        if self.detail == detail::EXACT {
            self.detail = detail::NO_PORTS;
        }
    }

    /// Cuts both addresses to their prefix: a flood from made-up addresses or to all of a network
    /// then comes to few keys. What has no addresses stays as it is.
    #[inline(always)]
    pub fn to_prefixes(&mut self) {
        self.without_ports();
        if self.detail == detail::PROTOCOL_ONLY {
            return;
        }
        self.detail = detail::PREFIX;
        if self.family == family::IPV4 {
            (self.local_addr[15], self.remote_addr[15]) = (0, 0);
        } else {
            for at in 8..16 {
                (self.local_addr[at], self.remote_addr[at]) = (0, 0);
            }
        }
    }
}

/// One direction's counters.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Direction {
    /// Packets, as the interface counts them.
    pub packets: u64,
    /// Bytes with the link-layer header, as the interface counts them.
    pub bytes: u64,
    /// First packet, nanoseconds since boot (`CLOCK_BOOTTIME`); 0 before any.
    pub first_ns: u64,
    /// Last packet, in the kernel on its coarse monotonic clock: reading the precise one for every
    /// packet costs more than finding the flow. The drain turns it into nanoseconds since boot.
    pub last_ns: u64,
    /// TCP: initial sequence number of this direction's sender, valid with [`FlowStats::HAS_ISN`].
    pub isn: u32,
    /// TCP flag bits seen, joined by or.
    pub tcp_flags: u8,
    /// Set bits of [`FlowStats`].
    pub state: u8,
    /// Packets that carried SYN (saturating), to count connection attempts on a reused key.
    pub syns: u16,
}

/// Counters of a flow on one CPU.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FlowStats {
    /// Packets that arrived (XDP).
    pub ingress: Direction,
    /// Packets that left (tc egress).
    pub egress: Direction,
}

impl Direction {
    /// No packet yet.
    pub const ZERO: Self = Self {
        packets: 0,
        bytes: 0,
        first_ns: 0,
        last_ns: 0,
        isn: 0,
        tcp_flags: 0,
        state: 0,
        syns: 0,
    };
}

impl FlowStats {
    /// `Direction::state`: the initial sequence number is known.
    pub const HAS_ISN: u8 = 1;
    /// `Direction::state`: a SYN was answered in this direction, so the other end opened the
    /// connection.
    pub const ANSWERED: u8 = 2;

    /// No packet yet.
    pub const ZERO: Self = Self { ingress: Direction::ZERO, egress: Direction::ZERO };
}

/// How the packet programs count; part of [`crate::config::Config`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Settings {
    /// Entries that the exact flow table has room for.
    pub flows_max: u32,
    /// Entries that the table of address pairs has room for.
    pub pairs_max: u32,
    /// Entries that the table of prefixes has room for.
    pub prefixes_max: u32,
    /// 1 when one level of tunnel is looked into, else 0.
    pub tunnels: u32,
}

/// How full the tables of one generation are. Programs count up, the sensor sets it back to zero
/// once the generation is read.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Fill {
    /// Entries of the exact table.
    pub exact: u64,
    /// Entries of the table of address pairs.
    pub pairs: u64,
    /// Entries of the table of prefixes.
    pub prefixes: u64,
    /// Sources that were given a sketch; more than the table holds when some were evicted.
    pub sources: u64,
    /// Packets that were counted in sketches.
    pub probes: u64,
    /// Packets that were counted by protocol, since all tables were full.
    pub coarse: u64,
}

/// The coarse table: one slot per family and protocol, so that it cannot fill up.
pub mod coarse {
    use super::{FlowKey, detail, family};

    const PROTOCOLS: u32 = 256;

    /// Number of slots of a generation; the odd generation's follow those of the even one.
    pub const SLOTS: u32 = 3 * PROTOCOLS;

    /// Returns the slot of a packet that found no room in the exact table.
    #[inline(always)]
    pub const fn slot(family: u8, protocol: u8) -> u32 {
        let row = match family {
            family::IPV4 => 0,
            family::IPV6 => 1,
            _ => 2,
        };
        row * PROTOCOLS + protocol as u32
    }

    /// Returns what a slot stands for; the interface is not known.
    pub fn key(slot: u32) -> FlowKey {
        let family = match slot / PROTOCOLS {
            0 => family::IPV4,
            1 => family::IPV6,
            _ => family::OTHER,
        };
        let protocol = (slot % PROTOCOLS) as u8;
        FlowKey { family, protocol, detail: detail::PROTOCOL_ONLY, ..FlowKey::default() }
    }
}

const _: () = assert!(size_of::<FlowKey>() == 52);
const _: () = assert!(size_of::<Direction>() == 40);
const _: () = assert!(size_of::<FlowStats>() == 80);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for FlowKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for FlowStats {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for Fill {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarser_keys_forget_step_by_step() {
        let mut key = FlowKey {
            local_addr: [1; 16],
            remote_addr: [2; 16],
            local_port: 3,
            remote_port: 4,
            family: family::IPV4,
            ..FlowKey::default()
        };
        key.without_ports();
        assert_eq!((key.detail, key.local_port, key.remote_port), (detail::NO_PORTS, 0, 0));
        assert_eq!((key.local_addr, key.remote_addr), ([1; 16], [2; 16]));
        key.to_prefixes();
        assert_eq!((key.detail, key.local_addr[14], key.local_addr[15]), (detail::PREFIX, 1, 0));
        key.family = family::IPV6;
        key.to_prefixes();
        assert_eq!((key.remote_addr[7], key.remote_addr[8]), (2, 0));
    }

    #[test]
    fn a_key_without_addresses_stays_as_it_is() {
        let mut key =
            FlowKey { remote_port: 0x0806, detail: detail::PROTOCOL_ONLY, ..FlowKey::default() };
        let before = key;
        key.to_prefixes();
        assert_eq!(key, before);
    }

    #[test]
    fn coarse_slots_and_keys_are_inverse() {
        for slot in 0..coarse::SLOTS {
            let key = coarse::key(slot);
            assert_eq!(coarse::slot(key.family, key.protocol), slot);
        }
    }
}
