//! What became of every event that the kernel programs saw, per signal:
//! `seen + carried = delivered + lost(reason) + in flight`. Pure.

use std::collections::BTreeMap;

use sensor_abi::loss::Loss;
use wire::batch::Position;

mod held;
pub mod memory;

use self::memory::{Memory, OTHER, REASONS, Row};

/// The signals of the ledger are the kernel's; modules that know `wire` take them from here.
pub type Signal = sensor_abi::seen::Signal;

/// Totals of events that the kernel programs lost, indexed by [`Loss::slot`].
pub type KernelLosses = [u64; Loss::SLOTS];

/// Ring records that the sensor did not understand, and so cannot say which signal they are of.
const UNDECODABLE: &str = "undecodable";
/// Events that a worker had read but not spooled when it was killed.
const WORKER_ENDED: &str = "worker_ended";
/// Events that a worker was just taking out of the kernel when it was killed.
const WORKER_ENDED_READING: &str = "worker_ended_reading";

/// A line of a report: signal, outcome, events.
pub type Line = (String, String, u64);

/// A batch's place, and what its coverage said of the ledger.
pub type Told = (Position, Vec<Line>);

/// Outcome of every event.
const SEEN: &str = "seen";
/// Outcome of events that the brain has.
const DELIVERED: &str = "delivered";

/// Events per signal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events([u64; Signal::COUNT]);

impl Events {
    /// Number of signals.
    pub const LEN: usize = Signal::COUNT;

    /// Builds it from numbers in the order of [`Signal`].
    pub fn new(events: [u64; Signal::COUNT]) -> Self {
        Self(events)
    }

    /// Returns the numbers in the order of [`Signal`].
    pub fn numbers(&self) -> [u64; Signal::COUNT] {
        self.0
    }

    /// Returns the events of a signal.
    pub fn of(&self, signal: Signal) -> u64 {
        self.0[signal as usize]
    }

    /// Counts events of a signal.
    pub fn count(&mut self, signal: Signal, events: u64) {
        let slot = &mut self.0[signal as usize];
        *slot = slot.saturating_add(events);
    }

    /// Adds all of `more`.
    pub fn add(&mut self, more: &Self) {
        for signal in Signal::ALL {
            self.count(signal, more.of(signal));
        }
    }

    /// Takes `less` away.
    pub fn subtract(&mut self, less: &Self) {
        self.0.iter_mut().zip(less.0).for_each(|(sum, less)| *sum = sum.saturating_sub(less));
    }

    /// Returns the sum over all signals.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, &events| sum.saturating_add(events))
    }
}

/// The sensor's ledger since it started.
#[derive(Debug, Default)]
pub struct Ledger {
    seen: Events,
    carried: Events,
    read: Events,
    delivered: Events,
    lost: BTreeMap<(usize, &'static str), u64>,
    undecodable: u64,
    /// What the last report said, by signal and outcome.
    reported: BTreeMap<(usize, &'static str), u64>,
    /// What was reported and got lost on the way: it is reported again.
    again: BTreeMap<(usize, &'static str), u64>,
    /// Where the totals are kept for the next worker.
    memory: Option<Memory>,
}

impl Ledger {
    /// Starts with nothing, and keeps totals for the next worker.
    pub fn kept(memory: Memory) -> Self {
        Self { memory: Some(memory), ..Self::default() }
    }

    /// Goes on where another worker was killed. `waiting` is what is in the spool: what that worker
    /// had read and neither delivered, lost nor spooled went with it.
    pub fn resume(memory: Memory, waiting: &Events) -> Self {
        let mut ledger = Self {
            carried: memory.events(Row::Carried),
            read: memory.events(Row::Read),
            delivered: memory.events(Row::Delivered),
            ..Self::default()
        };
        for signal in Signal::ALL {
            let at = signal as usize;
            ledger.reported.insert((at, SEEN), memory.of(Row::ReportedSeen, at));
            ledger.reported.insert((at, DELIVERED), memory.of(Row::ReportedDelivered, at));
            for (place, reason) in REASONS.into_iter().enumerate() {
                ledger.lost.insert((at, reason), memory.of(Row::Lost(place), at));
                ledger.reported.insert((at, reason), memory.of(Row::ReportedLost(place), at));
            }
        }
        ledger.memory = Some(memory);
        for signal in Signal::ALL {
            let had = ledger.read.of(signal) + ledger.carried.of(signal);
            let gone = ledger.delivered.of(signal) + ledger.lost_after_reading(signal);
            let ended = had.saturating_sub(gone + waiting.of(signal));
            ledger.lose_some(signal, WORKER_ENDED, ended);
        }
        ledger
    }

    /// Closes the books on what a killed worker was taking out of the kernel: everything seen until
    /// the last tick has been read by now, or lost, or was in its hands. System calls are read at
    /// the end of a window, so they are not among it.
    pub fn settle(&mut self) {
        for signal in Signal::ALL.into_iter().filter(|signal| *signal != Signal::Syscall) {
            let missing = self.missing(signal);
            self.lose_some(signal, WORKER_ENDED_READING, missing);
        }
    }

    /// Takes what an earlier start of the sensor left in the spool. That start saw it, this one
    /// will deliver or lose it.
    pub fn carry(&mut self, events: &Events) {
        self.carried.add(events);
        self.memory.iter().for_each(|memory| memory.keep_events(Row::Carried, &self.carried));
    }

    /// Counts events that were read from the kernel.
    pub fn read(&mut self, signal: Signal, events: u64) {
        self.read.count(signal, events);
        if let Some(memory) = &self.memory {
            memory.keep(Row::Read, signal as usize, self.read.of(signal));
        }
    }

    /// Counts events that need no delivery: a fork is used up by the process table.
    pub fn used(&mut self, signal: Signal, events: u64) {
        self.delivered.count(signal, events);
        if let Some(memory) = &self.memory {
            memory.keep(Row::Delivered, signal as usize, self.delivered.of(signal));
        }
    }

    /// Counts ring records that were not understood.
    pub fn undecodable(&mut self, records: u64) {
        self.undecodable += records;
    }

    /// Counts events whose batches the brain has on its disk, up to a position.
    pub fn deliver(&mut self, events: &Events, position: Position) {
        self.delivered.add(events);
        if let Some(memory) = &self.memory {
            // A brain that has nothing of this start says 0; what it has of an earlier start, whose
            // batches are still on their way, is not forgotten for that.
            if position.seq > 0 {
                memory.acknowledged(position);
            }
            memory.keep_events(Row::Delivered, &self.delivered);
        }
    }

    /// Counts events that the sensor gave up.
    pub fn lose(&mut self, reason: &'static str, events: &Events) {
        for signal in Signal::ALL {
            self.lose_some(signal, reason, events.of(signal));
        }
    }

    /// Takes the kernel's totals: what the programs saw, and what of it they lost. `seen` must be
    /// read before the rings and maps are emptied, so that all of it was read, lost, or is about to
    /// be.
    pub fn kernel(&mut self, seen: Events, losses: &KernelLosses) {
        self.seen = seen;
        for loss in Loss::ALL {
            for signal in Signal::ALL {
                let total = losses[loss.slot(signal)];
                if total > 0 {
                    self.lost.insert((signal as usize, loss.name()), total);
                    if let Some(memory) = &self.memory {
                        let row = Row::Lost(memory::place_of(loss.name()));
                        memory.keep(row, signal as usize, total);
                    }
                }
            }
        }
        self.attribute_undecodable();
    }

    /// Returns what is neither delivered nor lost.
    pub fn in_flight(&self, signal: Signal) -> i64 {
        let had = self.seen_of(signal) + self.carried.of(signal);
        had as i64 - self.delivered.of(signal) as i64 - self.lost_of(signal) as i64
    }

    /// Returns all lines that have changed since the last call, as signal, outcome and difference.
    /// It tells nothing while so much is held that what it tells might find no room there; the
    /// first report after that tells all.
    pub fn report(&mut self) -> Vec<(&'static str, &'static str, u64)> {
        if self.memory.as_ref().is_some_and(|memory| memory.held().is_scarce()) {
            return Vec::new();
        }
        let mut totals = self.lost.clone();
        for signal in Signal::ALL {
            totals.insert((signal as usize, SEEN), self.seen_of(signal));
            totals.insert((signal as usize, DELIVERED), self.delivered.of(signal));
        }
        let mut lines = Vec::new();
        for (line, total) in totals {
            // What the kernel saw is not known at once after a start: the total may be behind.
            let before = self.reported.entry(line).or_default();
            *self.again.entry(line).or_default() += total.saturating_sub(*before);
            *before = total.max(*before);
        }
        for ((signal, outcome), count) in std::mem::take(&mut self.again) {
            if count > 0 {
                lines.push((Signal::ALL[signal].name(), outcome, count));
            }
        }
        lines
    }

    /// Takes lines of earlier reports into the next one: the brain did not get them.
    pub fn tell_again(&mut self, lines: &[Line]) {
        for (signal, outcome, count) in lines.iter().filter_map(known) {
            *self.again.entry((signal, outcome)).or_default() += count;
        }
    }

    /// Remembers for the next worker what is about to be told where. Returns whether there was
    /// room.
    pub fn begin_telling(&self, told: &Told) -> bool {
        self.memory.as_ref().is_none_or(|memory| memory.held().add(told))
    }

    /// It has been told: lines of a report need not be told again by the next worker.
    pub fn end_telling(&self, (position, lines): &Told) {
        if let Some(memory) = &self.memory {
            memory.change_told(lines, u64::saturating_add);
            memory.held().count(*position);
        }
    }

    /// Remembers for the next worker what was told in a batch whose frame is gone. Returns whether
    /// there was room.
    pub fn hold(&self, told: &Told) -> bool {
        let is_held = self.begin_telling(told);
        self.memory.iter().for_each(|memory| memory.held().count(told.0));
        is_held
    }

    /// Forgets all that is no longer held.
    pub fn release(&self, is_held: impl Fn(Position) -> bool) {
        self.memory.iter().for_each(|memory| memory.held().release(|at| !is_held(at)));
    }

    /// Remembers for the next worker how far a lane was sent.
    pub fn keep_sent(&self, position: Position) {
        self.memory.iter().for_each(|memory| memory.sent(position));
    }

    /// Forgets that lines were told: they were given up.
    pub fn forget_told(&self, lines: &[Line]) {
        self.memory.iter().for_each(|memory| memory.change_told(lines, u64::saturating_sub));
    }

    /// A record that was not understood does not say whose it was. The signal that misses most
    /// events (seen, but neither read nor lost) is the one; what no signal misses yet waits.
    fn attribute_undecodable(&mut self) {
        while self.undecodable > 0 {
            let worst = Signal::ALL.iter().map(|&s| (self.missing(s), s)).max_by_key(|m| m.0);
            let Some((missing @ 1.., signal)) = worst else { break };
            let lost = missing.min(self.undecodable);
            self.lose_some(signal, UNDECODABLE, lost);
            self.undecodable -= lost;
        }
    }

    /// The kernel's total is from the last tick; what was read since was seen as well.
    fn seen_of(&self, signal: Signal) -> u64 {
        self.seen.of(signal).max(self.read.of(signal))
    }

    /// Returns the events that were seen, but neither read nor lost before that.
    fn missing(&self, signal: Signal) -> u64 {
        let lost = self.lost_of(signal) - self.lost_after_reading(signal);
        self.seen.of(signal).saturating_sub(self.read.of(signal) + lost)
    }

    /// Returns the events that were read and then given up.
    fn lost_after_reading(&self, signal: Signal) -> u64 {
        let before = |name: &str| {
            Loss::ALL.iter().any(|loss| loss.name() == name)
                || [UNDECODABLE, WORKER_ENDED_READING].contains(&name)
        };
        let of_signal = self.lost.iter().filter(|((s, _), _)| *s == signal as usize);
        of_signal.filter(|((_, name), _)| !before(name)).map(|(_, events)| events).sum()
    }

    fn lose_some(&mut self, signal: Signal, reason: &'static str, events: u64) {
        if events == 0 {
            return;
        }
        let total = self.lost.entry((signal as usize, reason)).or_default();
        *total += events;
        if let Some(memory) = &self.memory {
            memory.keep(Row::Lost(memory::place_of(reason)), signal as usize, *total);
        }
    }

    fn lost_of(&self, signal: Signal) -> u64 {
        let of_signal = self.lost.iter().filter(|((s, _), _)| *s == signal as usize);
        of_signal.map(|(_, events)| events).sum()
    }
}

/// Returns a line with the signal's number, and the outcome as the ledger names it.
fn known((signal, outcome, count): &Line) -> Option<(usize, &'static str, u64)> {
    let signal = Signal::ALL.iter().position(|known| known.name() == signal)?;
    let mut outcomes = [SEEN, DELIVERED].into_iter().chain(REASONS);
    Some((signal, outcomes.find(|known| known == outcome).unwrap_or(OTHER), *count))
}

#[cfg(test)]
mod tests {
    use wire::batch::Lane;

    use super::*;

    const POSITION: Position = Position { epoch: 1, lane: Lane::Bulk, seq: 1 };

    fn events(pairs: &[(Signal, u64)]) -> Events {
        let mut events = Events::default();
        pairs.iter().for_each(|&(signal, n)| events.count(signal, n));
        events
    }

    fn full_ring(lost: &[(Signal, u64)]) -> KernelLosses {
        let mut losses: KernelLosses = [0; Loss::SLOTS];
        lost.iter().for_each(|&(signal, n)| losses[Loss::RingFull.slot(signal)] = n);
        losses
    }

    #[test]
    fn every_event_is_delivered_lost_or_in_flight() {
        let mut ledger = Ledger::default();
        ledger.read(Signal::Exec, 90);
        ledger.kernel(events(&[(Signal::Exec, 100)]), &full_ring(&[(Signal::Exec, 10)]));
        ledger.deliver(&events(&[(Signal::Exec, 60)]), POSITION);
        ledger.lose("spool_full", &events(&[(Signal::Exec, 25)]));
        assert_eq!(ledger.in_flight(Signal::Exec), 5);
        ledger.deliver(&events(&[(Signal::Exec, 5)]), POSITION);
        assert_eq!(ledger.in_flight(Signal::Exec), 0);
        assert_eq!(
            ledger.report(),
            [
                ("exec", "delivered", 65),
                ("exec", "ring_full", 10),
                ("exec", "seen", 100),
                ("exec", "spool_full", 25),
            ]
        );
        assert_eq!(ledger.report(), []);
        // What the brain never got is told again, with what is new.
        let line = |outcome: &str, count| ("exec".to_owned(), outcome.to_owned(), count);
        ledger.tell_again(&[line("seen", 100), line("spool_full", 25), line("a_rare_one", 1)]);
        ledger.lose("spool_full", &events(&[(Signal::Exec, 2)]));
        let again = [("exec", "other", 1), ("exec", "seen", 100), ("exec", "spool_full", 27)];
        assert_eq!(ledger.report(), again);
        assert_eq!(ledger.report(), []);
    }

    #[test]
    fn a_full_ring_is_charged_to_the_signals_that_it_refused() {
        let mut ledger = Ledger::default();
        ledger.read(Signal::Exit, 7);
        let seen = events(&[(Signal::Exit, 10), (Signal::Socket, 4)]);
        for _again in 0..2 {
            ledger.kernel(seen, &full_ring(&[(Signal::Exit, 3), (Signal::Socket, 4)]));
        }
        assert_eq!((ledger.lost_of(Signal::Exit), ledger.lost_of(Signal::Socket)), (3, 4));
        assert_eq!((ledger.in_flight(Signal::Exit), ledger.in_flight(Signal::Socket)), (7, 0));
    }

    #[test]
    fn a_loss_that_no_signal_misses_yet_waits_for_its_signal() {
        let mut ledger = Ledger::default();
        ledger.undecodable(2);
        ledger.kernel(Events::default(), &[0; Loss::SLOTS]);
        assert_eq!(ledger.lost_of(Signal::Exec), 0);
        ledger.kernel(events(&[(Signal::Exec, 2)]), &[0; Loss::SLOTS]);
        assert_eq!((ledger.lost_of(Signal::Exec), ledger.in_flight(Signal::Exec)), (2, 0));
    }

    #[test]
    fn what_an_earlier_start_left_is_delivered_without_being_seen_again() {
        let mut ledger = Ledger::default();
        ledger.carry(&events(&[(Signal::Flow, 30)]));
        ledger.deliver(&events(&[(Signal::Flow, 30)]), POSITION);
        assert_eq!(ledger.in_flight(Signal::Flow), 0);
        assert_eq!(ledger.report(), [("flow", "delivered", 30)]);
    }

    #[test]
    fn the_next_worker_goes_on_with_the_totals_of_one_that_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let (memory, resumed) = Memory::open(&path, 7).unwrap();
        assert!(!resumed);
        let mut first = Ledger::kept(memory);
        first.read(Signal::Exec, 80);
        first.kernel(events(&[(Signal::Exec, 100)]), &full_ring(&[(Signal::Exec, 5)]));
        first.deliver(&events(&[(Signal::Exec, 50)]), POSITION);
        let told = first.report();
        assert_eq!(
            told,
            [("exec", "delivered", 50), ("exec", "ring_full", 5), ("exec", "seen", 100)]
        );
        let line = |(signal, outcome, count): (&str, &str, u64)| {
            (signal.to_owned(), outcome.to_owned(), count)
        };
        first.end_telling(&(POSITION, told.into_iter().map(line).collect()));
        first.lose("spool_full", &events(&[(Signal::Exec, 4)]));
        first.deliver(&Events::default(), Position { epoch: 2, seq: 0, ..POSITION });
        drop(first);
        // 80 were read: 50 delivered, 4 lost, 20 spooled, so 6 went with the worker.
        let (memory, resumed) = Memory::open(&path, 7).unwrap();
        assert_eq!((resumed, memory.positions()), (true, vec![POSITION]));
        let mut second = Ledger::resume(memory, &events(&[(Signal::Exec, 20)]));
        second.read(Signal::Exec, 30);
        second.kernel(events(&[(Signal::Exec, 120)]), &full_ring(&[(Signal::Exec, 5)]));
        // 120 were seen: 110 read, 5 lost in the ring, so 5 were in the worker's hands.
        second.settle();
        second.deliver(&events(&[(Signal::Exec, 50)]), POSITION);
        assert_eq!(second.in_flight(Signal::Exec), 0);
        assert_eq!(
            second.report(),
            [
                ("exec", "delivered", 50),
                ("exec", "seen", 20),
                ("exec", "spool_full", 4),
                ("exec", WORKER_ENDED, 6),
                ("exec", WORKER_ENDED_READING, 5),
            ]
        );
        let (_, resumed) = Memory::open(&path, 8).unwrap();
        assert!(!resumed, "another load of the programs counts from zero");
    }

    #[test]
    fn what_was_told_and_never_read_is_not_told_again_by_the_next_worker() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let mut first = Ledger::kept(Memory::open(&path, 7).unwrap().0);
        first.read(Signal::Exec, 80);
        first.kernel(events(&[(Signal::Exec, 100)]), &full_ring(&[]));
        let told = first.report().into_iter().map(|(s, o, n)| (s.to_owned(), o.to_owned(), n));
        first.end_telling(&(POSITION, told.collect()));
        let (memory, _) = Memory::open(&path, 7).unwrap();
        let mut second = Ledger::resume(memory, &events(&[(Signal::Exec, 80)]));
        // Until the kernel's total is known again, all that is known is what was read.
        assert_eq!(second.report(), []);
        second.kernel(events(&[(Signal::Exec, 103)]), &full_ring(&[]));
        assert_eq!(second.report(), [("exec", "seen", 3)]);
    }
}
