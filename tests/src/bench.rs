//! What watching costs a host: workloads alone and watched, in turns, within one run.
//!
//! A machine's speed means little, so only differences within one run are told, beside the row in
//! which nothing watches: a difference within that row's is not measurable. What a watcher spends
//! in its own processes is added, and each row says what was recorded and what was lost.
//!
//! # Reading order
//! [`workload`] (what is repeated), [`watcher`] (who watches), [`audit`], [`trace`] and [`capture`]
//! (peers), [`floor`] (the least that a program can cost), [`fleet`] (our own sensors), [`cpu`]
//! (what processes spent), [`goal`] (what we want to reach), [`report`] (rows), [`idle`] (sensors
//! with nothing to do), [`size`] (bytes of records on the wire), [`latency`] (from an event to its
//! finding).

pub mod audit;
pub mod capture;
pub mod cpu;
pub mod fleet;
pub mod floor;
pub mod goal;
pub mod idle;
pub mod latency;
pub mod report;
pub mod size;
pub mod trace;
pub mod watcher;
pub mod workload;

use std::time::Duration;

use anyhow::{Context, Result};

use self::goal::Goal;
use self::report::{Row, Sample};
use self::watcher::{Kind, Stand};
use self::workload::{WORKLOADS, Workload};
use crate::interrupt;

/// Time for a watcher to come to rest after its start, and for its last records to arrive.
const SETTLE: Duration = Duration::from_millis(1500);
/// The same for our sensors: they count system calls for a second in thirty, and begin with that.
/// What is measured is the time between.
const SETTLE_OURS: Duration = Duration::from_millis(4000);

/// What to measure.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Pairs of runs, alone and watched.
    pub pairs: u32,
    /// Part of the usual number of operations, for trying things out.
    pub scale: f64,
    /// Whether peers are measured as well.
    pub peers: bool,
}

/// Measures all workloads with all watchers; each row is handed out as soon as it is known.
pub fn storms(stand: &Stand, options: Options, mut on_row: impl FnMut(&Row)) -> Result<()> {
    for workload in WORKLOADS {
        let operations = workload.operations(options.scale);
        // One run that nobody counts brings programs and pages into memory.
        workload.run(stand, operations)?;
        let mut noise = 0.0;
        let mut floor = None;
        let wanted = |kind: &Kind| kind.watches(workload) && (options.peers || !kind.is_peer());
        for kind in Kind::ALL.into_iter().filter(wanted) {
            let mut row = Row::new(workload, kind, operations);
            if let Some(reason) = kind.impossible(workload) {
                row.skipped = Some(reason);
                on_row(&row);
                continue;
            }
            eprintln!("{} with {} …", workload.name(), kind.name());
            for _ in 0..options.pairs {
                pair(stand, kind, workload, operations, &mut row)
                    .with_context(|| format!("{} with {}", workload.name(), kind.name()))?;
            }
            if kind == Kind::Nothing {
                noise = row.added_minimum().abs().max(row.added_median().abs());
            }
            row.noise = noise;
            if kind == Kind::Floor {
                floor = Some(row.added_minimum());
            }
            if kind == Kind::Sensor {
                row.goal = Some(Goal::of(workload, &row, floor));
            }
            on_row(&row);
        }
    }
    Ok(())
}

/// One run alone, one watched.
fn pair(
    stand: &Stand,
    kind: Kind,
    workload: Workload,
    operations: u64,
    row: &mut Row,
) -> Result<()> {
    interrupt::check()?;
    row.alone.push(workload.run(stand, operations)?);
    let mut watcher = kind.start(stand, workload)?;
    interrupt::sleep(if kind == Kind::Sensor { SETTLE_OURS } else { SETTLE })?;
    let processes = watcher.processes();
    let before = cpu::spent(&processes);
    let nanoseconds = workload.run(stand, operations)?;
    // What a watcher does late belongs to the work as well.
    interrupt::sleep(SETTLE)?;
    let cpu = cpu::spent(&processes).saturating_sub(before);
    let seen = watcher.stop()?;
    row.watched.push(Sample { nanoseconds, cpu, seen });
    Ok(())
}
