//! Sigma rules over program executions.
//!
//! **What.** A rule in the Sigma language (specification 2.1.0) of category `process_creation`
//! matches the executable, the command line, the parent or the user of a program that was just
//! executed.
//!
//! **Evidence.** The execution, with its command line and the rule's own words.
//!
//! **False positives.** As good as the rule; each names its own. A rule can be switched off by its
//! id in the settings. Arguments that the sensor had to cut make a finding's exactness `gap`.
//!
//! **Method.** A rule is compiled when it is loaded: fields become numbers, lists of fragments
//! become one Aho-Corasick automaton (Aho, Corasick, 1975), everything else a prefix, suffix or
//! bounded regular expression. What this engine does not support is refused by line, never skipped:
//! a rule that silently means something else is worse than one that is missing. Only rules for
//! Linux, or for no product, of category `process_creation` are taken, and only executions are
//! shown to them.

use std::sync::Arc;

use super::{Detector, Reporter};
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Exactness, Severity, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, Process};
use crate::text;

mod condition;
mod field;
mod pattern;
mod rule;
mod selection;

pub use rule::Rule;

use field::Fields;
use wire::record::process_flag::{ARGS_TRUNCATED, ARGS_UNKNOWN};

/// Characters of a command line in one sentence of evidence; the finding holds the rest.
const COMMAND_SHOWN: usize = 300;

/// The detector.
#[derive(Debug)]
pub struct Sigma {
    rules: Vec<(Arc<Rule>, Reporter)>,
}

impl Sigma {
    /// Returns the detector for all rules that are not switched off.
    pub fn new(active: &Active<policy::Sigma>, rules: &[Arc<Rule>]) -> Self {
        let disabled = &active.settings.disabled_rules;
        let rules = (rules.iter())
            .filter(|rule| !disabled.contains(&rule.policy.id))
            .map(|rule| {
                let kind = Arc::clone(&rule.kind);
                (Arc::clone(rule), Reporter { kind, policy: Arc::clone(&rule.policy) })
            })
            .collect();
        Self { rules }
    }
}

impl Detector for Sigma {
    fn name(&self) -> &'static str {
        "sigma"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Exec(_), Some(process)) = (&event.kind, &event.process) else { return };
        let fields = Fields::of(process);
        for (rule, reporter) in &self.rules {
            if rule.matches(&fields) {
                out.push(signal(rule, reporter, event, process));
            }
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}

fn signal(rule: &Rule, reporter: &Reporter, event: &Event, process: &Arc<Process>) -> Signal {
    let subject = format!("{}|{}", rule.policy.id, process.executable());
    let severity = rule.severity.value();
    let mut signal = reporter.signal(&event.host, event.time_ns, Some(process), severity, &subject);
    signal.severity = Severity::new(severity);
    let host = text::visible_str(&event.host.name);
    signal.title = format!("{}: {} on {host}", rule.title, process.name());
    let command = text::visible_cut(&process.command_line_bytes(), COMMAND_SHOWN);
    signal.evidence.push(Evidence {
        time_ns: event.time_ns,
        kind: EvidenceKind::Exec,
        summary: format!("{} was executed as: {command}", process.executable()),
        fields: vec![
            ("rule", rule.title.clone().into()),
            ("executable", process.executable().into()),
            ("command_line", process.command_line().into()),
            ("pid", u64::from(process.key.pid).into()),
        ],
        slot: None,
    });
    signal.actors.push(Actor { kind: ActorKind::Process, value: process.executable() });
    if process.has(ARGS_TRUNCATED | ARGS_UNKNOWN) {
        signal.exactness = Exactness::Gap;
    }
    signal
}
