//! BPF programs loaded by something that is not known to load any.
//!
//! **What.** A process loaded a program into the kernel's BPF machine. There it can hide files and
//! processes, change packets, and read what others type.
//!
//! **Evidence.** The load, with the program's type and name.
//!
//! **False positives.** System services, runtimes, network agents and observability agents load
//! programs all day; they are known by name where packages put them. Tools of administrators are of
//! low severity for a person at a terminal.
//!
//! **Method.** One record decides; one finding for each loader.

use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, PrivilegeAction, Process};

const TEXT: KindText = KindText {
    name: "DefenseEvasion:Host/BpfProgramLoaded",
    guardduty: None,
    description: "A program that is not known for it loaded a BPF program into the kernel. \
        Rootkits use such programs to hide and to listen without a kernel module.",
    remediation: "List what is loaded and where it is attached (`bpftool prog`, `bpftool link`). \
        If nobody knows the loader, keep the program (`bpftool prog dump`), isolate the host and \
        do not trust what it says about itself.",
    techniques: &["T1014", "T1205.002"],
};

const SEVERITY: f64 = 6.0;
/// From where everybody writes, or below a service, or in a container.
const SEVERITY_ODD: f64 = 7.5;
const SEVERITY_SESSION: f64 = 3.0;

/// Types of programs by number (bpf.h).
const TYPES: [(u32, &str); 12] = [
    (1, "socket filter"),
    (2, "kprobe"),
    (3, "traffic control"),
    (5, "tracepoint"),
    (6, "XDP"),
    (7, "perf event"),
    (8, "cgroup packets"),
    (17, "raw tracepoint"),
    (26, "tracing"),
    (28, "extension"),
    (29, "LSM"),
    (31, "system call"),
];

/// The detector.
#[derive(Debug)]
pub struct BpfProgram {
    settings: policy::BpfProgram,
    reporter: Reporter,
}

impl BpfProgram {
    /// Returns the detector.
    pub fn new(active: &Active<policy::BpfProgram>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }

    fn severity(&self, process: &Process) -> f64 {
        let tool = context::is_one_of(process, &self.settings.tools);
        let odd = context::is_scratch(process)
            || context::service(process).is_some()
            || context::is_contained(process);
        match odd {
            _ if tool && context::is_admin_session(process) => SEVERITY_SESSION,
            true => SEVERITY_ODD,
            false => SEVERITY,
        }
    }
}

impl Detector for BpfProgram {
    fn name(&self) -> &'static str {
        "bpf_program"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let EventKind::Privilege(privilege) = &event.kind else { return };
        if privilege.action != PrivilegeAction::BpfProgram || privilege.error != 0 {
            return;
        }
        let process = event.process.as_deref();
        if process.is_some_and(|one| context::is_one_of(one, &self.settings.loaders)) {
            return;
        }
        let kind = TYPES.iter().find(|(number, _)| *number == privilege.kind);
        let kind = kind.map_or("unnamed type", |(_, name)| name);
        out.push(self.reporter.act(
            event,
            Act {
                severity: process.map_or(SEVERITY, |process| self.severity(process)),
                subject: String::new(),
                what: format!("loaded a BPF program ({kind})"),
                kind: EvidenceKind::Privilege,
                fields: vec![
                    ("program", shown(&privilege.name).into()),
                    ("type", u64::from(privilege.kind).into()),
                ],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
