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
    /// The host's port, host byte order; for ICMP the type.
    pub local_port: u16,
    /// The peer's port, host byte order; for ICMP the code; for non-IP the EtherType.
    pub remote_port: u16,
    /// Outer VLAN id, 0 without a tag.
    pub vlan: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// See [`family`].
    pub family: u8,
    /// See [`detail`].
    pub detail: u8,
    /// Keeps the size a multiple of four without padding.
    pub reserved: [u8; 3],
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
    /// Last packet, likewise.
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

    /// No packet yet.
    pub const ZERO: Self = Self { ingress: Direction::ZERO, egress: Direction::ZERO };
}

/// The coarse table: one slot per family and protocol, so that it cannot fill up.
pub mod coarse {
    use super::{FlowKey, detail, family};

    const PROTOCOLS: u32 = 256;

    /// Number of slots.
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

const _: () = assert!(size_of::<FlowKey>() == 48);
const _: () = assert!(size_of::<Direction>() == 40);
const _: () = assert!(size_of::<FlowStats>() == 80);

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for FlowKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for FlowStats {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_slots_and_keys_are_inverse() {
        for slot in 0..coarse::SLOTS {
            let key = coarse::key(slot);
            assert_eq!(coarse::slot(key.family, key.protocol), slot);
        }
    }
}
