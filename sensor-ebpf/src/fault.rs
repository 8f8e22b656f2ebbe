//! Counters that close the ledger: what was seen, what of it was lost, and what is missing in it.

use sensor_abi::{fault::Fault, loss::Loss, seen::Signal};

use crate::maps::{FAULTS, LOST, SEEN};

/// Counts one thing that a program could not find out.
#[inline(always)]
pub fn count(fault: Fault) {
    if let Some(counts) = FAULTS.get_ptr_mut(0) {
        // SAFETY: a per-CPU slot of the map, valid for the program's run.
        add(unsafe { &raw mut (*counts)[fault as usize] }, 1);
    }
}

/// Counts one event inside the scope, before anything can go wrong with it.
#[inline(always)]
pub fn seen(signal: Signal) {
    if let Some(counts) = SEEN.get_ptr_mut(0) {
        // SAFETY: as above.
        add(unsafe { &raw mut (*counts)[signal as usize] }, 1);
    }
}

/// Counts one event that was seen and is lost.
#[inline(always)]
pub fn lost(signal: Signal, loss: Loss) {
    if let Some(counts) = LOST.get_ptr_mut(0) {
        // SAFETY: as above.
        add(unsafe { &raw mut (*counts)[loss.slot(signal)] }, 1);
    }
}

/// Atomic, because a program in softirq can interrupt the same program in process context. Written
/// out, because `core` offers no atomic addition for this target.
#[inline(always)]
pub fn add(counter: *mut u64, by: u64) {
    // SAFETY: callers pass an aligned counter inside a map value.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by);
    }
}
