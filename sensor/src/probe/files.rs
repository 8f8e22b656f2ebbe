//! The tables by which the programs know watched files, and how they change without a gap.

use std::time::{Duration, Instant};

use aya::{
    Ebpf,
    maps::{Array, HashMap, LpmTrie, MapData, MapError, lpm_trie::Key},
};
use sensor_abi::{
    call::SLOTS,
    file::{FILTER_WORDS, FileFilter, FileInodeKey, FileNameKey, FilePrefix, PREFIX_MAX, call},
};

use tracing::warn;

use super::{ProbeError, calls};
use crate::file::{Tables, Watched};

/// Time after which files that were replaced are looked up again. A log that is rotated or a
/// password file that is rewritten gets a new inode; it is watched by its path all the time.
const REFRESH: Duration = Duration::from_secs(60);

/// What the programs watch now.
#[derive(Debug)]
pub(super) struct WatchedFiles {
    watched: Watched,
    tables: Tables,
    refreshed: Instant,
}

impl WatchedFiles {
    /// Fills the programs' tables for the first time.
    pub(super) fn new(programs: &mut Ebpf, watched: &Watched) -> Result<Self, ProbeError> {
        let nothing = Self {
            watched: Watched::nothing(),
            tables: Tables::default(),
            refreshed: Instant::now(),
        };
        let mut files = nothing;
        files.watch(programs, watched)?;
        Ok(files)
    }

    /// Watches another set.
    pub(super) fn watch(
        &mut self,
        programs: &mut Ebpf,
        watched: &Watched,
    ) -> Result<(), ProbeError> {
        let tables = watched.tables();
        if tables.dropped > 0 {
            warn!(entries = tables.dropped, "more files than the tables have room for");
        }
        replace(programs, &self.tables, &tables)?;
        (self.watched, self.tables) = (watched.clone(), tables);
        self.refreshed = Instant::now();
        Ok(())
    }

    /// Looks up files that were replaced, now and then; says whether the tables have changed.
    pub(super) fn tend(&mut self, programs: &mut Ebpf) -> Result<bool, ProbeError> {
        if self.refreshed.elapsed() < REFRESH {
            return Ok(false);
        }
        self.refreshed = Instant::now();
        let tables = self.watched.tables();
        let changed = tables != self.tables;
        if changed {
            replace(programs, &self.tables, &tables)?;
            self.tables = tables;
        }
        Ok(changed)
    }
}

/// A table of the programs.
type Table<'a, K> = HashMap<&'a mut MapData, K, u32>;

/// Puts `new` into the programs' tables in place of `old`.
///
/// The tables are written one entry after the other while programs ask them. So first everything
/// that is watched now or then is in all of them, and only then what is watched no more leaves:
/// what both sets watch is watched all the time, and a program never finds half a change.
fn replace(programs: &mut Ebpf, old: &Tables, new: &Tables) -> Result<(), ProbeError> {
    let both = joined(old, new);
    entries(programs, new, &both)?;
    filter(programs, &both)?;
    entries(programs, &both, new)?;
    filter(programs, new)
}

/// Returns what either watches.
fn joined(old: &Tables, new: &Tables) -> Tables {
    let mut both = new.clone();
    for (key, accesses) in &old.names {
        *both.names.entry(*key).or_default() |= accesses;
    }
    for (key, accesses) in &old.inodes {
        *both.inodes.entry(*key).or_default() |= accesses;
    }
    let prefixes = old.prefixes.keys().chain(new.prefixes.keys());
    both.prefixes = prefixes
        .map(|prefix| (prefix.clone(), old.accesses_of(prefix) | new.accesses_of(prefix)))
        .collect();
    both
}

/// Writes the entries of `to`, and removes those that only `from` has.
fn entries(programs: &mut Ebpf, from: &Tables, to: &Tables) -> Result<(), ProbeError> {
    let mut names: Table<'_, FileNameKey> = table(programs, "FILE_NAMES")?;
    write("FILE_NAMES", &mut names, from.names.keys(), to.names.iter())?;
    let mut inodes: Table<'_, FileInodeKey> = table(programs, "FILE_INODES")?;
    write("FILE_INODES", &mut inodes, from.inodes.keys(), to.inodes.iter())?;
    let map = programs.map_mut("FILE_PREFIXES").ok_or(ProbeError::Map("FILE_PREFIXES"))?;
    let mut prefixes = LpmTrie::<_, FilePrefix, u32>::try_from(map)
        .map_err(|error| unusable("FILE_PREFIXES", &error))?;
    for (prefix, accesses) in &to.prefixes {
        let inserted = prefixes.insert(&key(prefix), accesses, 0);
        inserted.map_err(|error| unusable("FILE_PREFIXES", &error))?;
    }
    for prefix in from.prefixes.keys().filter(|prefix| !to.prefixes.contains_key(*prefix)) {
        gone("FILE_PREFIXES", prefixes.remove(&key(prefix)))?;
    }
    Ok(())
}

fn table<'a, K: aya::Pod>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<Table<'a, K>, ProbeError> {
    let map = programs.map_mut(name).ok_or(ProbeError::Map(name))?;
    HashMap::try_from(map).map_err(|error| unusable(name, &error))
}

fn write<'k, K: aya::Pod + Ord>(
    name: &'static str,
    table: &mut Table<'_, K>,
    from: impl Iterator<Item = &'k K>,
    to: impl Iterator<Item = (&'k K, &'k u32)>,
) -> Result<(), ProbeError> {
    let mut kept = std::collections::BTreeSet::new();
    for (key, accesses) in to {
        table.insert(key, accesses, 0).map_err(|error| unusable(name, &error))?;
        kept.insert(*key);
    }
    for key in from.filter(|key| !kept.contains(*key)) {
        gone(name, table.remove(key))?;
    }
    Ok(())
}

/// At the first call nothing is there yet.
fn gone(name: &'static str, removed: Result<(), MapError>) -> Result<(), ProbeError> {
    match removed {
        Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(())
        }
        Err(error) => Err(unusable(name, &error)),
    }
}

fn key(prefix: &[u8]) -> Key<FilePrefix> {
    let mut bytes = [0; PREFIX_MAX];
    bytes[..prefix.len()].copy_from_slice(prefix);
    Key::new(8 * prefix.len() as u32, FilePrefix { bytes })
}

fn filter(programs: &mut Ebpf, tables: &Tables) -> Result<(), ProbeError> {
    const _: () = assert!(size_of::<FileFilter>() == FILTER_WORDS * 8);
    let map = programs.map_mut("FILE_FILTER").ok_or(ProbeError::Map("FILE_FILTER"))?;
    let filter = Array::<_, FileFilter>::try_from(map);
    let mut filter = filter.map_err(|error| unusable("FILE_FILTER", &error))?;
    let written = filter.set(0, *tables.filter(), 0);
    written.map_err(|error| unusable("FILE_FILTER", &error))
}

fn unusable(name: &'static str, error: &dyn std::fmt::Display) -> ProbeError {
    ProbeError::MapUnusable { name, why: error.to_string() }
}

/// Returns what the programs on ends of system calls have to know: what the call in each place
/// means.
pub(super) fn meanings() -> [u8; SLOTS] {
    let mut meanings = [call::NONE; SLOTS];
    for (name, meaning) in CALLS {
        calls::slots(name).for_each(|slot| meanings[slot as usize] = *meaning);
    }
    meanings
}

/// What each call means. 16-bit users and groups of the oldest 32-bit calls come as they are.
const CALLS: &[(&str, u8)] = &[
    ("open", call::OPEN_PATH),
    ("openat", call::OPENAT),
    ("openat2", call::OPEN),
    ("creat", call::OPEN),
    ("open_by_handle_at", call::OPENAT),
    ("rename", call::RENAME),
    ("renameat", call::RENAMEAT),
    ("renameat2", call::RENAMEAT),
    ("link", call::LINK),
    ("linkat", call::LINKAT),
    ("symlink", call::SYMLINK),
    ("symlinkat", call::SYMLINKAT),
    ("unlink", call::UNLINK),
    ("rmdir", call::UNLINK),
    ("unlinkat", call::UNLINKAT),
    ("chmod", call::CHMOD),
    ("fchmod", call::FCHMOD),
    ("fchmodat", call::FCHMODAT),
    ("fchmodat2", call::FCHMODAT),
    ("chown", call::CHOWN),
    ("lchown", call::CHOWN),
    ("fchown", call::FCHOWN),
    ("fchownat", call::FCHOWNAT),
    ("truncate", call::TRUNCATE),
    ("ftruncate", call::FTRUNCATE),
    ("connect", call::CONNECT),
];
