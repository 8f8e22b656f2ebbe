//! A process used or gained a privilege.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;

/// Room for a short name, with NUL.
pub const PRIVILEGE_NAME_LEN: usize = 64;
/// Room for a path, device or file system type, with NUL; more is cut and flagged.
pub const MOUNT_TEXT_LEN: usize = 256;

/// What every such record has, on the security ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Act {
    /// Who did it.
    pub header: Header,
    /// Start of another process that it concerns, nanoseconds since boot; 0 when there is none.
    pub target_start_ns: u64,
    /// Flags of the call, `bpf`'s command, or the namespace's inode.
    pub argument: u64,
    /// What the call returned: a small negative number is an error.
    pub result: i64,
    /// Thread group id of that process.
    pub target_tgid: u32,
    /// See [`crate::act::privilege`].
    pub action: u32,
    /// `bpf`'s program or map type, or which call it was.
    pub kind: u32,
    /// Bits of [`crate::act::flag`].
    pub flags: u32,
}

/// An act with a short name, or none.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Privilege {
    /// What was done.
    pub act: Act,
    /// What it was done to, ended by NUL.
    pub name: [u8; PRIVILEGE_NAME_LEN],
}

/// Something was mounted, moved or unmounted, or the root was changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Mount {
    /// What was done.
    pub act: Act,
    /// Mount point, ended by NUL.
    pub name: [u8; MOUNT_TEXT_LEN],
    /// Device, directory or old root, ended by NUL.
    pub source: [u8; MOUNT_TEXT_LEN],
    /// File system type, ended by NUL.
    pub type_name: [u8; MOUNT_TEXT_LEN],
}

/// Who a task is for the kernel.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Identity {
    /// Effective capabilities, one bit each.
    pub effective: u64,
    /// Permitted capabilities, one bit each.
    pub permitted: u64,
    /// Real user id.
    pub uid: u32,
    /// Effective user id.
    pub euid: u32,
    /// Saved user id.
    pub suid: u32,
    /// Real group id.
    pub gid: u32,
    /// Effective group id.
    pub egid: u32,
    /// 1 when the rest is known.
    pub known: u32,
}

/// Users, groups or capabilities changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Credentials {
    /// Whose: the header's user is the real one before the change.
    pub act: Act,
    /// What they were.
    pub before: Identity,
    /// What they are.
    pub after: Identity,
}

const _: () = assert!(size_of::<Act>() == 80);
const _: () = assert!(size_of::<Privilege>() == 80 + PRIVILEGE_NAME_LEN);
const _: () = assert!(size_of::<Mount>() == 80 + 3 * MOUNT_TEXT_LEN);
const _: () = assert!(size_of::<Identity>() == 40);
const _: () = assert!(size_of::<Credentials>() == 80 + 2 * 40);
