//! Putting records into rings, with the account of those that find no room.

use aya_ebpf::btf_maps::RingBuf;
use sensor_abi::{loss::Loss, record::Header, seen::Signal};

use crate::fault;

/// Submitted without waking the sensor, which polls: a wake-up per record would put the sensor onto
/// the core that is busy executing (measured: 1 ms per exec against 70 µs).
pub const NO_WAKEUP: u64 = aya_ebpf::bindings::BPF_RB_NO_WAKEUP as u64;

/// Copies a record into a ring, or counts it as lost. The caller has counted it as seen.
#[inline(always)]
pub fn submit<T: ?Sized, const SIZE: usize, const FLAGS: usize>(
    ring: &RingBuf<Header, SIZE, FLAGS>,
    signal: Signal,
    record: impl core::borrow::Borrow<T>,
) {
    if ring.output_untyped::<T>(record, NO_WAKEUP).is_err() {
        fault::lost(signal, Loss::RingFull);
    }
}
