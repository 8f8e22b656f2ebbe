//! A packet of a flow that has no entry yet: makes one, or finds the coarser key to count under.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, bpf_sock_tuple},
    helpers::generated::{bpf_sk_release, bpf_skc_lookup_tcp},
};
use sensor_abi::{
    fault::Fault,
    flow::{Fill, FlowKey, FlowStats, coarse, family},
    parse::headers::{Headers, Way},
};
use sensor_ebpf::{
    place::{Place, Room, Socket, needs_socket, place},
    tally,
};

use super::{Source, sweep};
use crate::{
    fault,
    kernel::setting,
    maps::{
        BEGINNING, Beginning, FILL, FLOWS_COARSE, FLOWS_EVEN, FLOWS_ODD, PAIRS_EVEN, PAIRS_ODD,
        PREFIXES_EVEN, PREFIXES_ODD,
    },
};

/// States of a socket (include/net/tcp_states.h).
const TCP_LISTEN: u32 = 10;
const TCP_NEW_SYN_RECV: u32 = 12;
/// The network namespace of the packet.
const BPF_F_CURRENT_NETNS: u64 = u64::MAX;
/// Sizes of the two forms of `bpf_sock_tuple`, by which the helper tells them apart.
const TUPLE_V4: u32 = 12;
const TUPLE_V6: u32 = 36;

/// The counters to add a packet to.
pub struct Found {
    pub stats: *mut FlowStats,
    /// Whether several flows share them.
    pub shared: bool,
}

static NEW: FlowStats = FlowStats::ZERO;

/// Finds counters for the packet, in the generation that is written now (0 or 1).
#[inline(always)]
pub fn stats<S: Source>(source: &S, headers: &Headers, way: Way, generation: u32) -> Option<Found> {
    let room = behind_map(headers)?;
    let fill = FILL.get_ptr_mut(generation)?;
    // SAFETY: a slot of the map, valid for the program's run; read as a hint only.
    let entries = unsafe { (*fill).exact };
    let left = Room::left(entries, limit(setting!(flows.flows_max)));
    let mut found = Socket::None;
    if needs_socket(&room.headers, way, left) {
        found = socket(source, room);
    }
    let headers = &mut room.headers;
    let place = place(headers, way, left, found);
    match place {
        Place::Exact | Place::Completed => {
            if let Some(stats) = exact(generation, &headers.key, fill) {
                if let (Place::Completed, Some(tcp)) = (place, headers.tcp) {
                    // SAFETY: this CPU's slot, see `count`.
                    tally::completed(unsafe { &mut *stats }, tcp);
                }
                return Some(Found { stats, shared: false });
            }
        }
        Place::Coarse => {}
        Place::Probe | Place::OwnProbe => {
            let own = place == Place::OwnProbe;
            sweep::count(source, headers, &mut room.sweep, own, generation, fill);
        }
    }
    if left != Room::Any {
        fault::count(Fault::FlowTableFull);
    }
    let stats = coarser(generation, &mut headers.key, fill)?;
    if let Some(tcp) = headers.tcp {
        // SAFETY: this CPU's slot, see `count`.
        tally::shared_segment(unsafe { &mut *stats }, way, tcp);
    }
    Some(Found { stats, shared: true })
}

/// Copies the headers into a map's value, about which the verifier knows nothing. From here on all
/// packets are one state to it; with what it knows of the stack it would follow every kind of
/// packet through all of this file. What else is put together here lies there too, because the
/// stack is small.
#[inline(always)]
fn behind_map(headers: &Headers) -> Option<&'static mut Beginning> {
    let mut room = BEGINNING.get_ptr_mut(0)?;
    // SAFETY: this CPU's slot, valid for the program's run; softirqs are off, so that no other
    // packet program uses it meanwhile. The instruction does nothing but keep the compiler from
    // taking the copied values from registers instead.
    unsafe {
        (&raw mut (*room).headers).write(*headers);
        core::arch::asm!("{0} = {0}", inout(reg) room, options(nostack));
        Some(&mut *room)
    }
}

#[inline(always)]
fn limit(entries: u32) -> u64 {
    u64::from(entries)
}

#[inline(always)]
fn exact(generation: u32, key: &FlowKey, fill: *mut Fill) -> Option<*mut FlowStats> {
    let table = if generation == 0 { &FLOWS_EVEN } else { &FLOWS_ODD };
    // Another CPU may have made the entry meanwhile; then this fails and the lookup finds it.
    if table.insert(key, &NEW, u64::from(BPF_NOEXIST)).is_ok() {
        // SAFETY: a field of a map's value.
        fault::add(unsafe { &raw mut (*fill).exact }, 1);
    }
    table.get_ptr_mut(key)
}

/// Finds the counters of the pair of addresses; when that table is full, of their prefixes; then of
/// the protocol, for which there is always room.
#[inline(always)]
fn coarser(generation: u32, key: &mut FlowKey, fill: *mut Fill) -> Option<*mut FlowStats> {
    key.without_ports();
    let pairs = if generation == 0 { &PAIRS_EVEN } else { &PAIRS_ODD };
    if let Some(stats) = pairs.get_ptr_mut(&*key) {
        return Some(stats);
    }
    // SAFETY: a field of a map's value; a full table need not be tried.
    if unsafe { (*fill).pairs } < limit(setting!(flows.pairs_max)) {
        if pairs.insert(&*key, &NEW, u64::from(BPF_NOEXIST)).is_ok() {
            // SAFETY: likewise.
            fault::add(unsafe { &raw mut (*fill).pairs }, 1);
        }
        if let Some(stats) = pairs.get_ptr_mut(&*key) {
            return Some(stats);
        }
    }
    key.to_prefixes();
    let prefixes = if generation == 0 { &PREFIXES_EVEN } else { &PREFIXES_ODD };
    if let Some(stats) = prefixes.get_ptr_mut(&*key) {
        return Some(stats);
    }
    // SAFETY: likewise.
    if unsafe { (*fill).prefixes } < limit(setting!(flows.prefixes_max)) {
        if prefixes.insert(&*key, &NEW, u64::from(BPF_NOEXIST)).is_ok() {
            // SAFETY: likewise.
            fault::add(unsafe { &raw mut (*fill).prefixes }, 1);
        }
        if let Some(stats) = prefixes.get_ptr_mut(&*key) {
            return Some(stats);
        }
    }
    // SAFETY: a field of a map's value.
    fault::add(unsafe { &raw mut (*fill).coarse }, 1);
    let slot = coarse::slot(key.family, key.protocol);
    FLOWS_COARSE.get_ptr_mut(generation * coarse::SLOTS + slot)
}

/// Looks for the host's socket of a TCP packet.
#[inline(always)]
fn socket<S: Source>(source: &S, room: &mut Beginning) -> Socket {
    let (key, tuple) = (&room.headers.key, &mut room.tuple);
    let ports = u32::from(key.remote_port.to_be()) | u32::from(key.local_port.to_be()) << 16;
    let size = if key.family == family::IPV4 {
        tuple[0] = word(&key.remote_addr, 12);
        tuple[1] = word(&key.local_addr, 12);
        tuple[2] = ports;
        TUPLE_V4
    } else {
        for at in 0..4 {
            tuple[at] = word(&key.remote_addr, at * 4);
            tuple[at + 4] = word(&key.local_addr, at * 4);
        }
        tuple[8] = ports;
        TUPLE_V6
    };
    let tuple = tuple.as_mut_ptr().cast::<bpf_sock_tuple>();
    // SAFETY: the program's own context, and a tuple of the size that is said.
    let found = unsafe { bpf_skc_lookup_tcp(source.as_ptr(), tuple, size, BPF_F_CURRENT_NETNS, 0) };
    if found.is_null() {
        return Socket::None;
    }
    // SAFETY: the helper returned a socket, which is held until it is released.
    let state = unsafe { (*found).state };
    // SAFETY: releases what the lookup took.
    unsafe { bpf_sk_release(found.cast()) };
    match state {
        TCP_LISTEN => Socket::Listening,
        TCP_NEW_SYN_RECV => Socket::Opening,
        _ => Socket::Connected,
    }
}

/// Four bytes of an address, as they lie in memory.
#[inline(always)]
fn word(address: &[u8; 16], at: usize) -> u32 {
    u32::from_ne_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]])
}
