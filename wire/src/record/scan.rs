//! Files that rules matched.

use super::{ProcessRef, with_texts};

with_texts! {
    /// A YARA rule matched a file; a file that several match makes several.
    pub struct Scan {
        /// When the file was executed or written.
        time_ns: u64,
        /// Who executed or wrote it.
        process: ProcessRef,
        /// See [`scan_trigger`].
        trigger: u8,
        /// Inode number of the file.
        inode: u64,
        /// Device of its file system.
        dev: u32,
        /// Its bytes.
        size: u64,
        /// Rules that match it beyond those that have a record.
        more: u32,
    }
    texts {
        /// Path of the file, as the process has it.
        path,
        /// SHA-256 of the file, 32 bytes.
        sha256,
        /// The rule's name.
        rule,
        /// The policy file that it is from.
        source,
        /// Revision of the rules.
        revision,
        /// Its tags, each ended by NUL.
        tags,
        /// Its `meta` section, `NAME=value`, each ended by NUL.
        meta,
    }
}

/// Values of [`Scan::trigger`].
pub mod scan_trigger {
    /// The file was executed.
    pub const EXECUTED: u8 = 1;
    /// It is a script that was executed.
    pub const SCRIPT: u8 = 2;
    /// It was written or made executable, and not seen to run yet.
    pub const WRITTEN: u8 = 3;
}
