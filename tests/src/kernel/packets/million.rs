//! A flood of distinct flows, far more than all tables together hold: nothing is lost, nothing
//! grows.
//!
//! `SAKURAMORI_TEST_FLOWS` names another number of flows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor_abi::{flow::detail, parse::headers::Way};

use super::{MAC, UDP, bytes, detached};
use crate::{figure, kernel::watch::unavailable, skip::trial};

/// Flows, unless the environment names another number.
const FLOWS: u64 = 1_000_000;
/// A guest without hardware help sends as many as it can in this time.
const FLOOD_LIMIT: Duration = Duration::from_secs(15);
const SOURCE: usize = 26;
const SOURCE_PORT: usize = 34;
/// How often the sensor reads flows.
const TICK: Duration = Duration::from_secs(1);
/// How much the resident memory may grow, once the first readings have been made.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

pub fn trials() -> Vec<Trial> {
    vec![trial("packets::a_flood_of_distinct_flows_is_counted_whole", flood)]
}

fn flood() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let wanted = figure::size("SAKURAMORI_TEST_FLOWS", FLOWS)?;
    let mut watch = detached()?;
    let maps_before: u64 = watch.probes.map_bytes().iter().map(|(_, bytes)| bytes).sum();
    let mut packet = bytes(&format!("{MAC} 08 00 {} {UDP}", ip4!("11", "00 00")));
    let (mut packets, mut octets, mut exact) = (0, 0, 0);
    let mut read = |watch: &mut crate::kernel::watch::Watch| {
        for (key, stats) in watch.drain.flows() {
            // 198.18.0.0/15 is nobody's (RFC 2544); what else loopback carries is not ours.
            let ours = key.protocol == 17 && key.family == 4 && is_ours(&key.remote_addr);
            // What has no address of its own any more can only be counted as a whole.
            if ours || key.detail == detail::PROTOCOL_ONLY && key.protocol == 17 {
                packets += stats.ingress.packets;
                octets += stats.ingress.bytes;
                exact += u64::from(key.detail == detail::EXACT);
            }
        }
    };
    let (start, mut tick) = (Instant::now(), Instant::now());
    let mut resident = None;
    let mut flows = 0;
    for number in 0..wanted {
        if start.elapsed() > FLOOD_LIMIT {
            break;
        }
        let address = 0xc612_0000 | (number as u32 & 0x1_ffff);
        packet[SOURCE..SOURCE + 4].copy_from_slice(&address.to_be_bytes());
        let port = 1_024 + (number >> 17) as u16;
        packet[SOURCE_PORT..SOURCE_PORT + 2].copy_from_slice(&port.to_be_bytes());
        watch.probes.inject(Way::Ingress, &packet)?;
        flows += 1;
        if tick.elapsed() >= TICK {
            read(&mut watch);
            tick = Instant::now();
            if resident.is_none() {
                resident = Some(resident_kib()?);
            }
        }
    }
    read(&mut watch);
    read(&mut watch);
    let took = start.elapsed();
    let before = resident.map_or_else(resident_kib, Ok)?;
    let grown = resident_kib()?.saturating_sub(before);
    let maps: u64 = watch.probes.map_bytes().iter().map(|(_, bytes)| bytes).sum();
    figure::tell(
        "S-05",
        format_args!(
            "{flows} distinct flows in {:.1} s: {packets} packets counted, {exact} with a flow of \
             their own, the others by address, prefix or protocol; resident memory +{grown} KiB, \
             maps {} KiB before and {} KiB after",
            took.as_secs_f64(),
            maps_before >> 10,
            maps >> 10
        ),
    );
    ensure!(packets == flows, "{packets} of {flows} packets are counted");
    ensure!(octets == flows * packet.len() as u64, "{octets} bytes of {packets} packets");
    ensure!(exact < flows, "the tables hold everything: this is no flood");
    ensure!(maps == maps_before && grown <= GROWTH_MAX_KIB, "{grown} KiB more, maps {maps}");
    Ok(Completion::Completed)
}

/// 198.18.0.0/15, mapped into IPv6.
fn is_ours(address: &[u8; 16]) -> bool {
    address[12] == 198 && address[13] & 0xfe == 18
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}
