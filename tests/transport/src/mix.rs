//! What hosts tell in ordinary seconds: made up, the same for the same seed, with the names, paths
//! and numbers that servers have. Every signal is among it, at about the rate of a real host.

use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use sensor::batch::CoverageText;
use sensor::clock::ClockPair;
use sensor::ledger::Signal;
use sensor::observation::{Observation, Record, Text};
use sensor::process::Process;
use wire::record::Address;

mod chance;
mod coverage;
mod life;
mod network;
mod security;

use chance::Chance;
use life::Life;

/// When the made-up hosts' first second begins, nanoseconds since the Unix epoch.
const BEGIN_NS: u64 = 1_790_000_000_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// Seconds between two reports of coverage; a sensor's own default.
const COVERAGE_EVERY: u64 = 10;

/// Seconds between two counts of system calls, which last one second; a sensor's own default.
const SYSCALLS_EVERY: u64 = 30;

/// How much a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// A small web server: some 35 records a second.
    Usual,
    /// A reverse proxy with thirty times the connections.
    Busy,
}

/// One host of the fleet.
#[derive(Debug)]
pub struct Host {
    chance: Chance,
    life: Life,
    start: ClockPair,
    second: u64,
    load: Load,
    address: IpAddr,
}

/// What a host tells of one second.
#[derive(Debug, Default)]
pub struct Second {
    /// Acts that are told at once, each in a batch of its own.
    pub acts: Vec<Vec<Observation>>,
    /// What is told at the end of the tick.
    pub bulk: Vec<Observation>,
    /// The sensor's account, now and then.
    pub coverage: Option<CoverageText>,
}

impl Host {
    /// Makes a host; the seed decides its names, addresses and whatever happens.
    pub fn new(seed: u64, load: Load) -> Self {
        let mut chance = Chance::new(seed);
        let uptime_ns = chance.between(SECOND_NS * 3_600, SECOND_NS * 86_400 * 90);
        let start = ClockPair { boot_ns: uptime_ns, unix_ns: BEGIN_NS };
        let [_, b, c, d] = (seed as u32).wrapping_mul(40_503).to_be_bytes();
        let address = IpAddr::from(Ipv4Addr::new(10, b, c, d.clamp(2, 250)));
        let life = Life::new(&mut chance, uptime_ns);
        Self { chance, life, start, second: 0, load, address }
    }

    /// Returns the sensor's clocks at its start.
    pub fn start(&self) -> ClockPair {
        self.start
    }

    /// Returns the sensor's clocks now.
    pub fn clock(&self) -> ClockPair {
        let passed = self.second * SECOND_NS;
        let ClockPair { boot_ns, unix_ns } = self.start;
        ClockPair { boot_ns: boot_ns + passed, unix_ns: unix_ns + passed }
    }

    /// Lets a second pass.
    pub fn next_second(&mut self) -> Second {
        let mut second = Second::default();
        self.security(&mut second);
        self.network(&mut second);
        if self.second.is_multiple_of(SYSCALLS_EVERY) {
            self.syscalls(&mut second);
        }
        if self.second.is_multiple_of(COVERAGE_EVERY) {
            let now_ns = self.now();
            second.coverage = Some(coverage::report(&mut self.chance, now_ns));
        }
        self.second += 1;
        second
    }

    /// The begin of the current second.
    fn now(&self) -> u64 {
        self.clock().unix_ns
    }

    /// A moment within it.
    fn moment(&mut self) -> u64 {
        self.now() + self.chance.below(SECOND_NS)
    }

    /// How many of something that a usual host does `rate` times a second.
    fn count(&mut self, rate: f64) -> u64 {
        let factor = match self.load {
            Load::Usual => 1.0,
            Load::Busy => 30.0,
        };
        self.chance.about(rate * factor)
    }

    fn local(&self) -> Address {
        self.address.into()
    }
}

/// An observation of one event about a process.
fn seen(signal: Signal, lineage: Vec<Rc<Process>>, record: Record) -> Observation {
    Observation { lineage, target: Vec::new(), signal, events: 1, record }
}

fn text(text: impl AsRef<[u8]>) -> Text {
    text.as_ref().into()
}
