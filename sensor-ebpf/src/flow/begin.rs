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
    place::{Place, Room, Socket, place},
    tally,
};

use super::{Source, sweep};
use crate::{
    fault,
    kernel::setting,
    maps::{
        FILL, FLOWS_COARSE, FLOWS_EVEN, FLOWS_ODD, PAIRS_EVEN, PAIRS_ODD, PREFIXES_EVEN,
        PREFIXES_ODD,
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
    let fill = FILL.get_ptr_mut(generation)?;
    // SAFETY: a slot of the map, valid for the program's run; read as a hint only.
    let entries = unsafe { (*fill).exact };
    let room = Room::left(entries, limit(setting!(flows.flows_max)));
    let place = place(headers, way, room, || socket(source, &headers.key));
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
            sweep::count(source, headers, place == Place::OwnProbe, generation, fill);
        }
    }
    if room != Room::Any {
        fault::count(Fault::FlowTableFull);
    }
    let stats = coarser(generation, headers.key, fill)?;
    if let Some(tcp) = headers.tcp {
        // SAFETY: this CPU's slot, see `count`.
        tally::shared_segment(unsafe { &mut *stats }, way, tcp);
    }
    Some(Found { stats, shared: true })
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
fn coarser(generation: u32, mut key: FlowKey, fill: *mut Fill) -> Option<*mut FlowStats> {
    key.without_ports();
    let pairs = if generation == 0 { &PAIRS_EVEN } else { &PAIRS_ODD };
    if let Some(stats) = pairs.get_ptr_mut(&key) {
        return Some(stats);
    }
    // SAFETY: a field of a map's value, here and below; a full table need not be tried.
    if unsafe { (*fill).pairs } < limit(setting!(flows.pairs_max)) {
        if pairs.insert(&key, &NEW, u64::from(BPF_NOEXIST)).is_ok() {
            fault::add(unsafe { &raw mut (*fill).pairs }, 1);
        }
        if let Some(stats) = pairs.get_ptr_mut(&key) {
            return Some(stats);
        }
    }
    key.to_prefixes();
    let prefixes = if generation == 0 { &PREFIXES_EVEN } else { &PREFIXES_ODD };
    if let Some(stats) = prefixes.get_ptr_mut(&key) {
        return Some(stats);
    }
    if unsafe { (*fill).prefixes } < limit(setting!(flows.prefixes_max)) {
        if prefixes.insert(&key, &NEW, u64::from(BPF_NOEXIST)).is_ok() {
            fault::add(unsafe { &raw mut (*fill).prefixes }, 1);
        }
        if let Some(stats) = prefixes.get_ptr_mut(&key) {
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
fn socket<S: Source>(source: &S, key: &FlowKey) -> Socket {
    // SAFETY: an all-zero tuple is valid.
    let mut tuple: bpf_sock_tuple = unsafe { core::mem::zeroed() };
    let size = if key.family == family::IPV4 {
        tuple.__bindgen_anon_1.ipv4.saddr = last_word(&key.remote_addr);
        tuple.__bindgen_anon_1.ipv4.daddr = last_word(&key.local_addr);
        tuple.__bindgen_anon_1.ipv4.sport = key.remote_port.to_be();
        tuple.__bindgen_anon_1.ipv4.dport = key.local_port.to_be();
        TUPLE_V4
    } else {
        tuple.__bindgen_anon_1.ipv6.saddr = words(&key.remote_addr);
        tuple.__bindgen_anon_1.ipv6.daddr = words(&key.local_addr);
        tuple.__bindgen_anon_1.ipv6.sport = key.remote_port.to_be();
        tuple.__bindgen_anon_1.ipv6.dport = key.local_port.to_be();
        TUPLE_V6
    };
    // SAFETY: the program's own context, and a tuple of the size that is said.
    let found = unsafe {
        bpf_skc_lookup_tcp(source.as_ptr(), &raw mut tuple, size, BPF_F_CURRENT_NETNS, 0)
    };
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

#[inline(always)]
fn last_word(address: &[u8; 16]) -> u32 {
    u32::from_ne_bytes([address[12], address[13], address[14], address[15]])
}

#[inline(always)]
fn words(address: &[u8; 16]) -> [u32; 4] {
    let word = |at: usize| {
        u32::from_ne_bytes([address[at], address[at + 1], address[at + 2], address[at + 3]])
    };
    [word(0), word(4), word(8), word(12)]
}
