//! How much of the scratch buffer the record takes so far.
//!
//! The number is kept in the buffer and read back from there, so that the verifier knows the same
//! of it on every way through a loop and can join the ways; 6.18 gave up after a million
//! instructions on a local variable.

use core::ptr;

use sensor_abi::record::Exec;

use crate::{kernel::bounded, maps::Scratch};

/// More than any part but the last one starts at, and a mask.
const START_MASK: usize = 8 * 1024 - 1;

const _: () = assert!(Exec::LONGEST - sensor_abi::record::exec::ENV_MAX <= START_MASK);

/// Starts behind the fixed part.
#[inline(always)]
pub fn begin(scratch: *mut Scratch) {
    set(scratch, Exec::FIXED);
}

/// Returns the bytes used so far, the fixed part included.
#[inline(always)]
pub fn used(scratch: *const Scratch) -> usize {
    // SAFETY: the caller's scratch buffer of this CPU.
    bounded::<{ 2 * START_MASK + 1 }>(unsafe { ptr::read_volatile(&raw const (*scratch).used) })
}

/// Returns the place where the next part starts. A [`Scratch`] has room for the largest of them
/// there, whatever the place.
#[inline(always)]
pub fn place(scratch: *mut Scratch) -> *mut u8 {
    let start = bounded::<START_MASK>(used(scratch));
    // SAFETY: the mask keeps it inside the scratch buffer.
    unsafe { scratch.cast::<u8>().add(start) }
}

/// Keeps `length` more bytes, which were written to [`place`].
#[inline(always)]
pub fn keep(scratch: *mut Scratch, length: usize) {
    set(scratch, used(scratch) + length);
}

#[inline(always)]
fn set(scratch: *mut Scratch, used: usize) {
    // SAFETY: the caller's scratch buffer of this CPU.
    unsafe { ptr::write_volatile(&raw mut (*scratch).used, used) }
}
