//! Packets and bytes per flow: XDP on arrival, tc on departure. The packet always goes on.

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_NOEXIST, TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_xdp_get_buff_len},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use sensor_abi::{
    fault::Fault,
    flow::{FlowKey, FlowStats, coarse},
    loss::Loss,
    parse::{
        cursor::{OFFSET_MAX, Packet},
        headers::{Headers, Problem, Way},
    },
    seen::Signal,
};
use sensor_ebpf::tally;

use crate::{
    fault,
    kernel::bounded,
    maps::{FLOWS_COARSE, FLOWS_EVEN, FLOWS_ODD, GENERATION},
};

/// Counts a packet that arrived. Takes packets in fragments, so that a large MTU keeps native XDP.
#[xdp(frags)]
pub fn flow_ingress(ctx: XdpContext) -> u32 {
    let mut headers = Headers::default();
    headers.read_ethernet(&Arrived(&ctx), ctx.ingress_ifindex() as u32, Way::Ingress);
    // SAFETY: the helper takes the program's own context.
    let bytes = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    count(&ctx, &headers, Way::Ingress, bytes);
    XDP_PASS
}

/// Counts a packet that leaves, and lets other classifiers decide about it.
#[classifier]
pub fn flow_egress(ctx: TcContext) -> i32 {
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let mut headers = Headers::default();
    headers.read_ethernet(&Left(&ctx), ifindex, Way::Egress);
    headers.key.vlan = accelerated_vlan(&ctx).unwrap_or(headers.key.vlan);
    count(&ctx, &headers, Way::Egress, u64::from(ctx.len()));
    TC_ACT_UNSPEC
}

/// A packet at XDP: headers are in the linear part.
struct Arrived<'a>(&'a XdpContext);

impl Packet for Arrived<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        direct(self.0.data(), self.0.data_end(), offset)
    }
}

/// A packet at tc: headers may be in fragments of the buffer, which only a helper reads.
struct Left<'a>(&'a TcContext);

impl Packet for Left<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = direct(self.0.data(), self.0.data_end(), offset) {
            return Some(bytes);
        }
        self.0.load::<[u8; N]>(bounded::<{ OFFSET_MAX - 1 }>(offset)).ok()
    }
}

/// Reads inside the packet's linear part. The mask changes nothing: the parser keeps offsets below
/// `OFFSET_MAX`; it shows the verifier that the sum cannot leave the packet's address range.
#[inline(always)]
fn direct<const N: usize>(data: usize, end: usize, offset: usize) -> Option<[u8; N]> {
    let start = data + bounded::<{ OFFSET_MAX - 1 }>(offset);
    if start + N > end {
        return None;
    }
    // SAFETY: the bytes lie between `data` and `end`, which the kernel vouches for.
    Some(unsafe { *(start as *const [u8; N]) })
}

/// Returns the VLAN id of a tag that the device will insert, and that the packet thus lacks.
#[inline(always)]
fn accelerated_vlan(ctx: &TcContext) -> Option<u16> {
    // SAFETY: fields of the program's own context.
    let (present, tci) = unsafe { ((*ctx.skb.skb).vlan_present, (*ctx.skb.skb).vlan_tci) };
    (present != 0).then_some(tci as u16 & 0x0fff)
}

#[inline(always)]
fn count<C: EbpfContext>(ctx: &C, headers: &Headers, way: Way, bytes: u64) {
    let key = &headers.key;
    fault::seen(Signal::Flow);
    match headers.problem {
        None => {}
        Some(Problem::Truncated) => {
            fault::count(Fault::PacketTruncated);
            aya_log_ebpf::debug!(ctx, "truncated packet on interface {}", key.ifindex);
        }
        Some(Problem::NotIp) => fault::count(Fault::PacketNotIp),
    }
    let Some(stats) = exact(key).or_else(|| coarsely(key)) else {
        fault::lost(Signal::Flow, Loss::TableFull);
        return;
    };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: this CPU's slot; both hooks run with softirqs off, so nothing else writes it now.
    tally::packet(unsafe { &mut *stats }, way, bytes, now, headers.tcp);
}

#[inline(always)]
fn exact(key: &FlowKey) -> Option<*mut FlowStats> {
    static NEW: FlowStats = FlowStats::ZERO;
    let generation = GENERATION.get(0).copied().unwrap_or(0);
    let table = if generation & 1 == 0 { &FLOWS_EVEN } else { &FLOWS_ODD };
    if let Some(stats) = table.get_ptr_mut(key) {
        return Some(stats);
    }
    // Another CPU may have made the entry meanwhile; then this fails and the lookup finds it.
    let _exists = table.insert(key, &NEW, u64::from(BPF_NOEXIST));
    table.get_ptr_mut(key)
}

#[inline(always)]
fn coarsely(key: &FlowKey) -> Option<*mut FlowStats> {
    fault::count(Fault::FlowTableFull);
    FLOWS_COARSE.get_ptr_mut(coarse::slot(key.family, key.protocol))
}
