//! Settings that change while the programs run.

use core::{cell::UnsafeCell, ptr};

use sensor_abi::tuning::Tuning;

/// Written by the sensor, in a section of its own, so that it finds it.
///
/// Filled with ones until then: whoever waits for the end of a call is not missed.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".data.tuning")]
pub static TUNING: Tuned = Tuned(UnsafeCell::new([u8::MAX; size_of::<Tuning>()]));

/// The bytes of a [`Tuning`], aligned as one.
#[repr(C, align(8))]
pub struct Tuned(UnsafeCell<[u8; size_of::<Tuning>()]>);

// SAFETY: programs only read, and each of the values is read whole.
unsafe impl Sync for Tuned {}

/// Reads the value at an offset of [`Tuning`]. Volatile, because the sensor writes it behind the
/// compiler's back.
///
/// # Safety
///
/// A `T` lies at the offset.
#[inline(always)]
pub unsafe fn tuned_at<T: Copy>(offset: usize) -> T {
    // SAFETY: the caller's promise; the static has the size and alignment of `Tuning`, which has no
    // invalid values.
    unsafe { ptr::read_volatile(TUNING.0.get().cast::<u8>().add(offset).cast()) }
}

/// Reads one value by its name: `tuned!(tls => u64)`.
macro_rules! tuned {
    ($field:ident => $type:ty) => {{
        let offset = ::core::mem::offset_of!(::sensor_abi::tuning::Tuning, $field);
        // SAFETY: it is the offset of a field of this type.
        unsafe { $crate::tuning::tuned_at::<$type>(offset) }
    }};
}
pub(crate) use tuned;
