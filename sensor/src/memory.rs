//! Keeps the memory that the sensor no longer uses from staying with it.

/// Allocations of this size and more get pages of their own, which go back to the kernel when they
/// are freed. Loading the programs parses megabytes of type information once; without this the C
/// library raises the threshold by itself and keeps them (measured: 15 MiB of heap instead of 2).
#[cfg(target_env = "gnu")]
const OWN_PAGES_FROM: libc::c_int = 64 * 1024;

/// Tunes the allocator. Call it first: what is allocated before is not affected.
pub fn return_early() {
    // SAFETY: `mallopt` only sets a number inside the allocator, and takes any value.
    #[cfg(target_env = "gnu")]
    let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_FROM) };
    #[cfg(target_env = "gnu")]
    debug_assert_eq!(done, 1, "the C library refuses the threshold");
}

/// Gives free pages inside the heap back to the kernel, which small allocations in between keep
/// otherwise. Takes about a millisecond.
pub fn give_back() {
    // SAFETY: `malloc_trim` takes any padding, and leaves what is allocated alone.
    #[cfg(target_env = "gnu")]
    let _trimmed = unsafe { libc::malloc_trim(0) };
}
