//! System calls per process and number, and how long they took.
//!
//! Attached only in short windows by default: any program on these hooks slows every system call of
//! the host.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use sensor_abi::{
    fault::Fault,
    loss::Loss,
    seen::Signal,
    syscall::{LATENCY_BUCKETS, SyscallKey, SyscallStats, latency_bucket},
};

use crate::{
    fault,
    maps::{Call, GENERATION, SYSCALLS_EVEN, SYSCALLS_ODD, TIMED, WINDOW},
    scope,
};

/// match-proto: sys_enter(regs, id)
#[raw_tracepoint(tracepoint = "sys_enter")]
pub fn syscall(ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        let number = ctx.arg::<u64>(1) as u32;
        count(SyscallKey { tgid: scope::current_tgid(), number });
        begin(number);
    }
    0
}

/// match-proto: sys_exit(regs, ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn syscall_end(_ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        end();
    }
    0
}

#[inline(always)]
fn count(key: SyscallKey) {
    fault::seen(Signal::Syscall);
    match entry(key) {
        // SAFETY: a map value, which stays valid for the program's run.
        Some(stats) => fault::add(unsafe { &raw mut (*stats).count }, 1),
        None => fault::lost(Signal::Syscall, Loss::TableFull),
    }
}

/// Returns the entry of a call in the table that is written, made when it is the first one.
#[inline(always)]
fn entry(key: SyscallKey) -> Option<*mut SyscallStats> {
    let generation = GENERATION.get(1).copied().unwrap_or(0);
    let table = if generation & 1 == 0 { &SYSCALLS_EVEN } else { &SYSCALLS_ODD };
    if let Some(stats) = table.get_ptr_mut(key) {
        return Some(stats);
    }
    let none = SyscallStats { count: 0, latency: [0; LATENCY_BUCKETS] };
    // When another CPU was faster, its entry is as good.
    let _ = table.insert(key, none, u64::from(BPF_NOEXIST));
    table.get_ptr_mut(key)
}

#[inline(always)]
fn begin(number: u32) {
    // SAFETY: the helper has no preconditions.
    let call = Call { start_ns: unsafe { bpf_ktime_get_boot_ns() }, number, reserved: 0 };
    let thread = bpf_get_current_pid_tgid() as u32;
    match TIMED.get_ptr_mut(thread) {
        // SAFETY: a map value that only this thread writes.
        Some(slot) => unsafe { *slot = call },
        None if TIMED.insert(thread, call, u64::from(BPF_ANY)).is_err() => {
            fault::count(Fault::CallUntimed);
        }
        None => {}
    }
}

#[inline(always)]
fn end() {
    let Some(slot) = TIMED.get_ptr_mut(bpf_get_current_pid_tgid() as u32) else {
        return;
    };
    // SAFETY: a map value that only this thread writes.
    let Call { start_ns, number, .. } = unsafe { *slot };
    let window_ns = WINDOW.get(0).copied().unwrap_or(0);
    if start_ns == 0 || start_ns < window_ns {
        return;
    }
    // SAFETY: as above.
    unsafe { (*slot).start_ns = 0 };
    // SAFETY: the helper has no preconditions.
    let took_ns = unsafe { bpf_ktime_get_boot_ns() }.wrapping_sub(start_ns);
    let Some(stats) = entry(SyscallKey { tgid: scope::current_tgid(), number }) else {
        fault::count(Fault::CallUntimed);
        return;
    };
    let bucket = latency_bucket(took_ns);
    if bucket < LATENCY_BUCKETS {
        // SAFETY: inside a map value.
        increment(unsafe { (&raw mut (*stats).latency).cast::<u32>().add(bucket) });
    }
}

/// Atomic, because all CPUs share the entry; `core` offers no atomic addition for this target.
#[inline(always)]
fn increment(counter: *mut u32) {
    // SAFETY: the caller passes an aligned counter inside a map value.
    unsafe {
        core::arch::asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) counter, in(reg) 1_u64);
    }
}
