//! `userfaultfd`, with which exploits of the kernel win races.
//!
//! **What.** A process asked to handle page faults of its own memory. While the kernel waits for it
//! in the middle of a copy, the process changes what is copied.
//!
//! **Evidence.** The call that succeeded.
//!
//! **False positives.** Virtual machines and checkpointing tools do so to move memory; they are
//! known by name where packages put them.
//!
//! **Method.** One record decides; no state.

use super::report::Act;
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, PrivilegeAction};

const TEXT: KindText = KindText {
    name: "PrivilegeEscalation:Host/UserfaultfdUsage",
    guardduty: Some("PrivilegeEscalation:Runtime/UserfaultfdUsage"),
    description: "A program used userfaultfd. Hardly any program needs it, and exploits of the \
        kernel use it to stop the kernel at a chosen moment.",
    remediation: "Find out what the program is. If nobody knows it, isolate the host, and switch \
        the call off for users (sysctl vm.unprivileged_userfaultfd=0).",
    techniques: &["T1068"],
};

const SEVERITY: f64 = 5.0;
/// Not root, or from where everybody writes.
const SEVERITY_ODD: f64 = 6.5;

/// The detector.
#[derive(Debug)]
pub struct Userfault {
    settings: policy::Userfault,
    reporter: Reporter,
}

impl Userfault {
    /// Returns the detector.
    pub fn new(active: &Active<policy::Userfault>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }
}

impl Detector for Userfault {
    fn name(&self) -> &'static str {
        "userfault"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let EventKind::Privilege(privilege) = &event.kind else { return };
        if privilege.action != PrivilegeAction::Userfaultfd || privilege.error != 0 {
            return;
        }
        let process = event.process.as_deref();
        if process.is_some_and(|one| context::is_one_of(one, &self.settings.expected)) {
            return;
        }
        let odd = process.is_some_and(|one| one.uid != 0 || context::is_scratch(one));
        out.push(self.reporter.act(
            event,
            Act {
                severity: if odd { SEVERITY_ODD } else { SEVERITY },
                subject: String::new(),
                what: "used userfaultfd".to_owned(),
                kind: EvidenceKind::Privilege,
                fields: vec![("times", privilege.count.into())],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
