//! How detectors of acts say what they saw.

use super::Reporter;
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Signal, Value};
use crate::record::{Event, Process};
use crate::text;

/// Characters of a command line in evidence; the finding holds the rest.
const COMMAND_SHOWN: usize = 300;

/// What a detector saw a process do.
pub(super) struct Act {
    /// How bad it is.
    pub(super) severity: f64,
    /// Tells problems of the type on the host apart.
    pub(super) subject: String,
    /// What happened, as a sentence without its subject: `wrote /etc/sudoers`. Safe to show.
    pub(super) what: String,
    /// What kind of record said so.
    pub(super) kind: EvidenceKind,
    /// The numbers and names behind it.
    pub(super) fields: Vec<(&'static str, Value)>,
}

impl Reporter {
    /// Returns a signal about what the event's process did; each executable is a problem of its
    /// own.
    pub(super) fn act(&self, event: &Event, act: Act) -> Signal {
        let exe = event.process.as_ref().map_or_else(String::new, |process| process.executable());
        let subject = format!("{exe}|{}", act.subject);
        self.act_about(event, Act { subject, ..act })
    }

    /// The same, whichever executable did it.
    pub(super) fn act_about(&self, event: &Event, act: Act) -> Signal {
        let process = event.process.as_ref();
        let exe = process.map_or_else(String::new, |process| process.executable());
        let mut signal =
            self.signal(&event.host, event.time_ns, process, act.severity, &act.subject);
        let who = process.map_or_else(|| "An unknown process".to_owned(), |one| one.name());
        signal.title = format!("{who} {} on {}", act.what, text::visible_str(&event.host.name));
        let mut fields = act.fields;
        if let Some(process) = process {
            signal.actors.push(Actor { kind: ActorKind::Process, value: exe.clone() });
            fields.extend(about(process));
        }
        signal.evidence.push(Evidence {
            time_ns: event.time_ns,
            kind: act.kind,
            summary: format!("{} {}", if exe.is_empty() { &who } else { &exe }, act.what),
            fields,
            slot: None,
        });
        signal
    }
}

/// Returns what evidence says of the process that acts.
pub(super) fn about(process: &Process) -> Vec<(&'static str, Value)> {
    let mut fields: Vec<(&'static str, Value)> = vec![
        ("executable", process.executable().into()),
        ("command_line", shown(&process.command_line_bytes()).into()),
        ("pid", u64::from(process.key.pid).into()),
        ("uid", u64::from(process.uid).into()),
    ];
    for (name, value) in [("user", &process.user), ("container", &process.container)] {
        if !value.is_empty() {
            fields.push((name, text::visible(value).into()));
        }
    }
    if let Some(parent) = &process.parent {
        fields.push(("started_by", parent.executable().into()));
    }
    fields
}

/// Returns text from a host, cut to what evidence shows of it, safe to show.
pub(super) fn shown(bytes: &[u8]) -> String {
    text::visible_cut(bytes, COMMAND_SHOWN)
}
