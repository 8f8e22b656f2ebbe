//! Memory that is writable and executable, at once or one after the other.
//!
//! Programs that compile at run time do this all the time, so it is only counted.

use sensor_abi::{
    act::{flag, memory as action},
    seen::Signal,
};

use crate::{
    act,
    call::{Call, on_call, on_function},
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

on_function! {
    /// Preferred: before the change, so that the memory's former protection is known.
    /// match-proto: int security_file_mprotect(struct vm_area_struct *vma, unsigned long reqprot,
    protect_probed, protect_entered (0, 1) => before_protect;
    /// Preferred: costs other mappings least.
    /// match-proto: int security_mmap_file(struct file *file, unsigned long prot,
    map_probed, map_entered (0, 1) => before_map;
}

#[inline(always)]
fn before_protect([vma, wanted]: [u64; 2]) {
    if wanted & EXEC == 0 {
        return;
    }
    let was = field!(vma, vma_flags => u64);
    if wanted & WRITE != 0 || was & (WRITE | EXEC) == WRITE {
        count(action::WRITE_TO_EXEC, flag::RESULT_UNKNOWN);
    }
}

#[inline(always)]
fn before_map([_file, wanted]: [u64; 2]) {
    if wanted & (WRITE | EXEC) == WRITE | EXEC {
        count(action::MAP_WRITE_EXEC, flag::RESULT_UNKNOWN);
    }
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
