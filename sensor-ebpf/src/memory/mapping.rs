//! Memory that is writable and executable, at once or one after the other.
//!
//! Programs that compile at run time do this all the time, so it is only counted.

use aya_ebpf::{macros::kprobe, programs::ProbeContext};
use sensor_abi::{
    act::{flag, memory as action},
    seen::Signal,
};

use crate::{
    act,
    call::{Call, on_call},
    kernel::field,
    scope,
    task::Process,
};

/// `PROT_WRITE` and `PROT_EXEC`, and the same bits of `vm_flags`.
const WRITE: u64 = 2;
const EXEC: u64 = 4;

on_call! {
    /// Stands in: what the memory was before is not known any more.
    /// match-proto: mprotect(unsigned long start, size_t len, unsigned long prot)
    protect => try_protect;
    /// Stands in. match-proto: mmap(unsigned long addr, unsigned long len, unsigned long prot,
    map => try_map;
}

/// Preferred: before the change, so that the memory's former protection is known.
/// match-proto: int security_file_mprotect(struct vm_area_struct *vma, unsigned long reqprot,
#[kprobe]
pub fn protect_hook(ctx: ProbeContext) -> u32 {
    let (vma, wanted) = (ctx.arg::<u64>(0).unwrap_or(0), ctx.arg::<u64>(1).unwrap_or(0));
    if wanted & EXEC != 0 {
        let was = field!(vma, vma_flags => u64);
        if wanted & WRITE != 0 || (was & WRITE != 0 && was & EXEC == 0) {
            count(action::WRITE_TO_EXEC, flag::RESULT_UNKNOWN);
        }
    }
    0
}

/// Preferred: costs other mappings least.
/// match-proto: int security_mmap_file(struct file *file, unsigned long prot, unsigned long flags)
#[kprobe]
pub fn map_hook(ctx: ProbeContext) -> u32 {
    let wanted = ctx.arg::<u64>(1).unwrap_or(0);
    if wanted & (WRITE | EXEC) == WRITE | EXEC {
        count(action::MAP_WRITE_EXEC, flag::RESULT_UNKNOWN);
    }
    0
}

#[inline(always)]
fn try_protect(call: &Call) {
    if call.arg(2) & EXEC != 0 && call.error() == 0 {
        count(action::WRITE_TO_EXEC, call.flags);
    }
}

#[inline(always)]
fn try_map(call: &Call) {
    if call.arg(2) & (WRITE | EXEC) == WRITE | EXEC && call.error() == 0 {
        count(action::MAP_WRITE_EXEC, call.flags);
    }
}

#[inline(always)]
fn count(action: u32, flags: u32) {
    if scope::task() {
        act::count(Signal::Memory, &act::key(action, flags, &Process::NONE));
    }
}
