//! Properties of the header parser over made and random packets.

use proptest::prelude::*;

use super::*;
use crate::{flow::tunnel, parse::cursor::Bytes};

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
fn tags_are_looked_through_and_their_ids_are_kept() {
    let payload = v4(17, 0, 0, &[0, 53, 0, 99, 0, 8, 0, 0]);
    let one = parse(&frame(&[(0x8100, 0x6005)], 0x0800, &payload));
    assert_eq!((one.key.vlan, one.key.local_port, one.key.remote_port), (5, 53, 99));
    let two = parse(&frame(&[(0x88a8, 7), (0x8100, 5)], 0x0800, &payload));
    assert_eq!((two.key.vlan, two.key.local_port, two.key.detail), (7, 53, detail::EXACT));
    assert_eq!((one.key.inner_vlan, two.key.inner_vlan), (0, 5));
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

fn inside(bytes: &[u8]) -> Headers {
    let mut headers = Headers::default();
    let reading = Reading { ifindex: 3, way: Way::Egress, tunnels: true };
    headers.read_ethernet(&Bytes(bytes), reading);
    headers
}

/// Each kind of tunnel with its id, around an inner IP packet.
fn tunnels(version: u8, inner: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let (ethertype, number) = if version == 6 { (0x86dd_u16, 41) } else { (0x0800, 4) };
    let with_header = |header: &[u8], rest: &[u8]| [header, rest].concat();
    let of_type = |flags: [u8; 2], rest: &[u8]| {
        with_header(&flags, &with_header(&ethertype.to_be_bytes(), &with_header(rest, inner)))
    };
    let ethernet = frame(&[(0x8100, 9)], ethertype, inner);
    let mut vxlan = vec![0x30, 0x39, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 0];
    vxlan.extend(&ethernet);
    let mut bridged = vec![0x20, 0, 0x65, 0x58, 0, 0, 0, 77];
    bridged.extend(&ethernet);
    let all_fields = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 1];
    let mut all = Vec::new();
    for (outer, wrap) in [
        (0x0800, (|number, rest: &[u8]| v4(number, 0, 0, rest)) as fn(u8, &[u8]) -> Vec<u8>),
        (0x86dd, |number, rest: &[u8]| v6(number, rest)),
    ] {
        let of = |number, rest: &[u8]| frame(&[], outer, &wrap(number, rest));
        all.push((tunnel::IP, 0, of(number, inner)));
        all.push((tunnel::GRE, 0, of(47, &of_type([0, 0], &[]))));
        all.push((tunnel::GRE, 0xffff_fffe, of(47, &of_type([0xb0, 0], &all_fields))));
        all.push((tunnel::GRE, 77, of(47, &bridged)));
        all.push((tunnel::VXLAN, 0x01_0203, of(17, &vxlan)));
    }
    all
}

#[test]
fn one_level_of_every_tunnel_is_looked_into_when_asked() {
    let segment = tcp(40_000, 443, 7, 9, tcp_flag::SYN);
    for (version, ethertype, inner) in
        [(4, 0x0800, v4(6, 3, 0, &segment)), (6, 0x86dd, v6(6, &segment))]
    {
        let plain = inside(&frame(&[], ethertype, &inner));
        assert_eq!(plain.key.tunnel, tunnel::NONE);
        for (kind, id, bytes) in tunnels(version, &inner) {
            let headers = inside(&bytes);
            let key = FlowKey { tunnel: kind, tunnel_id: id, ..plain.key };
            assert_eq!((headers.key, headers.tcp), (key, plain.tcp), "kind {kind}, IPv{version}");
            let outer = parse(&bytes);
            assert_eq!((outer.key.tunnel, outer.key.tunnel_id), (tunnel::NONE, 0));
            assert!([4, 17, 41, 47].contains(&outer.key.protocol));
        }
    }
}

#[test]
fn a_tunnel_inside_a_tunnel_stays_closed() {
    let innermost = v4(17, 0, 0, &[0, 1, 0, 2, 0, 8, 0, 0]);
    let headers = inside(&frame(&[], 0x0800, &v4(4, 0, 0, &v4(4, 0, 0, &innermost))));
    assert_eq!((headers.key.tunnel, headers.key.protocol), (tunnel::IP, 4));
    assert_eq!(headers.key.detail, detail::EXACT);
}

#[test]
fn what_is_no_whole_packet_inside_leaves_the_outer_flow() {
    let short = v4(47, 0, 0, &[0, 0, 8, 0, 0x45, 0, 0]);
    let headers = inside(&frame(&[], 0x0800, &short));
    assert_eq!((headers.key.tunnel, headers.key.protocol), (tunnel::NONE, 47));
    assert_eq!((headers.key.detail, headers.problem), (detail::EXACT, None));
}

#[test]
fn payload_starts_behind_the_transport_header() {
    let udp = parse(&frame(&[], 0x0800, &v4(17, 0, 0, &[0, 1, 0, 2, 0, 9, 0, 0, 7])));
    assert_eq!((udp.transport, udp.payload), (34, 42));
    let tcp = parse(&frame(&[], 0x86dd, &v6(6, &tcp(1, 2, 3, 4, tcp_flag::ACK))));
    assert_eq!((tcp.transport, tcp.payload), (54, 74));
}

#[test]
fn packets_without_a_link_layer_are_read_from_the_ip_header() {
    let segment = tcp(1, 2, 3, 4, tcp_flag::ACK);
    for (ethertype, packet) in [(0x0800, v4(6, 0, 0, &segment)), (0x86dd, v6(6, &segment))] {
        let framed = parse(&frame(&[], ethertype, &packet));
        let mut bare = Headers::default();
        bare.read_ip(&Bytes(&packet), Reading { ifindex: 3, way: Way::Egress, tunnels: false });
        assert_eq!((bare.key, bare.tcp, bare.problem), (framed.key, framed.tcp, None));
    }
}

#[test]
fn an_icmp_error_tells_what_could_not_be_reached() {
    let lost = v4(17, 2, 0, &[0, 9, 0x13, 0x88, 0, 8, 0, 0]);
    let bytes = frame(&[], 0x0800, &v4(1, 0, 0, &[&[3, 3, 0, 0, 0, 0, 0, 0], &lost[..]].concat()));
    let headers = parse(&bytes);
    assert!(quoted::is_unreachable(&headers.key));
    let offset = usize::from(headers.transport);
    let quoted = quoted::read(&Bytes(&bytes), &headers.key, offset).expect("it quotes a packet");
    assert_eq!((&quoted.address[12..], quoted.port), (&[10, 77, 0, 12][..], 5_000));

    let lost = v6(6, &tcp(1, 2_222, 0, 0, tcp_flag::SYN));
    let bytes = frame(&[], 0x86dd, &v6(58, &[&[1, 4, 0, 0, 0, 0, 0, 0], &lost[..]].concat()));
    let headers = parse(&bytes);
    assert!(quoted::is_unreachable(&headers.key));
    let offset = usize::from(headers.transport);
    let quoted = quoted::read(&Bytes(&bytes), &headers.key, offset).expect("it quotes a packet");
    assert_eq!((quoted.address[15], quoted.port), (2, 2_222));

    let too_large = parse(&frame(&[], 0x0800, &v4(1, 0, 0, &[3, 4, 0, 0])));
    let echo = parse(&frame(&[], 0x0800, &v4(1, 0, 0, &[8, 0, 0, 0])));
    assert!(!quoted::is_unreachable(&too_large.key) && !quoted::is_unreachable(&echo.key));
}

proptest! {
    #[test]
    fn any_bytes_inside_a_tunnel_never_panic(
        v6_inside in any::<bool>(),
        which in 0usize..10,
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut inner = bytes;
        if let Some(first) = inner.first_mut() {
            *first = if v6_inside { 0x60 } else { 0x45 + (*first & 7) };
        }
        let (_, _, packet) = tunnels(if v6_inside { 6 } else { 4 }, &inner).remove(which);
        let headers = inside(&packet);
        prop_assert!(headers.problem.is_none() || headers.key.detail != detail::EXACT);
        prop_assert!(headers.tcp.is_none() || headers.key.detail == detail::EXACT);
        prop_assert!(headers.key.family != family::OTHER);
        let _any = quoted::read(&Bytes(&packet), &headers.key, headers.transport.into());
    }

    #[test]
    fn cutting_a_tunnel_never_invents_an_inner_flow(which in 0usize..10, cut in 0usize..140) {
        let segment = tcp(1, 2, 3, 4, tcp_flag::ACK);
        let (_, _, whole) = tunnels(4, &v4(6, 0, 0, &segment)).remove(which);
        let all = inside(&whole);
        let part = inside(&whole[..cut.min(whole.len())]);
        if part.key.tunnel != tunnel::NONE && part.key.detail == detail::EXACT {
            prop_assert_eq!(part, all);
        }
        prop_assert!(part.key.tunnel == tunnel::NONE || part.key.local_addr == all.key.local_addr);
    }

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
