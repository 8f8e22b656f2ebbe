//! Ethernet, VLAN, IPv4, IPv6, tunnel and transport headers of one packet.

use self::tunnel::Inner;
use crate::{
    flow::{FlowKey, detail, family},
    parse::cursor::{OFFSET_MAX, Packet},
};

pub mod quoted;
mod tunnel;

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
    /// IPv4 inside another packet.
    pub const IPV4: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 inside another packet.
    pub const IPV6: u8 = 41;
    /// IPv6 routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Generic routing encapsulation.
    pub const GRE: u8 = 47;
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
///
/// Aligned so that a kernel program can clear it in whole words.
#[repr(align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// The flow that the packet belongs to, seen from the host.
    pub key: FlowKey,
    /// Why the key is less than exact, if it is.
    pub problem: Option<Problem>,
    /// Set for a TCP packet whose header is complete.
    pub tcp: Option<Tcp>,
    /// Where the transport header starts; 0 when it is not known.
    pub transport: u16,
    /// Where the data behind a TCP or UDP header starts; 0 when it is not known.
    pub payload: u16,
}

/// How a packet is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Interface index that saw the packet.
    pub ifindex: u32,
    /// Which end is the host.
    pub way: Way,
    /// Whether one level of tunnel is looked into.
    pub tunnels: bool,
}

impl Headers {
    /// Reads the headers of an Ethernet frame, without looking into tunnels; never fails, says less
    /// instead.
    pub fn ethernet<P: Packet>(packet: &P, ifindex: u32, way: Way) -> Self {
        let mut headers = Self::default();
        headers.read_ethernet(packet, Reading { ifindex, way, tunnels: false });
        headers
    }

    /// As [`Headers::ethernet`], in place, over what is [`Headers::default`] before: a kernel
    /// program has 512 bytes of stack. For the same reason every field is read by itself and stored
    /// at once.
    #[inline(always)]
    pub fn read_ethernet<P: Packet>(&mut self, packet: &P, reading: Reading) {
        self.begin(reading);
        let read = self
            .link(packet)
            .and_then(|(ethertype, offset)| self.layers(packet, ethertype, offset, reading));
        self.end(read);
    }

    /// Likewise, for a packet of an interface without a link layer: it starts with the IP header.
    #[inline(always)]
    pub fn read_ip<P: Packet>(&mut self, packet: &P, reading: Reading) {
        self.begin(reading);
        let read = need(packet.read::<1>(0)).and_then(|[first]| {
            let ethertype = if first >> 4 == 6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
            self.layers(packet, ethertype, 0, reading)
        });
        self.end(read);
    }

    #[inline(always)]
    fn begin(&mut self, reading: Reading) {
        self.key.ifindex = reading.ifindex;
        self.key.detail = detail::PROTOCOL_ONLY;
    }

    #[inline(always)]
    fn end(&mut self, read: Step<()>) {
        if let Err(problem) = read {
            self.problem = problem;
        }
    }

    #[inline(always)]
    fn layers<P: Packet>(
        &mut self,
        packet: &P,
        ethertype: u16,
        offset: usize,
        reading: Reading,
    ) -> Step<()> {
        let way = reading.way;
        let offset = self.network(packet, ethertype, packet.at(offset), way)?;
        let offset = self.walk_extensions(packet, packet.at(offset))?;
        let offset = match tunnel::inside(packet, &self.key, packet.at(offset), reading) {
            Some(inner) => {
                let offset = self.enter(packet, inner, way)?;
                self.walk_extensions(packet, packet.at(offset))?
            }
            None => offset,
        };
        self.transport(packet, packet.at(offset), way)
    }

    /// Reads the addresses of the packet inside a tunnel in place of the outer ones.
    #[inline(always)]
    fn enter<P: Packet>(&mut self, packet: &P, inner: Inner, way: Way) -> Step<usize> {
        self.key.tunnel = inner.kind;
        self.key.tunnel_id = inner.id;
        // A shorter address must not keep a part of the outer one.
        (self.key.local_addr, self.key.remote_addr) = ([0; 16], [0; 16]);
        self.network(packet, inner.ethertype, packet.at(inner.offset), way)
    }

    /// Reads the Ethernet header and its tags; returns the EtherType and where its payload starts.
    #[inline(always)]
    fn link<P: Packet>(&mut self, packet: &P) -> Step<(u16, usize)> {
        let mut ethertype = be16(packet, 12)?;
        let mut offset = 14;
        for tag in 0..VLAN_TAGS_MAX {
            if !ETHERTYPES_VLAN.contains(&ethertype) {
                break;
            }
            self.key.remote_port = ethertype;
            let id = be16(packet, offset)? & 0x0fff;
            if tag == 0 {
                self.key.vlan = id;
            } else {
                self.key.inner_vlan = id;
            }
            ethertype = be16(packet, offset + 2)?;
            offset += 4;
        }
        self.key.remote_port = 0;
        Ok((ethertype, offset))
    }

    /// Reads the addresses; returns where the next header starts.
    #[inline(always)]
    fn network<P: Packet>(
        &mut self,
        packet: &P,
        ethertype: u16,
        offset: usize,
        way: Way,
    ) -> Step<usize> {
        match ethertype {
            ETHERTYPE_IPV4 => self.ipv4(packet, offset, way),
            ETHERTYPE_IPV6 => self.ipv6(packet, offset, way),
            other => {
                self.key.remote_port = other;
                Err(Some(Problem::NotIp))
            }
        }
    }

    #[inline(always)]
    fn ipv4<P: Packet>(&mut self, packet: &P, offset: usize, way: Way) -> Step<usize> {
        self.key.family = family::IPV4;
        let [first] = need(packet.read::<1>(offset))?;
        let length = usize::from(first & 0x0f) * 4;
        if first >> 4 != 4 || length < 20 {
            return Err(Some(Problem::Truncated));
        }
        let destination = need(packet.read::<4>(offset + 16))?;
        let source = need(packet.read::<4>(offset + 12))?;
        let [number] = need(packet.read::<1>(offset + 9))?;
        let fragment_offset = be16(packet, offset + 6)? & 0x1fff;
        self.key.protocol = number;
        self.key.detail = detail::NO_PORTS;
        let (from, to) = self.addresses(way);
        map(from, source);
        map(to, destination);
        if fragment_offset != 0 {
            return Err(None);
        }
        Ok(offset + length)
    }

    #[inline(always)]
    fn ipv6<P: Packet>(&mut self, packet: &P, offset: usize, way: Way) -> Step<usize> {
        self.key.family = family::IPV6;
        let [first] = need(packet.read::<1>(offset))?;
        if first >> 4 != 6 {
            return Err(Some(Problem::Truncated));
        }
        let [next] = need(packet.read::<1>(offset + 6))?;
        self.key.protocol = next;
        let (from, to) = self.addresses(way);
        *to = need(packet.read::<16>(offset + 24))?;
        *from = need(packet.read::<16>(offset + 8))?;
        self.key.detail = detail::NO_PORTS;
        Ok(offset + 40)
    }

    /// Walks IPv6 extension headers to the transport header.
    #[inline(always)]
    fn walk_extensions<P: Packet>(&mut self, packet: &P, mut offset: usize) -> Step<usize> {
        if self.key.family != family::IPV6 {
            return Ok(offset);
        }
        for _ in 0..EXTENSIONS_MAX {
            let number = self.key.protocol;
            if !is_extension(number) {
                return Ok(offset);
            }
            let [next, length] = need(packet.read::<2>(offset))?;
            let fragment = be16(packet, offset + 2)?;
            self.key.protocol = next;
            offset += extension_length(number, usize::from(length));
            // The fragment offset is in the upper 13 bits.
            if number == protocol::FRAGMENT && fragment >> 3 != 0 {
                return Err(None);
            }
            if offset >= OFFSET_MAX {
                break;
            }
            offset = packet.at(offset);
        }
        Err(Some(Problem::Truncated))
    }

    #[inline(always)]
    fn transport<P: Packet>(&mut self, packet: &P, offset: usize, way: Way) -> Step<()> {
        match self.key.protocol {
            protocol::TCP => {
                // The flags come last of what is needed: with them the rest is there too.
                let [length, flags] = need(packet.read::<2>(offset + 12))?;
                let seq = u32::from_be_bytes(need(packet.read::<4>(offset + 4))?);
                let ack = u32::from_be_bytes(need(packet.read::<4>(offset + 8))?);
                self.tcp = Some(Tcp { flags, seq, ack });
                self.payload = offset as u16 + u16::from(length >> 4) * 4;
                self.ports(packet, offset, way)?;
            }
            protocol::UDP => {
                self.payload = offset as u16 + 8;
                self.ports(packet, offset, way)?;
            }
            protocol::UDP_LITE | protocol::SCTP | protocol::DCCP => {
                self.ports(packet, offset, way)?;
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code] = need(packet.read::<2>(offset))?;
                self.key.local_port = u16::from(kind);
                self.key.remote_port = u16::from(code);
            }
            _ => {}
        }
        self.transport = offset as u16;
        self.key.detail = detail::EXACT;
        Ok(())
    }

    #[inline(always)]
    fn ports<P: Packet>(&mut self, packet: &P, offset: usize, way: Way) -> Step<()> {
        let destination = be16(packet, offset + 2)?;
        let source = be16(packet, offset)?;
        (self.key.local_port, self.key.remote_port) = match way {
            Way::Ingress => (destination, source),
            Way::Egress => (source, destination),
        };
        Ok(())
    }

    /// Returns where source and destination go.
    #[inline(always)]
    fn addresses(&mut self, way: Way) -> (&mut [u8; 16], &mut [u8; 16]) {
        match way {
            Way::Ingress => (&mut self.key.remote_addr, &mut self.key.local_addr),
            Way::Egress => (&mut self.key.local_addr, &mut self.key.remote_addr),
        }
    }
}

/// A layer was read, or reading ends here: with a problem, or with all that there is.
type Step<T> = Result<T, Option<Problem>>;

#[inline(always)]
fn need<const N: usize>(bytes: Option<[u8; N]>) -> Step<[u8; N]> {
    bytes.ok_or(Some(Problem::Truncated))
}

#[inline(always)]
fn be16<P: Packet>(packet: &P, offset: usize) -> Step<u16> {
    need(packet.read::<2>(offset)).map(u16::from_be_bytes)
}

/// Writes an IPv4 address over one that is all zero.
#[inline(always)]
fn map(address: &mut [u8; 16], [a, b, c, d]: [u8; 4]) {
    (address[10], address[11]) = (0xff, 0xff);
    (address[12], address[13], address[14], address[15]) = (a, b, c, d);
}

#[inline(always)]
fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

#[inline(always)]
fn is_extension(number: u8) -> bool {
    matches!(
        number,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AUTHENTICATION
            | protocol::DESTINATION_OPTIONS
    )
}

/// Each kind of extension header counts its length in its own way.
#[inline(always)]
fn extension_length(number: u8, length: usize) -> usize {
    match number {
        protocol::FRAGMENT => 8,
        protocol::AUTHENTICATION => (length + 2) * 4,
        _ => (length + 1) * 8,
    }
}

#[cfg(test)]
mod tests;
