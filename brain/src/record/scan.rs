//! Files that rules matched.

use bytes::Bytes;
use wire::record as wired;

closed! {
    /// Why a file was looked at.
    pub enum ScanTrigger in scan_trigger {
        /// It was executed.
        Executed = EXECUTED,
        /// It is a script that was executed.
        Script = SCRIPT,
        /// It was written or made executable.
        Written = WRITTEN,
    }
}

/// A YARA rule matched a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Why it was looked at.
    pub trigger: ScanTrigger,
    /// Its inode number.
    pub inode: u64,
    /// Device of its file system.
    pub dev: u32,
    /// Its bytes.
    pub size: u64,
    /// Rules that match it beyond those that are told.
    pub more: u32,
    /// Its path, as the process has it.
    pub path: Bytes,
    /// Its SHA-256, 32 bytes; empty when not known.
    pub sha256: Bytes,
    /// The rule's name.
    pub rule: Bytes,
    /// The policy file that the rule is from.
    pub source: Bytes,
    /// Revision of the rules.
    pub revision: Bytes,
    /// The rule's tags, each ended by NUL.
    pub tags: Bytes,
    /// The rule's `meta` section, `NAME=value`, each ended by NUL.
    pub meta: Bytes,
}

impl Scan {
    /// Returns what the rule's `meta` section says of a name.
    pub fn meta(&self, name: &str) -> Option<&[u8]> {
        let entries = self.meta.split(|&byte| byte == 0);
        entries.filter_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")).next()
    }
}

pub(super) fn scan(r: wired::Scan<Bytes>) -> Scan {
    Scan {
        trigger: ScanTrigger::of(r.trigger),
        inode: r.inode,
        dev: r.dev,
        size: r.size,
        more: r.more,
        path: r.path,
        sha256: r.sha256,
        rule: r.rule,
        source: r.source,
        revision: r.revision,
        tags: r.tags,
        meta: r.meta,
    }
}
