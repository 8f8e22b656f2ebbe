//! Sensors after a storm, with nothing to do: processor time, memory, kernel maps.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::cpu;
use super::fleet::Sensors;
use super::watcher::Stand;
use super::workload::{WORKLOADS, Workload};
use crate::binaries;
use crate::fleet::process::Running;
use crate::interrupt;

/// Time at rest.
const REST: Duration = Duration::from_secs(60);
/// Time after the storms until all is sent.
const SETTLE: Duration = Duration::from_secs(15);
/// The most that a sensor at rest may take, in parts of one processor.
const CPU_GOAL: f64 = 0.003;
/// The most that its processes may hold after the storms.
const MEMORY_GOAL: u64 = 32 << 20;
/// The most that its kernel maps may take, on a machine with two processors.
const MAPS_GOAL: u64 = 48 << 20;

/// What one sensor takes.
#[derive(Debug)]
pub struct Idle {
    /// Processor time at rest, in parts of one processor.
    cpu: f64,
    /// Resident memory of its processes after the storms, in bytes.
    resident: u64,
    /// The same with shared pages counted once.
    memory: u64,
    /// Bytes of its kernel maps.
    maps: u64,
    processors: usize,
}

impl Idle {
    /// Storms, rests, and measures the storms' own sensor; `scale` shortens both.
    pub fn measure(stand: &Stand, scale: f64) -> Result<Self> {
        let maps = maps(stand)?;
        let sensors = Sensors::start(stand, Workload::Exec)?;
        for workload in WORKLOADS {
            workload.run(stand, workload.operations(scale))?;
        }
        interrupt::sleep(SETTLE)?;
        let processes = sensors.of(stand.client);
        let before = cpu::spent(&processes);
        let rest = REST.mul_f64(scale.clamp(0.05, 1.0));
        interrupt::sleep(rest)?;
        let spent = cpu::spent(&processes).saturating_sub(before);
        Ok(Self {
            cpu: spent as f64 / rest.as_nanos() as f64,
            resident: cpu::resident(&processes),
            memory: cpu::memory(&processes),
            maps,
            processors: std::thread::available_parallelism()?.get(),
        })
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "workload": "idle",
            "cpu_percent": self.cpu * 100.0, "cpu_goal_percent": CPU_GOAL * 100.0,
            "resident_bytes": self.resident, "proportional_bytes": self.memory,
            "resident_goal_bytes": MEMORY_GOAL,
            "map_bytes": self.maps, "map_goal_bytes": MAPS_GOAL, "processors": self.processors,
            "met": self.cpu <= CPU_GOAL && self.memory <= MEMORY_GOAL && self.maps <= MAPS_GOAL,
        })
    }

    /// For people.
    pub fn to_lines(&self) -> String {
        let word = |met| if met { "met" } else { "MISSED" };
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        format!(
            "idle     processor {:.2} % of one (goal {:.1} %: {})\n\
             idle     memory after the storms {:.1} MiB ({:.1} MiB resident, shared pages counted \
             for each process; goal {} MiB: {})\n\
             idle     kernel maps {:.1} MiB on {} processors (goal {} MiB on 2: {})",
            self.cpu * 100.0,
            CPU_GOAL * 100.0,
            word(self.cpu <= CPU_GOAL),
            mib(self.memory),
            mib(self.resident),
            MEMORY_GOAL >> 20,
            word(self.memory <= MEMORY_GOAL),
            mib(self.maps),
            self.processors,
            MAPS_GOAL >> 20,
            word(self.maps <= MAPS_GOAL),
        )
    }
}

/// Asks `doctor` for the bytes of all kernel maps.
fn maps(stand: &Stand) -> Result<u64> {
    let mut command = stand.hosts.place(stand.client).command(binaries::find(binaries::SENSOR)?)?;
    command.args(["doctor", "--json"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut doctor = Running::start("the doctor", &mut command)?;
    let mut said = String::new();
    let output = doctor.child().stdout.as_mut().context("the doctor has no output")?;
    std::io::Read::read_to_string(output, &mut said)?;
    doctor.wait(Duration::from_secs(30))?;
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let maps = lines.filter(|line| line["kind"] == "map");
    Ok(maps.filter_map(|map| map["bytes"].as_u64()).sum())
}
