//! Names that threat intelligence lists.
//!
//! **What.** A host asked for a name on a feed in `policies/intel/` or for one below it, was led to
//! one by an alias, greeted a server of that name over TLS, or was told that a name is at an
//! address to which hostile names were redirected.
//!
//! **Evidence.** The question, answer or greeting, the feed's line and comment, and the process.
//!
//! **False positives.** A resolver that asks for others is named as the process: look for who asked
//! it. Questions that arrive from others are not this host's. Feeds with names that everybody uses
//! are refused when they are loaded. Programs that look names up on purpose can be named in the
//! settings.
//!
//! **Method.** One lookup per label of a name. A message whose process is not known yet waits a
//! moment for one about the same name that has it, so that question and answer are one finding.

use std::sync::Arc;

use super::listed::{self, Reporters};
use super::metadata_rebind::address;
use super::report::{Act, shown};
use super::{Detector, HOSTS_MAX, PerHost, context};
use crate::finding::{EvidenceKind, Signal};
use crate::intel::{Category, Indicator, Intel};
use crate::policy::{self, Active};
use crate::record::{Direction, Dns, Event, EventKind, Process};
use crate::window::keyed::Keyed;
use wire::record::dns_flag;

/// How long a message without a process waits.
const WAIT_NS: u64 = 3_000_000_000;

/// Names per host that wait for their process, or whose process is remembered.
const NAMES_MAX: usize = 256;

/// Type of an answer that is a name (RFC 1035).
const CNAME: u16 = 5;

/// The detector.
#[derive(Debug)]
pub struct ListedName {
    settings: policy::ListedName,
    intel: Arc<Intel>,
    reporters: Reporters,
    hosts: PerHost<State>,
    evicted: u64,
}

#[derive(Debug)]
struct State {
    waiting: Keyed<Vec<u8>, Event>,
    known: Keyed<Vec<u8>, Arc<Process>>,
}

impl State {
    fn new() -> Self {
        Self { waiting: Keyed::new(NAMES_MAX), known: Keyed::new(NAMES_MAX) }
    }
}

impl ListedName {
    /// Returns the detector over these feeds.
    pub fn new(active: &Active<policy::ListedName>, intel: &Arc<Intel>) -> Self {
        Self {
            settings: active.settings.clone(),
            intel: Arc::clone(intel),
            reporters: Reporters::new(&active.policy),
            hosts: Keyed::new(HOSTS_MAX),
            evicted: 0,
        }
    }

    fn sight(&mut self, event: &Event, name: &[u8], out: &mut Vec<Signal>) {
        let name = name.to_ascii_lowercase();
        let state = self.hosts.get_or(&event.host.id, State::new);
        let mut event = event.clone();
        match &event.process {
            Some(process) => {
                let known = state.known.get_or(&name, || Process::bounded(process));
                *known = Process::bounded(process);
            }
            None => event.process = state.known.get(&name).cloned(),
        }
        if event.process.is_none() {
            state.waiting.get_or(&name, || event);
            self.evicted += state.waiting.take_evicted();
            return;
        }
        state.waiting.remove(&name);
        out.extend(self.report(&event));
    }

    /// Reports what has waited long enough, as seen at `now_ns`.
    fn give_up(&mut self, event: &Event, now_ns: u64, out: &mut Vec<Signal>) {
        let mut due = Vec::new();
        if let Some(state) = self.hosts.get(&event.host.id) {
            due = overdue(state, now_ns);
        }
        out.extend(due.iter().filter_map(|event| self.report(event)));
    }

    fn report(&mut self, event: &Event) -> Option<Signal> {
        let (name, indicator) = find(&self.intel, event)?;
        let looker = |process: &Arc<Process>| context::is_one_of(process, &self.settings.lookers);
        if event.process.as_ref().is_some_and(looker) {
            return None;
        }
        let (reporter, severity) = self.reporters.of(listed::name(indicator.category));
        let (kind, how) = match &event.kind {
            EventKind::Tls(_) => (EvidenceKind::Tls, "greeted"),
            _ => (EvidenceKind::Dns, "asked for"),
        };
        let name = shown(&name);
        let as_listed = match indicator.category {
            // The name itself need not be listed: it is where it leads to.
            Category::Blackhole => String::new(),
            category => format!(", listed as {}", category.name()),
        };
        Some(reporter.act(
            event,
            Act {
                severity,
                subject: indicator.value.clone(),
                what: format!("{how} {name}{as_listed}"),
                kind,
                fields: vec![
                    ("name", name.into()),
                    ("category", indicator.category.name().to_owned().into()),
                    ("indicator", indicator.value.clone().into()),
                    ("feed", format!("{}:{}", indicator.feed, indicator.line).into()),
                    ("feed_comment", indicator.comment.clone().into()),
                ],
            },
        ))
    }
}

/// Takes out what waited long enough.
fn overdue(state: &mut State, now_ns: u64) -> Vec<Event> {
    let mut due = Vec::new();
    while let Some((_, event)) = state.waiting.oldest()
        && event.time_ns.saturating_add(WAIT_NS) <= now_ns
        && let Some((_, event)) = state.waiting.pop_oldest()
    {
        due.push(event);
    }
    due
}

/// Returns the name in question and what lists it.
fn find<'a>(intel: &'a Intel, event: &Event) -> Option<(Vec<u8>, &'a Indicator)> {
    match &event.kind {
        EventKind::Dns(dns) => of_message(intel, dns),
        EventKind::Tls(tls) if tls.direction != Direction::Incoming => {
            Some((tls.server_name.to_vec(), intel.find_name(&tls.server_name)?))
        }
        _ => None,
    }
}

fn of_message<'a>(intel: &'a Intel, dns: &Dns) -> Option<(Vec<u8>, &'a Indicator)> {
    // A question that arrives is somebody else's.
    if !dns.is_response() && dns.flags & dns_flag::INCOMING != 0 {
        return None;
    }
    if let Some(indicator) = intel.find_name(&dns.name) {
        return Some((dns.name.to_vec(), indicator));
    }
    let names = dns.answers.iter().filter(|answer| answer.kind == CNAME);
    if let Some((answer, indicator)) =
        names.filter_map(|answer| Some((answer, intel.find_name(&answer.data)?))).next()
    {
        return Some((answer.data.to_vec(), indicator));
    }
    let addresses = dns.answers.iter().filter_map(address);
    let redirected = addresses
        .filter_map(|one| intel.find((one, 0).into()))
        .find(|indicator| indicator.category == Category::Blackhole);
    Some((dns.name.to_vec(), redirected?))
}

impl Detector for ListedName {
    fn name(&self) -> &'static str {
        "listed_name"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        match &event.kind {
            EventKind::Dns(_) | EventKind::Tls(_) => {
                if let Some((name, _)) = find(&self.intel, event) {
                    self.sight(event, &name, out);
                }
            }
            EventKind::Heartbeat { .. } => self.give_up(event, event.time_ns, out),
            _ => {}
        }
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Vec<Signal>) {
        // A host that fell silent gets ten times the wait, since its clock may differ from ours.
        let now_ns = now_ns.saturating_sub(10 * WAIT_NS);
        let mut due = Vec::new();
        self.hosts.for_each(|_, state| due.extend(overdue(state, now_ns)));
        out.extend(due.iter().filter_map(|event| self.report(event)));
    }

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}
