//! Messages worth copying: DNS, and the first message of TLS clients.
//!
//! Called for every packet after it was counted, so the cheapest test comes first: most packets end
//! at their ports and at the first bytes of their payload.

use core::{ptr, slice};

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_UNSPEC, xdp_action::XDP_PASS},
    helpers::{bpf_ktime_get_boot_ns, generated},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use sensor_abi::{
    loss::Loss,
    parse::{
        cursor::Packet,
        headers::{Headers, Way},
        payload::{self, DNS_PORTS, Found, Message, form},
    },
    record::{
        Header, kind,
        payload::{Payload, Repeats},
    },
    seen::Signal,
};
use sensor_ebpf::bucket::Bucket;

use crate::{
    fault,
    flow::packet::{Arrived, Buffer},
    kernel::{bounded, current_task, field, setting},
    maps::{
        BUDGETS, DNS_EVEN, DNS_ODD, GENERATION, PAYLOAD, PAYLOAD_SCRATCH, PAYLOAD_TC, PAYLOAD_XDP,
        PayloadScratch, budget,
    },
    ring::WAKE_WHEN_READ,
    tuning::tuned,
};

/// Which entry of [`GENERATION`] switches the DNS tables.
const DNS_GENERATION: u32 = 5;
/// DNS messages that a CPU may record per second, whoever sends them.
const DNS_RATE: u64 = 4_096;
/// DNS messages that a CPU may record per second between the same two ends: a flood of names that
/// nobody asked for before leaves room for the questions of others.
const DNS_RATE_EACH: u64 = 1_024;
/// TLS clients that a CPU may record per second.
const TLS_RATE: u64 = 1_024;

/// Packets belong to sockets, which the sensor knows; no process is running for them.
const NOBODY: Header =
    Header { kind: 0, tgid: 0, time_ns: 0, start_ns: 0, cgroup_id: 0, tid: 0, uid: 0 };

/// A packet that bytes can be copied from.
pub trait Source: Packet {
    /// Copies bytes; returns whether they were all there.
    ///
    /// # Safety
    ///
    /// `to` has room for `length` bytes.
    unsafe fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool;
}

impl Source for Arrived<'_> {
    // SAFETY: callers keep the trait's promise about `to`.
    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool {
        let ctx = self.0.as_ptr().cast();
        // SAFETY: the caller's promise; the helper checks offset and length against the packet.
        unsafe { generated::bpf_xdp_load_bytes(ctx, offset, to.cast(), length) == 0 }
    }
}

impl Source for Buffer<'_> {
    #[inline(always)]
    unsafe fn copy(&self, offset: u32, to: *mut u8, length: u32) -> bool {
        let ctx = self.0.as_ptr();
        // SAFETY: the caller's promise; the helper checks offset and length against the packet.
        unsafe { generated::bpf_skb_load_bytes(ctx, offset, to.cast(), length) == 0 }
    }
}

/// A hook's context, from which another program of the same type can go on.
pub trait Chained: EbpfContext + Sized {
    /// Goes on in the program that records payloads; returns only when it is not there.
    fn go_on(&self);
}

impl Chained for XdpContext {
    #[inline(always)]
    fn go_on(&self) {
        // SAFETY: the array holds a program of this type or none.
        unsafe { PAYLOAD_XDP.tail_call(self, 0) }
    }
}

impl Chained for TcContext {
    #[inline(always)]
    fn go_on(&self) {
        // SAFETY: the array holds a program of this type or none.
        unsafe { PAYLOAD_TC.tail_call(self, 0) }
    }
}

/// Looks whether a packet of `length` bytes carries a message, and goes on in another program if it
/// does: that one is verified once, not once for each way through the headers.
#[inline(always)]
pub fn inspect<C, P>(ctx: &C, packet: &P, headers: &Headers, way: Way, length: u64)
where
    C: Chained,
    P: Packet,
{
    let ports = tuned!(dns_ports => [u16; DNS_PORTS]);
    let Some(found) = payload::find(packet, headers, length, ports) else { return };
    let signal = if found.form == form::TLS { Signal::Tls } else { Signal::Dns };
    if signal == Signal::Tls && tuned!(tls => u64) == 0 {
        return;
    }
    fault::seen(signal);
    if let Some(scratch) = PAYLOAD_SCRATCH.get_ptr_mut(0) {
        // SAFETY: this CPU's slot; both hooks run with softirqs off, so nothing else writes it now.
        unsafe { fill(scratch, headers, way, &found) };
        ctx.go_on();
    }
    fault::lost(signal, Loss::ScratchMissing);
}

/// Fills what is known before the payload is looked at.
///
/// # Safety
///
/// `scratch` points to this CPU's scratch buffer.
#[inline(always)]
unsafe fn fill(scratch: *mut PayloadScratch, headers: &Headers, way: Way, found: &Found) {
    let key = &headers.key;
    let record: *mut Payload = scratch.cast();
    // SAFETY: the scratch buffer begins with room for the fixed part and is aligned for it.
    unsafe {
        (*scratch).offset = found.offset;
        (*record).local_addr = key.local_addr;
        (*record).remote_addr = key.remote_addr;
        (*record).ifindex = key.ifindex;
        (*record).local_port = key.local_port;
        (*record).remote_port = key.remote_port;
        (*record).length = found.length;
        (*record).form = found.form;
        (*record).egress = u8::from(way == Way::Egress);
    }
}

/// Records the payload of a packet that arrived; [`inspect`] has found it.
#[xdp(frags)]
pub fn payload_arrived(ctx: XdpContext) -> u32 {
    record(&Arrived(&ctx));
    XDP_PASS
}

/// Records the payload of a packet that leaves; [`inspect`] has found it.
#[classifier]
pub fn payload_left(ctx: TcContext) -> i32 {
    record(&Buffer(&ctx));
    TC_ACT_UNSPEC
}

#[inline(always)]
fn record<S: Source>(packet: &S) {
    let Some(scratch) = PAYLOAD_SCRATCH.get_ptr_mut(0) else { return };
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let record: *mut Payload = scratch.cast();
    // SAFETY: this CPU's slot, which begins with the fixed part; both hooks run with softirqs off,
    // so nothing else writes it now.
    let (found, captured) = unsafe {
        (*record).header = Header { kind: kind::PAYLOAD, time_ns: now, ..NOBODY };
        (*record).fingerprint = 0;
        let (form, length) = ((*record).form, (*record).length);
        let found = Found { form, offset: (*scratch).offset, length };
        let captured = copy(packet, scratch, &found);
        (*record).captured = captured as u16;
        (found, captured)
    };
    let (signal, sent) = match found.form {
        form::TLS => (Signal::Tls, tls(scratch, captured, now)),
        _ => (Signal::Dns, dns(scratch, captured, now, found.prefix())),
    };
    if let Err(loss) = sent {
        fault::lost(signal, loss);
    }
}

/// Copies the payload behind the record's fixed part; returns how many bytes.
#[inline(always)]
fn copy<S: Source>(packet: &S, scratch: *mut PayloadScratch, found: &Found) -> usize {
    // At least one byte, as the helpers demand.
    let length = bounded::<{ payload::TLS_MAX }>((found.copied() as usize).wrapping_sub(1)) + 1;
    // SAFETY: the mask keeps the length within the room behind `COPIED`.
    let copied = unsafe {
        let to = scratch.cast::<u8>().add(PayloadScratch::COPIED);
        packet.copy(found.offset, to, length as u32)
    };
    if copied { length } else { 0 }
}

#[inline(always)]
fn tls(scratch: *const PayloadScratch, captured: usize, now: u64) -> Result<(), Loss> {
    if !within(budget::TLS, now, TLS_RATE) {
        return Err(Loss::Throttled);
    }
    submit(scratch, captured)
}

/// Counts a message that came before in this interval, or records it. It is remembered only once
/// the sensor has got it, so that whatever is counted belongs to a record.
#[inline(always)]
fn dns(scratch: *mut PayloadScratch, captured: usize, now: u64, prefix: usize) -> Result<(), Loss> {
    // The eight bytes behind the copied ones are compared with them.
    let end = PayloadScratch::COPIED + bounded::<{ PayloadScratch::MASK }>(captured);
    // SAFETY: the buffer has room for eight bytes behind the longest copy.
    unsafe { ptr::write_unaligned(scratch.cast::<u8>().add(end).cast::<u64>(), 0) };
    let record: *mut Payload = scratch.cast();
    // Who sends is known only while it sends; two processes that ask the same are told apart.
    // SAFETY: the scratch buffer begins with the fixed part, which is read only here.
    let seed = unsafe {
        let left = (*record).egress != 0;
        let sender = if left { field!(current_task(), task_tgid => u32) } else { 0 };
        payload::seed(setting!(payload_seed), &*record, sender)
    };
    let message = Copied { scratch, prefix };
    let fingerprint = payload::fingerprint(&message, captured.saturating_sub(prefix), seed);
    // SAFETY: as above.
    unsafe { (*record).fingerprint = fingerprint };
    let generation = GENERATION.get(DNS_GENERATION).copied().unwrap_or(0);
    let table = if generation & 1 == 0 { &DNS_EVEN } else { &DNS_ODD };
    if let Some(repeats) = table.get_ptr_mut(&fingerprint) {
        // SAFETY: this CPU's slot; both hooks run with softirqs off, so nothing else writes it now.
        let repeats = unsafe { &mut *repeats };
        repeats.count += 1;
        repeats.last_ns = now;
        return Ok(());
    }
    let each = budget::EACH + (payload::mix(seed, 0) as u32 & (budget::EACH_COUNT - 1));
    if !within(each, now, DNS_RATE_EACH) || !within(budget::DNS, now, DNS_RATE) {
        return Err(Loss::Throttled);
    }
    submit(scratch, captured)?;
    static NEW: Repeats = Repeats::ZERO;
    // A full table only means that the next one is recorded too.
    let _full = table.insert(&fingerprint, &NEW, 0);
    Ok(())
}

/// Takes from a budget if there is something left in it.
#[inline(always)]
fn within(slot: u32, now: u64, rate: u64) -> bool {
    let Some(bucket) = BUDGETS.get_ptr_mut(slot) else { return false };
    let bucket: *mut Bucket = bucket.cast();
    // SAFETY: this CPU's slot; both hooks run with softirqs off, so nothing else writes it now.
    unsafe { (*bucket).take(now, rate) }
}

#[inline(always)]
fn submit(scratch: *const PayloadScratch, captured: usize) -> Result<(), Loss> {
    let length = PayloadScratch::COPIED + bounded::<{ PayloadScratch::MASK }>(captured);
    // SAFETY: the mask keeps the length inside the scratch buffer.
    let record = unsafe { slice::from_raw_parts(scratch.cast::<u8>(), length) };
    PAYLOAD.output_untyped::<[u8]>(record, WAKE_WHEN_READ).map_err(|_full| Loss::RingFull)
}

/// The copied message in the scratch buffer. Offsets are masked, since the verifier cannot follow
/// that they stay below the length.
struct Copied {
    scratch: *const PayloadScratch,
    prefix: usize,
}

impl Message for Copied {
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        let at = PayloadScratch::COPIED + bounded::<{ PayloadScratch::MASK }>(self.prefix + at);
        // SAFETY: the mask keeps it within the buffer, which has room behind the longest copy.
        unsafe { ptr::read_unaligned(self.scratch.cast::<u8>().add(at).cast()) }
    }
}
