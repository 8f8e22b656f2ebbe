//! Properties of the header parser over made and random packets.

use proptest::prelude::*;

use super::*;
use crate::parse::cursor::Bytes;

fn parse(bytes: &[u8]) -> Headers {
    Headers::ethernet(&Bytes(bytes), 3, Way::Egress)
}

/// The key as the receiving host has it.
fn arrived(bytes: &[u8]) -> FlowKey {
    Headers::ethernet(&Bytes(bytes), 3, Way::Ingress).key
}

fn frame(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x02; 12];
    for (tag, vlan) in tags {
        bytes.extend(tag.to_be_bytes());
        bytes.extend(vlan.to_be_bytes());
    }
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn v4(protocol: u8, options: usize, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 20 + options * 4];
    bytes[0] = 0x45 + options as u8;
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes[9] = protocol;
    bytes[12..16].copy_from_slice(&[10, 77, 0, 11]);
    bytes[16..20].copy_from_slice(&[10, 77, 0, 12]);
    bytes.extend(payload);
    bytes
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes[0] = 0x60;
    bytes[6] = next;
    bytes[8] = 0xfd;
    bytes[23] = 1;
    bytes[24] = 0xfd;
    bytes[39] = 2;
    bytes.extend(payload);
    bytes
}

fn tcp(source: u16, destination: u16, seq: u32, ack: u32, flags: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(source.to_be_bytes());
    bytes.extend(destination.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    bytes
}

#[test]
fn tcp_over_ipv4_has_an_exact_key_on_either_end() {
    let segment = tcp(40_000, 443, 7, 9, tcp_flag::SYN | tcp_flag::ACK);
    let bytes = frame(&[], 0x0800, &v4(6, 0, 0, &segment));
    let headers = parse(&bytes);
    assert_eq!(headers.problem, None);
    assert_eq!(headers.tcp, Some(Tcp { flags: 0x12, seq: 7, ack: 9 }));
    let arrived = arrived(&bytes);
    let left = headers.key;
    assert_eq!(left.ifindex, 3);
    assert_eq!((arrived.local_port, arrived.remote_port), (443, 40_000));
    assert_eq!((left.local_port, left.remote_port), (40_000, 443));
    assert_eq!(arrived.local_addr, left.remote_addr);
    assert_eq!(&arrived.local_addr[10..], &[0xff, 0xff, 10, 77, 0, 12]);
    assert_eq!(arrived.detail, detail::EXACT);
}

#[test]
fn tags_are_looked_through_and_the_outer_id_is_kept() {
    let payload = v4(17, 0, 0, &[0, 53, 0, 99, 0, 8, 0, 0]);
    let one = parse(&frame(&[(0x8100, 0x6005)], 0x0800, &payload));
    assert_eq!((one.key.vlan, one.key.local_port, one.key.remote_port), (5, 53, 99));
    let two = parse(&frame(&[(0x88a8, 7), (0x8100, 5)], 0x0800, &payload));
    assert_eq!((two.key.vlan, two.key.local_port, two.key.detail), (7, 53, detail::EXACT));
    let three = parse(&frame(&[(0x88a8, 7), (0x8100, 5), (0x8100, 6)], 0x0800, &payload));
    assert_eq!((three.problem, three.key.remote_port), (Some(Problem::NotIp), 0x8100));
}

#[test]
fn later_fragments_have_addresses_but_no_ports() {
    let first = parse(&frame(&[], 0x0800, &v4(17, 0, 0x2000, &[0, 1, 0, 2, 0, 8, 0, 0])));
    assert_eq!((first.key.detail, first.key.local_port), (detail::EXACT, 1));
    let later = parse(&frame(&[], 0x0800, &v4(17, 0, 185, &[0, 1, 0, 2, 0, 8, 0, 0])));
    assert_eq!((later.key.detail, later.key.local_port), (detail::NO_PORTS, 0));
    assert_eq!(later.key.local_addr[12..], [10, 77, 0, 11]);
    assert_eq!(later.problem, None);
}

#[test]
fn options_move_the_transport_header() {
    let headers = parse(&frame(&[], 0x0800, &v4(17, 10, 0, &[0, 1, 0, 2])));
    assert_eq!((headers.key.local_port, headers.key.remote_port), (1, 2));
}

#[test]
fn every_kind_of_extension_header_is_walked() {
    let mut chain = vec![43, 0, 0, 0, 0, 0, 0, 0];
    chain.extend([60, 1]);
    chain.extend([0; 14]);
    chain.extend([51, 0, 0, 0, 0, 0, 0, 0]);
    chain.extend([44, 2]);
    chain.extend([0; 14]);
    chain.extend([6, 0, 0, 1, 0, 0, 0, 0]);
    chain.extend(tcp(1, 2, 3, 4, tcp_flag::SYN));
    let headers = parse(&frame(&[], 0x86dd, &v6(0, &chain)));
    assert_eq!((headers.key.protocol, headers.key.detail), (6, detail::EXACT));
    assert_eq!(headers.tcp.map(|tcp| tcp.seq), Some(3));
}

#[test]
fn later_ipv6_fragment_has_no_ports() {
    let headers = parse(&frame(&[], 0x86dd, &v6(44, &[17, 0, 0, 8, 0, 0, 0, 1, 9, 9, 9, 9])));
    assert_eq!(
        (headers.key.protocol, headers.key.detail, headers.key.local_port),
        (17, detail::NO_PORTS, 0)
    );
}

#[test]
fn too_many_extension_headers_are_given_up() {
    let chain: Vec<u8> = [60, 0, 0, 0, 0, 0, 0, 0].repeat(20);
    let headers = parse(&frame(&[], 0x86dd, &v6(60, &chain)));
    assert_eq!(headers.problem, Some(Problem::Truncated));
    assert_eq!(headers.key.detail, detail::NO_PORTS);
}

#[test]
fn icmp_keeps_type_and_code_on_their_sides() {
    let bytes = frame(&[], 0x0800, &v4(1, 0, 0, &[8, 3, 0, 0]));
    for key in [arrived(&bytes), parse(&bytes).key] {
        assert_eq!((key.local_port, key.remote_port), (8, 3));
    }
}

#[test]
fn arp_is_counted_by_its_ethertype() {
    let bytes = frame(&[(0x8100, 9)], 0x0806, &[0; 28]);
    let headers = parse(&bytes);
    assert_eq!((headers.key.family, headers.problem), (family::OTHER, Some(Problem::NotIp)));
    for key in [arrived(&bytes), headers.key] {
        assert_eq!((key.local_port, key.remote_port, key.vlan), (0, 0x0806, 9));
    }
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let headers = parse(&bytes);
        prop_assert!(headers.key.detail <= detail::PROTOCOL_ONLY);
        prop_assert!(headers.tcp.is_none() || headers.key.detail == detail::EXACT);
        prop_assert!(headers.problem.is_none() || headers.key.detail != detail::EXACT);
    }

    #[test]
    fn random_ip_payload_never_panics(
        v6_frame in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut payload = bytes;
        if let Some(first) = payload.first_mut() {
            *first = if v6_frame { 0x60 } else { 0x45 + (*first & 7) };
        }
        let ethertype = if v6_frame { 0x86dd } else { 0x0800 };
        let headers = parse(&frame(&[], ethertype, &payload));
        prop_assert_eq!(headers.key.family, if v6_frame { family::IPV6 } else { family::IPV4 });
    }

    #[test]
    fn cutting_a_packet_never_invents_ports(cut in 0usize..66, fragment in 0u16..2) {
        let whole = frame(&[(0x8100, 4)], 0x0800, &v4(6, 1, fragment, &tcp(1, 2, 3, 4, 2)));
        let all = parse(&whole);
        let part = parse(&whole[..cut.min(whole.len())]);
        if part.key.detail == detail::EXACT {
            prop_assert_eq!(part, all);
        } else {
            prop_assert_eq!((part.tcp, part.key.local_port), (None, 0));
        }
    }
}
