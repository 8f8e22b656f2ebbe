//! Builds the parts, owns the loop that collects and the one that sends, stops them in order.

use std::time::Duration;

use anyhow::Result;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use wire::batch::Lane;

use crate::alive::Sign;
use crate::batch::{Batcher, Cut};
use crate::clock::{self, ClockPair};
use crate::collect::Collector;
use crate::config::Config;
use crate::health::HookText;
use crate::holder::Holder;
use crate::host::Host;
use crate::ledger::memory::Memory;
use crate::memory;
use crate::observation::Observation;
use crate::outbox::Outbox;
use crate::polls::Polls;
use crate::privileged::protocol;
use crate::privileged::remote::Remote;
use crate::sandbox::{Held, calls};
use crate::scan;
use crate::spool::{Spool, SpoolStats};
use crate::tuning::Tuning;
use crate::uplink::Uplink;

/// How long a last flush may take; the spool keeps what does not go out.
pub const FLUSH_TIME: Duration = Duration::from_secs(3);
/// Time between two signs of life to the service manager, which restarts a sensor that gives none.
const ALIVE_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two coverage records.
const COVERAGE_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two returns of free memory: a storm's goes soon, and the cost is not noticed.
const TRIM_INTERVAL: Duration = Duration::from_secs(30);

/// Where the ledger's totals are kept, in the state directory.
const LEDGER_FILE: &str = "ledger";

/// Runs the worker until it is told to stop: everything but what the loader does.
pub fn run(config: &Config, loader: &'static Remote, held: &Held) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_until_signal(config, loader, held))
}

/// Why the work ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// SIGTERM or SIGINT: for good.
    Stop,
    /// SIGHUP: another worker takes over at once.
    Replaced,
}

/// Ends on SIGTERM, SIGINT or SIGHUP.
#[derive(Debug)]
pub struct StopSignal {
    terminate: Signals,
    interrupt: Signals,
    hangup: Signals,
}

impl StopSignal {
    /// Takes the signals over from their default.
    pub fn new() -> Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        let (interrupt, hangup) = (signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
        Ok(Self { terminate, interrupt, hangup })
    }

    /// Waits for any of them.
    pub async fn received(&mut self) -> End {
        tokio::select! {
            _ = self.terminate.recv() => End::Stop,
            _ = self.interrupt.recv() => End::Stop,
            _ = self.hangup.recv() => End::Replaced,
        }
    }
}

async fn run_until_signal(config: &Config, loader: &'static Remote, held: &Held) -> Result<()> {
    let mut stop = StopSignal::new()?;
    let host = Host::read(config.hostname.as_deref());
    let start = clock::start_offset(Some(&config.state_dir), &host.boot_id);
    let (scans, rules) = scan::start(&config.scanner, &config.state_dir).unzip();
    let uplink = Uplink {
        address: config.brain_address.clone(),
        state_dir: config.state_dir.clone(),
        host,
        tuning: Tuning::new(config.clone(), Some(loader)),
        rules,
    };
    tokio::select! {
        enrolled = uplink.enrol(config.join.as_ref()) => enrolled?,
        _ = stop.received() => return Ok(()),
    }
    let spool_dir = config.state_dir.join("spool");
    let now_ns = ClockPair::now().unix_ns;
    let (holder, drain, load) = Holder::remote(loader)?;
    let (spool, carried) = Spool::open(&spool_dir, config.spool_max_bytes, now_ns);
    let (outbox, resumed) = match Memory::open(&config.state_dir.join(LEDGER_FILE), load) {
        Ok((memory, resumed)) => (Outbox::kept(spool, &carried, (memory, resumed)), resumed),
        Err(error) => {
            tracing::warn!(%error, "totals are not kept for the case that this process is killed");
            (Outbox::new(spool, &carried), false)
        }
    };
    let torn_bytes = outbox.stats().torn_bytes;
    tracing::info!(events = carried.total(), torn_bytes, "spool of earlier starts taken over");
    let settings = config.probe_settings();
    let mut collector = Collector::of(holder, drain, &settings, scope_path(config), resumed);
    collector.scan_with(scans);
    collector.watch_host(&config.host_settings(Some(&config.state_dir)));
    log_hooks(&collector.status().hooks);
    let batcher = Batcher::new(outbox.epoch(), start);
    let sign = Sign::open(&config.state_dir)
        .inspect_err(|error| tracing::warn!(%error, "`health` will not see this sensor"));
    let (outbox_ref, forgotten, sign) = (&outbox, (0, 0), sign.ok());
    let mut pipeline =
        Pipeline { collector, batcher, outbox: outbox_ref, forgotten, loader, held, sign };
    let (stopping, stopped) = watch::channel(false);
    loader.tell(protocol::READY);
    let collect = async {
        let end = pipeline.run(Duration::from_millis(config.tick_ms), &mut stop).await;
        if end == End::Stop {
            loader.tell(protocol::STOPPING);
            // Coverage comes last, so that it tells of what was delivered until the end.
            let _ = tokio::time::timeout(FLUSH_TIME, outbox.emptied()).await;
            pipeline.cover();
        }
        // The uplink may have ended already; then there is nobody to tell.
        let _ = stopping.send(true);
    };
    tokio::join!(collect, uplink.run(&outbox, stopped));
    outbox.close();
    tracing::info!(spooled_bytes = outbox.stats().bytes, "stopped");
    Ok(())
}

/// From the kernel to the outbox.
struct Pipeline<'a> {
    collector: Collector,
    batcher: Batcher,
    outbox: &'a Outbox,
    forgotten: (u64, u64),
    loader: &'static Remote,
    held: &'a Held,
    sign: Option<Sign>,
}

impl Pipeline<'_> {
    async fn run(&mut self, tick: Duration, stop: &mut StopSignal) -> End {
        let mut polls = Polls::new(self.collector.rings());
        let mut ticks = interval(tick);
        // The first coverage tells the brain which hooks there are, so it does not wait.
        let mut coverages = interval_at(Instant::now() + tick, COVERAGE_INTERVAL);
        let mut alive = interval(ALIVE_INTERVAL);
        let mut trims = interval(TRIM_INTERVAL);
        for timer in [&mut ticks, &mut coverages, &mut alive, &mut trims] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let end = loop {
            tokio::select! {
                biased;
                end = stop.received() => break end,
                _ = coverages.tick() => self.cover(),
                _ = ticks.tick() => self.tick(),
                () = polls.due() => {
                    self.poll();
                    polls.polled(self.collector.is_at_rest());
                }
                _ = alive.tick() => self.live(),
                _ = trims.tick() => memory::give_back(),
            }
        };
        // What the kernel has counted until now still goes out.
        let Self { collector, batcher, outbox, .. } = self;
        collector.finish(&outbox.ledger, &mut |observation| offer(batcher, outbox, &observation));
        self.cut(Lane::Security);
        self.cut(Lane::Bulk);
        end
    }

    /// Reads the rings; security records leave at once.
    fn poll(&mut self) {
        let Self { collector, batcher, outbox, .. } = self;
        collector.poll(&outbox.ledger, &mut |observation| offer(batcher, outbox, &observation));
        self.cut(Lane::Security);
    }

    /// Reads everything; bulk records leave.
    fn tick(&mut self) {
        let Self { collector, batcher, outbox, .. } = self;
        collector.tick(&outbox.ledger, &mut |observation| offer(batcher, outbox, &observation));
        self.cut(Lane::Security);
        self.cut(Lane::Bulk);
    }

    /// Tells the loader, and whoever looks, that the loop goes round.
    fn live(&mut self) {
        self.loader.tell(protocol::ALIVE);
        if let Some(Err(error)) = self.sign.as_ref().map(Sign::give) {
            // A full disk, most likely: a sensor that collects is no reason to end it.
            tracing::debug!(%error, "no sign of life is left");
        }
    }

    fn cover(&mut self) {
        let now = ClockPair::now();
        let mut status = self.collector.status();
        status.hooks.push(sandbox_text(self.held));
        status.hooks.extend(spool_text(&self.outbox.stats()));
        // The ledger is let go before the outbox, which may have losses to note, is used.
        let coverage = {
            let mut ledger = self.outbox.ledger.borrow_mut();
            self.collector.health.coverage(now, status, &mut ledger)
        };
        let full = self.batcher.add_coverage(&coverage, now);
        full.iter().for_each(|cut| self.outbox.push(cut));
        self.cut(Lane::Bulk);
        let forgotten = self.collector.forgotten();
        if forgotten != std::mem::replace(&mut self.forgotten, forgotten) {
            let (processes, connections) = forgotten;
            tracing::warn!(processes, connections, "tables were full; the oldest were forgotten");
        }
    }

    fn cut(&mut self, lane: Lane) {
        let cut: Option<Cut> = self.batcher.cut(lane, ClockPair::now());
        cut.iter().for_each(|cut| self.outbox.push(cut));
    }
}

/// Puts an observation into its batch, and a batch that is full into the outbox.
fn offer(batcher: &mut Batcher, outbox: &Outbox, observation: &Observation) {
    if let Some(full) = batcher.add(observation, ClockPair::now) {
        outbox.push(&full);
    }
}

/// The cgroup v2 path of the scope, empty without one.
pub fn scope_path(config: &Config) -> Vec<u8> {
    config.scope.cgroup.as_deref().and_then(crate::cgroup::path_below_mount).unwrap_or_default()
}

/// Tells in coverage what the worker's sandbox holds, and what it has refused.
fn sandbox_text(held: &Held) -> HookText {
    let mut reasons = held.missing.clone();
    if let (denied @ 1.., latest) = calls::denied() {
        reasons.push(format!("{denied} system calls refused, the latest is number {latest}"));
    }
    ["sandbox".to_owned(), held.sentence(), reasons.join("; ")]
}

/// Tells in coverage of a disk that fails; nothing while it never did.
fn spool_text(stats: &SpoolStats) -> Option<HookText> {
    let reason = match (stats.disk_errors, stats.memory_bytes) {
        (0, _) => return None,
        (errors, 0) => {
            return Some(
                ["spool", "on disk", &format!("its disk failed {errors} times")].map(str::to_owned),
            );
        }
        (errors, waiting) => format!(
            "its disk failed {errors} times, {waiting} bytes wait in memory; lost: what waits there \
             if the sensor ends"
        ),
    };
    Some(["spool".to_owned(), String::new(), reason])
}

fn log_hooks(hooks: &[HookText]) {
    for [hook, attached, reason] in hooks {
        match attached.is_empty() {
            false => tracing::info!(hook, attached, reason, "attached"),
            true => tracing::warn!(hook, reason, "not attached"),
        }
    }
}
