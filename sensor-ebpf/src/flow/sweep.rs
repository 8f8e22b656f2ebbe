//! Probes into the sketch of who sends them.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns},
};
use sensor_abi::{
    flow::Fill,
    parse::headers::{Headers, quoted, quoted::Quoted},
    seen::Signal,
    sketch::{self, SweepKey, SweepStats},
};
use sensor_ebpf::place::{Shape, shape};

use super::Source;
use crate::{
    fault,
    maps::{SWEEPS_EVEN, SWEEPS_ODD},
};

static NEW: SweepStats = SweepStats::ZERO;

/// Adds a packet to the sketch of its source: the host itself or the other end.
#[inline(always)]
pub fn count<S: Source>(
    source: &S,
    headers: &Headers,
    prober: &mut SweepKey,
    outgoing: bool,
    generation: u32,
    fill: *mut Fill,
) {
    let key = &headers.key;
    let shape = shape(headers);
    prober.outgoing = u32::from(outgoing);
    let mut probed = if outgoing {
        prober.source = key.local_addr;
        Quoted { address: key.remote_addr, port: key.remote_port }
    } else {
        prober.source = key.remote_addr;
        Quoted { address: key.local_addr, port: key.local_port }
    };
    if shape == Shape::Unreachable {
        probed = quoted::read(source, key, usize::from(headers.transport))
            .unwrap_or(Quoted { port: 0, ..probed });
    }
    fault::seen(Signal::Sweep);
    // SAFETY: a field of a map's value.
    fault::add(unsafe { &raw mut (*fill).probes }, 1);
    if let Some(stats) = stats(generation, prober, fill) {
        add(stats, shape, &probed);
    }
}

#[inline(always)]
fn stats(generation: u32, key: &SweepKey, fill: *mut Fill) -> Option<*mut SweepStats> {
    let table = if generation == 0 { &SWEEPS_EVEN } else { &SWEEPS_ODD };
    if let Some(stats) = table.get_ptr_mut(key) {
        return Some(stats);
    }
    if table.insert(key, &NEW, u64::from(BPF_NOEXIST)).is_ok() {
        // SAFETY: a field of a map's value.
        fault::add(unsafe { &raw mut (*fill).sources }, 1);
    }
    table.get_ptr_mut(key)
}

/// All CPUs share a sketch, so counters are added to atomically; see `sketch::add` for registers.
#[inline(always)]
fn add(stats: *mut SweepStats, shape: Shape, probed: &Quoted) {
    // SAFETY: a value of the map, valid for the program's run.
    let stats = unsafe { &mut *stats };
    fault::add(&raw mut stats.packets, 1);
    match shape {
        Shape::Syn => fault::add(&raw mut stats.syns, 1),
        Shape::Reset => fault::add(&raw mut stats.rsts, 1),
        Shape::Unreachable => fault::add(&raw mut stats.unreachables, 1),
        Shape::Odd => fault::add(&raw mut stats.odd, 1),
        Shape::Ordinary => {}
    }
    sketch::add_address(&mut stats.addresses, &probed.address);
    if probed.port != 0 {
        sketch::add_port(&mut stats.ports, probed.port);
    }
    if stats.first_ns == 0 {
        // SAFETY: the helper has no preconditions, nor has the next.
        stats.first_ns = unsafe { bpf_ktime_get_boot_ns() };
    }
    stats.last_ns = unsafe { bpf_ktime_get_coarse_ns() };
}
