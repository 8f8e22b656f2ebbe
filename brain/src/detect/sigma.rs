//! Sigma rules over executions, files, connections, name queries and log-ins.
//!
//! **What.** A rule in the Sigma language (specification 2.1.0) matches what its log source names:
//! a program that was just executed, a file that was written, a connection that was opened, a name
//! that was asked for, or a line about a log-in.
//!
//! **Evidence.** The event, with its process and the rule's own words.
//!
//! **False positives.** As good as the rule; each names its own. A rule can be switched off by its
//! id in the settings. Arguments that the sensor had to cut make a finding's exactness `gap`.
//!
//! **Method.** A rule is compiled when it is loaded. What this engine cannot honour is refused by
//! line, never skipped: a rule that silently means something else is worse than one that is
//! missing. A record is an entry of the logs that [`view`] names, and a rule is shown the entries
//! of its own log source alone.

use std::any::Any;
use std::sync::Arc;

use super::{Detector, KindText, Reporter};
use crate::finding::{
    Actor, ActorKind, Evidence, EvidenceKind, Exactness, Severity, Signal, Value,
};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, FileAction, Process};
use crate::text;

mod condition;
mod correlation;
mod date;
pub mod document;
mod evaluate;
pub mod explain;
mod fields;
mod filter;
mod glob;
mod hostile;
mod isolate;
mod logsource;
mod modifier;
mod object;
mod pattern;
mod program;
mod regex;
mod rule;
mod selection;
mod set;
mod value;
mod values;
pub mod view;

pub use correlation::Correlation;
pub use document::{Document, Options};
pub use fields::{Fields, untold};
pub use filter::Filter;
pub use logsource::LogSource;
pub use object::{Object, recognise};
pub use rule::Rule;
pub use set::{Matcher, RuleIndex, RuleSet};
pub use value::Placeholders;

use correlation::Correlations;
use view::View;
use wire::record::process_flag::{ARGS_TRUNCATED, ARGS_UNKNOWN};

/// A rule that panics is a hole in the watch, and perhaps made so on purpose.
const SWITCHED_OFF: KindText = KindText {
    name: "DefenseEvasion:Host/RuleSwitchedOff",
    guardduty: None,
    description: "A rule broke on an event of this host and is switched off until the policies \
        change or the brain starts again. What it looks for is not seen meanwhile.",
    remediation: "Read the event: somebody may have made it so on purpose. Report the rule and \
        the event to Sakuramori's developers, and write the rule in another way until then.",
    techniques: &["T1562"],
};
const SWITCHED_OFF_SEVERITY: f64 = 7.0;

/// Characters of a command line in one sentence of evidence; the finding holds the rest.
const COMMAND_SHOWN: usize = 300;

/// The detector.
#[derive(Debug)]
pub struct Sigma {
    matcher: Matcher,
    /// By the rules' index.
    reporters: Vec<Reporter>,
    correlations: Correlations,
    /// Rules that match the event at hand, and the log that tells it.
    matched: Vec<(RuleIndex, View)>,
    /// Tells of rules that are switched off because they panicked.
    switched_off: Reporter,
    /// How many did.
    broken: u64,
}

impl Sigma {
    /// Returns the detector for all rules and correlations that are not switched off.
    pub fn new(
        active: &Active<policy::Sigma>,
        rules: &[Arc<Rule>],
        correlations: &[Arc<Correlation>],
    ) -> Self {
        let disabled = &active.settings.disabled_rules;
        let rules: Vec<Arc<Rule>> = (rules.iter())
            .filter(|rule| !disabled.contains(&rule.policy.id))
            .map(Arc::clone)
            .collect();
        let correlations: Vec<Arc<Correlation>> = (correlations.iter())
            .filter(|correlation| !disabled.contains(&correlation.policy.id))
            .map(Arc::clone)
            .collect();
        let reporter = |rule: &Arc<Rule>| {
            let kind = Arc::clone(&rule.kind);
            Reporter { kind, policy: Arc::clone(&rule.policy) }
        };
        let reporters = rules.iter().map(reporter).collect();
        let correlations = Correlations::new(&correlations, &rules);
        let matcher = Matcher::new(Arc::new(RuleSet::new(rules)));
        let switched_off = Reporter::new(&SWITCHED_OFF, &active.policy);
        Self { matcher, reporters, correlations, matched: Vec::new(), switched_off, broken: 0 }
    }

    fn tell_switched_off(&self, rule: RuleIndex, event: &Event) -> Signal {
        let rule = self.matcher.set().rule(rule);
        let (id, file) = (&rule.policy.id, &rule.policy.file);
        let severity = SWITCHED_OFF_SEVERITY;
        let process = event.process.as_ref();
        let reporter = &self.switched_off;
        let mut signal = reporter.signal(&event.host, event.time_ns, process, severity, id);
        signal.title = format!("Rule {} ({file}) is switched off", rule.title);
        let (kind, summary, mut fields) = evidence(event);
        fields.push(("rule", rule.title.clone().into()));
        let time_ns = event.time_ns;
        signal.evidence.push(Evidence { time_ns, kind, summary, fields, slot: None });
        signal
    }
}

impl Detector for Sigma {
    fn name(&self) -> &'static str {
        "sigma"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let mut matched = std::mem::take(&mut self.matched);
        let broken = isolate::evaluate(&mut self.matcher, event, &mut matched);
        self.broken += broken.len() as u64;
        out.extend(broken.into_iter().map(|rule| self.tell_switched_off(rule, event)));
        let (set, mut raised, mut shared) = (self.matcher.set(), Vec::new(), None);
        for (index, view) in matched.drain(..) {
            if !self.correlations.is_silent(index) {
                let reporter = &self.reporters[index.0 as usize];
                out.push(signal(set.rule(index), reporter, event));
            }
            if self.correlations.wants(index) {
                let event = shared.get_or_insert_with(|| Arc::new(event.clone()));
                self.correlations.matched(index, view, event, &mut raised);
            }
        }
        self.matched = matched;
        self.correlations.heard_of(&event.host.id, event.time_ns, &mut raised);
        out.extend(raised.iter().map(correlation::signal));
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Vec<Signal>) {
        let mut raised = Vec::new();
        self.correlations.tick(now_ns, &mut raised);
        out.extend(raised.iter().map(correlation::signal));
    }

    fn evicted(&self) -> u64 {
        self.correlations.evicted()
    }

    fn broken(&self) -> u64 {
        self.broken
    }

    fn inherit(&mut self, before: &mut dyn Detector) {
        let before: &mut dyn Any = before;
        if let Some(before) = before.downcast_mut::<Self>() {
            self.correlations.inherit(&mut before.correlations);
        }
    }
}

/// Correlations and what they need to be remembered.
#[derive(Debug)]
pub struct Linked {
    /// Those whose rules are known.
    pub correlations: Vec<Arc<Correlation>>,
    /// The others, each with the reason.
    pub refused: Vec<(Arc<Correlation>, String)>,
    /// For how long events count.
    pub memory_ns: u64,
}

/// Links correlations with the rules that they name.
pub fn linked(correlations: Vec<Arc<Correlation>>, rules: &[Arc<Rule>]) -> Linked {
    let (correlations, links, refused) = correlation::linked(correlations, rules);
    Linked { correlations, refused, memory_ns: links.memory_ns }
}

fn signal(rule: &Rule, reporter: &Reporter, event: &Event) -> Signal {
    let process = event.process.as_ref();
    let (kind, summary, mut fields) = evidence(event);
    let actor = process.map(|process| process.executable());
    // Lines about log-ins have no process: one finding for each peer or user.
    let who = match &event.kind {
        EventKind::Login(login) if login.remote_name.is_empty() => text::visible(&login.user),
        EventKind::Login(login) => text::visible(&login.remote_name),
        _ => actor.clone().unwrap_or_default(),
    };
    let subject = format!("{}|{who}", rule.policy.id);
    let severity = rule.severity.value();
    let mut signal = reporter.signal(&event.host, event.time_ns, process, severity, &subject);
    signal.severity = Severity::new(severity);
    let host = text::visible_str(&event.host.name);
    signal.title = match process {
        Some(process) => format!("{}: {} on {host}", rule.title, process.name()),
        None => format!("{} on {host}", rule.title),
    };
    fields.insert(0, ("rule", rule.title.clone().into()));
    let time_ns = event.time_ns;
    signal.evidence.push(Evidence { time_ns, kind, summary, fields, slot: None });
    signal.actors.extend(actor.map(|value| Actor { kind: ActorKind::Process, value }));
    if process.is_some_and(|process| process.has(ARGS_TRUNCATED | ARGS_UNKNOWN)) {
        signal.exactness = Exactness::Gap;
    }
    signal
}

/// Returns what an event says, in one sentence and in fields.
fn evidence(event: &Event) -> (EvidenceKind, String, Vec<(&'static str, Value)>) {
    let by = |process: &Arc<Process>| process.executable();
    let by = event.process.as_ref().map_or_else(|| "an unknown process".to_owned(), by);
    match &event.kind {
        EventKind::File(file) => {
            let path =
                text::visible(if file.target.is_empty() { &file.path } else { &file.target });
            (
                EvidenceKind::File,
                format!("{by} {} {path}", verb(file.action)),
                vec![("path", path.into())],
            )
        }
        EventKind::Connection(c) => {
            let (local, remote) = (c.local.to_string(), c.remote.to_string());
            let summary = format!("{by} has a connection {local} - {remote}");
            let fields = vec![("local", local.into()), ("remote", remote.into())];
            (EvidenceKind::Connection, summary, fields)
        }
        EventKind::Dns(dns) => {
            let name = text::visible(&dns.name);
            (EvidenceKind::Dns, format!("{by} asked for {name}"), vec![("name", name.into())])
        }
        EventKind::Login(login) => {
            let message = text::visible_cut(&login.message, COMMAND_SHOWN);
            let service = text::visible(&login.service);
            let fields = vec![
                ("user", text::visible(&login.user).into()),
                ("remote", text::visible(&login.remote_name).into()),
                ("message", message.clone().into()),
            ];
            (EvidenceKind::Login, format!("{service} logged: {message}"), fields)
        }
        EventKind::Exit { .. } => (EvidenceKind::Exec, format!("{by} ended"), Vec::new()),
        EventKind::Flow(flow) => {
            let (local, remote) = (flow.local.to_string(), flow.remote.to_string());
            let summary = format!("{by} exchanged packets {local} - {remote}");
            (EvidenceKind::Flow, summary, vec![("local", local.into()), ("remote", remote.into())])
        }
        EventKind::Tls(tls) => {
            let name = text::visible(&tls.server_name);
            let summary = format!("{by} greeted {name} at {}", tls.remote);
            (EvidenceKind::Tls, summary, vec![("server_name", name.into())])
        }
        EventKind::Memory(memory) => {
            let target = memory.target.as_ref().map_or_else(String::new, |t| t.executable());
            let summary = format!("{by} touched memory ({:?}) {target}", memory.action);
            (EvidenceKind::Memory, summary, vec![("target", target.into())])
        }
        EventKind::Privilege(privilege) => {
            let name = text::visible(&privilege.name);
            let summary = format!("{by} used a privilege ({:?}) {name}", privilege.action);
            (EvidenceKind::Privilege, summary, vec![("name", name.into())])
        }
        _ => executed(event, by),
    }
}

fn verb(action: FileAction) -> &'static str {
    match action {
        FileAction::OpenRead => "read",
        FileAction::Rename => "renamed a file to",
        FileAction::Link | FileAction::Symlink => "linked",
        FileAction::Unlink => "removed",
        FileAction::Mode => "changed the mode of",
        FileAction::Owner => "changed the owner of",
        FileAction::Truncate => "cut",
        FileAction::Connect => "connected to",
        FileAction::MapCode => "loaded",
        FileAction::OpenWrite | FileAction::Create | FileAction::Unknown => "wrote",
    }
}

fn executed(event: &Event, by: String) -> (EvidenceKind, String, Vec<(&'static str, Value)>) {
    let Some(process) = &event.process else {
        return (EvidenceKind::Exec, by, Vec::new());
    };
    let command = text::visible_cut(&process.command_line_bytes(), COMMAND_SHOWN);
    let fields = vec![
        ("executable", process.executable().into()),
        ("command_line", process.command_line().into()),
        ("pid", u64::from(process.key.pid).into()),
    ];
    (EvidenceKind::Exec, format!("{by} was executed as: {command}"), fields)
}
