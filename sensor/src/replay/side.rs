//! Which end of a captured packet is the host. Pure.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use sensor_abi::flow::FlowKey;
use sensor_abi::parse::headers::{Tcp, Way, tcp_flag};

/// Conversations whose beginner is remembered. In a capture with more, the oldest ones are
/// forgotten all at once, and who speaks next begins anew.
const KNOWN_MAX: usize = 65_536;
/// Addresses that belong to somebody's own network: RFC 1918 and RFC 4193.
const OWN: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// An address and a port.
type End = ([u8; 16], u16);

/// Tells the sides of packets.
#[derive(Debug)]
pub struct Sides {
    local: Vec<IpNet>,
    /// Who began, by both ends in their order and the protocol.
    begun: HashMap<(End, End, u8), End>,
}

impl Sides {
    /// Takes the networks that are local; none means private ones, else whoever begins.
    pub fn new(local: &[IpNet]) -> Self {
        let own = || OWN.iter().filter_map(|net| net.parse().ok()).collect();
        let local = if local.is_empty() { own() } else { local.to_vec() };
        Self { local, begun: HashMap::new() }
    }

    /// Returns which way a packet goes. `key` is the packet's as if it had arrived: its source is
    /// remote.
    pub fn way(&mut self, key: &FlowKey, tcp: Option<Tcp>) -> Way {
        let (source, destination) =
            ((key.remote_addr, key.remote_port), (key.local_addr, key.local_port));
        match (self.is_local(&source.0), self.is_local(&destination.0)) {
            (true, false) => return Way::Egress,
            (false, true) => return Way::Ingress,
            _ => {}
        }
        let conversation = (source.min(destination), source.max(destination), key.protocol);
        if self.begun.len() >= KNOWN_MAX && !self.begun.contains_key(&conversation) {
            self.begun.clear();
        }
        // Who answers a SYN did not begin, even when its own packet is the first in the capture.
        let answers = tcp.is_some_and(|tcp| {
            tcp.flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN | tcp_flag::ACK
        });
        let first = if answers { destination } else { source };
        match *self.begun.entry(conversation).or_insert(first) == source {
            true => Way::Egress,
            false => Way::Ingress,
        }
    }

    fn is_local(&self, address: &[u8; 16]) -> bool {
        let address = IpAddr::V6(Ipv6Addr::from(*address)).to_canonical();
        self.local.iter().any(|net| net.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(from: (&str, u16), to: (&str, u16)) -> FlowKey {
        let bytes = |text: &str| match text.parse().expect("an address") {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        FlowKey {
            remote_addr: bytes(from.0),
            remote_port: from.1,
            local_addr: bytes(to.0),
            local_port: to.1,
            protocol: 6,
            ..FlowKey::default()
        }
    }

    #[test]
    fn the_private_end_is_local() {
        let mut sides = Sides::new(&[]);
        let (inside, outside) = (("192.168.1.2", 4000), ("203.0.113.5", 80));
        assert_eq!(sides.way(&key(inside, outside), None), Way::Egress);
        assert_eq!(sides.way(&key(outside, inside), None), Way::Ingress);
        let mut sides = Sides::new(&["203.0.113.0/24".parse().expect("a network")]);
        assert_eq!(sides.way(&key(inside, outside), None), Way::Ingress);
    }

    #[test]
    fn between_two_of_a_kind_it_is_who_begins() {
        let mut sides = Sides::new(&[]);
        let (one, two) = (("192.0.2.1", 4000), ("192.0.2.2", 80));
        assert_eq!(sides.way(&key(one, two), None), Way::Egress);
        assert_eq!(sides.way(&key(two, one), None), Way::Ingress);
        assert_eq!(sides.way(&key(one, two), None), Way::Egress);
        let syn_ack = Tcp { flags: tcp_flag::SYN | tcp_flag::ACK, ..Tcp::default() };
        let (three, four) = (("fd00::3", 22), ("fd00::4", 5000));
        assert_eq!(sides.way(&key(three, four), Some(syn_ack)), Way::Ingress);
        assert_eq!(sides.way(&key(four, three), None), Way::Egress);
    }
}
