//! The string table of a batch: each distinct string once, records hold indexes.
//!
//! Strings are bytes from a host: paths, arguments and names that an attacker may have chosen. They
//! stay bytes until they are shown.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::limits;

/// Index of a string in its batch's [`StringTable`]; 0 is always the empty string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StrId(pub u32);

/// All strings of a batch, end to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StringTable {
    /// The strings' bytes without separators.
    bytes: Vec<u8>,
    /// End of each string in `bytes`; string 1 ends at `ends[0]`.
    ends: Vec<u32>,
}

impl StringTable {
    /// Returns the string, or the empty one when the index is out of range.
    pub fn bytes(&self, id: StrId) -> &[u8] {
        let Some(index) = (id.0 as usize).checked_sub(1) else { return b"" };
        let Some(&end) = self.ends.get(index) else { return b"" };
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        self.bytes.get(start as usize..end as usize).unwrap_or(b"")
    }

    /// Number of strings besides the empty one.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all strings.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether the table holds only the empty string.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Returns whether `id` names a string of this table.
    pub fn contains(&self, id: StrId) -> bool {
        id.0 as usize <= self.ends.len()
    }

    /// Returns the strings' bytes, and where each ends.
    pub(crate) fn parts(&self) -> (&[u8], &[u32]) {
        (&self.bytes, &self.ends)
    }

    /// Puts a table together again; [`Self::fault`] tells whether the parts fit.
    pub(crate) fn of_parts(bytes: Vec<u8>, ends: Vec<u32>) -> Self {
        Self { bytes, ends }
    }

    /// Returns what is wrong with the table, if anything: counts, lengths, order of the ends.
    pub(crate) fn fault(&self) -> Option<&'static str> {
        if self.ends.len() > limits::STRINGS_MAX {
            return Some("too many strings");
        }
        if self.bytes.len() > limits::STRING_BYTES_MAX {
            return Some("too many string bytes");
        }
        let mut start = 0u32;
        for &end in &self.ends {
            match end.checked_sub(start) {
                None => return Some("string ends are out of order"),
                Some(length) if length as usize > limits::STRING_MAX => {
                    return Some("a string is too long");
                }
                Some(_) => start = end,
            }
        }
        if start as usize != self.bytes.len() {
            return Some("string bytes and ends disagree");
        }
        None
    }
}

/// Builds a [`StringTable`], storing each distinct string once.
#[derive(Debug, Default)]
pub struct StringTableBuilder {
    table: StringTable,
    ids: HashMap<Box<[u8]>, StrId>,
}

impl StringTableBuilder {
    /// Returns the string's id, adding it when new. Longer strings are cut to
    /// [`limits::STRING_MAX`]; returns `None` when the table is full.
    pub fn add(&mut self, string: &[u8]) -> Option<StrId> {
        let string = &string[..string.len().min(limits::STRING_MAX)];
        if string.is_empty() {
            return Some(StrId(0));
        }
        if let Some(&id) = self.ids.get(string) {
            return Some(id);
        }
        let end = self.table.bytes.len() + string.len();
        if self.table.ends.len() == limits::STRINGS_MAX || end > limits::STRING_BYTES_MAX {
            return None;
        }
        self.table.bytes.extend_from_slice(string);
        self.table.ends.push(end as u32);
        let id = StrId(self.table.ends.len() as u32);
        self.ids.insert(string.into(), id);
        Some(id)
    }

    /// Bytes stored so far.
    pub fn byte_len(&self) -> usize {
        self.table.bytes.len()
    }

    /// Returns the finished table.
    pub fn finish(self) -> StringTable {
        self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_distinct_string_is_stored_once() {
        let mut builder = StringTableBuilder::default();
        let a = builder.add(b"/bin/sh").unwrap();
        let b = builder.add(b"/bin/ls").unwrap();
        assert_eq!(builder.add(b"/bin/sh"), Some(a));
        assert_eq!(builder.add(b""), Some(StrId(0)));
        let table = builder.finish();
        assert_eq!(
            (table.len(), table.bytes(a), table.bytes(b)),
            (2, &b"/bin/sh"[..], &b"/bin/ls"[..])
        );
        assert_eq!(table.bytes(StrId(3)), b"");
        assert_eq!(table.fault(), None);
    }

    #[test]
    fn long_strings_are_cut_and_a_full_table_says_so() {
        let mut builder = StringTableBuilder::default();
        let id = builder.add(&[b'x'; limits::STRING_MAX + 7]).unwrap();
        assert_eq!(builder.table.bytes(id).len(), limits::STRING_MAX);
        let mut added = 1usize;
        while builder.add(format!("{added:04096}").as_bytes()).is_some() {
            added += 1;
        }
        assert!(builder.byte_len() <= limits::STRING_BYTES_MAX);
    }
}
