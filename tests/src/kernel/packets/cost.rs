//! What the packet programs cost, as the kernel measures it over many runs with the same packet.

use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor_abi::parse::headers::Way;

use super::{MAC, UDP, bytes, detached};
use crate::{kernel::watch::unavailable, skip::trial};

const RUNS: u32 = 200_000;
/// Much more than a packet may ever cost, so that a mistake shows and a busy machine does not.
const MOST: Duration = Duration::from_micros(5);

pub fn trials() -> Vec<Trial> {
    vec![trial("packets::a_packet_of_a_known_flow_costs_little", known_flow)]
}

fn known_flow() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = detached()?;
    for (name, packet) in [
        ("IPv4", bytes(&format!("{MAC} 08 00 {} {UDP}", ip4!("11", "00 00")))),
        ("IPv6", bytes(&format!("{MAC} 86 dd {} {UDP}", ip6!("11")))),
    ] {
        for (way, program) in [(Way::Ingress, "XDP"), (Way::Egress, "tc")] {
            let mut runs: Vec<Duration> = Vec::new();
            for _ in 0..5 {
                runs.push(watch.probes.measure(way, &packet, RUNS)?);
            }
            runs.sort();
            eprintln!("{name} at {program}: {:?} per packet, median of {}", runs[2], runs.len());
            ensure!(runs[2] < MOST, "{name} at {program} takes {:?}", runs[2]);
        }
    }
    let counted = watch.drain.flows().iter().map(|(_, s)| s.ingress.packets).max();
    ensure!(counted >= Some(u64::from(RUNS)), "only {counted:?} packets of a flow are counted");
    Ok(Completion::Completed)
}
