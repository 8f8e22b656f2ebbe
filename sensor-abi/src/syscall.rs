//! System calls counted per process group and number.

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

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for SyscallKey {}
