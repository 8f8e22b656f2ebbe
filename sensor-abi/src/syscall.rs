//! System calls counted and timed per process group and number.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Who made which system call.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SyscallKey {
    /// Thread group id.
    pub tgid: u32,
    /// System call number on the running architecture.
    pub number: u32,
}

/// Lowest latency that is told apart: below 2^7 ns all is one bucket.
pub const LATENCY_FIRST: u32 = 6;
/// Buckets of latency, the last one for 2^31 ns (2 s) and above.
pub const LATENCY_BUCKETS: usize = 26;

/// How often a call was made, and how long it took.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SyscallStats {
    /// Calls that began.
    pub count: u64,
    /// Calls that ended, by the logarithm of their time; see [`latency_bucket`].
    pub latency: [u32; LATENCY_BUCKETS],
}

/// Returns the bucket of a time: its logarithm to base 2, less [`LATENCY_FIRST`].
#[inline(always)]
pub fn latency_bucket(time_ns: u64) -> usize {
    let mut rest = time_ns >> LATENCY_FIRST;
    let mut bucket = 0;
    // Written as halvings, since older kernels have no instruction for it and the verifier follows
    // each way through a loop.
    let mut step = 16;
    while step > 0 {
        if rest >> step != 0 {
            rest >>= step;
            bucket += step;
        }
        step /= 2;
    }
    let beyond = time_ns >> (LATENCY_FIRST + 32) != 0;
    if beyond || bucket >= LATENCY_BUCKETS { LATENCY_BUCKETS - 1 } else { bucket }
}

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for SyscallKey {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for SyscallStats {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_the_logarithm() {
        for (time_ns, bucket) in [(0, 0), (1, 0), (127, 0), (128, 1), (255, 1), (256, 2)] {
            assert_eq!(latency_bucket(time_ns), bucket, "{time_ns} ns");
        }
        assert_eq!(latency_bucket(1_000_000), 19 - LATENCY_FIRST as usize);
        assert_eq!(latency_bucket((1 << 31) - 1), LATENCY_BUCKETS - 2);
        assert_eq!(latency_bucket(1 << 31), LATENCY_BUCKETS - 1);
        assert_eq!(latency_bucket(u64::MAX), LATENCY_BUCKETS - 1);
    }
}
