//! Which files were scanned already: a file is looked at once, until it changes or the rules do.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::hash::FileId;

/// Files remembered: the programs and scripts of a busy host, at some 80 bytes each. One that was
/// forgotten is scanned again.
const KNOWN_MAX: usize = 8_192;

/// The table, shared by whoever asks and whoever scans.
#[derive(Debug, Default)]
pub struct Known(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    files: HashSet<FileId>,
    /// The files, oldest first.
    order: VecDeque<FileId>,
}

impl Known {
    /// Returns whether a file was scanned.
    pub fn has(&self, file: &FileId) -> bool {
        self.table().files.contains(file)
    }

    /// Remembers a file.
    pub fn add(&self, file: FileId) {
        let mut table = self.table();
        if !table.files.insert(file) {
            return;
        }
        table.order.push_back(file);
        if table.order.len() > KNOWN_MAX
            && let Some(oldest) = table.order.pop_front()
        {
            table.files.remove(&oldest);
        }
    }

    /// Forgets all: there are other rules.
    pub fn clear(&self) {
        *self.table() = Table::default();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Both parts are whole between any two of their changes, so what a panic leaves is usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_file_is_forgotten() {
        let file = |inode: u64| FileId { inode, ..FileId::default() };
        let known = Known::default();
        for inode in 0..=KNOWN_MAX as u64 {
            known.add(file(inode));
        }
        known.add(file(KNOWN_MAX as u64));
        assert!(!known.has(&file(0)) && known.has(&file(1)));
        assert_eq!(known.table().order.len(), KNOWN_MAX);
        known.clear();
        assert!(!known.has(&file(1)));
    }
}
