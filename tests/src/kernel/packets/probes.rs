//! Probes go to the sketch of who sends them, in place of the flow table.

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor_abi::{
    flow::{FlowKey, FlowStats, detail},
    loss::Loss,
    parse::headers::Way,
    seen::Signal,
    sketch::{self, SweepKey, SweepStats},
};

use super::{MAC, bytes, detached};
use crate::{
    figure,
    kernel::watch::{Watch, unavailable},
    skip::trial,
};

const FLAGS: usize = 47;
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const DESTINATION_PORT: usize = 36;
/// Four standard errors of the sketches.
const ALLOWED: f64 = 4.0 * 0.092;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("packets::a_port_scan_is_one_sketch", port_scan),
        trial("packets::a_scan_by_the_host_is_its_own_sketch", own_scan),
        trial("packets::fin_null_and_xmas_probes_count", odd_flags),
        trial("packets::refusals_and_unreachables_count_for_the_prober", refusals),
        trial("packets::a_syn_to_a_listener_is_a_connection", listener),
        trial("packets::spoofed_sources_fill_neither_table_nor_sums", spoofed),
    ]
}

/// A segment from `A` to `B` with the flags.
fn segment(flags: u8) -> Vec<u8> {
    let mut packet = bytes(&format!("{MAC} 08 00 {} {}", ip4!("06", "00 00"), super::TCP_SYN));
    packet[FLAGS] = flags;
    packet
}

fn to_port(packet: &mut [u8], port: u16) {
    packet[DESTINATION_PORT..DESTINATION_PORT + 2].copy_from_slice(&port.to_be_bytes());
}

fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// What was counted for a source since the last reading, and all flows.
struct Seen {
    stats: SweepStats,
    flows: Vec<(FlowKey, FlowStats)>,
}

fn read(watch: &mut Watch, source: [u8; 4], outgoing: u32) -> Result<Seen> {
    let flows = watch.drain.flows();
    let key = SweepKey { source: mapped(source), outgoing };
    let sweeps = watch.drain.sweeps();
    let found = sweeps.iter().find(|(found, _)| *found == key);
    let stats = found.with_context(|| format!("no sketch of {source:?}"))?.1;
    ensure!(stats.first_ns > 0 && stats.first_ns <= stats.last_ns, "times {stats:?}");
    Ok(Seen { stats, flows })
}

/// No probe has an entry of its own, and all are in the sums.
fn only_in_sums(flows: &[(FlowKey, FlowStats)], packets: u64) -> Result<()> {
    let ours = |key: &FlowKey| [super::A, super::B].iter().any(|a| key.remote_addr[12..] == *a);
    let tcp: Vec<_> = flows.iter().filter(|(key, _)| ours(key) && key.protocol == 6).collect();
    ensure!(tcp.iter().all(|(key, _)| key.detail == detail::NO_PORTS), "an entry: {tcp:?}");
    let counted: u64 = tcp.iter().map(|(_, s)| s.ingress.packets + s.egress.packets).sum();
    ensure!(counted == packets, "{counted} of {packets} probes are in the sums");
    Ok(())
}

fn near(registers: &[u8], count: u32) -> Result<()> {
    let estimated = sketch::estimate(registers);
    let wrong = (estimated - f64::from(count)).abs() / f64::from(count);
    ensure!(wrong <= ALLOWED, "{estimated} for {count}");
    Ok(())
}

fn port_scan() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    const PORTS: u16 = 5_000;
    let mut watch = detached()?;
    let before = watch.drain.seen()[Signal::Sweep as usize];
    let mut packet = segment(0x02);
    for port in 1..=PORTS {
        to_port(&mut packet, port);
        watch.probes.inject(Way::Ingress, &packet)?;
    }
    let seen = read(&mut watch, super::A, 0)?;
    // Whoever really listens on this machine makes a connection of a probe.
    let ours = |key: &FlowKey| key.protocol == 6 && key.remote_addr == mapped(super::A);
    let counted = |wanted: u8| -> u64 {
        let flows = seen.flows.iter().filter(|(key, _)| ours(key) && key.detail == wanted);
        flows.map(|(_, stats)| stats.ingress.packets).sum()
    };
    let (listeners, probes) = (counted(detail::EXACT), counted(detail::NO_PORTS));
    ensure!(
        listeners < 50 && listeners + probes == 5_000,
        "{listeners} listeners, {probes} probes"
    );
    let stats = seen.stats;
    ensure!((stats.packets, stats.syns) == (probes, probes), "{stats:?}");
    near(&stats.ports, u32::from(PORTS))?;
    near(&stats.addresses, 1)?;
    let seen = watch.drain.seen()[Signal::Sweep as usize] - before;
    ensure!(seen >= probes, "{seen} probes seen");
    Ok(Completion::Completed)
}

/// The host sends SYNs that nobody answers, more than the exact table takes from anyone.
fn own_scan() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    const ADDRESSES: u32 = 13_500;
    let mut watch = detached()?;
    let mut packet = segment(0x02);
    for number in 0..ADDRESSES {
        packet[DESTINATION..DESTINATION + 4].copy_from_slice(&(0x0b00_0000 + number).to_be_bytes());
        watch.probes.inject(Way::Egress, &packet)?;
    }
    let seen = read(&mut watch, super::A, 1)?;
    let ours = |key: &FlowKey| key.protocol == 6 && key.local_addr == mapped(super::A);
    let sent: u64 =
        seen.flows.iter().filter(|(key, _)| ours(key)).map(|(_, s)| s.egress.packets).sum();
    let exact = seen.flows.iter().filter(|(key, _)| ours(key) && key.detail == detail::EXACT);
    let coarse = seen.flows.iter().filter(|(key, _)| key.detail == detail::PREFIX);
    let exact = exact.count() as u64;
    eprintln!("{exact} exact, {} in the sketch, {} prefixes", seen.stats.syns, coarse.count());
    ensure!(exact + seen.stats.syns == u64::from(ADDRESSES), "{exact} + {}", seen.stats.syns);
    ensure!(sent <= u64::from(ADDRESSES), "{sent} packets of {ADDRESSES}");
    near(&seen.stats.addresses, seen.stats.syns as u32)?;
    near(&seen.stats.ports, 1)?;
    Ok(Completion::Completed)
}

fn odd_flags() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    for flags in [0x01, 0x00, 0x29] {
        for port in 100..200 {
            let mut packet = segment(flags);
            to_port(&mut packet, port);
            watch.probes.inject(Way::Ingress, &packet)?;
        }
    }
    let seen = read(&mut watch, super::A, 0)?;
    only_in_sums(&seen.flows, 300)?;
    let stats = seen.stats;
    ensure!((stats.packets, stats.odd, stats.syns) == (300, 300, 0), "{stats:?}");
    near(&stats.ports, 100)?;
    Ok(Completion::Completed)
}

/// The host refuses connections and datagrams of `B`, and is refused by `B` what it never tried
/// through a socket.
fn refusals() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    // RST with ACK from A to B, its own sequence number zero.
    let mut refusal = segment(0x14);
    refusal[38..42].fill(0);
    let quoted =
        "45 00 00 28 00 01 00 00 40 11 00 00 0a 4d 00 0c 0a 4d 00 0b 9c 40 00 35 00 08 00 00";
    let unreachable =
        bytes(&format!("{MAC} 08 00 {} 03 03 00 00 00 00 00 00 {quoted}", ip4!("01", "00 00")));
    for port in 1..=50_u16 {
        refusal[34..36].copy_from_slice(&port.to_be_bytes());
        watch.probes.inject(Way::Egress, &refusal)?;
        watch.probes.inject(Way::Egress, &unreachable)?;
    }
    let seen = read(&mut watch, super::B, 0)?;
    let stats = seen.stats;
    ensure!((stats.packets, stats.rsts, stats.unreachables) == (100, 50, 50), "{stats:?}");
    // Fifty ports that were refused, and the one of the datagram.
    near(&stats.ports, 51)?;
    near(&stats.addresses, 1)?;
    only_in_sums(&seen.flows, 50)?;
    watch.probes.inject(Way::Ingress, &refusal)?;
    let own = read(&mut watch, super::B, 1)?;
    ensure!((own.stats.rsts, own.stats.syns) == (1, 0), "{:?}", own.stats);
    Ok(Completion::Completed)
}

fn listener() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = std::net::TcpListener::bind(address)?;
        let port = listener.local_addr()?.port();
        let mut watch = detached()?;
        let mut packet = if address.starts_with('[') {
            let mut packet = bytes(&format!("{MAC} 86 dd {} {}", ip6!("06"), super::TCP_SYN));
            packet[38..54].copy_from_slice(&std::net::Ipv6Addr::LOCALHOST.octets());
            packet[56..58].copy_from_slice(&port.to_be_bytes());
            packet
        } else {
            let mut packet = segment(0x02);
            packet[DESTINATION..DESTINATION + 4].copy_from_slice(&[127, 0, 0, 1]);
            to_port(&mut packet, port);
            packet
        };
        watch.probes.inject(Way::Ingress, &packet)?;
        let flows = watch.drain.flows();
        let entry = flows.iter().find(|(key, _)| key.local_port == port && key.protocol == 6);
        let (key, stats) = entry.with_context(|| format!("{address} has no entry: {flows:?}"))?;
        ensure!(key.detail == detail::EXACT && stats.ingress.syns == 1, "{key:?} {stats:?}");
        ensure!((stats.ingress.isn, stats.ingress.state) == (1_000, 1), "{stats:?}");
        // The same with another flag is none.
        let flags = packet.len() - 7;
        packet[flags] = 0x29;
        packet[flags - 13 + 1] ^= 1;
        watch.probes.inject(Way::Ingress, &packet)?;
        ensure!(
            watch.drain.flows().iter().all(|(k, s)| k.local_port != port || s.ingress.syns == 0)
        );
    }
    Ok(Completion::Completed)
}

/// A flood of SYNs from made-up addresses: most sketches are evicted, which is counted exactly, and
/// the flow table stays empty.
fn spoofed() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    const SOURCES: u32 = 9_000;
    let mut watch = detached()?;
    let lost = |watch: &mut Watch| watch.drain.lost()[Loss::TableFull.slot(Signal::Sweep)];
    let (seen, gone) = (watch.drain.seen()[Signal::Sweep as usize], lost(&mut watch));
    let mut packet = segment(0x02);
    for number in 0..SOURCES {
        let source = 0x0b00_0000_u32 + (number << 4);
        packet[SOURCE..SOURCE + 4].copy_from_slice(&source.to_be_bytes());
        watch.probes.inject(Way::Ingress, &packet)?;
    }
    let flows = watch.drain.flows();
    let ours = |key: &FlowKey| key.protocol == 6 && key.detail != detail::EXACT;
    let counted: u64 =
        flows.iter().filter(|(key, _)| ours(key)).map(|(_, stats)| stats.ingress.packets).sum();
    ensure!(counted >= u64::from(SOURCES), "{counted} of {SOURCES} packets are counted");
    let entries = flows.iter().filter(|(key, _)| key.remote_addr[12] == 11 && !ours(key)).count();
    ensure!(entries == 0, "{entries} made-up connections have an entry");
    let sketches = watch.drain.sweeps();
    let delivered: u64 = sketches.iter().map(|(_, stats)| stats.packets).sum();
    let seen = watch.drain.seen()[Signal::Sweep as usize] - seen;
    let gone = lost(&mut watch) - gone;
    figure::tell(
        "S-05",
        format_args!(
            "{SOURCES} spoofed sources: {} sketches, {gone} probes evicted",
            sketches.len()
        ),
    );
    ensure!(seen == delivered + gone, "{seen} seen, {delivered} delivered, {gone} lost");
    ensure!(gone > 0 && watch.drain.evicted_sweeps() > 0, "nothing was evicted");
    ensure!(sketches.len() > 500, "only {} sketches are left", sketches.len());
    Ok(Completion::Completed)
}
