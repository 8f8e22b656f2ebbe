//! Kernel modules that were loaded.
//!
//! **What.** A module was loaded into the kernel, where it can hide anything from everything, this
//! sensor included.
//!
//! **Evidence.** The load, with the module's name and the process that asked for it.
//!
//! **False positives.** Systems load modules themselves, at boot, for new devices and for protocols
//! that are used for the first time. Such loads (by the init system's loader, by udev, or by
//! `modprobe` that the kernel itself started) are one finding of low severity per host.
//! Administrators load modules by hand; that is rare enough on servers to be looked at.
//!
//! **Method.** One record decides; no state.

use super::{Detector, KindText, Reporter};
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, PrivilegeAction, Process};
use crate::text;

const TEXT: KindText = KindText {
    name: "DefenseEvasion:Host/KernelModuleLoaded",
    guardduty: Some("DefenseEvasion:Runtime/KernelModuleLoaded"),
    description: "A module was loaded into the kernel. Code there can hide processes, files and \
        connections from every tool on the host.",
    remediation: "Find out who loaded the module and from which file. If nobody did so on \
        purpose, do not trust what the host says about itself: isolate it and examine its disk \
        from outside.",
    techniques: &["T1547.006", "T1014"],
};

const SEVERITY: f64 = 8.0;
const SEVERITY_SYSTEM: f64 = 2.0;

/// Process that the kernel's own threads, and programs that the kernel starts, descend from.
const KTHREADD_PID: u32 = 2;

/// The detector.
#[derive(Debug)]
pub struct KernelModule {
    settings: policy::KernelModule,
    reporter: Reporter,
}

impl KernelModule {
    /// Returns the detector.
    pub fn new(active: &Active<policy::KernelModule>) -> Self {
        let settings = active.settings.clone();
        Self { settings, reporter: Reporter::new(&TEXT, &active.policy) }
    }

    /// Returns whether the system itself loaded the module: the loader, or the nearest ancestor
    /// beyond `modprobe`, is one of its own.
    fn is_system(&self, process: &Process) -> bool {
        let own = |process: &Process| {
            let name = if process.exe.is_empty() { &process.comm } else { process.exe_name() };
            process.uid == 0
                && (process.key.pid == KTHREADD_PID
                    || self.settings.system_loaders.iter().any(|known| known.as_bytes() == name))
        };
        let tool = matches!(process.exe_name(), b"modprobe" | b"kmod");
        own(process) || tool && process.parent.as_deref().is_some_and(own)
    }
}

impl Detector for KernelModule {
    fn name(&self) -> &'static str {
        "kernel_module"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let EventKind::Privilege(privilege) = &event.kind else { return };
        if privilege.action != PrivilegeAction::ModuleLoaded {
            return;
        }
        let process = event.process.as_ref();
        let system = process.is_some_and(|process| self.is_system(process));
        let name = text::visible(&privilege.name);
        let severity = if system { SEVERITY_SYSTEM } else { SEVERITY };
        let subject = if system { "by the system".to_owned() } else { format!("module|{name}") };
        let mut signal =
            self.reporter.signal(&event.host, event.time_ns, process, severity, &subject);
        let host = text::visible_str(&event.host.name);
        let by = process.map_or_else(|| "an unknown process".to_owned(), |process| process.name());
        signal.title = if system {
            format!("The system loaded kernel modules on {host}")
        } else {
            format!("Kernel module {name} was loaded by {by} on {host}")
        };
        if let Some(process) = process {
            signal.actors.push(Actor { kind: ActorKind::Process, value: process.executable() });
        }
        signal.evidence.push(Evidence {
            time_ns: event.time_ns,
            kind: EvidenceKind::Privilege,
            summary: format!("{by} loaded kernel module {name}"),
            fields: vec![("module", name.into())],
            slot: None,
        });
        out.push(signal);
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
