//! Reads the kernel's rings and maps on time, and hands on what was observed.

use std::cell::RefCell;

use crate::clock::{self, ClockPair};
use crate::drain::{self, Drain};
use crate::duty::Duty;
use crate::health::Health;
use crate::ledger::{Events, Ledger, Signal};
use crate::observation::Observation;
use crate::probe::{HookReport, ProbeError, Probes, Settings};
use crate::track::Tracker;

/// The attached programs and everything that is known from them.
#[derive(Debug)]
pub struct Collector {
    drain: Drain,
    probes: Probes,
    tracker: Tracker,
    duty: Duty,
    /// Lag and cost.
    pub health: Health,
}

impl Collector {
    /// Attaches the programs, then learns which processes there are: in this order none is missed.
    pub fn start(settings: &Settings, scope: Vec<u8>) -> Result<Self, ProbeError> {
        let mut probes = Probes::load(settings)?;
        let drain = probes.drain()?;
        let mut tracker = Tracker::new(scope);
        let now = ClockPair::now();
        tracker.seed(now.boot_ns);
        let duty = Duty::new(settings.syscalls);
        Ok(Self { drain, probes, tracker, duty, health: Health::new(now) })
    }

    /// Returns what became of each hook.
    pub fn hooks(&self) -> &[HookReport] {
        self.probes.report()
    }

    /// Returns how many processes and connections had to be forgotten early.
    pub fn forgotten(&self) -> (u64, u64) {
        self.tracker.forgotten()
    }

    /// Empties the rings. The ledger is borrowed only for each count, since what is handed on may be
    /// given up by a full spool, and that is counted too. Cheap when they are empty: it looks at two numbers in shared memory.
    pub fn poll(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        let Self { drain, tracker, health, .. } = self;
        let clock = ClockPair::now();
        let drained = drain.records(&mut |record| {
            let (signal, time_ns) = label(&record);
            ledger.borrow_mut().read(signal, 1);
            health.lag(clock.boot_ns.saturating_sub(time_ns));
            match tracker.record(&record, clock) {
                Some(observation) => on(observation),
                None => ledger.borrow_mut().used(signal, 1),
            }
        });
        ledger.borrow_mut().undecodable(drained.undecodable);
        self.switch_counting(clock.boot_ns);
    }

    /// Reads the counters and brings the ledger up to date.
    pub fn tick(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        // Read first: all of it has then been read, lost, or is about to be read.
        let seen = Events::new(self.drain.seen());
        self.poll(ledger, on);
        for flow in self.drain.flows() {
            let observation = self.tracker.flow(&flow, ClockPair::now());
            ledger.borrow_mut().read(Signal::Flow, observation.events);
            on(observation);
        }
        if self.duty.is_readable() {
            let clock = ClockPair::now();
            let window_ns = self.duty.take_window(clock.boot_ns);
            for calls in self.drain.syscalls() {
                let observation = self.tracker.syscalls(&calls, clock, window_ns);
                ledger.borrow_mut().read(Signal::Syscall, observation.events);
                on(observation);
            }
        }
        ledger.borrow_mut().kernel(seen, &self.drain.faults());
        self.tracker.expire(clock::boot_ns());
    }

    fn switch_counting(&mut self, now_ns: u64) {
        let Some(on) = self.duty.switch(now_ns) else { return };
        if let Err(error) = self.probes.set_syscall_counting(on) {
            tracing::warn!(on, %error, "cannot switch the counting of system calls");
        }
    }
}

fn label(record: &drain::Record<'_>) -> (Signal, u64) {
    match record {
        drain::Record::Exec(view) => (Signal::Exec, view.header.time_ns),
        drain::Record::Fork(fork) => (Signal::Fork, fork.header.time_ns),
        drain::Record::Exit(exit) => (Signal::Exit, exit.header.time_ns),
        drain::Record::Socket(socket) => (Signal::Socket, socket.header.time_ns),
        drain::Record::Module(module) => (Signal::Module, module.header.time_ns),
    }
}
