//! What a process does often, counted per tick instead of listed.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A process.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ActivityKey {
    /// When it started, nanoseconds since boot.
    pub start_ns: u64,
    /// Thread group id.
    pub tgid: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
}

/// What is counted; the discriminant is the index into [`ActivityCounts`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// It created a process.
    Fork = 0,
    /// It opened a file for writing.
    WriteOpen = 1,
    /// It created a file.
    Create = 2,
    /// It renamed a file.
    Rename = 3,
    /// It unlinked a file.
    Unlink = 4,
    /// It made a link or a symbolic link.
    Link = 5,
    /// It changed a mode or an owner.
    Attribute = 6,
}

impl Act {
    /// Number of slots in [`ActivityCounts`].
    pub const COUNT: usize = 7;
}

/// How often each [`Act`] was done.
pub type ActivityCounts = [u64; Act::COUNT];

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for ActivityKey {}
