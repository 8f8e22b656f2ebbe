//! Counts what processes do often, and tells the first of it from the rest.

use aya_ebpf::bindings::BPF_NOEXIST;
use sensor_abi::{act::ActKey, loss::Loss, seen::Signal};

use crate::{
    fault,
    kernel::current_task,
    maps::{ACTS_EVEN, ACTS_ODD, GENERATION},
    scope,
    task::Process,
};

/// Entry of `GENERATION` that says which of the two tables is written.
const SLOT: u32 = 3;
/// What tells acts of one kind by one process apart within a tick has so many values. Few, so that
/// a process cannot fill the table, or the ring, by itself.
pub const CODES_MASK: u32 = 63;
/// Bytes of a name that are folded.
const HASHED: usize = 24;

/// Returns the key of something that the running process does to another one.
#[inline(always)]
pub fn key(action: u32, code: u32, target: &Process) -> ActKey {
    ActKey {
        start_ns: scope::process_start(current_task()),
        target_start_ns: target.start_ns,
        tgid: scope::current_tgid(),
        target_tgid: target.tgid,
        action,
        code,
    }
}

/// Counts an event that is told at the end of the tick. Full: lost.
#[inline(always)]
pub fn count(signal: Signal, key: &ActKey) {
    fault::seen(signal);
    if !add(key, 1) {
        fault::lost(signal, Loss::TableFull);
    }
}

/// Returns whether this is the first such event of the tick, which the caller tells at once; the
/// others are counted here. When there is no room to remember it, each is told.
#[inline(always)]
pub fn is_first(signal: Signal, key: &ActKey) -> bool {
    fault::seen(signal);
    !add(key, 0)
}

/// Adds one to what was counted, or starts with `first`; returns whether it was counted, which a
/// new entry that starts with 0 is not.
#[inline(always)]
fn add(key: &ActKey, first: u64) -> bool {
    let generation = GENERATION.get(SLOT).copied().unwrap_or(0);
    let table = if generation & 1 == 0 { &ACTS_EVEN } else { &ACTS_ODD };
    if let Some(count) = table.get_ptr_mut(key) {
        fault::add(count, 1);
        return true;
    }
    if table.insert(key, &first, u64::from(BPF_NOEXIST)).is_ok() {
        return first > 0;
    }
    // Another CPU may have made the entry meanwhile.
    match table.get_ptr_mut(key) {
        Some(count) => {
            fault::add(count, 1);
            true
        }
        None => false,
    }
}

/// Folds the start of a name into a number, to tell a few of them apart.
#[inline(always)]
pub fn hash<const N: usize>(name: &[u8; N]) -> u32 {
    let mut sum: u32 = 0;
    for byte in name.iter().take(HASHED) {
        sum = sum.rotate_left(5) ^ u32::from(*byte);
    }
    sum ^ (sum >> 16) ^ (sum >> 8) ^ (sum >> 4)
}
