//! Processes that became root by an unusual way.
//!
//! **What.** A process of an ordinary user runs as root: by an executable with the setuid bit that
//! no package is known to install so, or without any.
//!
//! **Evidence.** An execution after which only the effective user is root; or a change of
//! credentials of a process that was not root in any way.
//!
//! **False positives.** Programs that are setuid by design are known by name where packages put
//! them. A daemon that gave root up for a moment still has it as its saved id, and is quiet; so is
//! root inside a user namespace, which is nobody outside. A person who logged in and uses a setuid
//! program from a package that the list does not have is of low severity.
//!
//! **Method.** One record decides; no state.

use super::report::Act;
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, PrivilegeAction, Process};
use wire::record::privilege_flag::BEFORE_UNKNOWN;

const TEXT: KindText = KindText {
    name: "PrivilegeEscalation:Host/ElevationToRoot",
    guardduty: Some("PrivilegeEscalation:Runtime/ElevationToRoot"),
    description: "A process of an ordinary user became root, and not by a program that systems \
        have for that. Somebody left a setuid program behind, or an exploit worked.",
    remediation: "Look at the executable: who owns it, since when it has the setuid bit, whether \
        a package brought it. If none did, take the bit away, isolate the host and look for what \
        the process did as root.",
    techniques: &["T1548.001", "T1068"],
};

/// No setuid program was involved: the kernel was talked into it.
const SEVERITY_WITHOUT: f64 = 8.5;
const SEVERITY: f64 = 6.5;
/// From a package that is not known to be setuid.
const SEVERITY_PACKAGED: f64 = 4.5;
const SEVERITY_SESSION: f64 = 3.5;

/// The detector.
#[derive(Debug)]
pub struct Elevation {
    settings: policy::Elevation,
    reporter: Reporter,
}

impl Elevation {
    /// Returns the detector.
    pub fn new(active: &Active<policy::Elevation>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }

    /// Returns whether this program may make root of anybody, or what it started goes on with that.
    fn is_expected(&self, process: &Process) -> bool {
        context::is_one_of(process, &self.settings.setuid_programs)
    }

    fn severity(process: &Process) -> f64 {
        match context::is_packaged(process.exe_path()) {
            true if context::is_admin_session(process) => SEVERITY_SESSION,
            true => SEVERITY_PACKAGED,
            false => SEVERITY,
        }
    }

    fn on_exec(&self, event: &Event, process: &Process) -> Option<Signal> {
        let raised = process.uid != 0 && process.euid == 0;
        // A parent that is root for another user already is what raised it. One that is simply root
        // may be a service whose worker gave root up after it was started.
        let inherited =
            process.parent.as_ref().is_some_and(|parent| parent.euid == 0 && parent.uid != 0);
        if !raised || inherited || self.is_expected(process) {
            return None;
        }
        Some(self.report(event, Self::severity(process), process.uid, "setuid"))
    }

    fn on_change(&self, event: &Event, process: &Process) -> Option<Signal> {
        let EventKind::Privilege(privilege) = &event.kind else { return None };
        let change = privilege.credentials.as_ref()?;
        let (before, after) = (&change.before, &change.after);
        let unknown = privilege.flags & BEFORE_UNKNOWN != 0;
        // Whoever has root as any of the three ids may take it back.
        let had = before.uid == 0 || before.euid == 0 || before.suid == 0;
        let raised = after.uid == 0 || after.euid == 0;
        if unknown || had || !raised || privilege.error != 0 {
            return None;
        }
        // The change that an execution brings comes with the old image; the execution itself is
        // judged by its program. Only after it is there no such program.
        let setuid = after.uid != 0 && after.euid == 0;
        if setuid || self.is_expected(process) {
            return None;
        }
        Some(self.report(event, SEVERITY_WITHOUT, before.uid, "no setuid program"))
    }

    fn report(&self, event: &Event, severity: f64, uid: u32, by: &str) -> Signal {
        self.reporter.act(
            event,
            Act {
                severity,
                subject: String::new(),
                what: format!("became root for user {uid}"),
                kind: EvidenceKind::Privilege,
                fields: vec![("uid_before", u64::from(uid).into()), ("by", by.to_owned().into())],
            },
        )
    }
}

impl Detector for Elevation {
    fn name(&self) -> &'static str {
        "elevation"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let Some(process) = &event.process else { return };
        match &event.kind {
            EventKind::Exec(_) => out.extend(self.on_exec(event, process)),
            EventKind::Privilege(one) if one.action == PrivilegeAction::Credentials => {
                out.extend(self.on_change(event, process));
            }
            _ => {}
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
