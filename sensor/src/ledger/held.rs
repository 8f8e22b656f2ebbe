//! A small table in the ledger's file: what coverage told in batches whose frames are not on disk,
//! because only memory had them or a full spool gave them up after they had been sent.
//!
//! The brain may have such a batch without our knowing. So what it told goes out once more under
//! the same number, which the brain takes once; the next worker needs to know of it for that.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, Release};

use wire::batch::{Lane, Position};

use super::memory::{self, REASONS};
use super::{DELIVERED, Line, SEEN, Signal, Told, known};

/// Batches that tell something and may be on their way at once: a coverage record goes every few
/// seconds, so these are minutes of a brain that does not answer and a disk that fails.
const SLOTS: usize = 64;
/// Slots that are kept for what a full spool gives up.
const SPARE: usize = 16;
/// Words of a slot before its lines: epoch, number, lane with how many lines there are, and whether
/// these are counted as told.
const HEAD: usize = 4;
/// Lines of a slot; what tells more takes several.
const LINES: usize = 28;
/// Words of a slot.
const SLOT: usize = HEAD + LINES;
/// Words of the table.
pub(super) const WORDS: usize = SLOTS * SLOT;
/// Bits of a line's count; the signal and the outcome are above.
const COUNT_BITS: u32 = 48;

/// The table. A slot whose epoch is 0 is free.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    words: &'a [AtomicU64],
}

impl<'a> Held<'a> {
    pub(super) fn new(words: &'a [AtomicU64]) -> Self {
        Self { words }
    }

    /// Adds what a batch tells; returns whether there was room.
    pub fn add(self, (position, lines): &Told) -> bool {
        let free = self.slots().filter(is_free);
        let parts = lines.chunks(LINES);
        if free.clone().count() < parts.len() {
            return false;
        }
        for (slot, part) in free.zip(parts) {
            slot[1].store(position.seq, Relaxed);
            slot[3].store(0, Relaxed);
            slot[2].store((position.lane as u64) << 32 | part.len() as u64, Relaxed);
            for (word, line) in slot[HEAD..].iter().zip(part) {
                word.store(packed(line), Relaxed);
            }
            // Last, so that a worker that is killed in between has added nothing.
            slot[0].store(position.epoch, Release);
        }
        true
    }

    /// Notes that what a batch tells is counted as told.
    pub fn count(self, at: Position) {
        for slot in self.slots().filter(|slot| position(slot) == Some(at)) {
            slot[3].store(1, Relaxed);
        }
    }

    /// Returns what is not counted yet, and notes that it is.
    pub fn take_uncounted(self) -> Vec<Told> {
        let uncounted = |slot: &&[AtomicU64]| slot[3].load(Relaxed) == 0;
        let told = gathered(self.slots().filter(uncounted));
        told.iter().for_each(|(position, _)| self.count(*position));
        told
    }

    /// Frees what these batches told.
    pub fn release(self, which: impl Fn(Position) -> bool) {
        for slot in self.slots().filter(|slot| position(slot).is_some_and(&which)) {
            slot[0].store(0, Relaxed);
        }
    }

    /// Returns whether the slots that are left are kept for what is given up.
    pub fn is_scarce(self) -> bool {
        self.slots().filter(is_free).count() <= SPARE
    }

    /// Returns all that is held.
    pub fn all(self) -> Vec<Told> {
        gathered(self.slots())
    }

    fn slots(self) -> impl Iterator<Item = &'a [AtomicU64]> + Clone {
        self.words.chunks_exact(SLOT)
    }
}

/// Puts slots of the same batch together.
fn gathered<'a>(slots: impl Iterator<Item = &'a [AtomicU64]>) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    for slot in slots {
        let Some(position) = position(slot) else { continue };
        let len = (slot[2].load(Relaxed) & u64::from(u32::MAX)) as usize;
        let words = slot[HEAD..].iter().take(len);
        let lines = words.filter_map(|word| unpacked(word.load(Relaxed)));
        match all.iter_mut().find(|(at, _)| *at == position) {
            Some((_, told)) => told.extend(lines),
            None => all.push((position, lines.collect())),
        }
    }
    all
}

fn is_free(slot: &&[AtomicU64]) -> bool {
    slot[0].load(Relaxed) == 0
}

fn position(slot: &[AtomicU64]) -> Option<Position> {
    let word = |at: usize| slot[at].load(Relaxed);
    let lane = Lane::ALL.into_iter().find(|lane| *lane as u64 == word(2) >> 32)?;
    (word(0) > 0).then(|| Position { epoch: word(0), lane, seq: word(1) })
}

/// Returns a line in one word. What signal or reason it is of is always known: it is of ours.
fn packed(line: &Line) -> u64 {
    let Some((signal, outcome, count)) = known(line) else { return 0 };
    let outcome = match outcome {
        SEEN => 0,
        DELIVERED => 1,
        reason => 2 + memory::place_of(reason),
    };
    let most = (1 << COUNT_BITS) - 1;
    (signal as u64) << 56 | (outcome as u64) << COUNT_BITS | count.min(most)
}

fn unpacked(word: u64) -> Option<Line> {
    let signal = Signal::ALL.get((word >> 56) as usize)?;
    let outcome = match (word >> COUNT_BITS & 0xff) as usize {
        0 => SEEN,
        1 => DELIVERED,
        reason => REASONS.get(reason - 2)?,
    };
    Some((signal.name().to_owned(), outcome.to_owned(), word & ((1 << COUNT_BITS) - 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(seq: u64, lines: usize) -> Told {
        let outcomes = [SEEN, DELIVERED].into_iter().chain(REASONS);
        let pairs = Signal::ALL.iter().flat_map(|s| outcomes.clone().map(|o| (s.name(), o)));
        let line = |(s, o): (&str, &str)| (s.to_owned(), o.to_owned(), seq);
        let position = Position { epoch: 9, lane: Lane::Bulk, seq };
        (position, pairs.map(line).take(lines).collect())
    }

    #[test]
    fn what_is_held_is_read_back_until_it_is_released() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let held = Held::new(&words);
        let all: Vec<Told> = [told(1, 3), told(2, 228), told(3, LINES)].into();
        assert!(all.iter().all(|told| held.add(told)));
        assert_eq!(held.all(), all);
        held.count(all[2].0);
        assert_eq!(held.take_uncounted(), all[..2]);
        assert_eq!(held.take_uncounted(), []);
        held.release(|at| at == all[0].0);
        assert_eq!(held.all(), all[1..]);
        held.release(|at| at.is_up_to(all[1].0));
        assert_eq!(held.all(), all[2..]);
    }

    #[test]
    fn a_full_table_takes_nothing_in_part() {
        let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        let held = Held::new(&words);
        let added = (1..).take_while(|seq| !held.is_scarce() && held.add(&told(*seq, 1))).count();
        assert_eq!(added, SLOTS - SPARE);
        let spare = (100..).take_while(|seq| held.add(&told(*seq, 1))).count();
        assert_eq!(spare, SPARE);
        held.release(|at| at.seq == 1);
        assert!(!held.add(&told(200, LINES + 1)) && held.add(&told(200, LINES)));
    }
}
