//! The packet that an ICMP error quotes: which address and port were unreachable.

use super::{mapped, protocol};
use crate::{
    flow::{FlowKey, family},
    parse::cursor::Packet,
};

/// ICMP: destination unreachable (RFC 792).
const UNREACHABLE: u16 = 3;
/// Its code for a packet that is too large, which every path with a smaller MTU sends.
const FRAGMENTATION_NEEDED: u16 = 4;
/// ICMPv6: destination unreachable (RFC 4443).
const UNREACHABLE_V6: u16 = 1;

/// Where a packet went that could not be delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Its destination (v4-mapped for IPv4).
    pub address: [u8; 16],
    /// Its destination port, 0 when it had none.
    pub port: u16,
}

/// Returns whether a packet is an ICMP error that says unreachable.
#[inline(always)]
pub const fn is_unreachable(key: &FlowKey) -> bool {
    match (key.family, key.protocol) {
        (family::IPV4, protocol::ICMP) => {
            key.local_port == UNREACHABLE && key.remote_port != FRAGMENTATION_NEEDED
        }
        (family::IPV6, protocol::ICMPV6) => key.local_port == UNREACHABLE_V6,
        _ => false,
    }
}

/// Reads what the ICMP error at `offset` quotes; `None` when it was cut too short.
#[inline(always)]
pub fn read<P: Packet>(packet: &P, key: &FlowKey, offset: usize) -> Option<Quoted> {
    let inner = offset + 8;
    if key.family == family::IPV6 {
        let [next] = packet.read::<1>(inner + 6)?;
        let address = packet.read::<16>(inner + 24)?;
        return Some(Quoted { address, port: port(packet, next, inner + 40) });
    }
    let [first] = packet.read::<1>(inner)?;
    let [number] = packet.read::<1>(inner + 9)?;
    let address = mapped(packet.read::<4>(inner + 16)?);
    let transport = inner + usize::from(first & 0x0f) * 4;
    Some(Quoted { address, port: port(packet, number, transport) })
}

#[inline(always)]
fn port<P: Packet>(packet: &P, number: u8, transport: usize) -> u16 {
    match number {
        protocol::TCP | protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP => {
            packet.read::<2>(transport + 2).map_or(0, u16::from_be_bytes)
        }
        _ => 0,
    }
}
