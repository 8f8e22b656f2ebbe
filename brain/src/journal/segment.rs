//! One file of the journal: a head, then records.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::JournalError;
use super::record::{self, Entry, Seal};
use crate::store::file::failed;

/// Bytes of a segment's head: magic, first index, random number, checksum.
pub(super) const HEAD_LEN: usize = 28;

const MAGIC: [u8; 8] = *b"SKMJRNL1";

/// A part of the journal that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// First byte of the part.
    pub from: u64,
    /// Byte after it.
    pub to: u64,
    /// Index of the first record that is missing.
    pub first: u64,
    /// How many are missing; 0 when the file ends in the damage and only the next file would tell.
    pub records: u64,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, from, to, first, records } = self;
        write!(f, "{}: bytes {from} to {to} cannot be read; ", path.display())?;
        match records {
            0 => write!(f, "records from {first} on are missing"),
            _ => write!(f, "records {first} to {} are missing", first + records - 1),
        }
    }
}

/// What is known of a segment without reading it again.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) last_index: u64,
    pub(super) last_ns: u64,
    pub(super) nonce: u64,
}

impl Summary {
    pub(super) fn new(content: &Content, path: PathBuf) -> Self {
        let bytes = content.bytes.len() as u64;
        Self { path, bytes, last_index: 0, last_ns: 0, nonce: content.nonce.unwrap_or(0) }
    }
}

/// What comes next in a segment.
#[derive(Debug)]
pub(super) enum Item {
    /// A record.
    Record { entry: Entry },
    /// Bytes that are none.
    Broken { from: u64, to: u64 },
}

/// A segment in memory. Segments are small enough for that, and a search needs it.
#[derive(Debug)]
pub(super) struct Content {
    bytes: Vec<u8>,
    nonce: Option<u64>,
}

impl Content {
    pub(super) fn read(path: &Path) -> Result<Self, JournalError> {
        let bytes = fs::read(path).map_err(failed("read", path))?;
        let nonce = read_head(&bytes);
        Ok(Self { bytes, nonce })
    }

    /// Goes through records and broken parts. After a broken part it goes on with the next readable
    /// record.
    pub(super) fn items(&self) -> impl Iterator<Item = Item> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let total = self.bytes.len();
            if at >= total {
                return None;
            }
            let Some(nonce) = self.nonce else {
                at = total;
                return Some(Item::Broken { from: 0, to: total as u64 });
            };
            at = at.max(HEAD_LEN);
            if at == total {
                return None;
            }
            let read =
                |at: usize| record::read(&self.bytes[at..], Seal { nonce, offset: at as u64 });
            if let Some((entry, len)) = read(at) {
                at += len;
                return Some(Item::Record { entry });
            }
            let from = at as u64;
            at = (at + 1..total).find(|&at| read(at).is_some()).unwrap_or(total);
            Some(Item::Broken { from, to: at as u64 })
        })
    }
}

/// Returns the head of a new segment.
pub(super) fn head(first_index: u64, nonce: u64) -> [u8; HEAD_LEN] {
    let mut head = [0; HEAD_LEN];
    head[..8].copy_from_slice(&MAGIC);
    head[8..16].copy_from_slice(&first_index.to_le_bytes());
    head[16..24].copy_from_slice(&nonce.to_le_bytes());
    let crc = crc32c::crc32c(&head[..24]);
    head[24..].copy_from_slice(&crc.to_le_bytes());
    head
}

fn read_head(bytes: &[u8]) -> Option<u64> {
    let head: &[u8; HEAD_LEN] = bytes.first_chunk()?;
    let crc = u32::from_le_bytes([head[24], head[25], head[26], head[27]]);
    if head[..8] != MAGIC || crc32c::crc32c(&head[..24]) != crc {
        return None;
    }
    head[16..24].first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Returns the name of a segment whose first record has this index.
pub(super) fn path(dir: &Path, first_index: u64) -> PathBuf {
    dir.join(format!("{first_index:020}.seg"))
}

/// Returns the segments of a folder, the oldest first.
pub(super) fn list(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed("list", dir))? {
        let path = entry.map_err(failed("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
