//! SHA-256 of executables: which file, what is known, and who works it out.

/// Which content of which file: a file that was written to has another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device, as the kernel's `s_dev` has it.
    pub dev: u32,
    /// Inode number.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When the content changed, nanoseconds since the Unix epoch.
    pub mtime_ns: u64,
    /// When the inode changed, likewise. Programs can set the other one, but not this one.
    pub ctime_ns: u64,
}
