//! The ledger's totals in a file that outlives the process, so that the next worker goes on with
//! them: the kernel's own counters go on as well.
//!
//! The file is mapped, so keeping a total is one store, and a process that is killed loses none. A
//! host that goes down loses the kernel's counters too; the file is then recognised as another
//! load's, and begins anew.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wire::batch::{Lane, Position};

use super::held::{self, Held};
use super::{DELIVERED, Events, Line, SEEN, Signal, known};

/// What the file holds; its number changes with the layout.
const LAYOUT: u64 = 0x736b_6d6d_0000_0000 | (Row::COUNT << 16) as u64 | Signal::COUNT as u64;
/// Where the positions are that the brain has, one for each lane, after layout and load.
const ACKED: usize = 2;
/// Where the positions are that were sent.
const SENT: usize = ACKED + 2 * Lane::ALL.len();
/// Words before the rows.
const HEADER: usize = SENT + 2 * Lane::ALL.len();
/// Where what is held begins.
const HELD: usize = HEADER + Row::COUNT * Signal::COUNT;
/// Words of the file.
const WORDS: usize = HELD + held::WORDS;
/// Bytes of the file.
const BYTES: usize = WORDS * size_of::<u64>();

/// Why events are lost, as far as their totals are kept; the others share the last place.
pub(super) const REASONS: [&str; 10] = [
    "ring_full",
    "table_full",
    "throttled",
    "scratch_missing",
    "undecodable",
    "spool_full",
    "spool_damaged",
    super::WORKER_ENDED,
    super::WORKER_ENDED_READING,
    OTHER,
];

/// All other reasons.
pub(super) const OTHER: &str = "other";

/// One total per signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    Carried,
    Read,
    Delivered,
    ReportedSeen,
    ReportedDelivered,
    /// Of the reason with this place in [`REASONS`].
    Lost(usize),
    ReportedLost(usize),
}

impl Row {
    const COUNT: usize = 5 + 2 * REASONS.len();

    fn place(self) -> usize {
        match self {
            Self::Carried => 0,
            Self::Read => 1,
            Self::Delivered => 2,
            Self::ReportedSeen => 3,
            Self::ReportedDelivered => 4,
            Self::Lost(reason) => 5 + reason,
            Self::ReportedLost(reason) => 5 + REASONS.len() + reason,
        }
    }
}

/// Returns a reason's place.
pub(super) fn place_of(reason: &str) -> usize {
    REASONS.iter().position(|known| *known == reason).unwrap_or(REASONS.len() - 1)
}

/// The mapped file.
#[derive(Debug)]
pub struct Memory {
    words: &'static [AtomicU64],
}

impl Memory {
    /// Opens the file, and says whether it holds totals of this load of the programs. Another
    /// load's are thrown away.
    pub fn open(path: &Path, load: u64) -> io::Result<(Self, bool)> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        // A store into a hole of a full disk would kill the process.
        // SAFETY: the call takes a descriptor that lives through it, and numbers.
        let errno = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, BYTES as libc::off_t) };
        if errno != 0 {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let memory = Self { words: map(&file)? };
        let ours = memory.words[0].load(Relaxed) == LAYOUT && memory.words[1].load(Relaxed) == load;
        if !ours {
            memory.words.iter().for_each(|word| word.store(0, Relaxed));
            memory.words[1].store(load, Relaxed);
            memory.words[0].store(LAYOUT, Relaxed);
        }
        Ok((memory, ours))
    }

    /// Keeps the last position of a lane that the brain has.
    pub fn acknowledged(&self, position: Position) {
        self.keep_position(ACKED, position);
    }

    /// Keeps the last position of a lane that was sent.
    pub fn sent(&self, position: Position) {
        self.keep_position(SENT, position);
    }

    /// Returns the last positions that the brain has, of lanes that have one.
    pub fn positions(&self) -> Vec<Position> {
        self.positions_at(ACKED)
    }

    /// Returns the last positions that were sent, of lanes that have one.
    pub fn sent_positions(&self) -> Vec<Position> {
        self.positions_at(SENT)
    }

    /// Returns what coverage told in batches that have no frame on disk.
    pub fn held(&self) -> Held<'_> {
        Held::new(&self.words[HELD..])
    }

    /// Counts as told what was being told when the process was killed: what is held goes out.
    pub fn count_held(&self) {
        for (_, lines) in self.held().take_uncounted() {
            self.change_told(&lines, u64::saturating_add);
        }
    }

    pub(super) fn change_told(&self, lines: &[Line], change: fn(u64, u64) -> u64) {
        for (signal, outcome, count) in lines.iter().filter_map(known) {
            let row = match outcome {
                SEEN => Row::ReportedSeen,
                DELIVERED => Row::ReportedDelivered,
                reason => Row::ReportedLost(place_of(reason)),
            };
            self.keep(row, signal, change(self.of(row, signal), count));
        }
    }

    fn keep_position(&self, of: usize, position: Position) {
        let at = of + 2 * position.lane as usize;
        self.words[at].store(position.epoch, Relaxed);
        self.words[at + 1].store(position.seq, Relaxed);
    }

    fn positions_at(&self, of: usize) -> Vec<Position> {
        let position = |lane: Lane| {
            let at = of + 2 * lane as usize;
            let word = |at: usize| self.words[at].load(Relaxed);
            (word(at) > 0).then(|| Position { epoch: word(at), lane, seq: word(at + 1) })
        };
        Lane::ALL.into_iter().filter_map(position).collect()
    }

    pub(super) fn keep(&self, row: Row, signal: usize, total: u64) {
        self.words[HEADER + row.place() * Signal::COUNT + signal].store(total, Relaxed);
    }

    pub(super) fn of(&self, row: Row, signal: usize) -> u64 {
        self.words[HEADER + row.place() * Signal::COUNT + signal].load(Relaxed)
    }

    pub(super) fn events(&self, row: Row) -> Events {
        Events::new(std::array::from_fn(|signal| self.of(row, signal)))
    }

    pub(super) fn keep_events(&self, row: Row, events: &Events) {
        for (signal, total) in events.numbers().into_iter().enumerate() {
            self.keep(row, signal, total);
        }
    }
}

/// Maps the file for as long as the process lives.
fn map(file: &File) -> io::Result<&'static [AtomicU64]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping, whose place the kernel chooses, of a file that has been made so long.
    let address = unsafe {
        let null = std::ptr::null_mut();
        libc::mmap(null, BYTES, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping is never removed, begins at a page, and any bytes are valid numbers.
    Ok(unsafe { std::slice::from_raw_parts(address.cast::<AtomicU64>(), WORDS) })
}
