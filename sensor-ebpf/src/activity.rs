//! What processes do often, counted per process and tick.

use aya_ebpf::bindings::BPF_NOEXIST;
use sensor_abi::{
    activity::{Act, ActivityCounts, ActivityKey},
    loss::Loss,
    seen::Signal,
};

use crate::{
    fault,
    kernel::current_task,
    maps::{ACTIVITY_EVEN, ACTIVITY_ODD, GENERATION},
    scope,
};

/// Counts one act of the running process.
#[inline(always)]
pub fn count(act: Act) {
    fault::seen(Signal::Activity);
    let key = ActivityKey {
        start_ns: scope::process_start(current_task()),
        tgid: scope::current_tgid(),
        reserved: 0,
    };
    let written = GENERATION.get(4).copied().unwrap_or(0);
    let table = if written & 1 == 0 { &ACTIVITY_EVEN } else { &ACTIVITY_ODD };
    if let Some(counts) = table.get_ptr_mut(key) {
        add(counts, act);
        return;
    }
    let mut first: ActivityCounts = [0; Act::COUNT];
    first[act as usize] = 1;
    if table.insert(key, first, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    match table.get_ptr_mut(key) {
        Some(counts) => add(counts, act),
        None => fault::lost(Signal::Activity, Loss::TableFull),
    }
}

/// Atomic, because a program that may be preempted shares the CPU's slot with others.
#[inline(always)]
fn add(counts: *mut ActivityCounts, act: Act) {
    // SAFETY: this CPU's slot of the table, and an index inside it.
    fault::add(unsafe { &raw mut (*counts)[act as usize] }, 1);
}
