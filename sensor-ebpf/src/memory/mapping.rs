//! Memory that is writable and executable, at once or one after the other, and files that are
//! mapped as code.
//!
//! Programs that compile at run time do the former all the time, so it is only counted.

use sensor_abi::{
    act::{flag, memory as action},
    record,
    seen::Signal,
};

use crate::{
    act,
    call::{Call, on_call, on_function},
    file,
    kernel::field,
    scope,
    task::{self, Process},
};

/// `PROT_WRITE` and `PROT_EXEC`, and the same bits of `vm_flags`.
const WRITE: u64 = 2;
const EXEC: u64 = 4;
/// `MAP_ANONYMOUS`.
const ANONYMOUS: u64 = 0x20;

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
    if wanted & EXEC == 0 || !scope::task() {
        return;
    }
    let was = field!(vma, vma_flags => u64);
    if wanted & WRITE != 0 || was & (WRITE | EXEC) == WRITE {
        count(action::WRITE_TO_EXEC, flag::RESULT_UNKNOWN);
    }
}

#[inline(always)]
fn before_map([file, wanted]: [u64; 2]) {
    if wanted & EXEC == 0 || !scope::task() {
        return;
    }
    if wanted & WRITE != 0 {
        count(action::MAP_WRITE_EXEC, flag::RESULT_UNKNOWN);
    }
    if file != 0 {
        file::mapped(file, record::file::flag::RESULT_UNKNOWN);
    }
}

#[inline(always)]
fn try_protect(call: &Call) {
    if call.arg(2) & EXEC != 0 && call.error() == 0 && scope::task() {
        count(action::WRITE_TO_EXEC, call.flags);
    }
}

#[inline(always)]
fn try_map(call: &Call) {
    let wanted = call.arg(2);
    if wanted & EXEC == 0 || call.error() != 0 || !scope::task() {
        return;
    }
    if wanted & WRITE != 0 {
        count(action::MAP_WRITE_EXEC, call.flags);
    }
    if call.arg(3) & ANONYMOUS == 0 {
        file::mapped(task::file(call.arg(4) as u32), 0);
    }
}

#[inline(always)]
fn count(action: u32, flags: u32) {
    act::count(Signal::Memory, &act::key(action, flags, &Process::NONE));
}
