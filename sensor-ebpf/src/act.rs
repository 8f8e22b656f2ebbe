//! Counts what processes do often, and tells the first of it from the rest.

use aya_ebpf::bindings::BPF_NOEXIST;
use sensor_abi::{
    act::{ActKey, TOLD},
    loss::Loss,
    seen::Signal,
};

use crate::{
    fault,
    kernel::current_task,
    maps::{ACTS_EVEN, ACTS_ODD, GENERATION},
    scope,
    task::Process,
};

/// Entry of `GENERATION` that says which of the two tables is written.
const SLOT: u32 = 3;

/// Returns the key of something that the running process does to another one. Codes are few, so
/// that a process cannot fill the table by itself.
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
    match entry(key) {
        Some(value) => fault::add(value, 1),
        None => fault::lost(signal, Loss::TableFull),
    }
}

/// Returns whether the caller is to tell this event at once, as one of the first `most` with its
/// key in this tick and on this CPU; the others are counted here. When there is no room to remember
/// it, each is told.
#[inline(always)]
pub fn is_told(signal: Signal, key: &ActKey, most: u64) -> bool {
    fault::seen(signal);
    let Some(value) = entry(key) else { return true };
    // SAFETY: a map value of this CPU, valid for the program's run.
    let is_told = unsafe { *value } < most * TOLD;
    fault::add(value, if is_told { TOLD } else { 1 });
    is_told
}

/// Returns this CPU's value of a key, made when it is the first.
#[inline(always)]
fn entry(key: &ActKey) -> Option<*mut u64> {
    let generation = GENERATION.get(SLOT).copied().unwrap_or(0);
    let table = if generation & 1 == 0 { &ACTS_EVEN } else { &ACTS_ODD };
    if let Some(value) = table.get_ptr_mut(key) {
        return Some(value);
    }
    // When another CPU was faster, its entry is as good.
    let _ = table.insert(key, 0, u64::from(BPF_NOEXIST));
    table.get_ptr_mut(key)
}
