//! Live records on the terminal, without any brain.

use std::cell::RefCell;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{self, StopSignal};
use crate::clock::{ClockPair, start_offset};
use crate::collect::Collector;
use crate::config::Config;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::observation::{Observation, Record};
use crate::polls::Polls;

pub mod json;
pub mod line;
mod told;

/// Returns a record as one line of JSON; `start` dates the start of processes.
pub fn json_line(observation: &Observation, start: ClockPair) -> String {
    let mut text = String::new();
    json::write(&mut text, observation, start);
    text
}

/// Shows records until SIGINT or SIGTERM, or until nobody reads them.
pub fn run(config: &Config, as_json: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(watch(config, as_json))
}

async fn watch(config: &Config, as_json: bool) -> Result<()> {
    let mut stop = StopSignal::new()?;
    let host = Host::read(None);
    let start = start_offset(None, &host.boot_id);
    let mut collector = Collector::start(&config.probe_settings(), app::scope_path(config))?;
    collector.watch_host(&config.host_settings(None));
    let hooks = collector.status().hooks;
    let attached = hooks.iter().filter(|[_, attached, _]| !attached.is_empty()).count();
    let hooks = hooks.len();
    eprintln!("{attached} of {hooks} hooks attached; Ctrl-C ends");
    let ledger = RefCell::new(Ledger::default());
    let mut polls = Polls::new(collector.rings());
    let mut ticks = interval(Duration::from_millis(config.tick_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut text = String::new();
        let mut calls = Vec::new();
        let mut show = |observation: Observation| match (as_json, &observation.record) {
            (true, _) => json::write(&mut text, &observation, start),
            (false, Record::Syscalls(_)) => calls.push(observation),
            (false, _) => line::write(&mut text, &observation),
        };
        let last = tokio::select! {
            biased;
            _ = stop.received() => {
                collector.finish(&ledger, &mut show);
                true
            }
            _ = ticks.tick() => {
                collector.tick(&ledger, &mut show);
                false
            }
            () = polls.due() => {
                collector.poll(&ledger, &mut show);
                polls.polled(collector.is_at_rest());
                false
            }
        };
        line::write_calls(&mut text, &calls);
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("cannot write records")?,
        }
        if last {
            return finish(&ledger);
        }
    }
}

/// Says what became of everything: what was shown, and what was lost and why.
fn finish(ledger: &RefCell<Ledger>) -> Result<()> {
    for (signal, outcome, events) in ledger.borrow_mut().report() {
        if outcome != "delivered" {
            eprintln!("{signal}: {events} {outcome}");
        }
    }
    Ok(())
}

/// Returns a moment as RFC 3339 in UTC, to the millisecond.
fn rfc3339(unix_ns: u64) -> String {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or_default();
    format!("{timestamp:.3}")
}

/// Returns the time of day in UTC, to the millisecond.
fn time_of_day(unix_ns: u64) -> String {
    let text = rfc3339(unix_ns);
    text.get(11..23).unwrap_or(&text).to_owned()
}

/// Returns the calendar time of a process's start.
fn started(process: &crate::process::Process, start: ClockPair) -> String {
    rfc3339(start.unix(process.key.start_ns()))
}
