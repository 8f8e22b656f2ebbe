//! Reads what the kernel programs wrote: records from the rings, counters from the maps.

use std::{
    fmt,
    os::fd::BorrowedFd,
    sync::{Arc, Mutex},
};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use sensor_abi::{
    act::{ActKey, TOLD},
    activity::{ActivityCounts, ActivityKey},
    fault::Fault,
    flow::{FlowKey, FlowStats},
    loss::Loss,
    record::{self as abi, payload::Repeats},
    seen::Signal,
    sketch::{SweepKey, SweepStats},
    syscall::{SyscallKey, SyscallStats},
    usage::{USES_MAX, Use, UseKey},
};
use tracing::error;

use self::{
    packets::{Counted, Packets},
    rings::Rings,
    twin::Twin,
};
use crate::probe::{Maps, ProbeError};

mod coarse;
mod packets;
pub mod record;
mod rings;
mod tally;
mod twin;

pub(crate) use self::rings::ProgramLog;

/// An execution, with its paths put in order.
#[derive(Clone, Debug)]
pub struct ExecView<'a> {
    /// The fixed part.
    pub fixed: abi::Exec,
    /// The executable's path from the root; without a leading slash when it was cut.
    pub path: Vec<u8>,
    /// Arguments, each ended by NUL.
    pub args: &'a [u8],
    /// The working directory, as the path.
    pub cwd: Vec<u8>,
    /// Name of the script as the kernel was given it, empty without one.
    pub script: &'a [u8],
    /// Name of its interpreter, likewise.
    pub interpreter: &'a [u8],
    /// Environment variables that may be among those asked for, each ended by NUL.
    pub env: &'a [u8],
}

/// A watched file that was touched, with its paths.
#[derive(Clone, Copy, Debug)]
pub struct FileView<'a> {
    /// The fixed part.
    pub fixed: &'a abi::file::File,
    /// The path, from the root of the process's mount namespace.
    pub path: &'a [u8],
    /// The second path; empty when there is none.
    pub target: &'a [u8],
}

/// One record from a ring.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// A program was executed.
    Exec(Box<ExecView<'a>>),
    /// A process was created.
    Fork(&'a abi::Fork),
    /// A process ended.
    Exit(&'a abi::Exit),
    /// A TCP socket changed its state.
    Socket(&'a abi::Socket),
    /// A kernel module was loaded.
    Module(&'a abi::Module),
    /// Memory was touched.
    Memory(&'a abi::memory::Memory),
    /// A privilege was used.
    Privilege(&'a abi::privilege::Privilege),
    /// Credentials changed.
    Credentials(&'a abi::privilege::Credentials),
    /// Something was mounted or unmounted.
    Mount(&'a abi::privilege::Mount),
    /// A watched file was touched.
    File(FileView<'a>),
    /// A packet carried a message; its bytes, as far as they were copied.
    Payload(&'a abi::payload::Payload, &'a [u8]),
}

/// What one emptying of the rings gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records handed on.
    pub records: u64,
    /// Records that were not understood and so were dropped.
    pub undecodable: u64,
    /// Diagnostics of the programs that went to the log; 0 unless they were asked for.
    pub diagnostics: u64,
}

/// The maps that the sensor reads.
pub struct Drain {
    rings: Rings,
    packets: Packets,
    sweeps: Vec<(SweepKey, SweepStats)>,
    syscalls: Twin<SyscallKey, SyscallStats>,
    window: Array<MapData, u64>,
    uses: Twin<UseKey, Use>,
    /// Entries made in the tables of uses since load, and how many there were at the last reading.
    uses_made: Array<MapData, u64>,
    uses_read: u64,
    acts: Twin<ActKey, u64>,
    activity: Twin<ActivityKey, ActivityCounts>,
    dns: Twin<u64, Repeats>,
    faults: PerCpuArray<MapData, [u64; Fault::COUNT]>,
    seen: PerCpuArray<MapData, [u64; Signal::COUNT]>,
    lost: PerCpuArray<MapData, [u64; Loss::SLOTS]>,
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain").finish_non_exhaustive()
    }
}

impl Drain {
    /// Takes the maps that are read; `log` is read along with them, where there is one.
    pub(crate) fn take(maps: &mut Maps, log: Option<ProgramLog>) -> Result<Self, ProbeError> {
        let generation = Arc::new(Mutex::new(typed(maps, "GENERATION")?));
        Ok(Self {
            packets: Packets::take(maps, Arc::clone(&generation), 0)?,
            sweeps: Vec::new(),
            uses_made: typed(maps, "USES_MADE")?,
            uses_read: 0,
            uses: Twin::take(maps, ["USES_EVEN", "USES_ODD"], Arc::clone(&generation), 2)?,
            syscalls: Twin::take(
                maps,
                ["SYSCALLS_EVEN", "SYSCALLS_ODD"],
                Arc::clone(&generation),
                1,
            )?,
            acts: Twin::take(maps, ["ACTS_EVEN", "ACTS_ODD"], Arc::clone(&generation), 3)?,
            activity: Twin::take(
                maps,
                ["ACTIVITY_EVEN", "ACTIVITY_ODD"],
                Arc::clone(&generation),
                4,
            )?,
            window: typed(maps, "WINDOW")?,
            dns: Twin::take(maps, ["DNS_EVEN", "DNS_ODD"], generation, 5)?,
            faults: typed(maps, "FAULTS")?,
            seen: typed(maps, "SEEN")?,
            lost: typed(maps, "LOST")?,
            rings: Rings::take(maps, log)?,
        })
    }

    /// Empties the rings without waiting, and hands each record to `on`.
    pub fn records(&mut self, on: &mut dyn FnMut(Record<'_>)) -> Drained {
        self.rings.empty(on)
    }

    /// Returns what was counted per flow since the last call.
    ///
    /// The programs write one of two tables. A call lets them write the other one, waits until no
    /// program that may still write the first is running (an RCU grace period, a few to some tens
    /// of milliseconds asleep), and only then reads and empties the first. So no packet falls
    /// between read and removal.
    pub fn flows(&mut self) -> Vec<(FlowKey, FlowStats)> {
        let Counted { flows, sweeps } = self.packets.counted();
        self.sweeps.extend(sweeps);
        flows
    }

    /// Returns the probes that were counted with the flows of the last call of [`Drain::flows`].
    pub fn sweeps(&mut self) -> Vec<(SweepKey, SweepStats)> {
        std::mem::take(&mut self.sweeps)
    }

    /// Returns how many sketches of probes were evicted since load, because more sources probed
    /// than the table has room for.
    pub fn evicted_sweeps(&self) -> u64 {
        self.packets.evicted().1
    }

    /// Returns the system calls counted since the last call, in the same way.
    pub fn syscalls(&mut self) -> Vec<(SyscallKey, SyscallStats)> {
        let mut counts = Vec::new();
        self.syscalls.empty(&mut |key, values| counts.extend(values.first().map(|v| (key, *v))));
        counts
    }

    /// Says when the next window of counting begins: only calls that begin later are timed.
    pub fn open_window(&mut self, now_ns: u64) {
        if let Err(error) = self.window.set(0, now_ns, 0) {
            error!(%error, "the window of counting cannot be set");
        }
    }

    /// Returns what went through sockets since the last call, in the same way.
    pub fn uses(&mut self) -> Vec<(UseKey, Use)> {
        self.uses_read = self.uses_made();
        let mut uses = Vec::new();
        self.uses.empty(&mut |key, values| uses.extend(values.first().map(|used| (key, *used))));
        uses
    }

    /// Returns how full the table of uses is, from 0 to 1: beyond a half it should be read before
    /// its time.
    pub fn uses_fill(&self) -> f64 {
        self.uses_made().saturating_sub(self.uses_read) as f64 / USES_MAX as f64
    }

    /// The rings, whose descriptors become readable when a record comes after all others were read.
    pub fn rings(&self) -> [BorrowedFd<'_>; 4] {
        self.rings.descriptors()
    }

    /// A table that cannot be read does not press.
    fn uses_made(&self) -> u64 {
        self.uses_made.get(&0, 0).unwrap_or(self.uses_read)
    }

    /// Returns the acts counted since the last call, in the same way, without those told at once.
    pub fn acts(&mut self) -> Vec<(ActKey, u64)> {
        let mut counts = Vec::new();
        self.acts.empty(&mut |key, values| {
            counts.push((key, values.iter().map(|value| value % TOLD).sum()));
        });
        counts
    }

    /// Returns what processes did often since the last call, in the same way.
    pub fn activity(&mut self) -> Vec<(ActivityKey, ActivityCounts)> {
        let mut all = Vec::new();
        self.activity.empty(&mut |key, values| {
            let mut sums = ActivityCounts::default();
            for counts in values {
                sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
            all.push((key, sums));
        });
        all
    }

    /// Returns how often DNS messages came again since the last call, by their fingerprints.
    pub fn repeats(&mut self) -> Vec<(u64, Repeats)> {
        let mut repeats = Vec::new();
        self.dns.empty(&mut |fingerprint, values| {
            let count = values.iter().map(|value| value.count).sum();
            let last_ns = values.iter().map(|value| value.last_ns).max().unwrap_or(0);
            // A message that came once is in the table too.
            if count > 0 {
                repeats.push((fingerprint, Repeats { count, last_ns }));
            }
        });
        repeats
    }

    /// Returns the totals of each fault since load, indexed by [`Fault`].
    pub fn faults(&mut self) -> [u64; Fault::COUNT] {
        totals(&self.faults)
    }

    /// Returns the totals of events lost since load, indexed by [`Loss::slot`].
    pub fn lost(&mut self) -> [u64; Loss::SLOTS] {
        let mut lost = totals(&self.lost);
        // The kernel evicts by itself, so what that loses shows only when the sketches are read.
        lost[Loss::TableFull.slot(Signal::Sweep)] += self.packets.evicted().0;
        lost
    }

    /// Returns the totals of events seen since load, indexed by [`Signal`]. Packets have no counter
    /// of their own, which every packet would pay for: the interface's is the one to compare with.
    pub fn seen(&mut self) -> [u64; Signal::COUNT] {
        let mut seen = totals(&self.seen);
        seen[Signal::Flow as usize] = self.packets.packets();
        seen
    }
}

/// Adds up the only entry of a per-CPU array of counters.
fn totals<const N: usize>(counters: &PerCpuArray<MapData, [u64; N]>) -> [u64; N]
where
    [u64; N]: aya::Pod,
{
    let mut sums = [0; N];
    match counters.get(&0, 0) {
        Ok(values) => {
            for counts in values.iter() {
                for (sum, count) in sums.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
        }
        Err(error) => error!(%error, "counters cannot be read"),
    }
    sums
}

/// Takes a map out as the type that it must have.
fn typed<M>(maps: &mut Maps, name: &'static str) -> Result<M, ProbeError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = maps.take_map(name).ok_or(ProbeError::Map(name))?;
    M::try_from(map).map_err(|error| ProbeError::MapUnusable { name, why: error.to_string() })
}
