//! Crafted packets through the packet programs (`BPF_PROG_TEST_RUN`), and the flow table read back.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::{clock, probe::Settings};
use sensor_abi::{
    fault::Fault,
    flow::{FlowKey, FlowStats, detail, family, tunnel},
    parse::headers::Way,
    seen::Signal,
};

use super::watch::{Watch, only, sums, unavailable};
use crate::skip::trial;

/// An IPv4 header from `A` to `B` with a protocol, and flags and offset of a fragment.
macro_rules! ip4 {
    ($protocol:literal, $fragment:literal) => {
        concat!(
            "45 00 00 28 00 01 ",
            $fragment,
            " 40 ",
            $protocol,
            " 00 00 0a 4d 00 0b 0a 4d 00 0c "
        )
    };
}
/// An IPv6 header from `A` to `B` with a next header.
macro_rules! ip6 {
    ($next:literal) => {
        concat!(
            "60 00 00 00 00 14 ",
            $next,
            " 40 ",
            "fd 77 00 00 00 00 00 00 00 00 00 00 00 00 00 11 ",
            "fd 77 00 00 00 00 00 00 00 00 00 00 00 00 00 12 "
        )
    };
}

pub mod cost;
pub mod full;
pub mod links;
pub mod million;
pub mod probes;

/// Much more than what lies between a packet and the reading of its flow.
const MOMENT_NS: u64 = 20_000_000_000;
const XDP_PASS: u32 = 2;
/// `TC_ACT_UNSPEC`: other classifiers decide.
const TC_UNSPEC: u32 = u32::MAX;

/// One packet, and the flow that it must make.
struct Case {
    name: &'static str,
    packet: Vec<u8>,
    expected: Expected,
    fault: Option<Fault>,
    /// Since 6.18 the kernel refuses to make a socket buffer of such a packet for a trial at tc.
    arrival_only: bool,
}

/// The fields of a key, source side first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expected {
    family: u8,
    protocol: u8,
    detail: u8,
    vlan: u16,
    inner_vlan: u16,
    source: [u8; 4],
    destination: [u8; 4],
    ports: (u16, u16),
}

const MAC: &str = "02 00 00 00 00 02  02 00 00 00 00 01 ";
const A: [u8; 4] = [10, 77, 0, 11];
const B: [u8; 4] = [10, 77, 0, 12];
const NONE: [u8; 4] = [0; 4];

const fn v4(protocol: u8, vlan: u16, ports: (u16, u16)) -> Expected {
    let (family, detail) = (family::IPV4, detail::EXACT);
    Expected { family, protocol, detail, vlan, inner_vlan: 0, source: A, destination: B, ports }
}

/// The last four bytes of `fd77::11` and `fd77::12`.
const fn v6(protocol: u8, ports: (u16, u16)) -> Expected {
    let (family, detail) = (family::IPV6, detail::EXACT);
    let (source, destination) = ([0, 0, 0, 0x11], [0, 0, 0, 0x12]);
    Expected { family, protocol, detail, vlan: 0, inner_vlan: 0, source, destination, ports }
}

/// Source port 40000, destination port 443, sequence number 1000, SYN.
const TCP_SYN: &str = "9c 40 01 bb 00 00 03 e8 00 00 00 00 50 02 ff ff 00 00 00 00 ";
/// Likewise, in the middle of a connection.
const TCP_ACK: &str = "9c 40 01 bb 00 00 03 e8 00 00 00 00 50 10 ff ff 00 00 00 00 ";
const UDP: &str = "9c 40 00 35 00 08 00 00 ";

fn cases() -> Vec<Case> {
    let all = [
        case("tcp", "08 00", ip4!("06", "00 00"), TCP_ACK, v4(6, 0, (40_000, 443))),
        case("udp", "08 00", ip4!("11", "00 00"), UDP, v4(17, 0, (40_000, 53))),
        case("vlan", "81 00 60 05 08 00", ip4!("11", "00 00"), UDP, v4(17, 5, (40_000, 53))),
        case(
            "qinq",
            "88 a8 00 07 81 00 00 05 08 00",
            ip4!("11", "00 00"),
            UDP,
            Expected { inner_vlan: 5, ..v4(17, 7, (40_000, 53)) },
        ),
        case(
            "icmp echo",
            "08 00",
            ip4!("01", "00 00"),
            "08 00 00 00 00 01 00 01",
            v4(1, 0, (8, 0)),
        ),
        case("sctp", "08 00", ip4!("84", "00 00"), UDP, v4(132, 0, (40_000, 53))),
        case("esp", "08 00", ip4!("32", "00 00"), UDP, v4(50, 0, (0, 0))),
        case("first fragment", "08 00", ip4!("11", "20 00"), UDP, v4(17, 0, (40_000, 53))),
        case(
            "later fragment",
            "08 00",
            ip4!("11", "00 b9"),
            UDP,
            Expected { detail: detail::NO_PORTS, ..v4(17, 0, (0, 0)) },
        ),
        case(
            "ipv4 options",
            "08 00",
            "47 00 00 30 00 01 00 00 40 11 00 00 0a 4d 00 0b 0a 4d 00 0c 94 04 00 00 01 01 01 00 ",
            UDP,
            v4(17, 0, (40_000, 53)),
        ),
        case("tcp over ipv6", "86 dd", ip6!("06"), TCP_ACK, v6(6, (40_000, 443))),
        case("icmpv6", "86 dd", ip6!("3a"), "80 00 00 00 00 01 00 01", v6(58, (128, 0))),
        case(
            "ipv6 hop-by-hop, routing, options",
            "86 dd",
            ip6!("00"),
            "2b 00 05 02 00 00 01 00  3c 00 04 00 00 00 00 00  11 01 01 0c 00 00 00 00 00 00 00 00 \
             00 00 00 00  9c 40 00 35 00 08 00 00",
            v6(17, (40_000, 53)),
        ),
        case(
            "ipv6 first fragment",
            "86 dd",
            ip6!("2c"),
            "11 00 00 01 00 00 00 07  9c 40 00 35 00 08 00 00",
            v6(17, (40_000, 53)),
        ),
        case(
            "ipv6 later fragment",
            "86 dd",
            ip6!("2c"),
            "11 00 00 b9 00 00 00 07  9c 40 00 35 00 08 00 00",
            Expected { detail: detail::NO_PORTS, ..v6(17, (0, 0)) },
        ),
    ];
    all.into_iter().chain(damaged()).collect()
}

/// Packets that say less than a flow; they are counted all the same.
fn damaged() -> Vec<Case> {
    let nothing = Expected {
        family: family::OTHER,
        protocol: 0,
        detail: detail::PROTOCOL_ONLY,
        vlan: 0,
        inner_vlan: 0,
        source: NONE,
        destination: NONE,
        ports: (0, 0),
    };
    let mut cases = vec![
        case(
            "arp",
            "08 06",
            "00 01 08 00 06 04 00 01 02 00 00 00 00 01 0a 4d 00 0b",
            "00 00 00 00 00 00 0a 4d 00 0c",
            Expected { ports: (0, 0x0806), ..nothing },
        ),
        case(
            "third tag",
            "88 a8 00 07 81 00 00 05 81 00 00 06 08 00",
            ip4!("11", "00 00"),
            UDP,
            Expected { vlan: 7, inner_vlan: 5, ports: (0, 0x8100), ..nothing },
        ),
        case(
            "ipv4 header cut",
            "08 00",
            "45 00 00 28 00 01 00 00 40 06",
            "",
            Expected { family: family::IPV4, ..nothing },
        ),
        case(
            "tcp header cut",
            "08 00",
            ip4!("06", "00 00"),
            "9c 40 01 bb 00 00",
            Expected { detail: detail::NO_PORTS, ..v4(6, 0, (0, 0)) },
        ),
        case(
            "ipv6 header chain without end",
            "86 dd",
            ip6!("3c"),
            "3c 00 00 00 00 00 00 00  3c 00 00 00 00 00 00 00  3c 00 00 00 00 00 00 00  \
             3c 00 00 00 00 00 00 00  3c 00 00 00 00 00 00 00  3c 00 00 00 00 00 00 00  \
             3c 00 00 00 00 00 00 00  3c 00 00 00 00 00 00 00  3c 00 00 00 00 00 00 00",
            Expected { detail: detail::NO_PORTS, ..v6(60, (0, 0)) },
        ),
    ];
    for case in &mut cases {
        let not_ip = case.expected.family == family::OTHER;
        case.arrival_only = case.name == "ipv4 header cut";
        case.fault = Some(if not_ip { Fault::PacketNotIp } else { Fault::PacketTruncated });
    }
    cases
}

/// Puts a packet together from hexadecimal text; blanks are for reading.
fn case(
    name: &'static str,
    types: &str,
    network: &str,
    transport: &str,
    expected: Expected,
) -> Case {
    let packet = bytes(&format!("{MAC} {types} {network} {transport}"));
    Case { name, packet, expected, fault: None, arrival_only: false }
}

fn bytes(text: &str) -> Vec<u8> {
    text.split_whitespace()
        .map(|byte| u8::from_str_radix(byte, 16).expect("packets are written in hexadecimal"))
        .collect()
}

pub fn trials() -> Vec<Trial> {
    let more =
        [full::trials(), million::trials(), probes::trials(), links::trials(), cost::trials()];
    own_trials().into_iter().chain(more.into_iter().flatten()).collect()
}

fn own_trials() -> Vec<Trial> {
    vec![
        trial("packets::every_header_makes_its_flow_on_arrival", || each_case(Way::Ingress)),
        trial("packets::every_header_makes_its_flow_on_departure", || each_case(Way::Egress)),
        trial("packets::tunnels_are_looked_into_when_asked", in_tunnels),
        trial("packets::handshake_numbers_are_learned_at_both_ends", handshake),
        trial("packets::random_bytes_pass_and_are_counted", random_bytes),
    ]
}

/// No interface at all: packets come from the trial only.
fn detached() -> Result<Watch> {
    // The sensor would wait for an interface of this name; none is ever made.
    let settings = Settings { interfaces: vec!["none".to_owned()], ..only(&[Signal::Flow]) };
    Watch::start(&settings)
}

fn each_case(way: Way) -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    for case in cases() {
        if case.arrival_only && way == Way::Egress {
            continue;
        }
        check(&mut watch, way, &case).with_context(|| case.name)?;
    }
    Ok(Completion::Completed)
}

fn check(watch: &mut Watch, way: Way, case: &Case) -> Result<()> {
    let faults = watch.drain.faults();
    let verdict = watch.probes.inject(way, &case.packet)?;
    ensure!(verdict == pass(way), "the program decided {verdict}");
    let wanted = |found: Expected| found == case.expected;
    let flows = watch.drain.flows();
    let found: Vec<Expected> = flows.iter().map(|(key, _)| seen(key, way)).collect();
    let at = found.iter().position(|found| wanted(*found));
    let at = at.with_context(|| format!("wanted {:?}, found {found:?}", case.expected))?;
    let stats = flows[at].1;
    let (own, other) = match way {
        Way::Ingress => (stats.ingress, stats.egress),
        Way::Egress => (stats.egress, stats.ingress),
    };
    ensure!((own.packets, other.packets) == (1, 0), "packets {own:?} {other:?}");
    ensure!(own.bytes == case.packet.len() as u64, "{} bytes", own.bytes);
    ensure!(own.first_ns > 0 && own.first_ns <= own.last_ns, "times {own:?}");
    let now_ns = clock::boot_ns();
    ensure!(own.last_ns <= now_ns && now_ns - own.last_ns < MOMENT_NS, "{now_ns}: {own:?}");
    if let Some(fault) = case.fault {
        let index = fault as usize;
        let counted = watch.drain.faults()[index] - faults[index];
        ensure!(counted >= 1, "{} is not counted", fault.name());
    }
    Ok(())
}

fn pass(way: Way) -> u32 {
    match way {
        Way::Ingress => XDP_PASS,
        Way::Egress => TC_UNSPEC,
    }
}

/// Turns a key back into source and destination.
fn seen(key: &FlowKey, way: Way) -> Expected {
    let end = |address: [u8; 16]| [address[12], address[13], address[14], address[15]];
    let local = (end(key.local_addr), key.local_port);
    let remote = (end(key.remote_addr), key.remote_port);
    let has_ports = ![1, 58].contains(&key.protocol) && key.family != family::OTHER;
    let (source, destination) = match way {
        Way::Ingress => (remote, local),
        Way::Egress => (local, remote),
    };
    // An ICMP type and an EtherType stay where they are.
    let ports = if has_ports { (source.1, destination.1) } else { (local.1, remote.1) };
    Expected {
        family: key.family,
        protocol: key.protocol,
        detail: key.detail,
        vlan: key.vlan,
        inner_vlan: key.inner_vlan,
        source: source.0,
        destination: destination.0,
        ports,
    }
}

fn handshake() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let packet =
        |network: &str, transport: &str| bytes(&format!("{MAC} 08 00 {network} {transport}"));
    let syn = packet(ip4!("06", "00 00"), TCP_SYN);
    // The answer: sequence number 7000, acknowledges 1001.
    let back = "45 00 00 28 00 01 00 00 40 06 00 00 0a 4d 00 0c 0a 4d 00 0b";
    let syn_ack = packet(back, "01 bb 9c 40 00 00 1b 58 00 00 03 e9 50 12 ff ff 00 00 00 00");
    for (client, order) in [
        (true, [(Way::Egress, &syn), (Way::Ingress, &syn_ack)]),
        (false, [(Way::Ingress, &syn), (Way::Egress, &syn_ack)]),
    ] {
        let mut watch = detached()?;
        for (way, packet) in order {
            watch.probes.inject(way, packet)?;
        }
        let flows = watch.drain.flows();
        let found = flows.iter().find(|(key, _)| {
            let exact = key.detail == detail::EXACT && key.protocol == 6;
            exact && key.remote_addr[12] == 10
        });
        let (_, stats) = found.context("the connection makes one flow")?;
        let (own, peer) =
            if client { (stats.egress, stats.ingress) } else { (stats.ingress, stats.egress) };
        let known = own.state & peer.state & FlowStats::HAS_ISN != 0;
        ensure!(known && (own.isn, peer.isn) == (1000, 7000), "client {client}: {stats:?}");
        // Nobody listens here, so the SYN that arrived is a probe until it is answered.
        let syns = if client { (1, 1) } else { (0, 1) };
        ensure!((own.syns, peer.syns) == syns, "client {client}: {stats:?}");
        let flags = if client { (0x02, 0x12) } else { (0, 0x12) };
        ensure!((own.tcp_flags, peer.tcp_flags) == flags, "client {client}: {stats:?}");
        let answered = stats.egress.state & FlowStats::ANSWERED != 0;
        ensure!(answered != client, "client {client}: {stats:?}");
    }
    Ok(Completion::Completed)
}

/// A GRE packet with a key counts as what is inside, or as itself when tunnels stay closed.
fn in_tunnels() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let inner = format!("{} {UDP}", ip6!("11"));
    let outer = ip4!("2f", "00 00");
    let gre = bytes(&format!("{MAC} 08 00 {outer} 20 00 86 dd 00 00 00 07 {inner}"));
    for tunnels in [false, true] {
        let interfaces = vec!["lo".to_owned()];
        let mut watch = Watch::start(&Settings { interfaces, tunnels, ..only(&[Signal::Flow]) })?;
        for way in [Way::Ingress, Way::Egress] {
            watch.drain.flows();
            watch.probes.inject(way, &gre)?;
            let flows = watch.drain.flows();
            let wanted = if tunnels { v6(17, (40_000, 53)) } else { v4(47, 0, (0, 0)) };
            let found = flows.iter().find(|(key, _)| seen(key, way) == wanted);
            let (key, stats) = found.with_context(|| format!("{tunnels} {way:?}: {flows:?}"))?;
            let tunnel = if tunnels { (tunnel::GRE, 7) } else { (tunnel::NONE, 0) };
            ensure!((key.tunnel, key.tunnel_id) == tunnel, "{way:?}: {key:?}");
            ensure!(stats.ingress.bytes + stats.egress.bytes == gre.len() as u64, "{stats:?}");
        }
    }
    Ok(Completion::Completed)
}

fn random_bytes() -> Result<Completion> {
    const PACKETS: u64 = 2_000;
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    // A fixed sequence (xorshift), so that a failure comes again.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let kinds: [[u8; 2]; 4] = [[8, 0], [0x86, 0xdd], [0x81, 0], [0x88, 0xa8]];
    for number in 0..PACKETS {
        // Long enough for an IPv6 header: see `arrival_only`.
        let length = 54 + (next() % 150) as usize;
        let mut packet: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        packet[12..14].copy_from_slice(&kinds[(number % 4) as usize]);
        for way in [Way::Ingress, Way::Egress] {
            let verdict = watch.probes.inject(way, &packet)?;
            ensure!(verdict == pass(way), "{verdict} for {}", packet.escape_ascii());
        }
    }
    let sums = sums(&watch.drain.flows());
    let (arrived, left) = (sums.rx_packets, sums.tx_packets);
    ensure!(arrived >= PACKETS && left >= PACKETS, "{arrived} and {left} of {PACKETS} counted");
    Ok(Completion::Completed)
}
