//! Watched files.

use bytes::Bytes;
use wire::record as wired;

closed! {
    /// What was done to a file.
    pub enum FileAction in file_action {
        /// Opened for writing.
        OpenWrite = OPEN_WRITE,
        /// Created.
        Create = CREATE,
        /// Opened for reading, a sensitive file.
        OpenRead = OPEN_READ,
        /// Renamed.
        Rename = RENAME,
        /// A hard link was made to it.
        Link = LINK,
        /// A symbolic link was made.
        Symlink = SYMLINK,
        /// Unlinked.
        Unlink = UNLINK,
        /// Mode changed.
        Mode = MODE,
        /// Owner changed.
        Owner = OWNER,
        /// Cut to a length.
        Truncate = TRUNCATE,
        /// A unix socket was connected to.
        Connect = CONNECT,
        /// Mapped as code.
        MapCode = MAP_CODE,
    }
}

/// Bits of [`File::open_flags`] that detectors name, as Linux numbers them on the architectures
/// that sensors run on.
pub mod open_flag {
    /// Opened for writing only.
    pub const WRITE_ONLY: u32 = 0o1;
    /// What was there is gone.
    pub const TRUNCATE: u32 = 0o1000;
    /// Every write goes to the end.
    pub const APPEND: u32 = 0o2000;
}

/// A watched file was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// How.
    pub action: FileAction,
    /// Bits of [`wired::file_flag`].
    pub flags: u32,
    /// Inode number; 0 when not known.
    pub inode: u64,
    /// Device of its file system.
    pub dev: u32,
    /// `open`'s flags, for opens.
    pub open_flags: u32,
    /// Mode of the file, or the new mode.
    pub mode: u32,
    /// New owner, when it changes.
    pub uid: Option<u32>,
    /// New group, when it changes.
    pub gid: Option<u32>,
    /// Error number when the call failed, else 0.
    pub error: u32,
    /// Path in the process's mount namespace.
    pub path: Bytes,
    /// Second path: where to, or what a link leads to.
    pub target: Bytes,
}

pub(super) fn file(r: wired::File<Bytes>) -> File {
    File {
        action: FileAction::of(r.action),
        flags: r.flags,
        inode: r.inode,
        dev: r.dev,
        open_flags: r.open_flags,
        mode: r.mode,
        uid: r.uid.checked_sub(1),
        gid: r.gid.checked_sub(1),
        error: r.error,
        path: r.path,
        target: r.target,
    }
}
