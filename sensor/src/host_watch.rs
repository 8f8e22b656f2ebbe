//! What the host's own files tell: log-ins and inventory, with their place in the ledger.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use crate::clock::ClockPair;
use crate::inventory;
use crate::ledger::{Events, Ledger, Signal};
use crate::login::follow::{self, Logins};
use crate::observation::{Observation, Record};
use crate::track::Tracker;

/// Reasons for which events are lost here.
const THROTTLED: &str = "throttled";
const LOG_GAP: &str = "log_gap";
const BROKEN: &str = "undecodable";
const TABLE_FULL: &str = "table_full";
const STOPPED: &str = "stopped";

/// A line is written so long after its process started, at most, in the host's own clock.
const CLOCK_GRAIN_NS: u64 = 1_000_000_000;

/// What is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Log-ins.
    pub logins: follow::Settings,
    /// Whether packages, accounts and listeners are.
    pub inventory: bool,
    /// Where the host's own files are; nothing stands for `/`.
    pub root: Option<PathBuf>,
}

/// Logs and inventory of the host.
#[derive(Debug)]
pub struct HostWatch {
    logins: Logins,
    inventory: Option<inventory::Watch>,
}

impl HostWatch {
    /// Begins; what there is already is not told as new.
    pub fn new(settings: &Settings) -> Self {
        let root = settings.root.as_deref().unwrap_or(Path::new("/"));
        let inventory = settings.inventory.then(|| inventory::Watch::new(root));
        Self { logins: Logins::new(&settings.logins), inventory }
    }

    /// Looks at what is due and hands it on.
    pub fn poll(
        &mut self,
        clock: ClockPair,
        tracker: &Tracker,
        ledger: &RefCell<Ledger>,
        on: &mut dyn FnMut(Observation),
    ) {
        let (boot, unix) = (clock.boot_ns, clock.unix_ns);
        let tally = self.logins.poll(boot, unix, &mut |login| {
            ledger.borrow_mut().read(Signal::Login, 1);
            let age = unix.saturating_sub(login.time_ns);
            let written = boot.saturating_sub(age).saturating_add(CLOCK_GRAIN_NS);
            let lineage = match login.pid {
                0 => Vec::new(),
                pid => tracker.lineage_of_pid(pid, written),
            };
            on(observation(lineage, Signal::Login, Record::Login(login)));
        });
        lose(ledger, Signal::Login, THROTTLED, tally.throttled);
        lose(ledger, Signal::Login, LOG_GAP, tally.gaps);
        lose(ledger, Signal::Login, BROKEN, tally.broken);
        let Some(inventory) = &mut self.inventory else { return };
        let mut records = Vec::new();
        let tally = inventory.poll(boot, unix, &mut |record| records.push(record));
        ledger.borrow_mut().read(Signal::Inventory, tally.found);
        lose(ledger, Signal::Inventory, TABLE_FULL, tally.table_full);
        for record in records {
            on(observation(Vec::new(), Signal::Inventory, Record::Inventory(record)));
        }
    }

    /// Keeps the positions in logs, and gives up what was not handed on: the next start tells the
    /// whole inventory again.
    pub fn finish(&mut self, ledger: &RefCell<Ledger>) {
        self.logins.keep();
        if let Some(inventory) = &mut self.inventory {
            let mut events = Events::default();
            events.count(Signal::Inventory, inventory.give_up());
            ledger.borrow_mut().lose(STOPPED, &events);
        }
    }
}

fn observation(
    lineage: Vec<std::rc::Rc<crate::process::Process>>,
    signal: Signal,
    record: Record,
) -> Observation {
    Observation { lineage, target: Vec::new(), signal, events: 1, record }
}

/// Counts events that were seen, and lost at once.
fn lose(ledger: &RefCell<Ledger>, signal: Signal, reason: &'static str, count: u64) {
    if count > 0 {
        let mut events = Events::default();
        events.count(signal, count);
        let mut ledger = ledger.borrow_mut();
        ledger.read(signal, count);
        ledger.lose(reason, &events);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_line_is_delivered_or_lost_for_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("auth.log");
        std::fs::write(&log, "").unwrap();
        let logins = follow::Settings {
            source: follow::Source::File,
            files: vec![log.clone()],
            state_dir: None,
        };
        let mut host = HostWatch::new(&Settings { logins, inventory: false, root: None });
        let (ledger, tracker) = (RefCell::new(Ledger::default()), Tracker::new(Vec::new()));
        let mut shown = 0;
        let mut clock = ClockPair { boot_ns: 1_000_000_000, unix_ns: 1_709_632_800_000_000_000 };
        for round in 0..4 {
            let mut file = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
            let line = "Mar  5 09:00:00 w sshd[1]: Invalid user x from 192.0.2.7 port 5\n";
            // Nothing is read before the first look, which begins at the end of the log.
            let lines = if round == 0 { 0 } else { 3_000 };
            file.write_all(line.repeat(lines).as_bytes()).unwrap();
            clock.boot_ns += 300_000_000;
            host.poll(clock, &tracker, &ledger, &mut |observation| {
                shown += 1;
                ledger.borrow_mut().used(observation.signal, observation.events);
            });
        }
        std::fs::write(&log, "").unwrap();
        clock.boot_ns += 300_000_000;
        host.poll(clock, &tracker, &ledger, &mut |_| {});
        let mut ledger = ledger.into_inner();
        assert_eq!(ledger.in_flight(Signal::Login), 0);
        let report = ledger.report();
        let of = |outcome| report.iter().find(|line| line.1 == outcome).map_or(0, |line| line.2);
        assert_eq!((of("seen"), of("delivered"), of("log_gap")), (9_001, shown, 1));
        assert_eq!(of("throttled"), 9_000 - shown);
        assert!((5_000..6_500).contains(&shown), "{shown}");
    }
}
