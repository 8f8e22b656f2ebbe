//! Code or data written into another process.
//!
//! **What.** A process wrote the memory of a process that it did not start: through `ptrace`, by
//! `process_vm_writev`, or through `/proc/PID/mem`.
//!
//! **Evidence.** The call, with both processes. A call that failed is none.
//!
//! **False positives.** Debuggers write into what they start, so a target below the actor is quiet.
//! A known debugger that is attached to somebody else's process by a person at a terminal, or to a
//! process of the same user, is of low severity. Programs of one computation (MPI) write into each
//! other by `process_vm_writev`: they have one parent, one user and one executable. Attaching alone
//! is what `strace` does, and no write.
//!
//! **Method.** One record decides; no state.

use super::report::Act;
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, Memory, MemoryAction, Process};

const DESCRIPTION: &str = "A process wrote into the memory of another one that it did not start. \
    Code that is put there runs under the other program's name and with its rights.";
const REMEDIATION: &str = "Look at who started the writing process. Unless somebody debugs the \
    target on purpose, keep the memory of both processes, then isolate the host; restarting the \
    target removes what was put into it, and the evidence.";

const PROC: KindText = KindText {
    name: "DefenseEvasion:Host/ProcessInjection.Proc",
    guardduty: Some("DefenseEvasion:Runtime/ProcessInjection.Proc"),
    description: DESCRIPTION,
    remediation: REMEDIATION,
    techniques: &["T1055.009"],
};
const PTRACE: KindText = KindText {
    name: "DefenseEvasion:Host/ProcessInjection.Ptrace",
    guardduty: Some("DefenseEvasion:Runtime/ProcessInjection.Ptrace"),
    description: DESCRIPTION,
    remediation: REMEDIATION,
    techniques: &["T1055.008"],
};
const VIRTUAL: KindText = KindText {
    name: "DefenseEvasion:Host/ProcessInjection.VirtualMemoryWrite",
    guardduty: Some("DefenseEvasion:Runtime/ProcessInjection.VirtualMemoryWrite"),
    description: DESCRIPTION,
    remediation: REMEDIATION,
    techniques: &["T1055"],
};

const SEVERITY_WRITE: f64 = 8.0;
const SEVERITY_PTRACE: f64 = 6.0;
/// A debugger, but not obviously a person's.
const SEVERITY_DEBUGGER: f64 = 5.0;
const SEVERITY_SESSION: f64 = 3.0;

/// The detector.
#[derive(Debug)]
pub struct Injection {
    settings: policy::Injection,
    proc: Reporter,
    ptrace: Reporter,
    virtual_memory: Reporter,
}

impl Injection {
    /// Returns the detector.
    pub fn new(active: &Active<policy::Injection>) -> Self {
        let of = |text| Reporter::new(text, &active.policy);
        Self {
            settings: active.settings.clone(),
            proc: of(&PROC),
            ptrace: of(&PTRACE),
            virtual_memory: of(&VIRTUAL),
        }
    }

    fn severity(&self, actor: &Process, target: &Process, otherwise: f64) -> f64 {
        if !context::is_one_of(actor, &self.settings.debuggers) {
            return otherwise;
        }
        let same_user = actor.uid == target.uid && actor.uid != 0;
        match context::is_admin_session(actor) || same_user {
            true => SEVERITY_SESSION,
            false => SEVERITY_DEBUGGER,
        }
    }
}

/// Returns whether the processes work together by design.
fn are_related(actor: &Process, target: &Process, memory: &Memory) -> bool {
    let key = |process: &Process| process.parent.as_ref().map(|parent| parent.key);
    let siblings = key(actor).is_some() && key(actor) == key(target);
    let one_program = actor.exe_path() == target.exe_path() && actor.uid == target.uid;
    actor.key == target.key
        || target.lineage().any(|ancestor| ancestor.key == actor.key)
        || memory.action == MemoryAction::VmWrite && siblings && one_program
}

impl Detector for Injection {
    fn name(&self) -> &'static str {
        "injection"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Memory(memory), Some(actor)) = (&event.kind, &event.process) else {
            return;
        };
        let (reporter, severity, how) = match memory.action {
            MemoryAction::Poke => (&self.ptrace, SEVERITY_PTRACE, "by ptrace"),
            MemoryAction::SetRegisters => (&self.ptrace, SEVERITY_PTRACE, "and registers"),
            MemoryAction::VmWrite => (&self.virtual_memory, SEVERITY_WRITE, "by process_vm_writev"),
            MemoryAction::ProcMemOpen | MemoryAction::ProcMemWrite => {
                (&self.proc, SEVERITY_WRITE, "through /proc/PID/mem")
            }
            _ => return,
        };
        let Some(target) = &memory.target else { return };
        if memory.error != 0 || are_related(actor, target, memory) {
            return;
        }
        out.push(reporter.act(
            event,
            Act {
                severity: self.severity(actor, target, severity),
                subject: target.executable(),
                what: format!("wrote the memory of {} {how}", target.name()),
                kind: EvidenceKind::Memory,
                fields: vec![
                    ("target", target.executable().into()),
                    ("target_pid", u64::from(target.key.pid).into()),
                    ("target_uid", u64::from(target.uid).into()),
                    ("bytes", memory.length.into()),
                    ("times", memory.count.into()),
                ],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
