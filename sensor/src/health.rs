//! The sensor's own figures: drain lag, processor time, memory. Makes the coverage record.

use hdrhistogram::Histogram;
use wire::record::Coverage;

use crate::batch::CoverageText;
use crate::clock::{self, ClockPair};
use crate::holder::Status;
use crate::host;
use crate::ledger::Ledger;
use crate::probe::HookReport;

/// Longest lag that is told apart, in microseconds: past a minute, longer is not worse.
const LAG_MAX_US: u64 = 60_000_000;
/// Digits of the lag that are kept.
const LAG_DIGITS: u8 = 2;

/// Figures of one span, begun anew with each coverage record.
#[derive(Debug)]
pub struct Health {
    start: ClockPair,
    cpu_ns: u64,
    lag_us: Option<Histogram<u32>>,
}

impl Health {
    /// Starts the first span.
    pub fn new(now: ClockPair) -> Self {
        // The bounds are constants that the library accepts.
        let lag_us = Histogram::new_with_max(LAG_MAX_US, LAG_DIGITS).ok();
        Self { start: now, cpu_ns: clock::cpu_ns(), lag_us }
    }

    /// Notes how long a record waited in its ring.
    pub fn lag(&mut self, lag_ns: u64) {
        if let Some(histogram) = &mut self.lag_us {
            histogram.saturating_record(lag_ns / 1000);
        }
    }

    /// Ends the span and tells of it. `status` is what the programs' holder says; when that is
    /// another process, its cost counts too.
    pub fn coverage(
        &mut self,
        now: ClockPair,
        status: Status,
        ledger: &mut Ledger,
    ) -> CoverageText {
        let cpu_ns = clock::cpu_ns() + status.cpu_ns;
        let figures = Coverage {
            start_ns: self.start.unix_ns,
            end_ns: now.unix_ns,
            drain_lag_ns: self.lag_us.as_ref().map_or(0, |lag| lag.max() * 1000),
            cpu_ns: cpu_ns.saturating_sub(self.cpu_ns),
            memory_bytes: host::resident_bytes() + status.memory_bytes,
            ..Coverage::default()
        };
        (self.start, self.cpu_ns) = (now, cpu_ns);
        self.lag_us.iter_mut().for_each(Histogram::reset);
        CoverageText { figures, hooks: status.hooks, ledger: ledger.report(), maps: Vec::new() }
    }
}

/// A hook's name, how it is attached (empty when it is not), and why, as coverage tells them.
pub type HookText = [String; 3];

/// Puts what became of a hook into coverage's words.
pub fn hook(report: &HookReport) -> HookText {
    let attached = match is_needless(report) {
        true => "not needed".to_owned(),
        false => report.attached.clone().unwrap_or_default(),
    };
    [report.name.to_owned(), attached, reason(report)]
}

/// Returns whether nothing is lost without the hook: what it would see cannot happen here.
pub fn is_needless(report: &HookReport) -> bool {
    report.attached.is_none() && report.error.is_none() && report.lost.is_none()
}

/// Returns why a hook is not attached, or what stands in for it; empty when all is well.
pub fn reason(report: &HookReport) -> String {
    if report.attached.is_some() {
        return report.stands_in.clone().unwrap_or_default();
    }
    let error = report.error.as_deref().or(report.stands_in.as_deref()).unwrap_or("not attached");
    match report.lost {
        Some(lost) => format!("{error}; lost: {lost}"),
        None => error.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_abi::loss::Loss;

    use crate::ledger::{Events, Signal};

    fn report(attached: Option<&str>) -> HookReport {
        HookReport {
            name: "module",
            signal: "module",
            required: false,
            attached: attached.map(str::to_owned),
            stands_in: Some("no kprobes".to_owned()),
            lost: Some("module loads"),
            error: Some("permission denied".to_owned()),
        }
    }

    #[test]
    fn coverage_tells_a_span_once() {
        let mut health = Health::new(ClockPair { boot_ns: 1, unix_ns: 10 });
        let mut ledger = Ledger::default();
        let mut seen = Events::default();
        seen.count(Signal::Exec, 4);
        ledger.kernel(seen, &[0; Loss::SLOTS]);
        health.lag(3_000_000);
        let now = ClockPair { boot_ns: 2, unix_ns: 20 };
        let status =
            |attached| Status { hooks: vec![hook(&report(attached))], ..Status::default() };
        let first = health.coverage(now, status(Some("tracepoint x")), &mut ledger);
        assert_eq!((first.figures.start_ns, first.figures.end_ns), (10, 20));
        assert!(first.figures.drain_lag_ns >= 2_900_000 && first.figures.memory_bytes > 0);
        assert_eq!(first.ledger, [("exec", "seen", 4)]);
        assert_eq!(first.hooks, [["module", "tracepoint x", "no kprobes"].map(str::to_owned)]);
        let second = health.coverage(now, status(None), &mut ledger);
        assert_eq!((second.figures.start_ns, second.figures.drain_lag_ns), (20, 0));
        assert!(second.ledger.is_empty());
        assert_eq!(second.hooks[0][2], "permission denied; lost: module loads");
    }
}
