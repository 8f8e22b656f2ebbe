//! What became of every event that the kernel programs saw, per signal:
//! `seen + carried = delivered + lost(reason) + in flight`. Pure.

use std::collections::BTreeMap;

use sensor_abi::loss::Loss;

/// The signals of the ledger are the kernel's; modules that know `wire` take them from here.
pub type Signal = sensor_abi::seen::Signal;

/// Totals of events that the kernel programs lost, indexed by [`Loss::slot`].
pub type KernelLosses = [u64; Loss::SLOTS];

/// Ring records that the sensor did not understand, and so cannot say which signal they are of.
const UNDECODABLE: &str = "undecodable";

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
}

impl Ledger {
    /// Takes what an earlier start of the sensor left in the spool. That start saw it, this one
    /// will deliver or lose it.
    pub fn carry(&mut self, events: &Events) {
        self.carried.add(events);
    }

    /// Counts events that were read from the kernel.
    pub fn read(&mut self, signal: Signal, events: u64) {
        self.read.count(signal, events);
    }

    /// Counts events that need no delivery: a fork is used up by the process table.
    pub fn used(&mut self, signal: Signal, events: u64) {
        self.delivered.count(signal, events);
    }

    /// Counts ring records that were not understood.
    pub fn undecodable(&mut self, records: u64) {
        self.undecodable += records;
    }

    /// Counts events whose batches the brain has on its disk.
    pub fn deliver(&mut self, events: &Events) {
        self.delivered.add(events);
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
    pub fn report(&mut self) -> Vec<(&'static str, &'static str, u64)> {
        let mut totals = self.lost.clone();
        for signal in Signal::ALL {
            totals.insert((signal as usize, "seen"), self.seen_of(signal));
            totals.insert((signal as usize, "delivered"), self.delivered.of(signal));
        }
        let mut lines = Vec::new();
        for (&(signal, outcome), &total) in &totals {
            let before = self.reported.get(&(signal, outcome)).copied().unwrap_or(0);
            if total > before {
                lines.push((Signal::ALL[signal].name(), outcome, total - before));
            }
        }
        self.reported = totals;
        lines
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
        let lost = Loss::ALL.iter().map(|l| l.name()).chain([UNDECODABLE]);
        let lost: u64 = lost.filter_map(|name| self.lost.get(&(signal as usize, name))).sum();
        self.seen.of(signal).saturating_sub(self.read.of(signal) + lost)
    }

    fn lose_some(&mut self, signal: Signal, reason: &'static str, events: u64) {
        if events > 0 {
            *self.lost.entry((signal as usize, reason)).or_default() += events;
        }
    }

    fn lost_of(&self, signal: Signal) -> u64 {
        let of_signal = self.lost.iter().filter(|((s, _), _)| *s == signal as usize);
        of_signal.map(|(_, events)| events).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ledger.deliver(&events(&[(Signal::Exec, 60)]));
        ledger.lose("spool_full", &events(&[(Signal::Exec, 25)]));
        assert_eq!(ledger.in_flight(Signal::Exec), 5);
        ledger.deliver(&events(&[(Signal::Exec, 5)]));
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
        ledger.deliver(&events(&[(Signal::Flow, 30)]));
        assert_eq!(ledger.in_flight(Signal::Flow), 0);
        assert_eq!(ledger.report(), [("flow", "delivered", 30)]);
    }
}
