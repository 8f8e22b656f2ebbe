//! Two hash tables, one written by the programs while the other is read and emptied.

use std::{
    io,
    marker::PhantomData,
    os::fd::{AsFd as _, AsRawFd as _},
    sync::{Arc, Mutex, PoisonError},
};

use aya::{
    maps::{Array, Map, MapData},
    util::nr_cpus,
};
use nix::libc;
use tracing::error;
use zerocopy::{FromBytes, Immutable};

use crate::probe::{Maps, ProbeError};

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`, since 5.6.
const LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
/// `MEMBARRIER_CMD_QUERY`: tells which barriers the kernel offers.
const MEMBARRIER_QUERY: libc::c_int = 0;
/// `MEMBARRIER_CMD_GLOBAL`: returns after a grace period of RCU, under which the programs run.
const MEMBARRIER_GLOBAL: libc::c_int = 1;
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

/// The array that says which table is written, shared by all pairs.
pub(super) type Generation = Arc<Mutex<Array<MapData, u32>>>;

pub(super) struct Twin<K, V> {
    tables: [MapData; 2],
    generation: Generation,
    /// Which entry of `generation` is this pair's.
    slot: u32,
    /// The generation that the programs write now.
    written: u32,
    /// Whether the kernel offers to wait for running programs.
    barrier: bool,
    /// Values that an entry has: one per CPU, or one for all.
    cpus: usize,
    keys: Vec<u8>,
    values: Vec<u8>,
    entry: PhantomData<(K, V)>,
}

impl<K, V> Twin<K, V>
where
    K: FromBytes + Immutable,
    V: FromBytes + Immutable,
{
    pub(super) fn take(
        maps: &mut Maps,
        [even, odd]: [&'static str; 2],
        generation: Generation,
        slot: u32,
    ) -> Result<Self, ProbeError> {
        // A process that read before this one may have left it at either; what that one had not
        // read of the other table yet is read with what the programs add to it.
        let written = generation.lock().unwrap_or_else(PoisonError::into_inner).get(&slot, 0);
        let written = written.map_err(|error| ProbeError::MapUnusable {
            name: "GENERATION",
            why: error.to_string(),
        })?;
        let (even, cpus) = table(maps, even)?;
        let (odd, _) = table(maps, odd)?;
        Ok(Self {
            tables: [even, odd],
            generation,
            slot,
            written,
            barrier: offers_grace_period(),
            cpus,
            keys: Vec::new(),
            values: Vec::new(),
            entry: PhantomData,
        })
    }

    /// Hands each entry, with its value on every CPU, to `each`, and removes it.
    pub(super) fn empty(&mut self, each: &mut dyn FnMut(K, &[V])) {
        let full = self.written;
        if !self.barrier {
            // Kernels with isolated CPUs have no barrier. The other table has been left alone since
            // the last call, so no program can still be busy with it; what it holds comes one call
            // later than it could.
            self.read(full ^ 1, each);
            let _logged = self.flip();
        } else if self.flip().is_ok() && grace_period() {
            self.read(full, each);
        }
    }

    fn flip(&mut self) -> Result<(), ()> {
        let next = self.written ^ 1;
        let mut generation = self.generation.lock().unwrap_or_else(PoisonError::into_inner);
        generation.set(self.slot, next, 0).map_err(|error| {
            error!(%error, "the counting tables cannot be switched");
        })?;
        self.written = next;
        Ok(())
    }

    fn read(&mut self, which: u32, each: &mut dyn FnMut(K, &[V])) {
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
        self.values.resize(room * self.stride() * self.cpus, 0);
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
        let values = self.values.chunks_exact(self.stride() * self.cpus);
        let mut per_cpu = Vec::with_capacity(self.cpus);
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

/// Takes a table, and tells how many values its entries have.
fn table(maps: &mut Maps, name: &'static str) -> Result<(MapData, usize), ProbeError> {
    let unusable = |why: String| ProbeError::MapUnusable { name, why };
    match maps.take_map(name) {
        Some(Map::PerCpuHashMap(data)) => match nr_cpus() {
            Ok(cpus) => Ok((data, cpus)),
            Err((_, error)) => Err(unusable(format!("the number of CPUs is unknown: {error}"))),
        },
        Some(Map::HashMap(data)) => Ok((data, 1)),
        Some(_) => Err(unusable("it is no hash".to_owned())),
        None => Err(ProbeError::Map(name)),
    }
}

fn offers_grace_period() -> bool {
    // SAFETY: the call takes numbers only.
    let offered = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_QUERY, 0, 0) };
    offered > 0 && offered & libc::c_long::from(MEMBARRIER_GLOBAL) != 0
}

/// Waits until every program that ran when this was called has ended. When it fails, which it does
/// not where it is offered, the full table waits for the next but one call.
fn grace_period() -> bool {
    // SAFETY: the call takes numbers only.
    unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_GLOBAL, 0, 0) == 0 }
}
