//! Watched files.

use super::{ProcessRef, with_texts};

with_texts! {
    /// A watched file was touched, or a watched unix socket connected to.
    pub struct File {
        /// When.
        time_ns: u64,
        /// Who did it.
        process: ProcessRef,
        /// See [`file_action`].
        action: u8,
        /// Bits of [`file_flag`].
        flags: u32,
        /// Inode number; 0 when not known.
        inode: u64,
        /// Device of its file system.
        dev: u32,
        /// `open`'s flags (fcntl.h), for opens.
        open_flags: u32,
        /// Mode of the file, or the new mode.
        mode: u32,
        /// New owner, plus one; 0 when it does not change.
        uid: u32,
        /// New group, plus one; likewise.
        gid: u32,
        /// Error number when the call failed, else 0.
        error: u32,
    }
    texts {
        /// Path from the root of the process's mount namespace, resolved where the kernel told.
        path,
        /// Second path: where to, or what a link leads to.
        target,
    }
}

/// Values of [`File::action`].
pub mod file_action {
    /// Opened for writing.
    pub const OPEN_WRITE: u8 = 1;
    /// Created.
    pub const CREATE: u8 = 2;
    /// Opened for reading, a sensitive file.
    pub const OPEN_READ: u8 = 3;
    /// Renamed; `target` is the new path.
    pub const RENAME: u8 = 4;
    /// A hard link `target` was made to it.
    pub const LINK: u8 = 5;
    /// A symbolic link `path` was made; `target` is its content.
    pub const SYMLINK: u8 = 6;
    /// Unlinked.
    pub const UNLINK: u8 = 7;
    /// Mode changed.
    pub const MODE: u8 = 8;
    /// Owner changed.
    pub const OWNER: u8 = 9;
    /// Cut to a length.
    pub const TRUNCATE: u8 = 10;
    /// A unix socket was connected to.
    pub const CONNECT: u8 = 11;
    /// Mapped as code: a library was loaded.
    pub const MAP_CODE: u8 = 12;
}

/// Bits of [`File::flags`].
pub mod file_flag {
    /// The path is what the process passed; it may have been another when the kernel read it.
    pub const RACY: u32 = 1 << 0;
    /// The file lies on an overlay's upper layer.
    pub const UPPER_LAYER: u32 = 1 << 1;
    /// The path is cut.
    pub const PATH_TRUNCATED: u32 = 1 << 2;
    /// Found by its inode, under a path that is not watched.
    pub const BY_INODE: u32 = 1 << 3;
    /// Whether the call succeeded is not known.
    pub const RESULT_UNKNOWN: u32 = 1 << 4;
}
