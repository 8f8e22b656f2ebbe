//! SHA-256 of executables, worked out beside the way of the records.
//!
//! An execution asks for its file's hash when its record is read; [`worker`] reads the file in a
//! thread of low priority. What was hashed once is known by device, inode, size and both times of
//! the file, all of them as the kernel had them at the execution, so a file that was changed since
//! never passes for the one that ran.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::{major, minor};

use self::worker::{Job, Outcome, Worker};
use crate::observation::Text;

pub mod worker;

/// Hashes remembered: the programs of a busy host, at some 150 bytes each.
const KNOWN_MAX: usize = 4_096;
/// Files that wait to be hashed. More at once come from a storm of new files; the rest are told as
/// missing.
const WAITING_MAX: usize = 512;
/// Length of a SHA-256.
pub const HASH_LEN: usize = 32;

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

impl FileId {
    /// Returns what the kernel shows programs of a file. On some file systems (overlay, btrfs) that
    /// is another device than it has itself, and then another inode number too.
    pub fn shown_by(metadata: &Metadata) -> Self {
        let time = |seconds: i64, nanos: i64| {
            (seconds as u64).wrapping_mul(1_000_000_000).wrapping_add(nanos as u64)
        };
        Self {
            dev: (major(metadata.dev()) << 20 | minor(metadata.dev())) as u32,
            inode: metadata.ino(),
            size: metadata.len(),
            mtime_ns: time(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: time(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What is known of a file's hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// The hash.
    Hash(Text),
    /// It is being worked out.
    Pending,
    /// There will be none: the file is too large, gone, or there was too much to do.
    Missing,
}

/// What became of the files that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Answered from memory.
    pub hits: u64,
    /// Read and hashed.
    pub hashed: u64,
    /// Gone, changed or unreadable before they could be read.
    pub gone: u64,
    /// Larger than what is hashed.
    pub too_large: u64,
    /// Refused because too many waited.
    pub refused: u64,
}

/// The hashes of executables.
#[derive(Debug, Default)]
pub struct Hashes {
    /// `None` for a file that is too large, which it stays.
    known: HashMap<FileId, Option<Text>>,
    /// The files in `known`, oldest first.
    order: VecDeque<FileId>,
    waiting: HashSet<FileId>,
    worker: Option<Worker>,
    stats: Stats,
}

impl Hashes {
    /// Starts the worker. Without it every hash is missing, as before the first execution.
    pub fn start() -> Self {
        Self { worker: Worker::start(WAITING_MAX), ..Self::default() }
    }

    /// Asks for the hash of what a process was executed from.
    pub fn ask(&mut self, file: FileId, pid: u32, path: &[u8]) {
        if self.known.contains_key(&file) {
            self.stats.hits += 1;
            return;
        }
        if self.waiting.contains(&file) {
            return;
        }
        let job = Job { file, pid, path: path.into() };
        match self.worker.as_ref().is_some_and(|worker| worker.ask(job)) {
            true => drop(self.waiting.insert(file)),
            false => self.stats.refused += 1,
        }
    }

    /// Takes in what the worker has done since; returns those files.
    pub fn take_in(&mut self) -> Vec<FileId> {
        let mut done = Vec::new();
        while let Some((file, outcome)) = self.worker.as_ref().and_then(Worker::done) {
            self.settle(file, outcome);
            done.push(file);
        }
        done
    }

    /// Returns what is known of a file.
    pub fn of(&self, file: &FileId) -> Known {
        match self.known.get(file) {
            Some(Some(hash)) => Known::Hash(hash.clone()),
            None if self.waiting.contains(file) => Known::Pending,
            Some(None) | None => Known::Missing,
        }
    }

    /// Returns what became of the files so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn settle(&mut self, file: FileId, outcome: Outcome) {
        self.waiting.remove(&file);
        match outcome {
            Outcome::Hash(hash) => {
                self.stats.hashed += 1;
                self.remember(file, Some(hash[..].into()));
            }
            Outcome::TooLarge => {
                self.stats.too_large += 1;
                self.remember(file, None);
            }
            // The next execution may be luckier.
            Outcome::Gone => self.stats.gone += 1,
        }
    }

    fn remember(&mut self, file: FileId, hash: Option<Text>) {
        if self.known.insert(file, hash).is_some() {
            return;
        }
        self.order.push_back(file);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64) -> FileId {
        FileId { inode, ..FileId::default() }
    }

    #[test]
    fn the_oldest_hash_is_forgotten() {
        let mut hashes = Hashes::default();
        for inode in 0..=KNOWN_MAX as u64 {
            hashes.settle(file(inode), Outcome::Hash([inode as u8; HASH_LEN]));
        }
        assert_eq!(hashes.of(&file(0)), Known::Missing);
        assert_eq!(hashes.of(&file(1)), Known::Hash([1; HASH_LEN][..].into()));
        assert_eq!(hashes.known.len(), KNOWN_MAX);
        assert_eq!(hashes.order.len(), KNOWN_MAX);
    }

    #[test]
    fn nothing_is_asked_twice_and_every_refusal_counts() {
        let mut hashes = Hashes::default();
        hashes.ask(file(1), 1, b"/x");
        assert_eq!(hashes.stats().refused, 1);
        hashes.settle(file(1), Outcome::TooLarge);
        hashes.ask(file(1), 1, b"/x");
        assert_eq!((hashes.stats().hits, hashes.of(&file(1))), (1, Known::Missing));
        hashes.settle(file(2), Outcome::Gone);
        assert_eq!((hashes.stats().gone, hashes.known.len()), (1, 1));
    }
}
