//! The record of a watched file that was touched, or of a watched unix socket connected to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;

/// Room for a resolved path; more is cut at its front and flagged.
pub const PATH_MAX: usize = 1024;
/// Room for the string that a process passed; more is cut at its end and flagged.
pub const STRING_MAX: usize = 1024;
/// Most directories and mount points that a path may have.
pub const DEPTH_MAX: usize = 48;

/// A watched file was touched.
///
/// In the ring follow the two paths, `*_len` bytes each, without an ending NUL. A path begins at
/// the root of the process's mount namespace, also when the process has another root.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct File {
    /// What every record has.
    pub header: Header,
    /// Inode number of the file; 0 when not known.
    pub inode: u64,
    /// Device of its file system, as `super_block.s_dev` has it.
    pub dev: u32,
    /// Bits of [`flag`].
    pub flags: u32,
    /// Flags of `open`, for opens.
    pub open_flags: u32,
    /// `inode.i_mode`, or the new mode.
    pub mode: u32,
    /// New owner, plus one; 0 when it does not change.
    pub uid: u32,
    /// New group, plus one; likewise.
    pub gid: u32,
    /// Error number when the call failed, else 0.
    pub error: u32,
    /// See [`action`].
    pub action: u16,
    /// Bits of [`matched`].
    pub matched: u16,
    /// What of the file was wanted: bits of [`crate::file::access`].
    pub access: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
    /// Bytes of the path.
    pub path_len: u16,
    /// Bytes of the second path: where to, or what a link leads to.
    pub target_len: u16,
    /// Bytes of the path that name the process's root; 0 when that is the namespace's.
    pub path_root_len: u16,
    /// The same of the second path.
    pub target_root_len: u16,
}

impl File {
    /// All zero.
    pub const EMPTY: Self = Self {
        header: Header { kind: 0, tgid: 0, time_ns: 0, start_ns: 0, cgroup_id: 0, tid: 0, uid: 0 },
        inode: 0,
        dev: 0,
        flags: 0,
        open_flags: 0,
        mode: 0,
        uid: 0,
        gid: 0,
        error: 0,
        action: 0,
        matched: 0,
        access: 0,
        reserved: 0,
        path_len: 0,
        target_len: 0,
        path_root_len: 0,
        target_root_len: 0,
    };
    /// Bytes of the record before the paths.
    pub const FIXED: usize = size_of::<Self>();
}

/// Values of [`File::action`].
pub mod action {
    /// Opened for writing.
    pub const OPEN_WRITE: u16 = 1;
    /// Created.
    pub const CREATE: u16 = 2;
    /// Opened for reading only.
    pub const OPEN_READ: u16 = 3;
    /// Renamed.
    pub const RENAME: u16 = 4;
    /// A hard link was made to it.
    pub const LINK: u16 = 5;
    /// A symbolic link was made.
    pub const SYMLINK: u16 = 6;
    /// Unlinked, also a directory.
    pub const UNLINK: u16 = 7;
    /// Mode changed.
    pub const MODE: u16 = 8;
    /// Owner changed.
    pub const OWNER: u16 = 9;
    /// Cut to a length.
    pub const TRUNCATE: u16 = 10;
    /// A unix socket was connected to.
    pub const CONNECT: u16 = 11;
    /// Mapped as code.
    pub const MAP_CODE: u16 = 12;
}

/// Bits of [`File::flags`].
pub mod flag {
    /// The paths are what the process passed, behind the directory that they start from; they may
    /// have been others when the kernel read them.
    pub const RACY: u32 = 1 << 0;
    /// The file lies on an overlay's upper layer.
    pub const UPPER_LAYER: u32 = 1 << 1;
    /// The path is cut.
    pub const PATH_TRUNCATED: u32 = 1 << 2;
    /// Whether the call succeeded is not known.
    pub const RESULT_UNKNOWN: u32 = 1 << 3;
}

/// Bits of [`File::matched`]: why the record was made.
pub mod matched {
    /// The path begins with a watched prefix.
    pub const PREFIX: u16 = 1 << 0;
    /// A name of the path is one of a pattern's; the sensor compares the whole path.
    pub const NAME: u16 = 1 << 1;
    /// The file, or a directory above it, is a watched inode.
    pub const INODE: u16 = 1 << 2;
    /// It lies on an overlay's upper layer and was mapped as code, watched or not.
    pub const LAYER: u16 = 1 << 3;
}

const _: () = assert!(File::FIXED == 40 + 8 + 7 * 4 + 2 * 2 + 2 * 4 + 4 * 2);
