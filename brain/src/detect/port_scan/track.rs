//! Counts probes in vain for one subject: ports of an address, or addresses of a port.

use std::sync::Arc;

use super::{Failure, REPORT_AFTER_NS, REPORT_EVERY_NS};
use crate::record::Process;
use crate::window::distinct::Distinct;
use crate::window::recent::Recent;
use crate::window::rotating::Rotating;

/// Values that are shown as examples.
const SHOWN_MAX: usize = 32;

/// How many times the settling time a scan without a known process waits for one.
const PROCESS_WAIT_FACTOR: u64 = 2;

/// Counts for one subject. It starts anew when nothing happened for a whole window.
#[derive(Debug)]
pub(super) struct Track {
    threshold: usize,
    recent: Recent<u128>,
    failed: Rotating,
    succeeded: Rotating,
    total: Distinct,
    shown: Vec<u128>,
    process: Option<Arc<Process>>,
    first_ns: u64,
    last_ns: u64,
    /// When the threshold was crossed.
    crossed_ns: Option<u64>,
    reported: u64,
    reported_ns: Option<u64>,
}

/// What is reported about a subject.
#[derive(Clone, Debug)]
pub(super) struct Notice {
    /// When the threshold was crossed: the time of the problem, whenever it is reported.
    pub(super) time_ns: u64,
    pub(super) first_ns: u64,
    pub(super) last_ns: u64,
    pub(super) process: Option<Arc<Process>>,
    /// Distinct values probed in vain.
    pub(super) total: u64,
    /// Those that were not in an earlier notice.
    pub(super) new: u64,
    pub(super) exact: bool,
    /// Examples, in order.
    pub(super) shown: Vec<u128>,
}

impl Track {
    pub(super) fn new(threshold: usize) -> Self {
        Self {
            threshold,
            recent: Recent::new(threshold),
            failed: Rotating::default(),
            succeeded: Rotating::default(),
            total: Distinct::default(),
            shown: Vec::new(),
            process: None,
            first_ns: u64::MAX,
            last_ns: 0,
            crossed_ns: None,
            reported: 0,
            reported_ns: None,
        }
    }

    pub(super) fn succeed(&mut self, value: u128, time_ns: u64, window_ns: u64) {
        self.succeeded.insert(value, time_ns, window_ns);
    }

    pub(super) fn fail(&mut self, value: u128, failure: &Failure<'_>, window_ns: u64) {
        let time_ns = failure.time_ns;
        if self.last_ns.saturating_add(window_ns) < time_ns {
            let succeeded = std::mem::take(&mut self.succeeded);
            *self = Self { succeeded, ..Self::new(self.threshold) };
        }
        self.recent.insert(value, time_ns);
        self.failed.insert(value, time_ns, window_ns);
        self.total.insert(value);
        if self.shown.len() < SHOWN_MAX && !self.shown.contains(&value) {
            self.shown.push(value);
        }
        self.learn_process(failure.process);
        self.first_ns = self.first_ns.min(time_ns);
        self.last_ns = self.last_ns.max(time_ns);
        if self.crossed_ns.is_none()
            && self.recent.within(time_ns, window_ns) >= self.threshold
            && self.failed.count(time_ns, window_ns) >= self.succeeded.count(time_ns, window_ns)
        {
            self.crossed_ns = Some(time_ns);
        }
    }

    /// Keeps the first process that is known: a scan is one problem, even when a script starts a
    /// new program for each probe.
    fn learn_process(&mut self, process: Option<&Arc<Process>>) {
        if self.process.is_none() {
            self.process = process.map(Process::bounded);
        }
    }

    /// Returns whether anything failed so far.
    pub(super) fn has_begun(&self) -> bool {
        self.first_ns != u64::MAX
    }

    /// Returns whether the threshold was crossed and probes went on until lately.
    pub(super) fn is_going_on(&self, now_ns: u64, window_ns: u64) -> bool {
        self.crossed_ns.is_some() && self.last_ns.saturating_add(window_ns) >= now_ns
    }

    /// Returns what is to be said now, if anything.
    pub(super) fn due(&mut self, now_ns: u64, settle_ns: u64) -> Option<Notice> {
        let crossed_ns = self.crossed_ns?;
        let process_wait_ns = settle_ns.saturating_mul(PROCESS_WAIT_FACTOR);
        let wait_ns = if self.process.is_some() {
            REPORT_AFTER_NS
        } else {
            process_wait_ns.max(REPORT_AFTER_NS)
        };
        let due = match self.reported_ns {
            None => crossed_ns.saturating_add(wait_ns) <= now_ns,
            Some(reported_ns) => reported_ns.saturating_add(REPORT_EVERY_NS) <= now_ns,
        };
        let total = self.total.count();
        if !due || total <= self.reported {
            return None;
        }
        let new = total - self.reported;
        self.reported = total;
        self.reported_ns = Some(now_ns);
        let mut shown = self.shown.clone();
        shown.sort_unstable();
        Some(Notice {
            time_ns: crossed_ns,
            first_ns: self.first_ns,
            last_ns: self.last_ns,
            process: self.process.clone(),
            total,
            new,
            exact: self.total.is_exact(),
            shown,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::port_scan::{PendingKey, Side};

    const WINDOW: u64 = 60_000_000_000;
    const SECOND: u64 = 1_000_000_000;

    fn fail(track: &mut Track, value: u128, time_ns: u64) {
        let key = PendingKey {
            side: Side::Actor,
            protocol: 6,
            remote: "10.0.0.1".parse().unwrap(),
            port: 1,
        };
        track.fail(value, &Failure { key, time_ns, process: None }, WINDOW);
    }

    #[test]
    fn a_scan_is_reported_once_with_its_measure_and_again_when_it_grows() {
        let mut track = Track::new(20);
        for value in 0..50 {
            fail(&mut track, value, SECOND + value as u64);
        }
        assert!(track.due(SECOND * 2, SECOND).is_none(), "the process may still become known");
        let notice = track.due(SECOND * 4, SECOND).unwrap();
        assert_eq!((notice.total, notice.new, notice.exact), (50, 50, true));
        assert_eq!(notice.time_ns, SECOND + 19);
        assert!(track.due(SECOND * 60, SECOND).is_none(), "nothing is new");
        fail(&mut track, 77, SECOND * 10);
        assert_eq!(track.due(SECOND * 15, SECOND).unwrap().new, 1);
    }

    #[test]
    fn slow_failures_and_busy_clients_do_not_count() {
        let mut slow = Track::new(20);
        for value in 0..200 {
            fail(&mut slow, value, value as u64 * 4 * SECOND);
        }
        assert!(slow.due(u64::MAX, SECOND).is_none());
        let mut busy = Track::new(20);
        for value in 0..50 {
            busy.succeed(1_000 + value * 2, SECOND, WINDOW);
            busy.succeed(1_001 + value * 2, SECOND, WINDOW);
            fail(&mut busy, value, SECOND);
        }
        assert!(busy.due(u64::MAX, SECOND).is_none());
    }
}
