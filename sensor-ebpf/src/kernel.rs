//! Reading kernel structures by the offsets that the sensor took from BTF.

use core::ptr;

use aya_ebpf::helpers::{bpf_get_current_task, bpf_probe_read_kernel};
use sensor_abi::{
    config::{Config, Offsets},
    fault::Fault,
};

use crate::fault;

/// Set by the sensor at load. The kernel freezes it, so the verifier sees constants and removes the
/// code of fields that this kernel lacks.
///
/// Filled with ones, so that every offset is [`Offsets::UNKNOWN`] in an object that nobody set up.
#[unsafe(no_mangle)]
pub static CONFIG: Setting = Setting([u8::MAX; size_of::<Config>()]);

/// The bytes of a [`Config`], aligned as one.
#[repr(C, align(8))]
pub struct Setting([u8; size_of::<Config>()]);

/// Reads the setting at an offset of [`Config`]. Volatile, so that the compiler does not fold in the
/// value that the object was built with.
#[inline(always)]
pub fn setting_at<T: Copy>(offset: usize) -> T {
    // SAFETY: `setting!` passes the offset of a field; the static has the size and alignment of
    // `Config`, which has no invalid values.
    unsafe { ptr::read_volatile((&raw const CONFIG).cast::<u8>().add(offset).cast()) }
}

/// Reads one setting by its name.
macro_rules! setting {
    ($($field:ident).+) => {
        $crate::kernel::setting_at(::core::mem::offset_of!(
            ::sensor_abi::config::Config,
            $($field).+
        ))
    };
}
pub(crate) use setting;

/// Reads a field of a kernel structure: `field!(task, task_mm => u64)` reads `task->mm`.
macro_rules! field {
    ($base:expr, $offset:ident => $type:ty) => {
        $crate::kernel::read::<$type>($base, $crate::kernel::setting!(offsets.$offset))
    };
}
pub(crate) use field;

/// Returns whether the offset is known, and counts a fault when not.
#[inline(always)]
pub fn known(offset: u32) -> bool {
    if offset == Offsets::UNKNOWN {
        fault::count(Fault::OffsetUnknown);
        return false;
    }
    true
}

/// Reads a field at `base + offset`, where `base` is a kernel address.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || !known(offset) {
        return None;
    }
    let address = base.wrapping_add(u64::from(offset));
    // SAFETY: the helper checks the address itself and fails on a bad one.
    unsafe { bpf_probe_read_kernel(ptr::with_exposed_provenance::<T>(address as usize)) }.ok()
}

/// Returns the address of the running task.
#[inline(always)]
pub fn current_task() -> u64 {
    // SAFETY: the helper has no preconditions.
    unsafe { bpf_get_current_task() }
}

/// Keeps `value` at or below `mask` (one less than a power of two), in a way that the compiler
/// cannot move or drop, so that the verifier sees the bound where it needs it.
#[inline(always)]
pub fn bounded<const MASK: usize>(value: usize) -> usize {
    let mut bounded = value;
    // SAFETY: a register-only instruction.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) bounded, const MASK, options(pure, nomem, nostack));
    }
    bounded
}
