//! What a sensor with all its usual signals may cost, and whether it does not cost more.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

use super::report::Row;
use super::workload::Workload;

/// On kernels without better hooks a program sits on the system call path: it may cost so much more
/// than an empty one, in nanoseconds.
const BEYOND_FLOOR: f64 = 15.0;
/// Where better hooks exist, nothing sits there.
const UNTOUCHED: f64 = 5.0;
/// A file that nobody watches, opened and closed, the sensor's own time included.
const OPEN: f64 = 400.0;
/// In the kernel's path of an execution, and by the sensor itself.
const EXEC: (f64, f64) = (20_000.0, 30_000.0);
/// A short connection with both ends, the sensors' own time included.
const CONNECT: f64 = 5_000.0;
/// How much more than a program that only counts a flow may cost: part of the datagram's whole
/// time.
const FLOOD: f64 = 0.10;

/// A goal, in nanoseconds per operation, and what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    what: &'static str,
    most: f64,
    measured: f64,
}

impl Goal {
    /// The goal of a workload for our own row; `floor` is what programs that only count add.
    pub fn of(workload: Workload, row: &Row, floor: Option<f64>) -> Self {
        let (added, own) = (row.added_minimum(), row.own_cpu());
        let floor = floor.unwrap_or(0.0);
        let has_kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
        let (what, most, measured) = match workload {
            Workload::Syscall if has_kprobes => ("added", UNTOUCHED, added),
            Workload::Syscall => ("added, a counting program + 15", floor + BEYOND_FLOOR, added),
            Workload::Open => ("added and own time", OPEN, added + own),
            Workload::Exec if added > EXEC.0 => ("added", EXEC.0, added),
            Workload::Exec => ("own time", EXEC.1, own),
            Workload::Connect => ("added and own time", CONNECT, added + own),
            Workload::Flood { .. } => {
                let counted = row.alone_minimum() + floor;
                ("added, a counting program + 10 %", floor + counted * FLOOD, added)
            }
        };
        Self { what, most, measured }
    }

    /// Whether it is reached.
    pub fn is_met(&self) -> bool {
        self.measured <= self.most
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "what": self.what, "most_ns": self.most.round(), "measured_ns": self.measured.round(),
            "met": self.is_met(),
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        let Self { what, most, measured } = self;
        write!(f, "goal {verdict}: {measured:.0} ns of at most {most:.0} ({what})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Sample;
    use crate::bench::watcher::{Kind, Seen};

    fn row(workload: Workload, alone: u64, watched: u64, cpu: u64) -> Row {
        let mut row = Row::new(workload, Kind::Sensor, 1);
        row.alone = vec![alone];
        row.watched = vec![Sample { nanoseconds: watched, cpu, seen: Seen::default() }];
        row
    }

    #[test]
    fn own_time_counts_where_the_goal_says_so() {
        let cheap = row(Workload::Connect, 40_000, 43_000, 1_500);
        assert!(Goal::of(Workload::Connect, &cheap, None).is_met());
        let dear = row(Workload::Connect, 40_000, 43_000, 2_500);
        assert!(!Goal::of(Workload::Connect, &dear, None).is_met());
    }

    #[test]
    fn a_flood_is_judged_by_what_counting_costs() {
        let workload = Workload::Flood { flows: 1 };
        let watched = row(workload, 5_000, 5_700, 0);
        assert!(Goal::of(workload, &watched, Some(200.0)).is_met());
        assert!(!Goal::of(workload, &watched, Some(100.0)).is_met());
    }
}
