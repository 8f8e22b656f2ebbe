//! Who gets an entry, and whose sketch a probe goes to.

use sensor_abi::{
    flow::{FlowKey, family},
    parse::headers::Tcp,
};

use super::*;

const SYN: u8 = tcp_flag::SYN;
const ACK: u8 = tcp_flag::ACK;
const RST: u8 = tcp_flag::RST;
const FIN: u8 = tcp_flag::FIN;

fn tcp(flags: u8, seq: u32) -> Headers {
    Headers { tcp: Some(Tcp { flags, seq, ack: 1 }), ..Headers::default() }
}

fn icmp(kind: u16, code: u16) -> Headers {
    let key = FlowKey {
        family: family::IPV4,
        protocol: protocol::ICMP,
        local_port: kind,
        remote_port: code,
        ..FlowKey::default()
    };
    Headers { key, ..Headers::default() }
}

fn at(headers: &Headers, way: Way, room: Room, socket: Socket) -> Place {
    let known = if needs_socket(headers, way, room) { socket } else { Socket::None };
    let place = place(headers, way, room, known);
    assert_eq!(place, super::place(headers, way, room, socket), "the socket should be looked for");
    place
}

#[test]
fn a_connection_in_either_direction_has_an_entry_from_its_first_segment() {
    for (flags, way) in [(SYN, Way::Egress), (SYN | ACK, Way::Ingress), (ACK, Way::Ingress)] {
        assert!(!needs_socket(&tcp(flags, 7), way, Room::Any));
        assert_eq!(at(&tcp(flags, 7), way, Room::Any, Socket::None), Place::Exact);
    }
    assert_eq!(at(&tcp(SYN, 7), Way::Ingress, Room::Any, Socket::Listening), Place::Exact);
}

#[test]
fn a_syn_to_a_port_that_nobody_listens_on_is_a_probe() {
    for room in [Room::Any, Room::Proven, Room::Full] {
        assert_eq!(at(&tcp(SYN, 7), Way::Ingress, room, Socket::None), Place::Probe);
    }
}

#[test]
fn beyond_the_mark_only_real_connections_get_entries() {
    let full = Room::Proven;
    assert_eq!(at(&tcp(SYN, 7), Way::Ingress, full, Socket::Listening), Place::Probe);
    assert_eq!(at(&tcp(SYN, 7), Way::Egress, full, Socket::Connected), Place::OwnProbe);
    assert_eq!(at(&tcp(SYN | ACK, 7), Way::Egress, full, Socket::Opening), Place::Coarse);
    assert_eq!(at(&tcp(SYN | ACK, 7), Way::Ingress, full, Socket::None), Place::Coarse);
    assert_eq!(at(&tcp(SYN | ACK, 7), Way::Ingress, full, Socket::Connected), Place::Exact);
    assert_eq!(at(&tcp(ACK, 7), Way::Ingress, full, Socket::Opening), Place::Completed);
    assert_eq!(at(&tcp(ACK, 7), Way::Ingress, full, Socket::Listening), Place::Coarse);
    assert_eq!(at(&tcp(ACK, 7), Way::Ingress, full, Socket::Connected), Place::Exact);
    assert_eq!(at(&tcp(ACK, 7), Way::Ingress, Room::Full, Socket::Connected), Place::Coarse);
    assert_eq!(at(&icmp(8, 0), Way::Ingress, full, Socket::Connected), Place::Coarse);
}

#[test]
fn refusals_count_for_who_was_refused() {
    let refusal = tcp(RST | ACK, 0);
    assert_eq!(at(&refusal, Way::Egress, Room::Any, Socket::None), Place::Probe);
    assert_eq!(at(&refusal, Way::Ingress, Room::Any, Socket::None), Place::OwnProbe);
    assert_eq!(at(&refusal, Way::Ingress, Room::Any, Socket::Connected), Place::Exact);
    // The answer to an ACK scan, and a RST out of nowhere.
    assert_eq!(at(&tcp(RST, 9), Way::Egress, Room::Any, Socket::None), Place::Probe);
    assert_eq!(at(&tcp(RST, 9), Way::Ingress, Room::Any, Socket::None), Place::Probe);
    // A real connection is aborted; its socket is gone by then.
    assert_eq!(at(&tcp(RST | ACK, 9), Way::Egress, Room::Any, Socket::None), Place::Exact);
}

#[test]
fn flags_that_no_stack_sends_are_probes() {
    for flags in [0, FIN, FIN | 0x28, SYN | FIN, SYN | RST, SYN | RST | ACK] {
        let headers = tcp(flags, 7);
        assert_eq!(at(&headers, Way::Ingress, Room::Any, Socket::Listening), Place::Probe);
        assert_eq!(at(&headers, Way::Egress, Room::Any, Socket::Connected), Place::OwnProbe);
    }
    assert_eq!(shape(&tcp(FIN | ACK, 7)), Shape::Ordinary);
}

#[test]
fn unreachable_counts_for_who_sent_the_packet() {
    assert_eq!(at(&icmp(3, 3), Way::Egress, Room::Any, Socket::None), Place::Probe);
    assert_eq!(at(&icmp(3, 1), Way::Ingress, Room::Any, Socket::None), Place::OwnProbe);
    assert_eq!(at(&icmp(3, 4), Way::Ingress, Room::Any, Socket::None), Place::Exact);
    assert_eq!(at(&icmp(11, 0), Way::Ingress, Room::Any, Socket::None), Place::Exact);
}

#[test]
fn a_quarter_is_kept() {
    assert_eq!(Room::left(749, 1000), Room::Any);
    assert_eq!(Room::left(750, 1000), Room::Proven);
    assert_eq!(Room::left(1000, 1000), Room::Full);
}
