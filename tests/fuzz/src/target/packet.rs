//! A frame of any link layer → headers, flow key, counters, messages, records.

use sensor::clock::ClockPair;
use sensor::convert::{self, payload};
use sensor::ledger::Signal;
use sensor::observation::Record;
use sensor::replay::capture::Frame;
use sensor::replay::count::Counter;
use sensor::replay::side::Sides;
use sensor_abi::flow::{FlowKey, detail, tunnel};
use sensor_abi::parse::cursor::Bytes;
use sensor_abi::parse::headers::{Headers, Reading, Way, protocol, quoted};
use sensor_abi::parse::payload as carried;

use super::{MIB, Target, choice};
use crate::{delivery, seed};

pub(super) const TARGET: Target = Target {
    name: "packet",
    what: "a frame: link layer, headers, tunnels, DNS message, TLS greeting, flow record",
    input_max: 4096,
    memory_max: 2 * MIB,
    control: false,
    check,
    seeds,
};

const PORTS: [u16; carried::DNS_PORTS] = [53, 5353, 0, 0];
const CLOCK: ClockPair = ClockPair { boot_ns: 0, unix_ns: 0 };
/// Link layers that captures have: Ethernet first, one that does not exist last.
pub(super) const LINKS: [u32; 12] = [1, 0, 12, 14, 101, 104, 108, 113, 228, 229, 276, 999];

fn check(input: &[u8]) {
    let Some((link, bytes)) = choice(input, LINKS.len() as u8) else { return };
    if link == 0 {
        for tunnels in [false, true] {
            headers(bytes, tunnels);
        }
    }
    count(LINKS[usize::from(link)], bytes);
}

fn read(bytes: &[u8], way: Way, tunnels: bool) -> Headers {
    let mut headers = Headers::default();
    headers.read_ethernet(&Bytes(bytes), Reading { ifindex: 7, way, tunnels });
    headers
}

/// What holds of the headers of any frame.
fn headers(bytes: &[u8], tunnels: bool) {
    let [arrived, left] = [Way::Ingress, Way::Egress].map(|way| read(bytes, way, tunnels));
    assert_eq!(mirrored(arrived.key), left.key, "the ends are swapped and nothing else");
    let apart = |h: &Headers| (h.tcp, h.problem, h.transport, h.payload);
    assert_eq!(apart(&arrived), apart(&left));
    let key = left.key;
    assert!(key.detail <= detail::PROTOCOL_ONLY);
    assert!(left.problem.is_none() || key.detail != detail::EXACT, "a problem costs detail");
    assert!(left.tcp.is_none() || key.detail == detail::EXACT);
    assert!(tunnels || key.tunnel == tunnel::NONE);
    if key.detail == detail::EXACT && (!tunnels || key.tunnel != tunnel::NONE) {
        let padded = read(&[bytes, &[0xa5; 64]].concat(), Way::Egress, tunnels);
        assert_eq!(padded, left, "what follows a packet changes nothing");
    }
    let _any = quoted::read(&Bytes(bytes), &key, usize::from(left.transport));
    let length = bytes.len() as u64;
    if let Some(found) = carried::find(&Bytes(bytes), &left, length, PORTS) {
        assert_eq!(u64::from(found.offset) + u64::from(found.length), length);
        assert!(found.copied() as usize <= carried::TLS_MAX && found.copied() <= found.length);
    }
}

/// The key of the same packet seen from the other end.
fn mirrored(key: FlowKey) -> FlowKey {
    let mut other = key;
    (other.local_addr, other.remote_addr) = (key.remote_addr, key.local_addr);
    // A kind and a code of ICMP have no ends, nor has an EtherType.
    let has_ports =
        [protocol::TCP, protocol::UDP, protocol::UDP_LITE, protocol::SCTP, protocol::DCCP];
    if has_ports.contains(&key.protocol) && key.detail == detail::EXACT {
        (other.local_port, other.remote_port) = (key.remote_port, key.local_port);
    }
    other
}

/// A frame is counted in full, in one flow, and told.
fn count(link: u32, bytes: &[u8]) {
    let mut counter = Counter::new(Sides::new(&[]), PORTS, true);
    let length = bytes.len() as u32 + 4;
    let frame = Frame { time_ns: 5, link, interface: 1, length, bytes };
    let mut told = Vec::new();
    if let Some(message) = counter.frame(&frame, 5)
        && let Some(payload) = payload::payload(&message.fixed, message.bytes, CLOCK)
    {
        told.push(delivery::alone(payload.signal(), payload.record));
    }
    let (flows, repeats) = counter.tick();
    assert!(repeats.is_empty(), "one frame repeats nothing");
    let [(key, stats)] = &flows[..] else { panic!("one frame is one flow: {flows:?}") };
    let (_, _, flow) = convert::flow(key, stats, CLOCK);
    assert_eq!(flow.ingress.packets + flow.egress.packets, 1);
    assert_eq!(flow.ingress.bytes + flow.egress.bytes, u64::from(length));
    told.push(delivery::alone(Signal::Flow, Record::Flow(flow)));
    delivery::check(&told);
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        seed::frames().into_iter().map(|frame| [&[0][..], &frame].concat()).collect();
    let packet = seed::v4(17, &seed::udp(40_000, 53, &seed::query()));
    for (place, header) in (1..).zip([
        &[2, 0, 0, 0][..],
        &[],
        &[],
        &[],
        &[0x0f, 0, 8, 0],
        &[0, 0, 0, 2],
        &[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0],
        &[],
        &[],
        &[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0],
    ]) {
        seeds.push([&[place], header, &packet].concat());
    }
    seeds
}
