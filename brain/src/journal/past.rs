//! The journal read from outside: while a brain writes it, and without changing anything.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use super::JournalError;
use super::record::Entry;
use super::segment::{self, Content, Item};
use crate::store::file::FileError;

/// A segment's file is written no later than so long after its last record was received.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3_600);

/// The segments of a journal that somebody else may be writing.
#[derive(Debug)]
pub struct Past {
    segments: Vec<(PathBuf, u64)>,
}

/// How far reading is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes of which no record could be made: damage, or the end that is being written.
    pub unreadable: u64,
}

impl Past {
    /// Lists the segments in `dir` that may hold records received at `from_ns` or later.
    pub fn list(dir: &Path, from_ns: u64) -> Result<Self, JournalError> {
        let from = UNIX_EPOCH + Duration::from_nanos(from_ns);
        let mut segments = Vec::new();
        for path in segment::list(dir)? {
            // One that the size limit has removed meanwhile is no longer the past.
            let Ok(meta) = path.metadata() else { continue };
            let is_old = meta.modified().is_ok_and(|time| time + WRITTEN_WITHIN < from);
            if !is_old {
                segments.push((path, meta.len()));
            }
        }
        Ok(Self { segments })
    }

    /// Bytes that there are to read.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Calls `on` with each entry that was received at `from_ns` or later, in order, and `progress`
    /// after each segment.
    pub fn read(
        &self,
        from_ns: u64,
        mut on: impl FnMut(Entry),
        mut progress: impl FnMut(Read),
    ) -> Result<Read, JournalError> {
        let mut read = Read::default();
        for (path, bytes) in &self.segments {
            let content = match Content::read(path) {
                Ok(content) => content,
                Err(JournalError::File(error)) if is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            for item in content.items() {
                match item {
                    Item::Record { entry } if entry.received_ns >= from_ns => on(entry),
                    Item::Record { .. } => {}
                    Item::Broken { from, to } => read.unreadable += to - from,
                }
            }
            read.bytes += bytes;
            progress(read);
        }
        Ok(read)
    }
}

fn is_gone(error: &FileError) -> bool {
    matches!(error, FileError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
}
