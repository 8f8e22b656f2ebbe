//! Programs that ask to be traced so that nobody else can.
//!
//! **What.** A process called `ptrace(PTRACE_TRACEME)` and its parent never traced it. A process
//! has at most one tracer, so a debugger that comes later is turned away.
//!
//! **Evidence.** The call, and no act of its parent's on it for a while.
//!
//! **False positives.** A debugger's child asks to be traced before it executes the program. Its
//! parent then looks at it or lets it go on, which is seen; parents that are known tracers are not
//! waited for.
//!
//! **Method.** Calls wait for the parent's acts, in a bounded table per host.

use std::sync::Arc;

use super::report::Act;
use super::{Detector, HOSTS_MAX, KindText, PerHost, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, MemoryAction, Process, ProcessKey};
use crate::window::keyed::Keyed;

const TEXT: KindText = KindText {
    name: "DefenseEvasion:Host/PtraceAntiDebugging",
    guardduty: Some("DefenseEvasion:Runtime/PtraceAntiDebugging"),
    description: "A program asked to be traced by its parent, which does not trace it. Malware \
        does so to keep debuggers away; so do some games and licence checks.",
    remediation: "Find out where the program comes from. If nobody knows it, keep its file and \
        look at what it connects to.",
    techniques: &["T1622"],
};

const SEVERITY: f64 = 2.5;
const SEVERITY_SCRATCH: f64 = 3.5;

/// How long a tracer may take to act on its child; counted acts come with the next tick.
const WAIT_NS: u64 = 3_000_000_000;

/// Calls that wait, per host.
const WAITING_MAX: usize = 256;

/// The detector.
#[derive(Debug)]
pub struct AntiDebug {
    settings: policy::AntiDebug,
    reporter: Reporter,
    hosts: PerHost<Keyed<ProcessKey, Event>>,
    evicted: u64,
}

impl AntiDebug {
    /// Returns the detector.
    pub fn new(active: &Active<policy::AntiDebug>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        let settings = active.settings.clone();
        Self { settings, reporter, hosts: Keyed::new(HOSTS_MAX), evicted: 0 }
    }

    fn asked(&mut self, event: &Event, process: &Arc<Process>) {
        let parent = process.parent.as_deref();
        if parent.is_some_and(|parent| context::is_one_of(parent, &self.settings.tracers)) {
            return;
        }
        let waiting = self.hosts.get_or(&event.host.id, || Keyed::new(WAITING_MAX));
        let kept = Event { process: Some(Process::bounded(process)), ..event.clone() };
        waiting.get_or(&process.key, || kept);
        self.evicted += waiting.take_evicted();
    }
}

/// Reports the calls for which nobody came.
fn overdue(
    reporter: &Reporter,
    waiting: &mut Keyed<ProcessKey, Event>,
    now_ns: u64,
    out: &mut Vec<Signal>,
) {
    while let Some((_, event)) = waiting.oldest()
        && event.time_ns.saturating_add(WAIT_NS) <= now_ns
        && let Some((_, event)) = waiting.pop_oldest()
    {
        let scratch = event.process.as_ref().is_some_and(|process| context::is_scratch(process));
        out.push(reporter.act(
            &event,
            Act {
                severity: if scratch { SEVERITY_SCRATCH } else { SEVERITY },
                subject: String::new(),
                what: "asked to be traced, and nobody traces it".to_owned(),
                kind: EvidenceKind::Memory,
                fields: Vec::new(),
            },
        ));
    }
}

impl Detector for AntiDebug {
    fn name(&self) -> &'static str {
        "anti_debug"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        if let (EventKind::Memory(memory), Some(process)) = (&event.kind, &event.process) {
            match (memory.action, &memory.target) {
                (MemoryAction::TraceMe, _) if memory.error == 0 => self.asked(event, process),
                (
                    MemoryAction::Resume
                    | MemoryAction::Peek
                    | MemoryAction::Poke
                    | MemoryAction::SetRegisters
                    | MemoryAction::Attach,
                    Some(target),
                ) => {
                    if let Some(waiting) = self.hosts.get(&event.host.id) {
                        waiting.remove(&target.key);
                    }
                }
                _ => {}
            }
        }
        if let Some(waiting) = self.hosts.get(&event.host.id) {
            overdue(&self.reporter, waiting, event.time_ns, out);
        }
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Vec<Signal>) {
        // A host that fell silent gets ten times the wait, since its clock may differ from ours.
        let now_ns = now_ns.saturating_sub(10 * WAIT_NS);
        self.hosts.for_each(|_, waiting| overdue(&self.reporter, waiting, now_ns, out));
    }

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}
