//! Two hash tables of the same shape, and the reading and emptying of either in batches.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::{
    maps::{Map, MapData},
    util::nr_cpus,
};
use nix::libc;
use tracing::error;
use zerocopy::{FromBytes, Immutable};

use crate::probe::{Maps, ProbeError};

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`, since 5.6.
const LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
/// Entries asked for at once. A bucket that holds more makes the kernel ask for a larger buffer.
const BATCH: usize = 512;
/// Larger than any bucket of our tables can be.
const BATCH_MAX: usize = 65_536;

/// The half of `bpf_attr` that batch operations use.
#[repr(C)]
#[derive(Default)]
struct BatchAttributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

pub(in crate::drain) struct Pair<K, V> {
    tables: [MapData; 2],
    /// Values that an entry has: one per CPU, or a single one.
    values_each: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
    entry: PhantomData<(K, V)>,
}

impl<K, V> Pair<K, V>
where
    K: FromBytes + Immutable,
    V: FromBytes + Immutable,
{
    pub(in crate::drain) fn take(
        maps: &mut Maps,
        [even, odd]: [&'static str; 2],
    ) -> Result<Self, ProbeError> {
        let (even, values_each) = table(maps, even)?;
        let (odd, _) = table(maps, odd)?;
        let tables = [even, odd];
        Ok(Self { tables, values_each, keys: Vec::new(), values: Vec::new(), entry: PhantomData })
    }

    /// Hands each entry of one table, with all its values, to `each`, and removes it.
    pub(in crate::drain) fn read(&mut self, which: u32, each: &mut dyn FnMut(K, &[V])) {
        let mut room = BATCH;
        let mut position = 0_u32;
        let mut started = false;
        loop {
            match self.batch(which, room, &mut position, started) {
                Ok((count, more)) => {
                    self.hand_on(count, each);
                    started = true;
                    if !more {
                        return;
                    }
                }
                // One bucket holds more than there is room for.
                Err(libc::ENOSPC) if room < BATCH_MAX => room *= 2,
                Err(errno) => {
                    let error = io::Error::from_raw_os_error(errno);
                    error!(%error, "a counting table cannot be read");
                    return;
                }
            }
        }
    }

    /// Reads and removes up to `room` entries; returns how many, and whether there are more.
    fn batch(
        &mut self,
        which: u32,
        room: usize,
        position: &mut u32,
        started: bool,
    ) -> Result<(usize, bool), i32> {
        self.keys.resize(room * size_of::<K>(), 0);
        self.values.resize(room * self.stride() * self.values_each, 0);
        let from = *position;
        let mut attributes = BatchAttributes {
            in_batch: if started { (&raw const from) as u64 } else { 0 },
            out_batch: (&raw mut *position) as u64,
            keys: self.keys.as_mut_ptr() as u64,
            values: self.values.as_mut_ptr() as u64,
            count: room as u32,
            map_fd: self.tables[which as usize].fd().as_fd().as_raw_fd() as u32,
            ..BatchAttributes::default()
        };
        // SAFETY: the buffers have room for `count` keys, and values of every CPU at the kernel's
        // stride; they and both positions live through the call.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                LOOKUP_AND_DELETE_BATCH,
                &raw mut attributes,
                size_of::<BatchAttributes>(),
            )
        };
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        match answer {
            0 => Ok((attributes.count as usize, true)),
            // The end of the table; the last entries are there.
            _ if errno == libc::ENOENT => Ok((attributes.count as usize, false)),
            _ => Err(errno),
        }
    }

    /// The kernel rounds each CPU's value up to eight bytes.
    const fn stride(&self) -> usize {
        size_of::<V>().next_multiple_of(8)
    }

    fn hand_on(&self, count: usize, each: &mut dyn FnMut(K, &[V])) {
        let keys = self.keys.chunks_exact(size_of::<K>());
        let values = self.values.chunks_exact(self.stride() * self.values_each);
        let mut per_cpu = Vec::with_capacity(self.values_each);
        for (key, values) in keys.zip(values).take(count) {
            per_cpu.clear();
            let read = |value: &[u8]| V::read_from_prefix(value).ok().map(|(value, _)| value);
            per_cpu.extend(values.chunks_exact(self.stride()).filter_map(read));
            if let Ok(key) = K::read_from_bytes(key) {
                each(key, &per_cpu);
            }
        }
    }
}

/// Takes a table out of the object; returns it, and how many values each of its entries has.
fn table(maps: &mut Maps, name: &'static str) -> Result<(MapData, usize), ProbeError> {
    let unusable = |why| ProbeError::MapUnusable { name, why };
    match maps.take_map(name) {
        Some(Map::PerCpuHashMap(data)) => {
            let cpus = nr_cpus().map_err(|(_, error)| {
                unusable(format!("the number of CPUs is unknown: {error}"))
            })?;
            Ok((data, cpus))
        }
        Some(Map::HashMap(data) | Map::LruHashMap(data)) => Ok((data, 1)),
        Some(_) => Err(unusable("it is no table that can be read in batches".to_owned())),
        None => Err(ProbeError::Map(name)),
    }
}
