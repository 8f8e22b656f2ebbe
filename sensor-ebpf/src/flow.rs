//! Packets and bytes per flow: XDP or tc on arrival, tc on departure. The packet always goes on.
//!
//! What a program adds up is what the interface adds up, so there are variants: a driver that
//! counts an aggregate (GSO, GRO) as the packets on the wire gets a `_wire` program, all others,
//! virtual ones first of all, count a buffer as one packet; an interface without a link layer gets
//! an `_ip` program. Which one fits is decided when it is attached, not per packet.

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    helpers::{bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns, generated::bpf_xdp_get_buff_len},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::debug;
use sensor_abi::{
    fault::Fault,
    flow::{FlowKey, FlowStats},
    loss::Loss,
    parse::{
        cursor::Packet,
        headers::{Headers, Problem, Reading, Way},
    },
    seen::Signal,
};
use sensor_ebpf::tally::{self, Sample};

use crate::{
    fault,
    kernel::setting,
    maps::{FLOWS_EVEN, FLOWS_ODD, GENERATION},
    payload,
};

mod begin;
pub mod packet;
mod sweep;

/// Counts a packet that arrived. Takes packets in fragments, so that a large MTU keeps native XDP.
#[xdp(frags)]
pub fn flow_ingress(ctx: XdpContext) -> u32 {
    let packet = packet::Arrived(&ctx);
    let mut headers = nothing();
    headers.read_ethernet(&packet, reading(ctx.ingress_ifindex() as u32, Way::Ingress));
    // SAFETY: the helper takes the program's own context.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    count(&packet, &headers, Way::Ingress, 1, bytes);
    payload::inspect(&ctx, &packet, &headers, Way::Ingress, bytes);
    XDP_PASS
}

/// Counts a packet that leaves, and lets other classifiers decide about it.
#[classifier]
pub fn flow_egress(ctx: TcContext) -> i32 {
    at_tc::<{ Layer::ETHERNET }, false>(&ctx, Way::Egress)
}

/// As [`flow_egress`], where the driver counts the segments of an aggregate.
#[classifier]
pub fn flow_egress_wire(ctx: TcContext) -> i32 {
    at_tc::<{ Layer::ETHERNET }, true>(&ctx, Way::Egress)
}

/// As [`flow_egress`], on an interface without a link layer.
#[classifier]
pub fn flow_egress_ip(ctx: TcContext) -> i32 {
    at_tc::<{ Layer::IP }, false>(&ctx, Way::Egress)
}

/// Counts a packet that arrived, where XDP is busy or the driver has none.
#[classifier]
pub fn flow_arrival(ctx: TcContext) -> i32 {
    at_tc::<{ Layer::ETHERNET }, false>(&ctx, Way::Ingress)
}

/// As [`flow_arrival`], where the driver counted before the packets were joined.
#[classifier]
pub fn flow_arrival_wire(ctx: TcContext) -> i32 {
    at_tc::<{ Layer::ETHERNET }, true>(&ctx, Way::Ingress)
}

/// As [`flow_arrival`], on an interface without a link layer.
#[classifier]
pub fn flow_arrival_ip(ctx: TcContext) -> i32 {
    at_tc::<{ Layer::IP }, false>(&ctx, Way::Ingress)
}

/// What a packet starts with.
struct Layer;

impl Layer {
    const ETHERNET: bool = true;
    const IP: bool = false;
}

#[inline(always)]
fn at_tc<const FRAMED: bool, const WIRE: bool>(ctx: &TcContext, way: Way) -> i32 {
    let skb = ctx.skb.skb;
    // SAFETY: a field of the program's own context.
    let reading = reading(unsafe { (*skb).ifindex }, way);
    let packet = packet::Buffer(ctx);
    let mut headers = nothing();
    if FRAMED {
        headers.read_ethernet(&packet, reading);
    } else {
        headers.read_ip(&packet, reading);
    }
    if let Some(id) = accelerated_vlan(ctx) {
        headers.key.inner_vlan = headers.key.vlan;
        headers.key.vlan = id;
    }
    let (packets, bytes) = if WIRE { on_wire(ctx, &headers, way) } else { (1, ctx.len().into()) };
    count(&packet, &headers, way, packets, bytes);
    payload::inspect(ctx, &packet, &headers, way, u64::from(ctx.len()));
    TC_ACT_UNSPEC
}

/// Returns the packets and bytes that an aggregate has on the wire, each segment with its headers.
#[inline(always)]
fn on_wire(ctx: &TcContext, headers: &Headers, way: Way) -> (u64, u64) {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the program's own context.
    let (segments, wire) = unsafe { (u64::from((*skb).gso_segs), u64::from((*skb).wire_len)) };
    let bytes = u64::from(ctx.len());
    match way {
        _ if segments <= 1 => (1, bytes),
        // The stack works it out before a packet leaves.
        Way::Egress => (segments, wire.max(bytes)),
        Way::Ingress => (segments, bytes + (segments - 1) * u64::from(headers.payload)),
    }
}

#[inline(always)]
fn reading(ifindex: u32, way: Way) -> Reading {
    let tunnels: u32 = setting!(flows.tunnels);
    Reading { ifindex, way, tunnels: tunnels == 1 }
}

/// Returns the VLAN id of a tag that the device inserts or has removed, and that the packet thus
/// lacks.
#[inline(always)]
fn accelerated_vlan(ctx: &TcContext) -> Option<u16> {
    // SAFETY: fields of the program's own context.
    let (present, tci) = unsafe { ((*ctx.skb.skb).vlan_present, (*ctx.skb.skb).vlan_tci) };
    (present != 0).then_some(tci as u16 & 0x0fff)
}

/// Returns headers that say nothing yet. Written out in words: what the compiler makes of the
/// default is a call that clears byte by byte, which takes longer than all the rest.
#[inline(always)]
fn nothing() -> Headers {
    const WORDS: usize = size_of::<Headers>() / size_of::<u64>();
    let mut headers = MaybeUninit::<Headers>::uninit();
    let start = headers.as_mut_ptr();
    for word in 0..WORDS {
        // SAFETY: inside the room for headers, which is aligned for it.
        unsafe { start.cast::<u64>().add(word).write_volatile(0) };
    }
    // SAFETY: both fields lie in that room; with them every field has a valid value, since all
    // others are numbers.
    unsafe {
        (&raw mut (*start).problem).write(None);
        (&raw mut (*start).tcp).write(None);
        headers.assume_init()
    }
}

/// A packet and the context that it came with.
trait Source: Packet + EbpfContext {}

impl<T: Packet + EbpfContext> Source for T {}

/// Adds a packet to its flow. One table lookup and no precise clock, as long as the flow is known.
#[inline(always)]
fn count<S: Source>(source: &S, headers: &Headers, way: Way, packets: u64, bytes: u64) {
    if let Some(problem) = headers.problem {
        note(source, headers, problem);
    }
    // SAFETY: the helper has no preconditions.
    let last_ns = unsafe { bpf_ktime_get_coarse_ns() };
    let mut sample = Sample { packets, bytes, last_ns, tcp: headers.tcp };
    let generation = GENERATION.get(0).copied().unwrap_or(0);
    let stats = match table(generation, &headers.key) {
        Some(stats) => stats,
        None => {
            let found = begin::stats(source, headers, way, generation & 1);
            let Some(found) = found else {
                fault::lost(Signal::Flow, Loss::TableFull);
                return;
            };
            if found.shared {
                sample.tcp = None;
            }
            found.stats
        }
    };
    // SAFETY: this CPU's slot; all hooks run with softirqs off, so nothing else writes it now.
    tally::packet(unsafe { &mut *stats }, way, sample, || unsafe { bpf_ktime_get_boot_ns() });
}

#[inline(always)]
fn table(generation: u32, key: &FlowKey) -> Option<*mut FlowStats> {
    let table = if generation & 1 == 0 { &FLOWS_EVEN } else { &FLOWS_ODD };
    table.get_ptr_mut(key)
}

#[inline(always)]
fn note<S: Source>(source: &S, headers: &Headers, problem: Problem) {
    match problem {
        Problem::Truncated => {
            fault::count(Fault::PacketTruncated);
            debug!(source, "truncated packet on interface {}", headers.key.ifindex);
        }
        Problem::NotIp => fault::count(Fault::PacketNotIp),
    }
}
