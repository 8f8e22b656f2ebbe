//! File and network work through io_uring.
//!
//! **What.** A program opened, renamed or removed files, or used the network, through requests to
//! io_uring. What watches system calls does not see that.
//!
//! **Evidence.** The counted requests by their kind, with the process.
//!
//! **False positives.** Databases, virtual machines and some servers do so for speed; they are
//! known by name where packages put them. Other programs of packages are of low severity, and so
//! are requests that only read and write what is open already.
//!
//! **Method.** One record decides; one finding for each program.

use super::report::Act;
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind};

const TEXT: KindText = KindText {
    name: "Execution:Host/IoUringBypass",
    guardduty: None,
    description: "A program that is not known for it works on files or the network through \
        io_uring, which tools that watch system calls do not see.",
    remediation: "Find out what the program is and why it uses io_uring. Where nothing needs it, \
        switch it off (sysctl kernel.io_uring_disabled=2).",
    techniques: &["T1106", "T1562"],
};

const SEVERITY: f64 = 6.0;
const SEVERITY_PACKAGED: f64 = 3.0;

/// Requests that stand for a system call which a watcher would see (io_uring.h), in words.
const OPENERS: [(u8, &str); 16] = [
    (9, "sent a message"),
    (10, "received a message"),
    (13, "accepted a connection"),
    (16, "connected"),
    (18, "opened a file"),
    (26, "sent"),
    (27, "received"),
    (28, "opened a file"),
    (34, "shut a connection down"),
    (35, "renamed a file"),
    (36, "removed a file"),
    (37, "made a folder"),
    (38, "made a symbolic link"),
    (39, "made a link"),
    (45, "made a socket"),
    (56, "bound a socket"),
];

/// The detector.
#[derive(Debug)]
pub struct UringBypass {
    settings: policy::UringBypass,
    reporter: Reporter,
}

impl UringBypass {
    /// Returns the detector.
    pub fn new(active: &Active<policy::UringBypass>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }
}

impl Detector for UringBypass {
    fn name(&self) -> &'static str {
        "uring_bypass"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Uring(uring), Some(process)) = (&event.kind, &event.process) else {
            return;
        };
        let Some((_, what)) = OPENERS.iter().find(|(opcode, _)| *opcode == uring.opcode) else {
            return;
        };
        if context::is_one_of(process, &self.settings.expected) {
            return;
        }
        let packaged = context::is_packaged(process.exe_path())
            && !super::shell::is_interpreter(process)
            && context::service(process).is_none();
        let mut signal = self.reporter.act(
            event,
            Act {
                severity: if packaged { SEVERITY_PACKAGED } else { SEVERITY },
                subject: String::new(),
                what: format!("{what} through io_uring"),
                kind: EvidenceKind::Activity,
                fields: vec![
                    ("opcode", u64::from(uring.opcode).into()),
                    ("requests", uring.count.into()),
                ],
            },
        );
        signal.count = uring.count.max(1);
        out.push(signal);
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
