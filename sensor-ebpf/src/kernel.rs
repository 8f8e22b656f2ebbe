//! Reading kernel structures by the offsets that the sensor took from BTF.

use core::ptr;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_probe_read_kernel, bpf_probe_read_kernel_str, bpf_probe_read_user,
    bpf_probe_read_user_str,
};
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

/// Reads the setting at an offset of [`Config`]. Volatile, so that the compiler does not fold in
/// the value that the object was built with.
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

/// Reads a field that some kernels lack by configuration, which is no fault; then it is `$absent`.
macro_rules! optional {
    ($base:expr, $offset:ident => $type:ty, $absent:expr) => {
        match $crate::kernel::setting!(offsets.$offset) {
            ::sensor_abi::config::Offsets::UNKNOWN => $absent,
            offset => $crate::kernel::read::<$type>($base, offset),
        }
    };
}
pub(crate) use optional;

/// A value that is all zero when it could not be read.
pub trait Plain: Copy {
    /// All zero.
    const ZERO: Self;
}

macro_rules! plain {
    ($($integer:ty),*) => {$(
        impl Plain for $integer {
            const ZERO: Self = 0;
        }
    )*};
}
plain!(u8, u16, u32, u64);

impl<const N: usize> Plain for [u32; N] {
    const ZERO: Self = [0; N];
}

impl<const N: usize> Plain for [u64; N] {
    const ZERO: Self = [0; N];
}

impl<const N: usize> Plain for [u8; N] {
    const ZERO: Self = [0; N];
}

/// Returns whether the offset is known, and counts a fault when not.
#[inline(always)]
pub fn known(offset: u32) -> bool {
    if offset == Offsets::UNKNOWN {
        fault::count(Fault::OffsetUnknown);
        return false;
    }
    true
}

/// Reads a field at `base + offset`, where `base` is a kernel address; zero when that fails, also
/// because `base` is zero itself.
///
/// There is no branch on failure, on purpose: a program reads some thirty fields, and the verifier
/// would follow every combination of successes and failures (6.18 gave up after a million
/// instructions).
#[inline(always)]
pub fn read<T: Plain>(base: u64, offset: u32) -> T {
    let mut value = T::ZERO;
    if known(offset) {
        let address = base.wrapping_add(u64::from(offset));
        // SAFETY: the helper checks the address itself, and zeroes the value when it is bad.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut value).cast(),
                size_of::<T>() as u32,
                ptr::with_exposed_provenance(address as usize),
            );
        }
    }
    value
}

/// Reads a string that ends with NUL into `target`, from the process's memory or the kernel's;
/// returns whether it may be longer than that. What cannot be read is empty.
#[inline(always)]
pub fn text<const N: usize>(target: *mut [u8; N], address: u64, from_user: bool) -> bool {
    let source = ptr::with_exposed_provenance(address as usize);
    // SAFETY: callers pass writable memory; the helpers check the source themselves.
    let written = unsafe {
        if from_user {
            bpf_probe_read_user_str(target.cast(), N as u32, source)
        } else {
            bpf_probe_read_kernel_str(target.cast(), N as u32, source)
        }
    };
    written == N as i64
}

/// Reads a value from the process's memory; zero when that fails.
#[inline(always)]
pub fn read_user<T: Plain>(address: u64) -> T {
    let mut value = T::ZERO;
    // SAFETY: the helper checks the address itself, and zeroes the value when it is bad.
    unsafe {
        bpf_probe_read_user(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            ptr::with_exposed_provenance(address as usize),
        );
    }
    value
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
        core::arch::asm!(
            "{0} &= {1}",
            inout(reg) bounded,
            const MASK,
            options(pure, nomem, nostack)
        );
    }
    bounded
}
