//! System calls that have ended, with the arguments that they were made with and their result.
//!
//! Where kernel functions can be probed, a program sits on the return of just those calls that
//! matter. Elsewhere one small program runs after every system call of the host, and jumps to the
//! program of that call if there is one; a call that nobody asked for costs it two reads.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    macros::raw_tracepoint,
    programs::{RawTracePointContext, RetProbeContext},
};
use sensor_abi::call::{IA32, NUMBERS, X32_BIT};

use crate::{
    kernel::{self, current_task, field},
    maps::CALLS,
};

/// `thread_info.status` while a task is inside a 32-bit system call, however it got there.
const TS_COMPAT: u32 = 0x0002;
/// `MAX_ERRNO`: results above its negation are errors.
const ERRNO_MAX: i64 = 4095;

/// Registers that the kernel saved when the task entered it, as `struct pt_regs` has them.
mod saved {
    #[cfg(bpf_target_arch = "x86_64")]
    pub mod layout {
        pub const WORDS: usize = 16;
        pub const NUMBER: usize = 15;
        pub const ARGS: [usize; 6] = [14, 13, 12, 7, 9, 8];
        pub const IA32_ARGS: [usize; 6] = [5, 11, 12, 13, 14, 4];
    }
    // The first argument's register takes the result, so the kernel keeps it apart.
    #[cfg(not(bpf_target_arch = "x86_64"))]
    pub mod layout {
        pub const WORDS: usize = 36;
        pub const NUMBER: usize = 35;
        pub const ARGS: [usize; 6] = [34, 1, 2, 3, 4, 5];
        pub const IA32_ARGS: [usize; 6] = ARGS;
    }
}
use saved::layout;

/// A system call that has ended.
pub struct Call {
    args: [u64; 6],
    /// What it returned: a small negative number is an error.
    pub result: i64,
}

impl Call {
    #[inline(always)]
    fn read(registers: u64, result: i64) -> Self {
        let words: [u64; layout::WORDS] = kernel::read(registers, 0);
        let mut args = [0; 6];
        if is_ia32() {
            for (arg, place) in args.iter_mut().zip(layout::IA32_ARGS) {
                *arg = words[place] & 0xffff_ffff;
            }
        } else {
            for (arg, place) in args.iter_mut().zip(layout::ARGS) {
                *arg = words[place];
            }
        }
        Self { args, result }
    }

    /// From the tracepoint at the end of every call. match-proto: sys_exit(regs, ret)
    #[inline(always)]
    pub fn ended(ctx: &RawTracePointContext) -> Self {
        Self::read(ctx.arg::<u64>(0), ctx.arg::<u64>(1) as i64)
    }

    /// From the return of a system call's own function.
    #[inline(always)]
    pub fn returned(ctx: &RetProbeContext) -> Self {
        // SAFETY: neither helper has preconditions; what the second returns is only an address.
        let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
        Self::read(registers as u64, ctx.ret::<u64>() as i64)
    }

    /// Returns an argument as it was in its register.
    #[inline(always)]
    pub const fn arg(&self, index: usize) -> u64 {
        self.args[index]
    }

    /// Returns whether the call failed.
    #[inline(always)]
    pub const fn failed(&self) -> bool {
        self.result < 0 && self.result >= -ERRNO_MAX
    }
}

#[inline(always)]
fn is_ia32() -> bool {
    cfg!(bpf_target_arch = "x86_64")
        && field!(current_task(), thread_info_status => u32) & TS_COMPAT != 0
}

/// Runs after every system call, where nothing better can. match-proto: sys_exit(regs, ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn call(ctx: RawTracePointContext) -> i32 {
    jump(&ctx, ctx.arg::<u64>(0));
    0
}

#[inline(always)]
fn jump<C: EbpfContext>(ctx: &C, registers: u64) {
    let number = kernel::read::<u64>(registers, layout::NUMBER as u32 * 8) as u32 & !X32_BIT;
    if number >= NUMBERS {
        return;
    }
    let slot = if is_ia32() { IA32 + number } else { number };
    // SAFETY: nothing here waits for a drop; when there is no program, the call just ends.
    unsafe { CALLS.tail_call(ctx, slot) };
}
