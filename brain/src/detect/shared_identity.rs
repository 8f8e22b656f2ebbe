//! One identity on two machines.
//!
//! **What.** Two sensors report under the same identity: an image with the sensor's key was copied,
//! or somebody has stolen the key and speaks for the host.
//!
//! **Evidence.** The starts of the sensor that took turns, which number its batches.
//!
//! **False positives.** A sensor that starts again sends what an earlier start left before anything
//! of its own, so that it shows nothing. A machine that goes back to a snapshot of its running
//! state shows it once, and so can one that starts twice with its clock set back between, while
//! much of what it has to say still waits.
//!
//! **Method.** A start that was followed by another one never speaks again, unless there are two
//! sensors. Copies of a running machine have the same start, and are not told apart.

use std::collections::VecDeque;

use super::{Detector, HOSTS_MAX, KindText, Reporter};
use crate::finding::{Evidence, EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, HostId};
use crate::text;
use crate::window::keyed::Keyed;

const TEXT: KindText = KindText {
    name: "DefenseEvasion:Fleet/SharedIdentity",
    guardduty: None,
    description: "Two sensors report under the identity of one host: its image was copied with the \
        sensor's key, or somebody uses the key to speak for the host.",
    remediation: "Find both machines by the addresses of the host's sessions. Revoke the identity, \
        delete the sensor's state on both, and let each join with a new token.",
    techniques: &["T1552.004"],
};

const SEVERITY: f64 = 7.0;

/// Starts of one host that are remembered: several machines may share an image.
const STARTS_MAX: usize = 16;

/// The detector.
#[derive(Debug)]
pub struct SharedIdentity {
    settings: policy::SharedIdentity,
    reporter: Reporter,
    hosts: Keyed<HostId, Starts>,
}

/// The starts of one host's sensor.
#[derive(Debug, Default)]
struct Starts {
    current: u64,
    /// Those that were followed by others.
    earlier: VecDeque<u64>,
    returns: u32,
}

impl Starts {
    /// Notes which start speaks; returns the one that it has replaced, if it had been replaced
    /// itself.
    fn speaks(&mut self, start: u64) -> Option<u64> {
        if self.current == start {
            return None;
        }
        let before = std::mem::replace(&mut self.current, start);
        let known = self.earlier.iter().position(|earlier| *earlier == start);
        let returned = known.and_then(|at| self.earlier.remove(at)).is_some();
        self.earlier.truncate(STARTS_MAX - 1);
        self.earlier.push_front(before);
        self.returns = self.returns.saturating_add(returned.into());
        returned.then_some(before)
    }
}

impl SharedIdentity {
    /// Returns the detector.
    pub fn new(active: &Active<policy::SharedIdentity>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter, hosts: Keyed::new(HOSTS_MAX) }
    }
}

impl Detector for SharedIdentity {
    fn name(&self) -> &'static str {
        "shared_identity"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let EventKind::Heartbeat { sensor_start_ns: start } = event.kind else { return };
        let starts = self.hosts.get_or(&event.host.id, Starts::default);
        let Some(other) = starts.speaks(start) else { return };
        if starts.returns < self.settings.returns {
            return;
        }
        let mut signal = self.reporter.signal(&event.host, event.time_ns, None, SEVERITY, "");
        let name = text::visible_str(&event.host.name);
        signal.title = format!("Two sensors report as {name}");
        signal.evidence.push(Evidence {
            time_ns: event.time_ns,
            kind: EvidenceKind::Coverage,
            summary: format!(
                "the sensor that started at {} speaks again after the one that started at {}",
                text::rfc3339(start),
                text::rfc3339(other)
            ),
            fields: vec![
                ("start", text::rfc3339(start).into()),
                ("other_start", text::rfc3339(other).into()),
                ("returns", u64::from(starts.returns).into()),
            ],
            slot: None,
        });
        out.push(signal);
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}

    fn evicted(&self) -> u64 {
        self.hosts.evicted()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_that_was_replaced_does_not_speak_again() {
        let mut starts = Starts::default();
        let told = [0, 5, 5, 3, 9, 3, 3, 9].map(|start| starts.speaks(start));
        assert_eq!(told, [None, None, None, None, None, Some(9), None, Some(3)]);
        assert_eq!(starts.returns, 2);
    }

    #[test]
    fn starts_are_remembered_up_to_a_limit() {
        let mut starts = Starts::default();
        for start in 1..=1_000 {
            assert_eq!(starts.speaks(start), None);
            assert!(starts.earlier.len() <= STARTS_MAX);
        }
    }
}
