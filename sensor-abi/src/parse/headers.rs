//! Ethernet, VLAN, IPv4, IPv6 and transport headers of one packet.

use crate::{
    flow::{FlowKey, detail, family},
    parse::cursor::{OFFSET_MAX, Packet},
};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad and the tag that equipment used before 802.1ad.
const ETHERTYPES_VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];

/// Tags that are looked through: QinQ has two.
const VLAN_TAGS_MAX: usize = 2;
/// Extension headers that are looked through. RFC 8200 allows each kind once, destination options
/// twice; more is an evasion and is counted as a truncated packet.
const EXTENSIONS_MAX: usize = 8;

/// IP protocol numbers that the parser knows.
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// Bits of the TCP flags byte.
pub mod tcp_flag {
    /// The sender has no more data.
    pub const FIN: u8 = 0x01;
    /// Opens a connection; the sequence number is the initial one.
    pub const SYN: u8 = 0x02;
    /// Refuses or aborts a connection.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
}

/// Why a packet has less than an exact key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It ended before its headers did, or its headers contradict themselves.
    Truncated,
    /// It is neither IPv4 nor IPv6.
    NotIp,
}

/// Which end of the packet is the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The packet arrived: its destination is local.
    Ingress,
    /// The packet left: its source is local.
    Egress,
}

/// What TCP's header says beyond the ports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Flag bits, see [`tcp_flag`].
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number, valid with [`tcp_flag::ACK`].
    pub ack: u32,
}

/// What the headers of one packet say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// Source address, v4-mapped for IPv4.
    pub source: [u8; 16],
    /// Destination address, likewise.
    pub destination: [u8; 16],
    /// Source port; for ICMP the type.
    pub source_port: u16,
    /// Destination port; for ICMP the code; for a packet that is not IP its EtherType.
    pub destination_port: u16,
    /// Outer VLAN id, 0 without a tag.
    pub vlan: u16,
    /// IP protocol number, after IPv6 extension headers.
    pub protocol: u8,
    /// See [`family`].
    pub family: u8,
    /// See [`detail`].
    pub detail: u8,
    /// Why the key is less than exact, if it is.
    pub problem: Option<Problem>,
    /// Set for a TCP packet whose header is complete.
    pub tcp: Option<Tcp>,
}

impl Headers {
    const EMPTY: Self = Self {
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        vlan: 0,
        protocol: 0,
        family: family::OTHER,
        detail: detail::PROTOCOL_ONLY,
        problem: None,
        tcp: None,
    };

    /// Returns the flow that the packet belongs to, seen from the host.
    #[inline(always)]
    pub fn key(&self, ifindex: u32, way: Way) -> FlowKey {
        let mut key = FlowKey {
            local_addr: self.destination,
            remote_addr: self.source,
            ifindex,
            local_port: self.destination_port,
            remote_port: self.source_port,
            vlan: self.vlan,
            protocol: self.protocol,
            family: self.family,
            detail: self.detail,
            reserved: [0; 3],
        };
        if matches!(way, Way::Egress) {
            key.local_addr = self.source;
            key.remote_addr = self.destination;
        }
        // Only ports change sides: an ICMP type stays `local_port`, an EtherType `remote_port`.
        let has_ports = self.family != family::OTHER && !is_icmp(self.protocol);
        if matches!(way, Way::Egress) || !has_ports {
            key.local_port = self.source_port;
            key.remote_port = self.destination_port;
        }
        key
    }

    #[inline(always)]
    fn truncated(mut self) -> Self {
        self.problem = Some(Problem::Truncated);
        self
    }
}

#[inline(always)]
fn is_icmp(number: u8) -> bool {
    number == protocol::ICMP || number == protocol::ICMPV6
}

/// Reads the headers of an Ethernet frame; never fails, says less instead.
#[inline(always)]
pub fn ethernet<P: Packet>(packet: &P) -> Headers {
    let mut headers = Headers::EMPTY;
    let Some(ethertype) = packet.read::<2>(12) else {
        return headers.truncated();
    };
    let mut ethertype = u16::from_be_bytes(ethertype);
    let mut offset = 14;
    for tag in 0..VLAN_TAGS_MAX {
        if !ETHERTYPES_VLAN.contains(&ethertype) {
            break;
        }
        let Some([tci_high, tci_low, type_high, type_low]) = packet.read::<4>(offset) else {
            headers.destination_port = ethertype;
            return headers.truncated();
        };
        if tag == 0 {
            headers.vlan = u16::from_be_bytes([tci_high, tci_low]) & 0x0fff;
        }
        ethertype = u16::from_be_bytes([type_high, type_low]);
        offset += 4;
    }
    match ethertype {
        ETHERTYPE_IPV4 => ipv4(packet, offset, headers),
        ETHERTYPE_IPV6 => ipv6(packet, offset, headers),
        other => {
            headers.destination_port = other;
            headers.problem = Some(Problem::NotIp);
            headers
        }
    }
}

#[inline(always)]
fn ipv4<P: Packet>(packet: &P, offset: usize, mut headers: Headers) -> Headers {
    headers.family = family::IPV4;
    let Some(header) = packet.read::<20>(offset) else {
        return headers.truncated();
    };
    let length = usize::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || length < 20 {
        return headers.truncated();
    }
    headers.protocol = header[9];
    headers.source = mapped([header[12], header[13], header[14], header[15]]);
    headers.destination = mapped([header[16], header[17], header[18], header[19]]);
    headers.detail = detail::NO_PORTS;
    let fragment_offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if fragment_offset != 0 {
        return headers;
    }
    transport(packet, offset + length, headers)
}

#[inline(always)]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

#[inline(always)]
fn ipv6<P: Packet>(packet: &P, offset: usize, mut headers: Headers) -> Headers {
    headers.family = family::IPV6;
    let Some([first, _, _, _, _, _, next, _]) = packet.read::<8>(offset) else {
        return headers.truncated();
    };
    if first >> 4 != 6 {
        return headers.truncated();
    }
    headers.protocol = next;
    let (Some(source), Some(destination)) =
        (packet.read::<16>(offset + 8), packet.read::<16>(offset + 24))
    else {
        return headers.truncated();
    };
    headers.source = source;
    headers.destination = destination;
    headers.detail = detail::NO_PORTS;
    extensions(packet, offset + 40, headers)
}

/// Walks IPv6 extension headers to the transport header.
#[inline(always)]
fn extensions<P: Packet>(packet: &P, mut offset: usize, mut headers: Headers) -> Headers {
    for _ in 0..EXTENSIONS_MAX {
        let unit = match headers.protocol {
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
            protocol::AUTHENTICATION => 4,
            protocol::FRAGMENT => 0,
            _ => return transport(packet, offset, headers),
        };
        let Some([next, length, fragment_high, fragment_low]) = packet.read::<4>(offset) else {
            return headers.truncated();
        };
        headers.protocol = next;
        offset += match unit {
            8 => (usize::from(length) + 1) * 8,
            4 => (usize::from(length) + 2) * 4,
            _ => 8,
        };
        // The offset is in the upper 13 bits.
        let fragment_offset = u16::from_be_bytes([fragment_high, fragment_low]) >> 3;
        if unit == 0 && fragment_offset != 0 {
            return headers;
        }
        if offset >= OFFSET_MAX {
            return headers.truncated();
        }
    }
    headers.truncated()
}

#[inline(always)]
fn transport<P: Packet>(packet: &P, offset: usize, mut headers: Headers) -> Headers {
    match headers.protocol {
        protocol::TCP => {
            // Ports, both numbers, the data offset and the flags.
            let Some(tcp) = packet.read::<14>(offset) else {
                return headers.truncated();
            };
            headers.source_port = u16::from_be_bytes([tcp[0], tcp[1]]);
            headers.destination_port = u16::from_be_bytes([tcp[2], tcp[3]]);
            headers.tcp = Some(Tcp {
                flags: tcp[13],
                seq: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
                ack: u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]),
            });
        }
        protocol::UDP | protocol::UDP_LITE | protocol::SCTP | protocol::DCCP => {
            let Some([a, b, c, d]) = packet.read::<4>(offset) else {
                return headers.truncated();
            };
            headers.source_port = u16::from_be_bytes([a, b]);
            headers.destination_port = u16::from_be_bytes([c, d]);
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let Some([kind, code]) = packet.read::<2>(offset) else {
                return headers.truncated();
            };
            headers.source_port = u16::from(kind);
            headers.destination_port = u16::from(code);
        }
        _ => {}
    }
    headers.detail = detail::EXACT;
    headers
}

#[cfg(test)]
mod tests;
