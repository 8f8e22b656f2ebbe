//! More flows than the tables hold: counts fall into coarser keys step by step, never into nothing.

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor_abi::{
    fault::Fault,
    flow::{FlowKey, FlowStats, detail, family},
    parse::headers::Way,
};

use super::{MAC, TCP_ACK, UDP, bytes, detached};
use crate::{
    kernel::watch::{Watch, unavailable},
    skip::trial,
};

/// Enough for all three tables on a machine with two CPUs.
const PACKETS: u32 = 19_000;
const SOURCE_V4: usize = 26;
const SOURCE_V6: usize = 22;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("packets::a_flood_of_ipv4_sources_falls_into_coarser_keys", || flood(false)),
        trial("packets::a_flood_of_ipv6_sources_falls_into_coarser_keys", || flood(true)),
        trial("packets::a_flood_leaves_room_for_connections_with_a_socket", room),
        trial("packets::a_scan_within_one_network_comes_to_one_prefix", one_network),
    ]
}

/// A datagram whose source the caller fills in.
fn datagram(v6: bool) -> Vec<u8> {
    if v6 {
        bytes(&format!("{MAC} 86 dd {} {UDP}", ip6!("11")))
    } else {
        bytes(&format!("{MAC} 08 00 {} {UDP}", ip4!("11", "00 00")))
    }
}

/// Sends from source number `number`; neighbours in number are in different networks.
fn send(watch: &mut Watch, packet: &mut [u8], v6: bool, number: u32) -> Result<()> {
    if v6 {
        packet[SOURCE_V6..SOURCE_V6 + 4].copy_from_slice(&[0x20, 1, 0xbb, 0]);
        packet[SOURCE_V6 + 4..SOURCE_V6 + 8].copy_from_slice(&number.to_be_bytes());
    } else {
        let source = 0x0b00_0000 | number << 8 & 0x00ff_ff00 | number >> 16;
        packet[SOURCE_V4..SOURCE_V4 + 4].copy_from_slice(&source.to_be_bytes());
    }
    watch.probes.inject(Way::Ingress, packet)?;
    Ok(())
}

fn flood(v6: bool) -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    let mut packet = datagram(v6);
    for number in 0..PACKETS {
        send(&mut watch, &mut packet, v6, number)?;
    }
    let flows = watch.drain.flows();
    let version = if v6 { family::IPV6 } else { family::IPV4 };
    let ours: Vec<&(FlowKey, FlowStats)> =
        flows.iter().filter(|(key, _)| key.family == version && key.protocol == 17).collect();
    let of = |wanted: u8| -> (u64, u64) {
        let stats = ours.iter().filter(|(key, _)| key.detail == wanted).map(|(_, stats)| stats);
        let packets = stats.clone().map(|stats| stats.ingress.packets).sum();
        (packets, stats.map(|stats| stats.ingress.bytes).sum())
    };
    let steps = [detail::EXACT, detail::NO_PORTS, detail::PREFIX, detail::PROTOCOL_ONLY].map(of);
    eprintln!("exact, pairs, prefixes, protocol: {:?}", steps.map(|(packets, _)| packets));
    ensure!(steps.iter().all(|(packets, _)| *packets > 0), "a step was left out: {steps:?}");
    let (packets, octets) = steps.iter().fold((0, 0), |sum, step| (sum.0 + step.0, sum.1 + step.1));
    ensure!(packets == u64::from(PACKETS), "{packets} of {PACKETS} packets are counted");
    ensure!(octets == packets * packet.len() as u64, "{octets} bytes of {packets} packets");
    ensure!(watch.drain.faults()[Fault::FlowTableFull as usize] > 0, "the overflow is not counted");
    let again = watch.drain.flows();
    let twice = again.iter().any(|(key, _)| key.family == version && key.protocol == 17);
    ensure!(!twice, "packets are counted twice");
    Ok(Completion::Completed)
}

/// After a flood a connection that the host really has gets an entry, a made-up one does not.
fn room() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let client = std::net::TcpStream::connect(("127.0.0.1", port))?;
    let mut watch = detached()?;
    let mut packet = datagram(false);
    // Past the mark, and not to the end.
    for number in 0..12_400 {
        send(&mut watch, &mut packet, false, number)?;
    }
    let mut segment = bytes(&format!("{MAC} 08 00 {} {TCP_ACK}", ip4!("06", "00 00")));
    watch.probes.inject(Way::Ingress, &segment)?;
    segment[26..34].copy_from_slice(&[127, 0, 0, 1, 127, 0, 0, 1]);
    segment[34..36].copy_from_slice(&client.local_addr()?.port().to_be_bytes());
    segment[36..38].copy_from_slice(&port.to_be_bytes());
    watch.probes.inject(Way::Ingress, &segment)?;
    let flows = watch.drain.flows();
    let detail_of = |address: [u8; 4]| {
        let mut found = flows.iter().filter(|(key, stats)| {
            key.protocol == 6 && key.remote_addr[12..] == address && stats.ingress.packets == 1
        });
        found.next().map(|(key, _)| key.detail)
    };
    ensure!(detail_of([127, 0, 0, 1]) == Some(detail::EXACT), "the connection has no entry");
    ensure!(detail_of(super::A) == Some(detail::NO_PORTS), "a made-up segment has an entry");
    Ok(Completion::Completed)
}

/// The pairs run out, but all of a network's addresses share one prefix.
fn one_network() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    let mut packet = datagram(false);
    for number in 0..17_000 {
        send(&mut watch, &mut packet, false, number)?;
    }
    watch.drain.flows();
    // The tables are empty again: what filled them is forgotten.
    for number in 0..250_u32 {
        packet[SOURCE_V4..SOURCE_V4 + 4].copy_from_slice(&(0x0c00_0000 + number).to_be_bytes());
        watch.probes.inject(Way::Ingress, &packet)?;
    }
    let flows = watch.drain.flows();
    let exact = flows
        .iter()
        .filter(|(key, _)| key.detail == detail::EXACT && key.remote_addr[12..15] == [12, 0, 0]);
    ensure!(exact.count() == 250, "the tables stay full");
    Ok(Completion::Completed)
}
