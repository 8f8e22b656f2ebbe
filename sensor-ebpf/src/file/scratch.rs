//! Room in which one file record is put together.
//!
//! A program on a kernel function may be preempted by another one on the same CPU, so the room is
//! taken and given back, and there is more than one.

use core::ptr;

use sensor_abi::record::file::File;

use super::{
    call::Named,
    place::Place,
    walk::{Area, Prefix},
};
use crate::maps::FILE_SCRATCH;

/// Programs that may be in the middle of a record on one CPU; more lose theirs.
pub const SLOTS: usize = 3;
/// A power of two above the longest record, so that a mask can show the verifier a bound.
pub const PACKED: usize = 8192;

/// One room.
#[repr(C, align(8))]
pub struct FileScratch {
    /// 1 while a program uses the room.
    taken: u64,
    /// State of a call with paths, see `call`.
    pub named: Named,
    pub base: Place,
    pub hits: u64,
    pub record: File,
    pub path: Area,
    pub target: Area,
    pub key: Prefix,
    pub packed: [u8; PACKED],
}

/// Takes a room of this CPU.
#[inline(always)]
pub fn take() -> Option<*mut FileScratch> {
    for slot in 0..SLOTS as u32 {
        let scratch = FILE_SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: a field of this CPU's slot of the map.
        if exchange(unsafe { &raw mut (*scratch).taken }) == 0 {
            return Some(scratch);
        }
    }
    None
}

/// Gives a room back.
#[inline(always)]
pub fn give_back(scratch: *mut FileScratch) {
    // SAFETY: the room that `take` gave.
    unsafe { ptr::write_volatile(&raw mut (*scratch).taken, 0) };
}

/// Sets a word to 1 and returns what it was, in one step. Written out, because `core` offers no
/// atomic exchange for this target.
#[inline(always)]
fn exchange(word: *mut u64) -> u64 {
    let mut value = 1_u64;
    // SAFETY: callers pass an aligned word inside a map value.
    unsafe {
        core::arch::asm!("{0} = xchg_64({1} + 0, {0})", inout(reg) value, in(reg) word);
    }
    value
}
