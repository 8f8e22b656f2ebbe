//! A capture instead of a kernel: the same parser, counters, records and batches, in the capture's
//! own time.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use sensor_abi::parse::payload::DNS_PORTS;
use wire::batch::Lane;

use self::capture::Capture;
use self::count::{Counter, Totals};
use self::side::Sides;
use crate::batch::Batcher;
use crate::clock::ClockPair;
use crate::config::Config;
use crate::convert::payload;
use crate::host::Host;
use crate::observation::Observation;
use crate::outbox::Outbox;
use crate::payload::{Payloads, Told};
use crate::spool::Spool;
use crate::track::Tracker;
use crate::tuning::Tuning;
use crate::uplink::Uplink;
use crate::watch;

pub mod capture;
pub mod count;
mod frame;
pub mod side;

/// How long the brain may take for the last batches; they stay in the spool after that.
const LAST_BATCHES: Duration = Duration::from_secs(60);
/// Where DNS is spoken.
const PORTS: [u16; DNS_PORTS] = [53, 0, 0, 0];

/// What to replay and where to.
#[derive(Clone, Debug)]
pub struct Options {
    /// The capture.
    pub file: PathBuf,
    /// Networks that are the host's side; none means private ones, else whoever begins.
    pub local: Vec<IpNet>,
    /// Whether one level of tunnel is looked into.
    pub tunnels: bool,
    /// Whether records are printed as JSON.
    pub json: bool,
    /// Whether records go to the brain instead of the terminal.
    pub send: bool,
}

/// Replays a capture. A damaged one is replayed as far as it goes, and then is a failure.
pub fn run(config: &Config, options: &Options) -> Result<ExitCode> {
    let mut replay = Replay::new(options, config.tick_ms * 1_000_000);
    let read = match options.send {
        true => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(send(config, options, &mut replay))?
        }
        false => print(options, &mut replay)?,
    };
    replay.summarise(options.json);
    match read {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            eprintln!("sakuramori-sensor: {}: {error}", options.file.display());
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Reads the whole capture before a pipe's reader has gone, or until then.
fn print(options: &Options, replay: &mut Replay) -> Result<Result<(), capture::CaptureError>> {
    let mut capture = match Capture::open(&options.file) {
        Ok(capture) => capture,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let step = replay.step(&mut capture);
        let mut text = String::new();
        for observation in replay.observed.drain(..) {
            match options.json {
                true => watch::json::write(&mut text, &observation, ClockPair::default()),
                false => watch::line::write(&mut text, &observation),
            }
        }
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Ok(())),
            written => written.context("cannot write records")?,
        }
        match step {
            Ok(true) => {}
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Sends the capture as a host of its own would: through a spool, acknowledged by the brain.
async fn send(
    config: &Config,
    options: &Options,
    replay: &mut Replay,
) -> Result<Result<(), capture::CaptureError>> {
    let mut capture = match Capture::open(&options.file) {
        Ok(capture) => capture,
        Err(error) => return Ok(Err(error)),
    };
    std::fs::create_dir_all(&config.state_dir)
        .with_context(|| format!("cannot make {}", config.state_dir.display()))?;
    let host = Host::read(config.hostname.as_deref());
    let uplink = Uplink {
        address: config.brain_address.clone(),
        state_dir: config.state_dir.clone(),
        host,
        // A capture can be watched in no other way than it was.
        tuning: Tuning::new(config.clone(), None),
        rules: None,
    };
    uplink.enrol(config.join.as_ref()).await?;
    let now_ns = ClockPair::now().unix_ns;
    let (spool, carried) =
        Spool::open(&config.state_dir.join("spool"), config.spool_max_bytes, now_ns);
    let outbox = Outbox::new(spool, &carried);
    let mut batcher = Batcher::new(outbox.epoch(), ClockPair::default());
    let (stopping, stopped) = tokio::sync::watch::channel(false);
    let read = async {
        let read = loop {
            let step = replay.step(&mut capture);
            let at = ClockPair { boot_ns: replay.time_ns, unix_ns: replay.time_ns };
            for observation in replay.observed.drain(..) {
                outbox.ledger.borrow_mut().read(observation.signal, observation.events);
                batcher.add(&observation, || at).iter().for_each(|full| outbox.push(full));
            }
            for lane in Lane::ALL {
                batcher.cut(lane, at).iter().for_each(|cut| outbox.push(cut));
            }
            // A capture is read faster than it is sent: the spool must not drop its begin.
            if outbox.stats().bytes > config.spool_max_bytes / 2 {
                outbox.emptied().await;
            }
            tokio::task::yield_now().await;
            match step {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if tokio::time::timeout(LAST_BATCHES, outbox.emptied()).await.is_err() {
            eprintln!("the brain has not taken everything; the rest waits in the state directory");
        }
        // The uplink may have ended already; then there is nobody to tell.
        let _ = stopping.send(true);
        read
    };
    let (read, ()) = tokio::join!(read, uplink.run(&outbox, stopped));
    outbox.close();
    Ok(read)
}

/// A capture on its way through the sensor.
#[derive(Debug)]
pub struct Replay {
    counter: Counter,
    tracker: Tracker,
    payloads: Payloads,
    tick_ns: u64,
    /// The capture's own time, which never goes back.
    time_ns: u64,
    /// When the running tick ends; `None` before the first frame.
    ends_ns: Option<u64>,
    /// What the last step gave.
    pub observed: Vec<Observation>,
    flows: u64,
}

impl Replay {
    /// Starts with nothing read.
    pub fn new(options: &Options, tick_ns: u64) -> Self {
        Self {
            counter: Counter::new(Sides::new(&options.local), PORTS, options.tunnels),
            tracker: Tracker::new(Vec::new()),
            payloads: Payloads::default(),
            tick_ns,
            time_ns: 0,
            ends_ns: None,
            observed: Vec::new(),
            flows: 0,
        }
    }

    /// Reads one tick's frames, the first of the next tick included, and what they come to; `false`
    /// at the end of the capture. What was read before an error is told as well.
    pub fn step<R: std::io::Read>(
        &mut self,
        capture: &mut Capture<R>,
    ) -> Result<bool, capture::CaptureError> {
        loop {
            let frame = match capture.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    self.finish();
                    return Ok(false);
                }
                Err(error) => {
                    self.finish();
                    return Err(error);
                }
            };
            // Captures of several interfaces may be a little out of order.
            self.time_ns = self.time_ns.max(frame.time_ns);
            let ends_ns = *self.ends_ns.get_or_insert(self.time_ns.saturating_add(self.tick_ns));
            let over = self.time_ns >= ends_ns || self.counter.is_full();
            if over {
                self.ends_ns = Some(self.time_ns.saturating_add(self.tick_ns));
                self.tick();
            }
            // A moment of zero would read as none.
            let time_ns = self.time_ns.max(1);
            if let Some(message) = self.counter.frame(&frame, time_ns)
                && let Some(payload) = payload::payload(&message.fixed, message.bytes, SAME)
            {
                // The limit on messages of a tick is below the limit on those that wait.
                let _taken = self.payloads.take(payload);
            }
            if over {
                return Ok(true);
            }
        }
    }

    /// Returns what was read so far.
    pub fn totals(&self) -> Totals {
        self.counter.totals
    }

    fn tick(&mut self) {
        let (flows, repeats) = self.counter.tick();
        let clock = self.clock();
        self.flows += flows.len() as u64;
        for flow in &flows {
            self.observed.push(self.tracker.flow(flow, clock));
        }
        let told = self.payloads.tick(repeats, clock, |_| true);
        self.tell(told);
        self.tracker.expire(clock.boot_ns);
    }

    fn finish(&mut self) {
        self.tick();
        let told = self.payloads.finish(Vec::new(), self.clock());
        self.tell(told);
    }

    fn tell(&mut self, told: Told) {
        for (payload, events) in told.messages {
            self.observed.push(self.tracker.payload(payload, events));
        }
    }

    fn clock(&self) -> ClockPair {
        ClockPair { boot_ns: self.time_ns, unix_ns: self.time_ns }
    }

    /// Says what was read; as JSON, in a line behind all others.
    fn summarise(&self, json: bool) {
        let totals = self.counter.totals;
        if json {
            // A reader that has gone does not miss it.
            let _ = writeln!(std::io::stdout(), "{}", totals.json());
        }
        eprintln!(
            "{} packets, {} bytes, {} flow records, {} DNS and TLS messages; {} packets truncated, \
             {} not IP, {} of an unknown link layer",
            totals.packets,
            totals.bytes,
            self.flows,
            totals.messages,
            totals.truncated,
            totals.not_ip,
            totals.unknown_link
        );
    }
}

/// A capture's time is calendar time already.
const SAME: ClockPair = ClockPair { boot_ns: 0, unix_ns: 0 };

#[cfg(test)]
mod tests;
