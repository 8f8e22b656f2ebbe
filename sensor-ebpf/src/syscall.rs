//! System calls per process and number.
//!
//! Attached only in short windows by default: any program on this hook slows every system call of
//! the host.

use aya_ebpf::{bindings::BPF_NOEXIST, macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_abi::{loss::Loss, seen::Signal, syscall::SyscallKey};

use crate::{
    fault,
    maps::{GENERATION, SYSCALLS_EVEN, SYSCALLS_ODD},
    scope,
};

/// match-proto: sys_enter(regs, id)
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn syscall(ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        try_count(SyscallKey { tgid: scope::current_tgid(), number: ctx.arg::<u64>(1) as u32 });
    }
    0
}

#[inline(always)]
fn try_count(key: SyscallKey) {
    fault::seen(Signal::Syscall);
    let generation = GENERATION.get(1).copied().unwrap_or(0);
    let table = if generation & 1 == 0 { &SYSCALLS_EVEN } else { &SYSCALLS_ODD };
    if let Some(count) = table.get_ptr_mut(key) {
        // SAFETY: this CPU's slot; the hook runs with preemption off and never in an interrupt.
        unsafe { *count += 1 };
        return;
    }
    if table.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    match table.get_ptr_mut(key) {
        // SAFETY: as above.
        Some(count) => unsafe { *count += 1 },
        None => fault::lost(Signal::Syscall, Loss::TableFull),
    }
}
