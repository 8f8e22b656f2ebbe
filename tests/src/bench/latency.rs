//! How long it takes from an event in a kernel to the finding that a brain has of it, in a fleet
//! of real sensors: the brain's own measure, which begins at the kernel's time stamp and ends once
//! the batch is on disk and the finding is made.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::demo::Narrator;
use crate::demo::stage::Stage;
use crate::interrupt;

/// Most that 99 of 100 findings may take.
const GOAL: f64 = 0.250;
/// Pauses between two acts; they differ, so that acts do not keep step with the sensor's polls, and
/// some are long enough for the sensor to come to rest.
const PAUSES_MS: [u64; 5] = [70, 190, 310, 530, 1_130];
/// How long the last finding may take.
const LAST: Duration = Duration::from_secs(3);

/// What the brain measured.
#[derive(Debug)]
pub struct Latency {
    acts: u32,
    findings: f64,
    median: f64,
    p99: f64,
    longest: f64,
}

impl Latency {
    /// Starts a fleet and executes a program from memory again and again on one of its hosts.
    pub fn measure(acts: u32) -> Result<Self> {
        let narrator = Narrator::new();
        let mut stage = Stage::new("latency", SocketAddr::from(([127, 0, 0, 1], 0)), &narrator)?;
        narrator.say(format!("{acts} executions of a program from memory"));
        for (_, pause) in (0..acts).zip(PAUSES_MS.into_iter().cycle()) {
            stage.act("app-1", &["memfd-exec", "/bin/sleep", "0.01"])?;
            interrupt::sleep(Duration::from_millis(pause))?;
        }
        interrupt::sleep(LAST)?;
        stage.alive()?;
        let page = stage.brain.metrics()?;
        let delay = |quantile: &str| {
            value(&page, &format!("sakuramori_finding_delay_seconds{{quantile=\"{quantile}\"}}"))
        };
        let of = |outcome: &str| {
            value(&page, &format!("sakuramori_findings_total{{outcome=\"{outcome}\"}}"))
        };
        let findings = of("new").unwrap_or(0.0) + of("updated").unwrap_or(0.0);
        ensure!(findings >= f64::from(acts), "{findings} findings of {acts} acts");
        let (median, p99, longest) = (delay("0.5")?, delay("0.99")?, delay("1")?);
        Ok(Self { acts, findings, median, p99, longest })
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "workload": "latency", "acts": self.acts, "findings": self.findings,
            "median_s": self.median, "p99_s": self.p99, "longest_s": self.longest,
            "p99_goal_s": GOAL, "met": self.p99 < GOAL,
        })
    }

    /// For people.
    pub fn to_line(&self) -> String {
        let verdict = if self.p99 < GOAL { "met" } else { "MISSED" };
        let ms = |seconds: f64| seconds * 1_000.0;
        format!(
            "latency  {} acts, {} findings made or added to: median {:.0} ms, p99 {:.0} ms, \
             longest {:.0} ms (goal {verdict}: p99 below {:.0} ms)",
            self.acts,
            self.findings,
            ms(self.median),
            ms(self.p99),
            ms(self.longest),
            ms(GOAL),
        )
    }
}

/// Finds a line of the metrics page.
fn value(page: &str, name: &str) -> Result<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.with_context(|| format!("the brain tells no {name}"))?;
    value.parse().with_context(|| format!("{name} is {value:?}"))
}
