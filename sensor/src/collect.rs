//! Reads the kernel's rings and maps on time, and hands on what was observed.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;

use crate::canary::Canary;
use crate::clock::{self, ClockPair};
use crate::convert::{self, Event, What};
use crate::drain::{self, Drain};
use crate::duty::Duty;
use crate::file::Watched;
use crate::hash::Stats;
use crate::health::{Health, HookText};
use crate::holder::{Holder, Status};
use crate::host_watch::{self, HostWatch};
use crate::ledger::{Events, Ledger, Signal};
use crate::observation::Observation;
use crate::payload::{Payloads, Told};
use crate::probe::{ProbeError, Settings};
use crate::scan::{Outcome, Scans};
use crate::throttled::{Change, Throttled};
use crate::track::Tracker;

/// A record is in its ring at most so long after its time was taken.
const SETTLE_NS: u64 = 2_000_000;
/// How long an execution waits for the hash of its file, and with it what happened after: long
/// enough to hash a usual program, too short to be noticed beside the time between two polls.
const HASH_WAIT_NS: u64 = 100_000_000;
/// Ticks after which everything that another worker had left in the kernel has been read: both
/// tables of a pair, once each.
const SETTLE_TICKS: u32 = 3;
/// Messages of packets that found no room until the tick.
const PAYLOADS_FULL: &str = "payloads_full";
/// Repetitions of a message that never was read.
const UNMATCHED: &str = "unmatched";
/// Parts of the table of uses that are full: beyond one it is read before its time, and up to the
/// other, which a storm of connections fills within a moment, there is time to rest.
const USES_PRESS: f64 = 0.5;
const USES_REST: f64 = 0.05;
/// Events for which room is kept between polls.
const HELD_KEPT: usize = 256;

/// The attached programs and everything that is known from them.
#[derive(Debug)]
pub struct Collector {
    drain: Drain,
    holder: Holder,
    tracker: Tracker,
    duty: Duty,
    /// Which files are watched.
    watched: Watched,
    /// When acts were read last, nanoseconds since boot.
    counted_ns: u64,
    /// Events that were read and not yet handed on.
    held: Vec<Event>,
    /// Whether the last poll found nothing, and left nothing to do.
    at_rest: bool,
    canary: Canary,
    throttled: Throttled,
    /// Ticks until the books of an earlier worker can be closed.
    unsettled: u32,
    /// Logs and inventory, which the kernel does not tell.
    host: Option<HostWatch>,
    payloads: Payloads,
    /// Lag and cost.
    pub health: Health,
}

impl Collector {
    /// Attaches the programs, then learns which processes there are: in this order none is missed.
    pub fn start(settings: &Settings, scope: Vec<u8>) -> Result<Self, ProbeError> {
        let (holder, drain) = Holder::own(settings)?;
        Ok(Self::of(holder, drain, settings, scope, false))
    }

    /// Does the same with programs that are attached already. `resumed` says that an earlier worker
    /// read their maps, and was killed.
    pub fn of(
        holder: Holder,
        drain: Drain,
        settings: &Settings,
        scope: Vec<u8>,
        resumed: bool,
    ) -> Self {
        let mut tracker = Tracker::new(scope);
        tracker.tell_more(&settings.variables);
        let now = ClockPair::now();
        tracker.seed(settings.scope.netns.as_deref(), now.boot_ns);
        let duty = Duty::new(settings.syscalls);
        let health = Health::new(now);
        Self {
            drain,
            holder,
            tracker,
            duty,
            watched: settings.files.clone(),
            counted_ns: now.boot_ns,
            held: Vec::new(),
            at_rest: false,
            throttled: Throttled::default(),
            host: None,
            canary: Canary::default(),
            payloads: Payloads::default(),
            health,
            unsettled: if resumed { SETTLE_TICKS } else { 0 },
        }
    }

    /// Has files scanned as well, once there are rules.
    pub fn scan_with(&mut self, scans: Option<Scans>) {
        scans.into_iter().for_each(|scans| self.tracker.scan_with(scans));
    }

    /// Watches the host's logs and inventory as well.
    pub fn watch_host(&mut self, settings: &host_watch::Settings) {
        if let Some(root) = &settings.root {
            self.tracker.take_names_below(root);
        }
        self.host = Some(HostWatch::new(settings));
    }

    /// Returns what became of each hook, and the figures of who holds them.
    pub fn status(&self) -> Status {
        let mut status = self.holder.status();
        status.hooks.extend(self.canary.text());
        status.hooks.push(self.hashes_text());
        status.hooks.extend(self.tracker.scans_text());
        status
    }

    /// Tells what became of the executables that were to be hashed.
    fn hashes_text(&self) -> HookText {
        let Stats { hits, hashed, gone, too_large, refused } = self.hash_stats();
        let told = format!(
            "{hashed} hashed, {hits} known already; without a hash: {too_large} too large, {refused} \
             beyond the rate, {gone} gone"
        );
        ["hashes".to_owned(), told, String::new()]
    }

    /// Sends a canary when one is due, and says aloud when one has not come back.
    fn tend_canary(&mut self) {
        let now_ns = clock::boot_ns();
        if self.canary.is_newly_blind(now_ns) {
            tracing::error!("blind: the sensor does not see what it does itself");
        }
        if self.canary.is_due(now_ns) {
            let number = rand::random();
            if let Some(sent) = self.holder.canary(number) {
                let refused = sent.err().map(|error| error.to_string());
                self.canary.sent(number, now_ns, refused);
            }
        }
    }

    /// Compares records with other patterns from now on. The programs have been told them, or will
    /// be: what is watched no more makes no record then.
    pub fn compare_files(&mut self, watched: Watched) {
        self.watched = watched;
    }

    /// Returns how many processes and connections had to be forgotten early.
    pub fn forgotten(&self) -> (u64, u64) {
        self.tracker.forgotten()
    }

    /// Returns what became of the executables that were to be hashed.
    pub fn hash_stats(&self) -> Stats {
        self.tracker.hash_stats()
    }

    /// What wakes the sensor.
    pub fn rings(&self) -> [BorrowedFd<'_>; 4] {
        self.drain.rings()
    }

    /// Returns whether the last poll found nothing, and left nothing for the next.
    pub fn is_at_rest(&self) -> bool {
        self.at_rest
    }

    /// Empties the rings and hands on what happened, in order of time. The ledger is borrowed only
    /// for each count, since what is handed on may be given up by a full spool, and that counts
    /// too. Cheap when the rings are empty: it looks at two numbers in shared memory.
    pub fn poll(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        let clock = ClockPair::now();
        let read = self.read(ledger, clock);
        self.hand_on(ledger, clock.boot_ns.saturating_sub(SETTLE_NS), on);
        self.tell_scans(false, ledger, clock, on);
        if let Some(host) = &mut self.host {
            host.poll(clock, &self.tracker, ledger, on);
        }
        let uses = self.drain.uses_fill();
        if uses > USES_PRESS {
            self.used(ledger, on);
        }
        self.at_rest = read == 0 && self.held.is_empty() && uses < USES_REST;
        self.switch_counting(clock.boot_ns);
    }

    /// Reads the counters as well, and brings the ledger up to date.
    pub fn tick(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        // Read first: all of it has then been read, lost, or is about to be read.
        let seen = Events::new(self.drain.seen());
        self.poll(ledger, on);
        self.used(ledger, on);
        for flow in self.drain.flows() {
            let observation = self.tracker.flow(&flow, ClockPair::now());
            ledger.borrow_mut().read(Signal::Flow, observation.events);
            on(observation);
        }
        for sweep in self.drain.sweeps() {
            let observation = self.tracker.sweep(&sweep, ClockPair::now());
            ledger.borrow_mut().read(Signal::Sweep, observation.events);
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
        self.tell_acts(ledger, on);
        let (repeats, clock) = (self.drain.repeats(), ClockPair::now());
        let tracker = &self.tracker;
        let told = self.payloads.tick(repeats, clock, |tuple| tracker.owns(tuple));
        self.tell(told, ledger, on);
        self.activity(ledger, on);
        let lost = self.drain.lost();
        ledger.borrow_mut().kernel(seen, &lost);
        match self.throttled.look(&lost) {
            Some(Change::Began) => tracing::warn!("a cgroup's storm of processes is throttled"),
            Some(Change::Ended(events)) => tracing::warn!(events, "the storm has ended"),
            None => {}
        }
        if self.unsettled == 1 {
            ledger.borrow_mut().settle();
        }
        self.unsettled = self.unsettled.saturating_sub(1);
        self.holder.tend();
        self.tend_canary();
        self.tracker.expire(clock::boot_ns());
    }

    /// Reads the uses of sockets. Comes before the flows, which take their process from there.
    fn used(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        let clock = ClockPair::now();
        for observation in self.tracker.listening(clock) {
            ledger.borrow_mut().read(observation.signal, observation.events);
            on(observation);
        }
        for used in self.drain.uses() {
            let observation = self.tracker.usage(&used, clock);
            ledger.borrow_mut().read(observation.signal, observation.events);
            on(observation);
        }
    }

    fn tell_acts(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        let clock = ClockPair::now();
        for act in self.drain.acts() {
            let Some(observation) = self.tracker.act(&act, clock) else { continue };
            ledger.borrow_mut().read(observation.signal, observation.events);
            on(observation);
        }
    }

    /// Ticks for the last time: nothing is held back.
    pub fn finish(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        if let Err(error) = self.holder.set_syscall_counting(false) {
            tracing::warn!(%error, "cannot end the counting of system calls");
        }
        self.duty.end(clock::boot_ns());
        self.tick(ledger, on);
        self.hand_on(ledger, u64::MAX, on);
        let told = self.payloads.finish(self.drain.repeats(), ClockPair::now());
        self.tell(told, ledger, on);
        self.tell_scans(true, ledger, ClockPair::now(), on);
        if let Some(host) = &mut self.host {
            host.finish(ledger);
        }
    }

    /// Hands on what scans found. A file that was seen is delivered or lost, like any event.
    fn tell_scans(
        &mut self,
        finish: bool,
        ledger: &RefCell<Ledger>,
        clock: ClockPair,
        on: &mut dyn FnMut(Observation),
    ) {
        for (observations, outcome) in self.tracker.take_scans(finish, clock.boot_ns) {
            let mut one = Events::default();
            one.count(Signal::Scan, 1);
            let mut ledger_now = ledger.borrow_mut();
            match outcome {
                Outcome::Known => continue,
                Outcome::Found(_) => ledger_now.read(Signal::Scan, 1),
                Outcome::Clean => {
                    ledger_now.read(Signal::Scan, 1);
                    ledger_now.used(Signal::Scan, 1);
                }
                Outcome::Skipped(why) => {
                    ledger_now.read(Signal::Scan, 1);
                    ledger_now.lose(why, &one);
                }
            }
            drop(ledger_now);
            observations.into_iter().for_each(&mut *on);
        }
    }

    fn activity(&mut self, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        let clock = ClockPair::now();
        let window_ns = clock.boot_ns.saturating_sub(self.counted_ns);
        self.counted_ns = clock.boot_ns;
        for counted in self.drain.activity() {
            let observation = self.tracker.activity(&counted, clock, window_ns);
            ledger.borrow_mut().read(Signal::Activity, observation.events);
            on(observation);
        }
    }

    /// Hands on messages. Those that came again are read only here, those that could not be
    /// matched with any message are lost.
    fn tell(&mut self, told: Told, ledger: &RefCell<Ledger>, on: &mut dyn FnMut(Observation)) {
        for (payload, events) in told.messages {
            on(self.tracker.payload(payload, events));
        }
        ledger.borrow_mut().read(Signal::Dns, told.repeated);
        if told.unmatched > 0 {
            let mut lost = Events::default();
            lost.count(Signal::Dns, told.unmatched);
            ledger.borrow_mut().lose(UNMATCHED, &lost);
        }
    }

    /// Reads the rings; returns how many records there were.
    fn read(&mut self, ledger: &RefCell<Ledger>, clock: ClockPair) -> u64 {
        let Self { drain, held, tracker, watched, .. } = self;
        let mut unknown = 0;
        let drained = drain.records(&mut |record| match convert::event(&record, clock) {
            Some(event) if !is_meant(watched, &record) => {
                let mut ledger = ledger.borrow_mut();
                ledger.read(event.signal, 1);
                ledger.used(event.signal, 1);
            }
            Some(event) => {
                ledger.borrow_mut().read(event.signal, 1);
                tracker.ahead(&event);
                held.push(event);
            }
            None => unknown += 1,
        });
        ledger.borrow_mut().undecodable(drained.undecodable + unknown);
        drained.records + drained.undecodable
    }

    /// Hands on what happened until a moment. A fork and the execution that follows it come through
    /// different rings, so records are put in order; those of the last moment wait, since an
    /// earlier one may still be on its way.
    fn hand_on(
        &mut self,
        ledger: &RefCell<Ledger>,
        until_ns: u64,
        on: &mut dyn FnMut(Observation),
    ) {
        self.tracker.take_hashes();
        self.held.sort_by_key(|event| event.head.time_ns);
        let mut settled = self.held.partition_point(|event| event.head.time_ns <= until_ns);
        let patient_ns = until_ns.saturating_sub(HASH_WAIT_NS);
        let awaited =
            |event: &Event| event.head.time_ns > patient_ns && self.tracker.is_awaited(event);
        if until_ns != u64::MAX
            && let Some(first) = self.held[..settled].iter().position(awaited)
        {
            settled = first;
        }
        let now_ns = clock::boot_ns();
        for event in self.held.drain(..settled) {
            let signal = event.signal;
            if self.canary.takes(&event, now_ns) {
                ledger.borrow_mut().used(signal, 1);
                continue;
            }
            if let What::Payload(payload) = event.what {
                if !self.payloads.take(*payload) {
                    let mut lost = Events::default();
                    lost.count(signal, 1);
                    ledger.borrow_mut().lose(PAYLOADS_FULL, &lost);
                }
                continue;
            }
            self.health.lag(now_ns.saturating_sub(event.head.time_ns));
            match self.tracker.event(event) {
                Some(observation) => on(observation),
                None => ledger.borrow_mut().used(signal, 1),
            }
        }
        // After a storm the memory is given back.
        self.held.shrink_to(HELD_KEPT);
    }

    fn switch_counting(&mut self, now_ns: u64) {
        let Some(on) = self.duty.switch(now_ns) else { return };
        if on {
            self.drain.open_window(now_ns);
        }
        if let Err(error) = self.holder.set_syscall_counting(on) {
            tracing::warn!(on, %error, "cannot switch the counting of system calls");
        }
    }
}

/// Returns whether a record is about something that is watched: of patterns the kernel compares
/// names only.
fn is_meant(watched: &Watched, record: &drain::Record<'_>) -> bool {
    match record {
        drain::Record::File(view) => watched.confirms(view),
        _ => true,
    }
}
