//! Programs executed: who, from which file, with which arguments, attached to what.
//!
//! The record is put together in a per-CPU buffer and copied to the ring in its exact length; most
//! are some 500 bytes, while reserving the longest would take over 8 KiB each.

mod identity;
pub mod image;
pub mod room;
mod text;

use aya_ebpf::{
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    loss::Loss,
    record::{Exec, kind},
    seen::Signal,
};

use crate::{
    fault,
    kernel::{bounded, current_task},
    maps::{SCRATCH, SECURITY, Scratch},
    ring, scope, throttle,
};

/// Preferred: needs no tracefs, and names the script.
/// match-proto: sched_process_exec(task, old_pid, bprm)
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec(ctx: RawTracePointContext) -> i32 {
    try_exec(ctx.arg::<u64>(2));
    0
}

/// Stands in where raw tracepoints are refused. It cannot tell a script from a program.
#[tracepoint]
pub fn exec_tracepoint(_ctx: TracePointContext) -> i32 {
    try_exec(0);
    0
}

/// `bprm` is the kernel's `linux_binprm`, 0 when the hook does not pass it.
#[inline(always)]
fn try_exec(bprm: u64) {
    if !scope::task() {
        return;
    }
    fault::seen(Signal::Exec);
    let header = scope::header(kind::EXEC);
    if !throttle::exec(&header) {
        return;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        fault::lost(Signal::Exec, Loss::ScratchMissing);
        return;
    };
    let task = current_task();
    let exec: *mut Exec = scratch.cast();
    // SAFETY: this CPU's slot, larger than the record; the hook runs with preemption off and never
    // in an interrupt, so nothing else writes it now.
    unsafe {
        (*exec).header = header;
        (*exec).flags = 0;
        identity::fill(exec, task);
    }
    room::begin(scratch);
    image::fill(scratch, task);
    text::arguments(scratch, task);
    text::directory(scratch, task);
    text::script(scratch, bprm);
    text::environment(scratch, task);
    let length = bounded::<{ Scratch::SIZE - 1 }>(room::used(scratch));
    // SAFETY: the mask keeps the length inside the scratch buffer.
    let record = unsafe { core::slice::from_raw_parts(scratch.cast::<u8>(), length) };
    ring::submit::<[u8], _, _>(&SECURITY, Signal::Exec, record);
}
