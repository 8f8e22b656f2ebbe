//! The packet inside a packet: GRE, VXLAN, IP in IP. One level, and only when it is asked for.

use super::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPES_VLAN, Reading, protocol};
use crate::{
    flow::{FlowKey, tunnel},
    parse::cursor::{OFFSET_MAX, Packet},
};

/// EtherType of an Ethernet frame inside GRE (RFC 1701, RFC 7637).
const ETHERTYPE_ETHERNET: u16 = 0x6558;
/// The port that IANA gave to VXLAN, and the one that Linux used before.
const PORTS_VXLAN: [u16; 2] = [4789, 8472];
/// Says that a VXLAN header has a network identifier.
const VXLAN_HAS_ID: u8 = 0x08;
/// GRE's first 16 bits: a checksum, a key, a sequence number follow.
const GRE_CHECKSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const GRE_SEQUENCE: u16 = 0x1000;
/// Source routing (RFC 1701, long given up) and the version, which is 1 for PPTP's own format.
const GRE_UNKNOWN: u16 = 0x4007;

/// Where the packet inside starts.
#[derive(Clone, Copy)]
pub(super) struct Inner {
    /// See [`tunnel`].
    pub(super) kind: u8,
    /// The tunnel's id.
    pub(super) id: u32,
    /// IPv4 or IPv6.
    pub(super) ethertype: u16,
    /// Where its IP header starts.
    pub(super) offset: usize,
}

/// Finds the packet inside, behind a header at `offset`; `None` when there is none, when tunnels
/// are not looked into, or when the inner IP header is not there as a whole: the outer flow is then
/// all that can be said.
#[inline(always)]
pub(super) fn inside<P: Packet>(
    packet: &P,
    outer: &FlowKey,
    offset: usize,
    reading: Reading,
) -> Option<Inner> {
    if !reading.tunnels {
        return None;
    }
    let inner = match outer.protocol {
        protocol::IPV4 => Inner { kind: tunnel::IP, id: 0, ethertype: ETHERTYPE_IPV4, offset },
        protocol::IPV6 => Inner { kind: tunnel::IP, id: 0, ethertype: ETHERTYPE_IPV6, offset },
        protocol::GRE => gre(packet, offset)?,
        protocol::UDP => vxlan(packet, offset)?,
        _ => return None,
    };
    let length = if inner.ethertype == ETHERTYPE_IPV6 { 40 } else { 20 };
    let [first] = packet.read::<1>(inner.offset)?;
    packet.read::<1>(inner.offset + length - 1)?;
    let fits = match inner.ethertype {
        ETHERTYPE_IPV6 => first >> 4 == 6,
        _ => first >> 4 == 4 && first & 0x0f >= 5,
    };
    fits.then_some(inner)
}

#[inline(always)]
fn gre<P: Packet>(packet: &P, offset: usize) -> Option<Inner> {
    let flags = u16::from_be_bytes(packet.read::<2>(offset)?);
    let ethertype = u16::from_be_bytes(packet.read::<2>(offset + 2)?);
    if flags & GRE_UNKNOWN != 0 {
        return None;
    }
    let mut offset = offset + 4;
    let mut id = 0;
    if flags & GRE_CHECKSUM != 0 {
        offset += 4;
    }
    if flags & GRE_KEY != 0 {
        id = u32::from_be_bytes(packet.read::<4>(offset)?);
        offset += 4;
    }
    if flags & GRE_SEQUENCE != 0 {
        offset += 4;
    }
    framed(packet, tunnel::GRE, id, ethertype, offset)
}

#[inline(always)]
fn vxlan<P: Packet>(packet: &P, offset: usize) -> Option<Inner> {
    let destination = u16::from_be_bytes(packet.read::<2>(offset + 2)?);
    if !PORTS_VXLAN.contains(&destination) {
        return None;
    }
    let [flags] = packet.read::<1>(offset + 8)?;
    let id = u32::from_be_bytes(packet.read::<4>(offset + 12)?) >> 8;
    if flags & VXLAN_HAS_ID == 0 {
        return None;
    }
    framed(packet, tunnel::VXLAN, id, ETHERTYPE_ETHERNET, offset + 16)
}

/// Looks through an inner Ethernet header and one tag of it.
#[inline(always)]
fn framed<P: Packet>(
    packet: &P,
    kind: u8,
    id: u32,
    mut ethertype: u16,
    mut offset: usize,
) -> Option<Inner> {
    if ethertype == ETHERTYPE_ETHERNET {
        ethertype = u16::from_be_bytes(packet.read::<2>(offset + 12)?);
        offset += 14;
        if ETHERTYPES_VLAN.contains(&ethertype) {
            ethertype = u16::from_be_bytes(packet.read::<2>(offset + 2)?);
            offset += 4;
        }
    }
    let is_ip = ethertype == ETHERTYPE_IPV4 || ethertype == ETHERTYPE_IPV6;
    (is_ip && offset < OFFSET_MAX).then_some(Inner { kind, id, ethertype, offset })
}
