//! Notices maps that somebody else has changed, and puts them back: what only this process writes
//! is compared with what it was after the last writing.
//!
//! Tables that the programs write, such as counters, cannot be checked like this.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
};

use aya::{Ebpf, maps::Map};
use nix::libc;

use super::{check, memory};

/// What the programs read of the settings.
pub(super) const TUNING: [&str; 1] = [super::tuning::SECTION];
/// What the programs leave out.
pub(super) const SELVES: [&str; 1] = [super::maps::SELVES];
/// Which files are watched.
pub(super) const FILES: [&str; 4] = ["FILE_FILTER", "FILE_NAMES", "FILE_INODES", "FILE_PREFIXES"];
/// Which programs go on where others end. Only places that had one are looked at: most have none,
/// and whoever can put his own there can as well run it elsewhere.
pub(super) const CHAINS: [&str; 4] = ["CALLS", "NEXT_CALLS", "PAYLOAD_XDP", "PAYLOAD_TC"];

/// Commands of bpf(2).
const LOOKUP: libc::c_int = 1;
const UPDATE: libc::c_int = 2;
const DELETE: libc::c_int = 3;
const NEXT_KEY: libc::c_int = 4;
const LOOKUP_BATCH: libc::c_int = 24;
/// Entries read at once. A bucket with more makes the kernel refuse, and each is read by itself.
const BATCH: usize = 256;

/// The part of `bpf_attr` that these commands use.
#[repr(C)]
#[derive(Default)]
struct ElementAttributes {
    map: u32,
    reserved: u32,
    key: u64,
    /// Of the value, or of the next key.
    other: u64,
    flags: u64,
}

/// The part of `bpf_attr` that reads entries in batches.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    from: u64,
    reached: u64,
    keys: u64,
    values: u64,
    count: u32,
    map: u32,
    element_flags: u64,
    flags: u64,
}

type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the maps should hold.
#[derive(Debug, Default)]
pub(super) struct Fixed {
    known: BTreeMap<&'static str, (Raw, Content)>,
    /// Changes by others since load, and the map of the latest.
    pub(super) changes: u64,
    pub(super) latest: &'static str,
}

impl Fixed {
    /// Takes what these maps hold now as what they should hold, after this process wrote them.
    pub(super) fn remember(&mut self, programs: &Ebpf, names: &[&'static str]) {
        for name in names {
            let Some(map) = open(programs, name) else { continue };
            if let Ok(content) = map.content() {
                self.known.insert(name, (map, content));
            }
        }
    }

    /// Puts back what somebody else has changed since; returns the maps' names.
    pub(super) fn restore(&mut self) -> Vec<&'static str> {
        let mut changed = Vec::new();
        for (name, (map, known)) in &self.known {
            // What cannot be read now is looked at again next time.
            let content = match map.holds_programs {
                true => map.at(known.keys()),
                false => map.content(),
            };
            let Ok(content) = content else { continue };
            if content == *known {
                continue;
            }
            changed.push(*name);
            if let Err(error) = map.put_back(known, &content) {
                tracing::error!(map = name, %error, "a map cannot be put back");
            }
        }
        self.changes += changed.len() as u64;
        self.latest = changed.last().copied().unwrap_or(self.latest);
        changed
    }
}

/// A map of raw bytes, open for as long as the programs are.
#[derive(Debug)]
struct Raw {
    descriptor: RawFd,
    key_size: usize,
    value_size: usize,
    entries_max: usize,
    holds_programs: bool,
}

fn open(programs: &Ebpf, name: &str) -> Option<Raw> {
    let map = programs.map(name)?;
    let (data, holds_programs) = match map {
        Map::ProgramArray(data) => (data, true),
        other => (memory::data(other)?, false),
    };
    let descriptor = data.fd().as_fd().as_raw_fd();
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).ok()?;
    let size = |name| check::field(&text, name).map(|size| size as usize);
    let (key_size, value_size) = (size("key_size")?, size("value_size")?);
    Some(Raw {
        descriptor,
        key_size,
        value_size,
        entries_max: size("max_entries")?,
        holds_programs,
    })
}

impl Raw {
    fn content(&self) -> io::Result<Content> {
        // Some kinds of maps have no batches, on some kernels.
        self.batches().or_else(|_| self.walk())
    }

    fn batches(&self) -> io::Result<Content> {
        let mut content = Content::new();
        let mut keys = vec![0; BATCH * self.key_size];
        let mut values = vec![0; BATCH * self.value_size];
        // The kernel keeps its place here: a bucket's number, or a key.
        let mut place = vec![0; self.key_size.max(size_of::<u32>())];
        for batch in 0..=self.entries_max / BATCH {
            let from = place.clone();
            let mut attributes = BatchAttributes {
                from: if batch > 0 { from.as_ptr().expose_provenance() as u64 } else { 0 },
                reached: place.as_mut_ptr().expose_provenance() as u64,
                keys: keys.as_mut_ptr().expose_provenance() as u64,
                values: values.as_mut_ptr().expose_provenance() as u64,
                count: BATCH as u32,
                map: self.descriptor.cast_unsigned(),
                ..BatchAttributes::default()
            };
            let read = bpf(LOOKUP_BATCH, &mut attributes);
            let is_last = !found(read)?;
            let keys = keys.chunks_exact(self.key_size);
            let entries = keys.zip(values.chunks_exact(self.value_size));
            let entries = entries.take(attributes.count as usize);
            content.extend(entries.map(|(key, value)| (key.to_vec(), value.to_vec())));
            if is_last {
                return Ok(content);
            }
        }
        Err(io::Error::other("there are more batches than entries"))
    }

    /// Reads one entry after the other.
    fn walk(&self) -> io::Result<Content> {
        let mut content = Content::new();
        let mut key: Option<Vec<u8>> = None;
        // A map that others write meanwhile could lead round in circles.
        for _ in 0..self.entries_max {
            let mut next = vec![0; self.key_size];
            if !found(self.call(NEXT_KEY, key.as_deref(), &mut next))? {
                break;
            }
            let mut value = vec![0; self.value_size];
            if found(self.call(LOOKUP, Some(&next), &mut value))? {
                content.insert(next.clone(), value);
            }
            key = Some(next);
        }
        Ok(content)
    }

    fn at<'a>(&self, keys: impl Iterator<Item = &'a Vec<u8>>) -> io::Result<Content> {
        let mut content = Content::new();
        for key in keys {
            let mut value = vec![0; self.value_size];
            if found(self.call(LOOKUP, Some(key), &mut value))? {
                content.insert(key.clone(), value);
            }
        }
        Ok(content)
    }

    fn put_back(&self, known: &Content, now: &Content) -> io::Result<()> {
        for (key, value) in known.iter().filter(|(key, value)| now.get(*key) != Some(*value)) {
            let mut value = value.clone();
            if self.holds_programs {
                // A place is read as a program's number and written as its descriptor.
                let id = value.as_slice().try_into().map_or(0, u32::from_ne_bytes);
                let gone = || io::Error::other(format!("program {id} is gone"));
                let program = *check::programs().get(&id).ok_or_else(gone)?;
                value = program.to_ne_bytes().to_vec();
            }
            self.call(UPDATE, Some(key), &mut value)?;
        }
        for key in now.keys().filter(|key| !known.contains_key(*key)) {
            found(self.call(DELETE, Some(key), &mut []))?;
        }
        Ok(())
    }

    fn call(&self, command: libc::c_int, key: Option<&[u8]>, other: &mut [u8]) -> io::Result<()> {
        let mut attributes = ElementAttributes {
            map: self.descriptor.cast_unsigned(),
            key: key.map_or(0, |key| key.as_ptr().expose_provenance() as u64),
            other: other.as_mut_ptr().expose_provenance() as u64,
            ..ElementAttributes::default()
        };
        bpf(command, &mut attributes)
    }
}

/// Asks the kernel about a map or a link.
pub(super) fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<()> {
    let attributes = std::ptr::from_mut(attributes);
    // SAFETY: the callers' attributes are what their commands take; keys, values and descriptions
    // have their sizes, as many as they say, and live through the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns whether there is such an entry.
fn found(answer: io::Result<()>) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
