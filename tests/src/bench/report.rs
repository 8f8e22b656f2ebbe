//! Rows: what a workload cost alone, watched, and what the watcher did for it.

use serde_json::{Value, json};

use super::goal::Goal;
use super::watcher::{Kind, Seen};
use super::workload::Workload;

/// One watched run.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Time of the workload.
    pub nanoseconds: u64,
    /// Time that the watcher's own processes spent.
    pub cpu: u64,
    /// What it saw.
    pub seen: Seen,
}

/// One workload with one watcher.
#[derive(Debug)]
pub struct Row {
    workload: Workload,
    kind: Kind,
    operations: u64,
    /// Times of the workload alone, in nanoseconds.
    pub alone: Vec<u64>,
    /// Watched runs.
    pub watched: Vec<Sample>,
    /// Difference, per operation, that this run shows when nothing watches.
    pub noise: f64,
    /// What the row should reach, for our own.
    pub goal: Option<Goal>,
    /// Why the row is empty.
    pub skipped: Option<String>,
}

impl Row {
    /// An empty row.
    pub fn new(workload: Workload, kind: Kind, operations: u64) -> Self {
        let (alone, watched) = (Vec::new(), Vec::new());
        Self { workload, kind, operations, alone, watched, noise: 0.0, goal: None, skipped: None }
    }

    /// Added per operation, by the minima: the steadiest figure of a noisy machine.
    pub fn added_minimum(&self) -> f64 {
        self.per_operation(minimum(&self.times())) - self.per_operation(minimum(&self.alone))
    }

    /// Added per operation, by the medians.
    pub fn added_median(&self) -> f64 {
        self.per_operation(median(&self.times())) - self.per_operation(median(&self.alone))
    }

    /// The row as JSON, times in nanoseconds per operation.
    pub fn to_json(&self) -> Value {
        if let Some(reason) = &self.skipped {
            return json!({
                "workload": self.workload.name(), "watcher": self.kind.name(), "skipped": reason,
            });
        }
        let round = |value: f64| (value * 10.0).round() / 10.0;
        let per = |value| round(self.per_operation(value));
        json!({
            "workload": self.workload.name(),
            "watcher": self.kind.name(),
            "operations": self.operations,
            "pairs": self.alone.len(),
            "alone_ns": { "median": per(median(&self.alone)), "minimum": per(minimum(&self.alone)) },
            "watched_ns": {
                "median": per(median(&self.times())), "minimum": per(minimum(&self.times())),
            },
            "added_ns": {
                "median": round(self.added_median()), "minimum": round(self.added_minimum()),
            },
            "noise_ns": round(self.noise),
            "measurable": self.is_measurable(),
            "watcher_cpu_ns": per(self.cpu()),
            "recorded": self.recorded(),
            "lost": self.lost(),
            "goal": self.goal.as_ref().map(Goal::to_json),
        })
    }

    /// The row as a line of the table.
    pub fn to_line(&self) -> String {
        let (workload, watcher) = (self.workload.name(), self.kind.name());
        if let Some(reason) = &self.skipped {
            return format!("{workload:<8} {watcher:<14} skipped: {reason}");
        }
        let time = |value: f64| human(value);
        let added = if self.kind == Kind::Nothing || self.is_measurable() {
            format!("{} / {}", signed(self.added_median()), signed(self.added_minimum()))
        } else {
            "not measurable".to_owned()
        };
        format!(
            "{workload:<8} {watcher:<14} {:>22} {:>22} {added:>22} {:>9} {:>10} {:>8}",
            format!(
                "{} / {}",
                time(self.per_operation(median(&self.alone))),
                time(self.per_operation(minimum(&self.alone)))
            ),
            format!(
                "{} / {}",
                time(self.per_operation(median(&self.times()))),
                time(self.per_operation(minimum(&self.times())))
            ),
            time(self.per_operation(self.cpu())),
            self.recorded(),
            self.lost(),
        ) + &self.goal.as_ref().map(|goal| format!("\n  {goal}")).unwrap_or_default()
    }

    fn is_measurable(&self) -> bool {
        self.added_minimum().abs() > self.noise
    }

    fn times(&self) -> Vec<u64> {
        self.watched.iter().map(|sample| sample.nanoseconds).collect()
    }

    /// Time of the workload alone, per operation, by the minimum.
    pub fn alone_minimum(&self) -> f64 {
        self.per_operation(minimum(&self.alone))
    }

    /// The watcher's own time per operation.
    pub fn own_cpu(&self) -> f64 {
        self.per_operation(self.cpu())
    }

    /// Median of the watcher's own time per run.
    fn cpu(&self) -> u64 {
        median(&self.watched.iter().map(|sample| sample.cpu).collect::<Vec<_>>())
    }

    /// Fewest records of any run: a run in which something is missing must show.
    fn recorded(&self) -> u64 {
        self.watched.iter().map(|sample| sample.seen.recorded).min().unwrap_or(0)
    }

    /// Losses of all runs.
    fn lost(&self) -> u64 {
        self.watched.iter().map(|sample| sample.seen.lost).sum()
    }

    fn per_operation(&self, nanoseconds: u64) -> f64 {
        nanoseconds as f64 / self.operations as f64
    }
}

/// Heading of the table.
pub fn heading() -> String {
    format!(
        "times per operation, median / minimum; added beyond the A/A row's noise\n\
         {:<8} {:<14} {:>22} {:>22} {:>22} {:>9} {:>10} {:>8}",
        "WORKLOAD", "WATCHER", "ALONE", "WATCHED", "ADDED", "OWN CPU", "RECORDED", "LOST"
    )
}

fn minimum(times: &[u64]) -> u64 {
    times.iter().copied().min().unwrap_or(0)
}

fn median(times: &[u64]) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    match times.len() {
        0 => 0,
        even if even % 2 == 0 => u64::midpoint(times[even / 2 - 1], times[even / 2]),
        odd => times[odd / 2],
    }
}

fn human(nanoseconds: f64) -> String {
    if nanoseconds.abs() < 1000.0 {
        format!("{nanoseconds:.0} ns")
    } else {
        format!("{:.1} µs", nanoseconds / 1000.0)
    }
}

fn signed(nanoseconds: f64) -> String {
    let sign = if nanoseconds < 0.0 { "-" } else { "+" };
    format!("{sign}{}", human(nanoseconds.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(alone: &[u64], watched: &[u64], noise: f64) -> Row {
        let mut row = Row::new(Workload::Exec, Kind::Auditd, 10);
        row.alone = alone.to_vec();
        row.watched = watched
            .iter()
            .map(|&nanoseconds| Sample {
                nanoseconds,
                cpu: 50,
                seen: Seen { recorded: nanoseconds, lost: 1 },
            })
            .collect();
        row.noise = noise;
        row
    }

    #[test]
    fn medians_and_minima_are_per_operation() {
        let row = row(&[100, 300, 200], &[400, 150, 350, 500], 1.0);
        assert!((row.added_minimum() - 5.0).abs() < 1e-9);
        assert!((row.added_median() - 17.5).abs() < 1e-9);
        let json = row.to_json();
        assert_eq!(json["measurable"], true);
        assert_eq!(json["recorded"], 150);
        assert_eq!(json["lost"], 4);
        assert_eq!(json["watcher_cpu_ns"], 5.0);
    }

    #[test]
    fn what_is_within_the_noise_is_not_measurable() {
        let row = row(&[100], &[150], 6.0);
        assert_eq!(row.to_json()["measurable"], false);
        assert!(row.to_line().contains("not measurable"));
    }

    #[test]
    fn a_skip_says_why() {
        let mut row = row(&[], &[], 0.0);
        row.skipped = Some("no such daemon".to_owned());
        assert!(row.to_line().contains("no such daemon"));
        assert_eq!(row.to_json()["skipped"], "no such daemon");
    }
}
