//! The sensor's own transport without kernel programs: batches, spool, ledger and uplink are the
//! real ones, the events come from a pipe.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use nix::sys::signal::Signal;
use sensor::batch::{Batcher, CoverageText};
use sensor::clock::ClockPair;
use sensor::config::{Config, LogFormat, LogLevel};
use sensor::host::Host;
use sensor::join::JoinToken;
use sensor::ledger::memory::Memory;
use sensor::observation::{Observation, Record};
use sensor::outbox::Outbox;
use sensor::process::{Key, Process};
use sensor::spool::{self, Spool};
use sensor::tuning::Tuning;
use sensor::uplink::Uplink;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wire::batch::Lane;
use wire::record::{Coverage, Exec, Exit};

use super::feed::{self, Ring, SIGNALS};
use super::plan::Numbers;

/// The join token's variable: arguments are everybody's to read.
pub const TOKEN: &str = "SAKURAMORI_CHAOS_TOKEN";
/// Pause between two looks at the ring.
const POLL: Duration = Duration::from_millis(20);
/// Time between two coverage records.
const COVER: Duration = Duration::from_millis(250);
/// Polls after which the books of a killed sensor are closed.
const SETTLE_POLLS: u32 = 3;
/// The counters go on over all starts: to the ledger they are one load of the programs.
const LOAD: u64 = 1;

/// How the child is started.
#[derive(Args, Debug)]
pub struct Settings {
    /// Where the brain is, past the link.
    #[arg(long)]
    pub brain: String,
    /// The host's name.
    #[arg(long)]
    pub name: String,
    /// State directory.
    #[arg(long)]
    pub state: PathBuf,
    /// File of the kernel's counters.
    #[arg(long)]
    pub counters: PathBuf,
    /// Bytes of each event.
    #[arg(long)]
    pub bytes: usize,
    /// File that says by how many seconds the clock is off.
    #[arg(long)]
    pub clock: PathBuf,
}

/// Sends what is read from standard input until it ends and the brain has all of it.
pub fn run(settings: &Settings) -> Result<()> {
    sensor::log::start(LogLevel::Info, LogFormat::Text);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(work(settings))
}

async fn work(settings: &Settings) -> Result<()> {
    let config = Config::parse("", &settings.state)?;
    let host = Host::read(Some(&settings.name));
    // A file that grows beyond its limit is an error like others, not the end.
    let _refused = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32))?;
    let clock = Clock { file: &settings.clock, ahead_s: Cell::default() };
    clock.look()?;
    let start = clock.now();
    let uplink = Uplink {
        address: settings.brain.clone(),
        state_dir: settings.state.clone(),
        host,
        tuning: Tuning::new(Config { state_dir: settings.state.clone(), ..config }, None),
        rules: None,
    };
    let token = std::env::var(TOKEN).ok().map(|text| JoinToken::parse(&text)).transpose()?;
    uplink.enrol(token.as_ref()).await?;
    let (spool, carried) =
        Spool::open(&settings.state.join("spool"), spool::BYTES_MIN, start.unix_ns);
    let memory = Memory::open(&settings.state.join("ledger"), LOAD).context("no ledger")?;
    let outbox = Outbox::kept(spool, &carried, memory);
    let batcher = Batcher::new(outbox.epoch(), start);
    let ring = Ring::open(&settings.counters)?;
    let mut pipeline =
        Pipeline { ring, batcher, outbox: &outbox, clock: &clock, settings, polls: 0 };
    let (stopping, stopped) = watch::channel(false);
    let feed = async {
        let done = pipeline.run().await;
        let _ = stopping.send(true);
        done
    };
    let (done, ()) = tokio::join!(feed, uplink.run(&outbox, stopped));
    outbox.close();
    done
}

/// A clock that is wrong.
#[derive(Debug)]
struct Clock<'a> {
    file: &'a Path,
    ahead_s: Cell<i64>,
}

impl Clock<'_> {
    /// Looks how wrong it is by now.
    fn look(&self) -> Result<()> {
        let text = std::fs::read_to_string(self.file).context("no clock")?;
        self.ahead_s.set(text.parse().context("the clock's file holds no number")?);
        Ok(())
    }

    fn now(&self) -> ClockPair {
        let ClockPair { boot_ns, unix_ns } = ClockPair::now();
        let ahead_ns = self.ahead_s.get() * 1_000_000_000;
        ClockPair { boot_ns, unix_ns: unix_ns.saturating_add_signed(ahead_ns) }
    }
}

/// From the ring to the outbox, as the real sensor goes about it.
struct Pipeline<'a> {
    ring: Ring,
    batcher: Batcher,
    outbox: &'a Outbox,
    clock: &'a Clock<'a>,
    settings: &'a Settings,
    polls: u32,
}

impl Pipeline<'_> {
    async fn run(&mut self) -> Result<()> {
        let (mut polls, mut covers) = (interval(POLL), interval(COVER));
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        covers.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = covers.tick() => { self.cover(); }
                _ = polls.tick() => if !self.poll()? { break },
            }
        }
        // Coverage comes last, so that it tells of what was delivered until the end.
        loop {
            self.outbox.emptied().await;
            if !self.cover() {
                return Ok(());
            }
        }
    }

    /// Empties the ring; returns whether there will be more.
    fn poll(&mut self) -> Result<bool> {
        self.clock.look()?;
        let (seen, losses) = self.ring.counters()?;
        let (ids, more) = self.ring.take()?;
        for id in ids {
            let signal = SIGNALS[feed::kind(id)];
            self.outbox.ledger.borrow_mut().read(signal, 1);
            let observation = self.observation(id);
            let clock = self.clock;
            if let Some(full) = self.batcher.add(&observation, || clock.now()) {
                self.outbox.push(&full);
            }
        }
        self.cut();
        self.outbox.ledger.borrow_mut().kernel(seen, &losses);
        self.polls += 1;
        if self.polls == SETTLE_POLLS || !more {
            self.outbox.ledger.borrow_mut().settle();
        }
        Ok(more)
    }

    /// An execution or an end of a process, whose name is the event's number.
    fn observation(&self, id: u64) -> Observation {
        let now = self.clock.now();
        let mut numbers = Numbers::new(id);
        let noise = std::iter::repeat_with(|| numbers.number().to_le_bytes()).flatten();
        let process = Process {
            key: Key::new(id as u32, now.boot_ns),
            exe: Rc::from(&b"/usr/bin/true"[..]),
            comm: Rc::from(id.to_string().as_bytes()),
            args: noise.take(self.settings.bytes).collect(),
            ..Process::default()
        };
        let record = match feed::kind(id) {
            0 => Record::Exec(Exec { time_ns: now.unix_ns, ..Exec::default() }),
            _ => Record::Exit(Exit { time_ns: now.unix_ns, ..Exit::default() }),
        };
        let signal = SIGNALS[feed::kind(id)];
        let lineage = vec![Rc::new(process)];
        Observation { lineage, target: Vec::new(), signal, events: 1, record }
    }

    /// Tells what the ledger has to say; returns whether that is anything.
    fn cover(&mut self) -> bool {
        let now = self.clock.now();
        let ledger = self.outbox.ledger.borrow_mut().report();
        let any = !ledger.is_empty();
        let figures =
            Coverage { start_ns: now.unix_ns, end_ns: now.unix_ns, ..Coverage::default() };
        let coverage = CoverageText { figures, ledger, ..CoverageText::default() };
        let full = self.batcher.add_coverage(&coverage, now);
        full.iter().for_each(|cut| self.outbox.push(cut));
        self.cut();
        any
    }

    fn cut(&mut self) {
        for lane in Lane::ALL {
            let cut = self.batcher.cut(lane, self.clock.now());
            cut.iter().for_each(|cut| self.outbox.push(cut));
        }
    }
}
