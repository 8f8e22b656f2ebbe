//! System calls that have ended, with the arguments that they were made with and their result.
//!
//! Where kernel functions can be probed, a program sits on the return of just those calls that
//! matter. Elsewhere one small program runs after every system call of the host, and jumps to the
//! program of that call if there is one; a call that nobody asked for costs it two loads.

use core::{mem, ptr};

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    macros::raw_tracepoint,
    programs::{RawTracePointContext, RetProbeContext},
};
use sensor_abi::{
    act::flag,
    call::{IA32, NUMBERS, X32_BIT},
    tuning::{CALL_WORDS, Tuning},
};

use crate::{
    kernel::{self, bounded, known, setting},
    maps::{CALLS, NEXT_CALLS},
    tuning::tuned_at,
};

/// `thread_info.status` while a task is inside a 32-bit system call, however it got there.
const TS_COMPAT: u32 = 0x0002;
/// `MAX_ERRNO`: results above its negation are errors.
const ERRNO_MAX: i64 = 4095;

/// Where `struct pt_regs` has what the kernel saved when the task entered it.
#[cfg(bpf_target_arch = "x86_64")]
pub mod saved {
    pub const NUMBER: usize = 120;
    pub type Number = u64;
    pub const ARGS: [u32; 6] = [112, 104, 96, 56, 72, 64];
    pub const IA32_ARGS: [u32; 6] = [40, 88, 96, 104, 112, 32];
}
/// On this architecture the result takes the first argument's register, so that is kept apart.
#[cfg(not(bpf_target_arch = "x86_64"))]
pub mod saved {
    pub const NUMBER: usize = 280;
    pub type Number = u32;
    pub const ARGS: [u32; 6] = [272, 8, 16, 24, 32, 40];
    pub const IA32_ARGS: [u32; 6] = ARGS;
}

/// A system call that has ended.
pub struct Call {
    registers: u64,
    /// What it returned: a small negative number is an error.
    pub result: i64,
    /// [`flag::COMPAT`] or nothing.
    pub flags: u32,
}

impl Call {
    #[inline(always)]
    fn new(registers: u64, result: i64) -> Self {
        Self { registers, result, flags: if is_ia32() { flag::COMPAT } else { 0 } }
    }

    /// From the tracepoint at the end of every call. match-proto: sys_exit(regs, ret)
    #[inline(always)]
    pub fn ended(ctx: &RawTracePointContext) -> Self {
        Self::new(ctx.arg::<u64>(0), ctx.arg::<u64>(1) as i64)
    }

    /// From the return of a system call's own function.
    #[inline(always)]
    pub fn returned(ctx: &RetProbeContext) -> Self {
        // SAFETY: neither helper has preconditions; what the second returns is only an address.
        let registers = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) };
        Self::new(registers as u64, ctx.ret::<u64>() as i64)
    }

    /// Returns an argument as it was in its register.
    #[inline(always)]
    pub fn arg(&self, index: usize) -> u64 {
        if self.flags & flag::COMPAT == 0 {
            return kernel::read(self.registers, saved::ARGS[index]);
        }
        u64::from(kernel::read::<u32>(self.registers, saved::IA32_ARGS[index]))
    }

    /// Returns the error number of a call that failed, else 0.
    #[inline(always)]
    pub const fn error(&self) -> u32 {
        if self.result < 0 && self.result >= -ERRNO_MAX { -self.result as u32 } else { 0 }
    }

    /// Reads a pair of words from the process's memory, such as an `iovec`.
    #[inline(always)]
    pub fn pair(&self, address: u64) -> [u64; 2] {
        if self.flags & flag::COMPAT == 0 {
            return kernel::read_user(address);
        }
        let [first, second] = kernel::read_user::<[u32; 2]>(address);
        [u64::from(first), u64::from(second)]
    }
}

/// Makes programs that do the same at the end of a system call: one that the tracepoint at the end
/// of every call jumps to, and one, if it is named, for the return of the call's own function.
macro_rules! on_call {
    ($($(#[$doc:meta])* $ended:ident $(, $returned:ident)? => $handle:expr;)*) => {$(
        $(#[$doc])*
        #[aya_ebpf::macros::raw_tracepoint(tracepoint = "sys_exit")]
        pub fn $ended(ctx: aya_ebpf::programs::RawTracePointContext) -> i32 {
            ($handle)(&$crate::call::Call::ended(&ctx));
            0
        }

        $(
            #[aya_ebpf::macros::kretprobe]
            pub fn $returned(ctx: aya_ebpf::programs::RetProbeContext) -> u32 {
                ($handle)(&$crate::call::Call::returned(&ctx));
                0
            }
        )?
    )*};
}
pub(crate) use on_call;

/// Makes two programs that do the same when a function of the kernel begins, with its first
/// arguments: one for a kprobe, one for a trampoline, which costs a fraction.
macro_rules! on_function {
    ($($(#[$doc:meta])* $probed:ident, $entered:ident ($($arg:literal),*) => $handle:expr;)*) => {$(
        $(#[$doc])*
        #[aya_ebpf::macros::kprobe]
        pub fn $probed(ctx: aya_ebpf::programs::ProbeContext) -> u32 {
            ($handle)([$(ctx.arg::<u64>($arg).unwrap_or(0)),*]);
            0
        }

        #[aya_ebpf::macros::fentry]
        pub fn $entered(ctx: aya_ebpf::programs::FEntryContext) -> i32 {
            ($handle)([$(ctx.arg::<u64>($arg)),*]);
            0
        }
    )*};
}
pub(crate) use on_function;

/// Returns whether the running task is inside a 32-bit system call.
#[inline(always)]
pub fn is_ia32() -> bool {
    let offset: u32 = setting!(offsets.thread_info_status);
    if !cfg!(bpf_target_arch = "x86_64") || !known(offset) {
        return false;
    }
    // SAFETY: the helper has no preconditions; the verifier knows the task by its type, and that
    // the offset, which is frozen, is that of a number inside it.
    let status = unsafe {
        let task = bpf_get_current_task_btf() as *const u8;
        ptr::read_volatile(task.add(offset as usize).cast::<u32>())
    };
    status & TS_COMPAT != 0
}

/// Returns whether a program waits for calls of this number, by any convention.
#[inline(always)]
fn is_awaited(number: u32) -> bool {
    let at =
        mem::offset_of!(Tuning, calls) + bounded::<{ CALL_WORDS - 1 }>(number as usize / 64) * 8;
    // SAFETY: the mask keeps it inside the words.
    unsafe { tuned_at::<u64>(at) & 1 << (number % 64) != 0 }
}

/// Runs after every system call, where nothing better can. match-proto: sys_exit(regs, ret)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn call(ctx: RawTracePointContext) -> i32 {
    jump(&ctx);
    0
}

#[inline(always)]
fn jump<C: EbpfContext>(ctx: &C) {
    let number = number();
    if number >= NUMBERS || !is_awaited(number) {
        return;
    }
    let slot = if is_ia32() { IA32 + number } else { number };
    // SAFETY: nothing here waits for a drop; when there is no program, the next one has its turn.
    unsafe { CALLS.tail_call(ctx, slot) };
    // SAFETY: as above; when there is none either, the call just ends.
    unsafe { NEXT_CALLS.tail_call(ctx, slot) };
}

/// Returns the number of the call that ends.
#[inline(always)]
fn number() -> u32 {
    // SAFETY: neither helper has preconditions; the second one's result points to the registers,
    // which the verifier knows by their type, and the number is one of them.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u8;
        ptr::read_volatile(registers.add(saved::NUMBER).cast::<saved::Number>()) as u32 & !X32_BIT
    }
}

/// Goes on in the program on files that waits for the same call, if there is one.
#[inline(always)]
pub fn go_on<C: EbpfContext>(ctx: &C, call: &Call) {
    let convention = if call.flags & flag::COMPAT == 0 { 0 } else { IA32 };
    // SAFETY: nothing here waits for a drop; when there is no program, the call just ends.
    unsafe { NEXT_CALLS.tail_call(ctx, convention + number() % NUMBERS) };
}
