//! Our own sensors, one on each end of the workload, reporting to a real brain.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::watcher::{Seen, Stand};
use super::workload::Workload;
use crate::fleet::brain::Brain;
use crate::fleet::sensor::Sensor;
use crate::interrupt;

/// The two hosts that take part.
const HOSTS: [&str; 2] = ["web-1", "db-1"];
/// Loading the programs and joining.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Ledgers travel about once a second; after this, one from after the workload has arrived.
const LEDGER_PAUSE: Duration = Duration::from_millis(2500);

/// Running sensors; dropping them ends them.
#[derive(Debug)]
pub struct Sensors {
    sensors: Vec<Sensor>,
    brain: Arc<Brain>,
    signal: &'static str,
}

impl Sensors {
    /// Starts both and waits until both report.
    pub fn start(stand: &Stand, workload: Workload) -> Result<Self> {
        let brain = Arc::clone(&stand.brain);
        let mut sensors = Vec::new();
        for host in HOSTS {
            let folder = stand.hosts.subfolder(&format!("sensor-{host}"))?;
            let (control, place) = (stand.hosts.control(), stand.hosts.place(host));
            sensors.push(Sensor::start(&folder, &control, host, &place, &brain)?);
        }
        interrupt::eventually("both sensors online", START_LIMIT, || {
            sensors.iter_mut().try_for_each(Sensor::alive)?;
            let hosts = brain.hosts()?;
            let online = hosts.iter().filter(|host| is_reporting(host)).count();
            Ok((online == HOSTS.len()).then_some(()))
        })?;
        Ok(Self { sensors, brain, signal: signal(workload) })
    }

    /// Both sensors' processes. The brain is another machine's cost.
    pub fn processes(&self) -> Vec<u32> {
        self.sensors.iter().map(Sensor::pid).collect()
    }

    /// Reads the ledgers, then ends both.
    pub fn stop(&mut self) -> Result<Seen> {
        interrupt::sleep(LEDGER_PAUSE)?;
        let mut seen = Seen::default();
        for host in self.brain.hosts()? {
            let lines = host["coverage"]["ledger"].as_array().context("a host has no ledger")?;
            for line in lines {
                // Losses of any kind count; the records are those of the workload's signal.
                seen.lost += lost(line);
                if line["signal"] == self.signal {
                    seen.recorded += line["delivered"].as_u64().unwrap_or(0);
                }
            }
        }
        self.sensors.clear();
        Ok(seen)
    }
}

fn is_reporting(host: &Value) -> bool {
    host["state"] == "online" && host["coverage"].is_object()
}

fn lost(line: &Value) -> u64 {
    let reasons = line["lost"].as_array().map(Vec::as_slice).unwrap_or_default();
    reasons.iter().filter_map(|reason| reason["count"].as_u64()).sum()
}

/// The signal of the ledger that a workload makes.
fn signal(workload: Workload) -> &'static str {
    match workload {
        Workload::Syscall => "syscall",
        Workload::Exec => "exec",
        Workload::Connect => "socket",
    }
}
