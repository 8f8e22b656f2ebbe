//! Patterns → the tables that the kernel programs ask.

use std::collections::BTreeMap;

use sensor_abi::file::{
    FILTER_WORDS, FileFilter, FileInodeKey, FileNameKey, PREFIX_MAX, access, inode_slot, name_slot,
    place, slot_at,
};

use super::identity::{self, Mounts};
use super::rule::{Rule, is_pattern};

/// Names that the kernel's table has room for.
const NAMES_MAX: usize = 2_048;
/// Inodes that the kernel's table has room for; what is beyond is watched by its path only.
const INODES_MAX: usize = 8_192;
/// Prefixes that the kernel's table has room for.
const PREFIXES_MAX: usize = 2_048;

/// What the kernel programs ask, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Names that occur, with accesses at the shifts of [`place`].
    pub names: BTreeMap<FileNameKey, u32>,
    /// Prefixes, a whole path with NUL at its end; values include those of shorter ones.
    pub prefixes: BTreeMap<Vec<u8>, u32>,
    /// Inodes that are there now, with accesses at the shifts of [`place`].
    pub inodes: BTreeMap<FileInodeKey, u32>,
    /// Entries that found no room.
    pub dropped: usize,
}

/// Makes the tables of some rules.
pub fn tables(rules: &[Rule]) -> Tables {
    let mut tables = Tables::default();
    let mounts = Mounts::read();
    for rule in rules {
        tables.add(rule);
        for found in identity::of(rule, &mounts) {
            tables.add_found(rule, &found);
        }
    }
    tables.close();
    tables
}

impl Tables {
    fn add(&mut self, rule: &Rule) {
        match rule.literal() {
            Some(path) => self.add_path(&path, rule),
            None => self.add_pattern(rule),
        }
    }

    /// A path without patterns: its last name is looked for, and decides together with the prefix.
    fn add_path(&mut self, path: &[u8], rule: &Rule) {
        if path.len() + 1 > PREFIX_MAX {
            self.dropped += 1;
            return;
        }
        let leaf = last(path);
        let mut whole = path.to_vec();
        whole.push(0);
        self.name(leaf, rule.accesses << place::LEAF);
        self.prefix(whole, rule.accesses);
        if rule.below {
            let mut prefix = path.to_vec();
            prefix.push(b'/');
            self.name(leaf, rule.accesses << place::ABOVE);
            self.prefix(prefix, rule.accesses);
        }
        if rule.accesses & access::MOVE != 0 {
            self.add_directories_above(path);
        }
    }

    /// A directory that is renamed takes what is watched with it.
    fn add_directories_above(&mut self, path: &[u8]) {
        let mut above = path;
        while let Some(end) = above.iter().rposition(|&byte| byte == b'/').filter(|&end| end > 0) {
            above = &above[..end];
            let mut whole = above.to_vec();
            whole.push(0);
            self.name(last(above), access::MOVE << place::LEAF);
            self.prefix(whole, access::MOVE);
        }
    }

    /// A pattern: its last name without `*` is looked for, and the sensor compares the path.
    fn add_pattern(&mut self, rule: &Rule) {
        let at = rule.names.iter().rposition(|name| !is_pattern(name));
        let Some((at, name)) = at.and_then(|at| Some((at, rule.names.get(at)?))) else { return };
        let accesses = rule.accesses << place::ANYWHERE;
        if at + 1 == rule.names.len() {
            self.name(name, accesses << place::LEAF);
        }
        if at + 1 < rule.names.len() || rule.below {
            self.name(name, accesses << place::ABOVE);
        }
    }

    /// Something that a rule means and that is there: whatever way leads to it, it is watched.
    fn add_found(&mut self, rule: &Rule, found: &identity::Found) {
        let mut accesses = rule.accesses << place::LEAF;
        if found.is_directory && rule.below {
            accesses |= rule.accesses << place::ABOVE;
        }
        if self.inodes.len() < INODES_MAX || self.inodes.contains_key(&found.key) {
            *self.inodes.entry(found.key).or_default() |= accesses;
        } else {
            self.dropped += 1;
        }
        // The pattern may lead through symbolic links, which no resolved path has.
        if let Some(path) = &found.resolved {
            self.add_path(path, rule);
        }
    }

    fn name(&mut self, name: &[u8], accesses: u32) {
        let key = FileNameKey::new(name);
        if self.names.len() < NAMES_MAX || self.names.contains_key(&key) {
            *self.names.entry(key).or_default() |= accesses;
        } else {
            self.dropped += 1;
        }
    }

    fn prefix(&mut self, prefix: Vec<u8>, accesses: u32) {
        if self.prefixes.len() < PREFIXES_MAX || self.prefixes.contains_key(&prefix) {
            *self.prefixes.entry(prefix).or_default() |= accesses;
        } else {
            self.dropped += 1;
        }
    }

    /// The kernel finds the longest prefix only, so that one has to know of the shorter ones.
    fn close(&mut self) {
        let all: Vec<Vec<u8>> = self.prefixes.keys().cloned().collect();
        for prefix in all {
            let accesses = self.accesses_of(&prefix);
            self.prefixes.insert(prefix, accesses);
        }
    }

    /// Returns the accesses by which what begins so is watched.
    pub fn accesses_of(&self, path: &[u8]) -> u32 {
        let shorter = (1..=path.len()).filter_map(|end| self.prefixes.get(&path[..end]));
        shorter.fold(0, |all, accesses| all | accesses)
    }

    /// Makes the filter that has a bit for everything in the tables.
    pub fn filter(&self) -> Box<FileFilter> {
        let mut filter = Box::new(FileFilter { words: [0; FILTER_WORDS] });
        let mut set = |slot: usize, accesses: u32| {
            let (word, shift) = slot_at(slot);
            filter.words[word] |= u64::from(accesses & access::ALL) << shift;
        };
        for (key, accesses) in &self.names {
            let anywhere = accesses >> place::ANYWHERE;
            for (above, at) in [(false, place::LEAF), (true, place::ABOVE)] {
                set(name_slot(key.begin, key.length, above), (accesses | anywhere) >> at);
            }
        }
        for (key, accesses) in &self.inodes {
            for (above, at) in [(false, place::LEAF), (true, place::ABOVE)] {
                set(inode_slot(key.inode, above), accesses >> at);
            }
        }
        filter
    }
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}
