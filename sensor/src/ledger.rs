//! What became of every event that the kernel programs saw, per signal:
//! `seen + carried = delivered + lost(reason) + in flight`. Pure.

use std::collections::BTreeMap;

use sensor_abi::fault::Fault;

/// The signals of the ledger are the kernel's; modules that know `wire` take them from here.
pub type Signal = sensor_abi::seen::Signal;

/// Totals of the kernel's faults, indexed by [`Fault`].
pub type Faults = [u64; Fault::COUNT];

/// Ring records that the sensor did not understand.
const UNDECODABLE: &str = "undecodable";
/// Signals whose records share the security ring.
const SECURITY_RING: &[Signal] = &[Signal::Exec, Signal::Module];
/// Signals whose records share the process ring.
const PROCESS_RING: &[Signal] = &[Signal::Fork, Signal::Exit, Signal::Socket];
/// Signals with records in any ring.
const RINGS: &[Signal] =
    &[Signal::Exec, Signal::Module, Signal::Fork, Signal::Exit, Signal::Socket];

/// Faults that lose an event, with the signals it may belong to. The other faults make a record
/// poorer (no path, no ports), and lose nothing.
const LOSSES: &[(Fault, &[Signal])] = &[
    (Fault::SecurityRingFull, SECURITY_RING),
    (Fault::ProcessRingFull, PROCESS_RING),
    (Fault::FlowCoarseFull, &[Signal::Flow]),
    (Fault::SyscallTableFull, &[Signal::Syscall]),
    (Fault::ScratchMissing, &Signal::ALL),
];

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

/// Events that are lost for a known reason, but not yet known to which signal.
#[derive(Clone, Copy, Debug)]
struct Unattributed {
    reason: &'static str,
    signals: &'static [Signal],
    total: u64,
    waiting: u64,
}

/// The sensor's ledger since it started.
#[derive(Debug)]
pub struct Ledger {
    seen: Events,
    carried: Events,
    read: Events,
    delivered: Events,
    lost: BTreeMap<(usize, &'static str), u64>,
    unattributed: Vec<Unattributed>,
    /// What the last report said, by signal and outcome.
    reported: BTreeMap<(usize, &'static str), u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        let faults = LOSSES.iter().map(|(fault, signals)| (fault.name(), *signals));
        let unattributed = faults
            .chain([(UNDECODABLE, RINGS)])
            .map(|(reason, signals)| Unattributed { reason, signals, total: 0, waiting: 0 });
        Self {
            seen: Events::default(),
            carried: Events::default(),
            read: Events::default(),
            delivered: Events::default(),
            lost: BTreeMap::new(),
            unattributed: unattributed.collect(),
            reported: BTreeMap::new(),
        }
    }
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
        if let Some(entry) = self.unattributed.iter_mut().find(|u| u.reason == UNDECODABLE) {
            entry.total += records;
            entry.waiting += records;
        }
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

    /// Takes the kernel's totals: what the programs saw, and why they gave up. `seen` must be read
    /// before the rings and maps are emptied, so that all of it was read, lost, or is about to be.
    pub fn kernel(&mut self, seen: Events, faults: &Faults) {
        self.seen = seen;
        for entry in &mut self.unattributed {
            let fault = LOSSES.iter().find(|(fault, _)| fault.name() == entry.reason);
            let Some((fault, _)) = fault else { continue };
            let total = faults[*fault as usize];
            entry.waiting += total.saturating_sub(entry.total);
            entry.total = total;
        }
        self.attribute();
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

    /// A ring that was full does not say whose record it refused. The signal that misses most
    /// events (seen, but neither read nor lost) is the one; what no signal misses yet waits.
    fn attribute(&mut self) {
        for at in 0..self.unattributed.len() {
            let Unattributed { reason, signals, mut waiting, .. } = self.unattributed[at];
            while waiting > 0 {
                let worst = signals.iter().map(|&s| (self.missing(s), s)).max_by_key(|m| m.0);
                let Some((missing @ 1.., signal)) = worst else { break };
                let lost = missing.min(waiting);
                self.lose_some(signal, reason, lost);
                self.read.count(signal, lost);
                waiting -= lost;
            }
            self.unattributed[at].waiting = waiting;
        }
    }

    /// The kernel's total is from the last tick; what was read since was seen as well.
    fn seen_of(&self, signal: Signal) -> u64 {
        self.seen.of(signal).max(self.read.of(signal))
    }

    fn missing(&self, signal: Signal) -> u64 {
        self.seen.of(signal).saturating_sub(self.read.of(signal))
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

    fn faults(fault: Fault, count: u64) -> Faults {
        let mut faults = Faults::default();
        faults[fault as usize] = count;
        faults
    }

    #[test]
    fn every_event_is_delivered_lost_or_in_flight() {
        let mut ledger = Ledger::default();
        ledger.read(Signal::Exec, 90);
        ledger.kernel(events(&[(Signal::Exec, 100)]), &faults(Fault::SecurityRingFull, 10));
        ledger.deliver(&events(&[(Signal::Exec, 60)]));
        ledger.lose("spool_full", &events(&[(Signal::Exec, 25)]));
        assert_eq!(ledger.in_flight(Signal::Exec), 5);
        ledger.deliver(&events(&[(Signal::Exec, 5)]));
        assert_eq!(ledger.in_flight(Signal::Exec), 0);
        assert_eq!(
            ledger.report(),
            [
                ("exec", "delivered", 65),
                ("exec", "security_ring_full", 10),
                ("exec", "seen", 100),
                ("exec", "spool_full", 25),
            ]
        );
        assert_eq!(ledger.report(), []);
    }

    #[test]
    fn a_full_ring_is_charged_to_the_signals_that_miss_events() {
        let mut ledger = Ledger::default();
        ledger.read(Signal::Fork, 50);
        ledger.read(Signal::Exit, 7);
        let seen = events(&[(Signal::Fork, 50), (Signal::Exit, 10), (Signal::Socket, 4)]);
        ledger.kernel(seen, &faults(Fault::ProcessRingFull, 7));
        assert_eq!(ledger.lost_of(Signal::Fork), 0);
        assert_eq!(ledger.lost_of(Signal::Exit), 3);
        assert_eq!(ledger.lost_of(Signal::Socket), 4);
    }

    #[test]
    fn a_loss_that_no_signal_misses_yet_waits_for_its_signal() {
        let mut ledger = Ledger::default();
        ledger.undecodable(2);
        ledger.kernel(Events::default(), &Faults::default());
        assert_eq!(ledger.lost_of(Signal::Exec), 0);
        ledger.kernel(events(&[(Signal::Exec, 2)]), &Faults::default());
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
