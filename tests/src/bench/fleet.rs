//! Our own sensors, one on each end of the workload, reporting to a real brain.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::cpu;
use super::watcher::{HOSTS, Seen, Stand};
use super::workload::Workload;
use crate::fleet::brain::Brain;
use crate::fleet::sensor::Sensor;
use crate::interrupt;

/// Ledgers travel every ten seconds, the first one after loading and joining.
const LEDGER_LIMIT: Duration = Duration::from_secs(60);

/// Running sensors; dropping them ends them.
#[derive(Debug)]
pub struct Sensors {
    sensors: Vec<Sensor>,
    brain: Arc<Brain>,
    signal: &'static str,
    before: Totals,
}

impl Sensors {
    /// Starts those that the workload concerns, and waits until they report.
    pub fn start(stand: &Stand, workload: Workload) -> Result<Self> {
        let brain = Arc::clone(&stand.brain);
        let reported = reported(&brain)?;
        // A host has one sensor; the second one's programs would run on the first one's calls too.
        let hosts = match workload {
            Workload::Connect | Workload::Flood { .. } => &HOSTS[..],
            Workload::Syscall | Workload::Open | Workload::Exec => &HOSTS[..1],
        };
        let mut sensors = Vec::new();
        for host in hosts {
            let folder = stand.hosts.subfolder(&format!("sensor-{host}"))?;
            let (control, place) = (stand.hosts.control(), stand.hosts.place(host));
            sensors.push(Sensor::start(&folder, &control, host, &place, &brain)?);
        }
        let mut watching =
            Self { sensors, brain, signal: signal(workload), before: Totals::default() };
        watching.wait_for_ledgers(&reported)?;
        watching.before = watching.totals()?;
        Ok(watching)
    }

    /// Both sensors' processes. The brain is another machine's cost.
    pub fn processes(&self) -> Vec<u32> {
        self.sensors.iter().flat_map(|sensor| cpu::family(sensor.pid())).collect()
    }

    /// The processes of one host's sensor.
    pub fn of(&self, host: &str) -> Vec<u32> {
        let sensors = HOSTS.into_iter().zip(&self.sensors).filter(|(name, _)| *name == host);
        sensors.flat_map(|(_, sensor)| cpu::family(sensor.pid())).collect()
    }

    /// Waits for the ledgers of the workload, then ends both.
    pub fn stop(&mut self) -> Result<Seen> {
        let reported = reported(&self.brain)?;
        self.wait_for_ledgers(&reported)?;
        let totals = self.totals()?;
        self.sensors.clear();
        let mut lost = 0;
        for (name, count) in &totals.losses {
            let more = count - self.before.losses.get(name).copied().unwrap_or(0);
            if more > 0 {
                eprintln!("  lost: {name} {more}");
                lost += more;
            }
        }
        Ok(Seen { recorded: totals.recorded - self.before.recorded, lost })
    }

    /// Waits until each host has sent another ledger.
    fn wait_for_ledgers(&mut self, last: &[String]) -> Result<()> {
        let watching = self.sensors.len();
        interrupt::eventually("ledgers of all sensors", LEDGER_LIMIT, || {
            self.sensors.iter_mut().try_for_each(Sensor::alive)?;
            let now = reported(&self.brain)?;
            let is_new = |time: &String| !last.contains(time);
            Ok((now.iter().filter(|time| is_new(time)).count() >= watching).then_some(()))
        })
    }

    /// Sums over both ledgers since the hosts were first seen.
    fn totals(&self) -> Result<Totals> {
        let (mut recorded, mut losses) = (0, BTreeMap::<String, u64>::new());
        for host in self.brain.hosts()? {
            let lines = host["coverage"]["ledger"].as_array().context("a host has no ledger")?;
            for line in lines {
                // Losses of any kind count; the records are those of the workload's signal.
                let lines = line["lost"].as_array().map(Vec::as_slice).unwrap_or_default();
                for loss in lines {
                    let count = loss["count"].as_u64().unwrap_or(0);
                    let name = format!("{} {}", line["signal"], loss["reason"]).replace('"', "");
                    *losses.entry(name).or_default() += count;
                }
                if line["signal"] == self.signal {
                    recorded += line["delivered"].as_u64().unwrap_or(0);
                }
            }
        }
        Ok(Totals { recorded, losses })
    }
}

/// What the ledgers say since the hosts were first seen.
#[derive(Debug, Default)]
struct Totals {
    /// Records of the workload's signal that were delivered.
    recorded: u64,
    /// Losses by signal and reason.
    losses: BTreeMap<String, u64>,
}

/// When each host last sent its ledger.
fn reported(brain: &Brain) -> Result<Vec<String>> {
    let hosts = brain.hosts()?;
    let times = hosts.iter().map(|host| host["coverage"]["updated"].as_str());
    Ok(times.flatten().map(str::to_owned).collect())
}

/// The signal of the ledger that a workload makes.
fn signal(workload: Workload) -> &'static str {
    match workload {
        Workload::Syscall => "syscall",
        // Of files that nobody watches there is nothing to tell.
        Workload::Open => "file",
        Workload::Exec => "exec",
        Workload::Connect => "socket",
        Workload::Flood { .. } => "flow",
    }
}
