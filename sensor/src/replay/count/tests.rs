//! Frames put together by hand → flows and messages.

use super::*;

const PORTS: [u16; DNS_PORTS] = [53, 0, 0, 0];

/// An IPv4 datagram without a link layer.
fn datagram(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0];
    bytes.extend(from.0);
    bytes.extend(to.0);
    bytes.extend(from.1.to_be_bytes());
    bytes.extend(to.1.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

fn frame(bytes: &[u8]) -> Frame<'_> {
    Frame { time_ns: 0, link: 101, interface: 2, length: bytes.len() as u32, bytes }
}

fn counter() -> Counter {
    Counter::new(Sides::new(&[]), PORTS, false)
}

const QUERY: &[u8] = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
const CLIENT: ([u8; 4], u16) = ([10, 0, 0, 5], 40_000);
const SERVER: ([u8; 4], u16) = ([192, 0, 2, 53], 53);

#[test]
fn both_directions_are_one_flow_with_lengths_as_captured() {
    let mut counter = counter();
    let (out, back) = (datagram(CLIENT, SERVER, b"x"), datagram(SERVER, CLIENT, b"yz"));
    assert!(counter.frame(&frame(&out), 5).is_none());
    assert!(counter.frame(&frame(&back), 6).is_none());
    let (flows, _) = counter.tick();
    let [(key, stats)] = flows[..] else { panic!("{flows:?}") };
    assert_eq!((key.local_port, key.remote_port, key.ifindex), (40_000, 53, 2));
    assert_eq!((stats.egress.packets, stats.egress.bytes), (1, out.len() as u64));
    assert_eq!((stats.ingress.packets, stats.ingress.bytes), (1, back.len() as u64));
    assert!(counter.tick().0.is_empty());
}

#[test]
fn tunnels_are_looked_into_when_that_is_asked_for() {
    let inner = datagram(CLIENT, SERVER, QUERY);
    let outer = datagram(([10, 0, 0, 1], 0), ([203, 0, 113, 1], 0), &[]);
    let mut wrapped = [&outer[..20], &inner].concat();
    wrapped[9] = 4;
    for (tunnels, protocol, told) in [(false, 4, false), (true, 17, true)] {
        let mut counter = Counter::new(Sides::new(&[]), PORTS, tunnels);
        assert_eq!(counter.frame(&frame(&wrapped), 5).is_some(), told);
        let (flows, _) = counter.tick();
        assert_eq!(flows.iter().map(|(key, _)| key.protocol).collect::<Vec<_>>(), [protocol]);
    }
}

#[test]
fn a_message_is_told_once_and_its_repetitions_counted() {
    let mut counter = counter();
    let bytes = datagram(CLIENT, SERVER, QUERY);
    let message = counter.frame(&frame(&bytes), 5).expect("a message");
    assert_eq!((message.bytes, message.fixed.egress), (QUERY, 1));
    let fingerprint = message.fixed.fingerprint;
    assert!(
        counter.frame(&frame(&bytes), 6).is_none() && counter.frame(&frame(&bytes), 7).is_none()
    );
    let (_, repeats) = counter.tick();
    assert_eq!(repeats, [(fingerprint, Repeats { count: 2, last_ns: 7 })]);
    assert!(counter.frame(&frame(&bytes), 8).is_some(), "another tick tells it again");
}

#[test]
fn a_frame_that_was_captured_in_part_counts_in_full() {
    let mut counter = counter();
    let bytes = datagram(CLIENT, SERVER, QUERY);
    for kept in 0..bytes.len() {
        let part = Frame { bytes: &bytes[..kept], ..frame(&bytes) };
        let found = counter.frame(&part, 5).map(|message| message.bytes.len());
        assert!(found.is_none_or(|length| length == kept.saturating_sub(28)), "{kept}: {found:?}");
    }
    assert_eq!(counter.totals.bytes, (bytes.len() * bytes.len()) as u64);
    let told: u64 = counter.tick().0.iter().map(|(_, s)| s.ingress.bytes + s.egress.bytes).sum();
    assert_eq!(told, counter.totals.bytes);
}
