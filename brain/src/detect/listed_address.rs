//! Traffic with addresses that threat intelligence lists.
//!
//! **What.** A host exchanged packets with, or connected to, an address on a feed in
//! `policies/intel/`. The feed's category says what that means: a server that gives orders, a node
//! of the Tor network, a pool of a crypto currency, and so on.
//!
//! **Evidence.** The flow or connection, the feed's line and comment, and the process at the local
//! end.
//!
//! **False positives.** Addresses change hands, so a feed's age matters. Hosts that face the
//! internet are probed from listed addresses all day: traffic that the peer began is of low
//! severity until a process accepts it. Ranges that would flag ordinary traffic are refused when a
//! feed is loaded.
//!
//! **Method.** One lookup per record in tables by prefix length. Packets whose process is not known
//! yet wait a moment for a record of the same connection that names it, so that one conversation is
//! one finding.

use std::net::SocketAddr;
use std::sync::Arc;

use super::listed::{self, Reporters};
use super::{Detector, HOSTS_MAX, PerHost};
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Signal};
use crate::intel::{Category, Indicator, Intel};
use crate::policy::{self, Active};
use crate::record::tcp_flag::{ACK, SYN};
use crate::record::{
    Connection, ConnectionEvent, Direction, Event, EventKind, Flow, Host, Process, ProcessKey,
};
use crate::text;
use crate::window::keyed::Keyed;

/// The peer began it, and a process took it.
const SEVERITY_ACCEPTED: f64 = 5.0;
const SEVERITY_PROBED: f64 = 2.0;

/// Processes per host that connected to nodes of the Tor network.
const TOR_CLIENTS_MAX: usize = 64;

/// Conversations per host that wait for their process or whose process is remembered.
const CONVERSATIONS_MAX: usize = 256;

/// The detector.
#[derive(Debug)]
pub struct ListedAddress {
    wait_ns: u64,
    intel: Arc<Intel>,
    reporters: Reporters,
    hosts: PerHost<State>,
    evicted: u64,
}

#[derive(Debug)]
struct State {
    host: Arc<Host>,
    /// Sightings without a process, by local and remote end.
    waiting: Keyed<(SocketAddr, SocketAddr), Sighting>,
    /// What earlier records said about conversations.
    known: Keyed<(SocketAddr, SocketAddr), Known>,
    /// Who connected to nodes of the Tor network.
    tor_clients: Keyed<ProcessKey, ()>,
}

/// What later records of a conversation no longer say.
#[derive(Debug)]
struct Known {
    process: Option<Arc<Process>>,
    direction: Direction,
}

impl Known {
    /// Fills in what `sighting` lacks, and learns from it.
    fn complete(&mut self, sighting: &mut Sighting) {
        if self.direction == Direction::Unknown {
            self.direction = sighting.direction;
        }
        sighting.direction = self.direction;
        if let Some(process) = &sighting.process {
            self.process = Some(Process::bounded(process));
        }
        sighting.process = self.process.clone();
    }
}

/// One record that touches an indicator.
#[derive(Clone, Debug)]
struct Sighting {
    time_ns: u64,
    direction: Direction,
    accepted: bool,
    kind: EvidenceKind,
    local: SocketAddr,
    remote: SocketAddr,
    bytes: (u64, u64),
    protocol: u8,
    process: Option<Arc<Process>>,
}

impl ListedAddress {
    /// Returns the detector over these feeds.
    pub fn new(active: &Active<policy::ListedAddress>, intel: &Arc<Intel>) -> Self {
        Self {
            wait_ns: active.settings.process_wait_ms * 1_000_000,
            intel: Arc::clone(intel),
            reporters: Reporters::new(&active.policy),
            hosts: Keyed::new(HOSTS_MAX),
            evicted: 0,
        }
    }

    fn sight(&mut self, host: &Arc<Host>, mut sighting: Sighting, out: &mut Vec<Signal>) {
        let state = self.hosts.get_or(&host.id, || State {
            host: Arc::clone(host),
            waiting: Keyed::new(CONVERSATIONS_MAX),
            known: Keyed::new(CONVERSATIONS_MAX),
            tor_clients: Keyed::new(TOR_CLIENTS_MAX),
        });
        let ends = (sighting.local, sighting.remote);
        let known =
            state.known.get_or(&ends, || Known { process: None, direction: Direction::Unknown });
        known.complete(&mut sighting);
        let waited = state.waiting.remove(&ends);
        if let Some(process) = &sighting.process {
            let waited =
                waited.map(|before| Sighting { process: Some(Arc::clone(process)), ..before });
            for sighting in waited.into_iter().chain([sighting.clone()]) {
                out.extend(report(&mut self.reporters, &self.intel, state, &sighting));
            }
            return;
        }
        if state.waiting.is_full()
            && let Some((_, oldest)) = state.waiting.pop_oldest()
        {
            self.evicted += 1;
            out.extend(report(&mut self.reporters, &self.intel, state, &oldest));
        }
        let merged = waited.map_or_else(|| sighting.clone(), |before| before.joined(&sighting));
        state.waiting.get_or(&ends, || merged);
    }

    /// Reports what has waited long enough, as seen at `now_ns`.
    fn give_up(&mut self, host: Option<&Arc<Host>>, now_ns: u64, out: &mut Vec<Signal>) {
        let (wait_ns, reporters, intel) = (self.wait_ns, &mut self.reporters, &self.intel);
        let mut flush = |state: &mut State| {
            for key in state.waiting.keys() {
                let due = |s: &Sighting| s.time_ns.saturating_add(wait_ns) <= now_ns;
                if state.waiting.peek(&key).is_some_and(due)
                    && let Some(sighting) = state.waiting.remove(&key)
                {
                    out.extend(report(reporters, intel, state, &sighting));
                }
            }
        };
        match host {
            Some(host) => {
                if let Some(state) = self.hosts.get(&host.id) {
                    flush(state);
                }
            }
            None => self.hosts.for_each(|_, state| flush(state)),
        }
    }
}

impl Detector for ListedAddress {
    fn name(&self) -> &'static str {
        "listed_address"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let sighting = match &event.kind {
            EventKind::Flow(flow) if self.intel.find(flow.remote).is_some() => {
                of_flow(flow, event.time_ns)
            }
            EventKind::Connection(connection) if self.intel.find(connection.remote).is_some() => {
                let Some(sighting) = of_connection(connection, event.time_ns) else { return };
                sighting
            }
            EventKind::Heartbeat { .. } => {
                return self.give_up(Some(&event.host), event.time_ns, out);
            }
            _ => return,
        };
        self.sight(&event.host, Sighting { process: event.process.clone(), ..sighting }, out);
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Vec<Signal>) {
        // A host that fell silent gets ten times the wait, since its clock may differ from ours.
        self.give_up(None, now_ns.saturating_sub(self.wait_ns.saturating_mul(10)), out);
    }

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}

impl Sighting {
    /// Returns both sightings of one conversation as one.
    fn joined(mut self, later: &Self) -> Self {
        self.bytes.0 = self.bytes.0.saturating_add(later.bytes.0);
        self.bytes.1 = self.bytes.1.saturating_add(later.bytes.1);
        self.accepted |= later.accepted;
        if self.direction == Direction::Unknown {
            self.direction = later.direction;
        }
        self
    }
}

fn of_flow(flow: &Flow, time_ns: u64) -> Sighting {
    let (sent, received) = (flow.egress.tcp_flags, flow.ingress.tcp_flags);
    // A SYN without an acknowledgement opens; when neither end's was seen, whoever sent decides.
    let direction = match flow.direction {
        Direction::Unknown if sent & SYN != 0 && received & ACK == 0 => Direction::Outgoing,
        Direction::Unknown if received & SYN != 0 && received & ACK == 0 => Direction::Incoming,
        Direction::Unknown if flow.egress.packets > 0 => Direction::Unknown,
        Direction::Unknown => Direction::Incoming,
        known => known,
    };
    Sighting {
        time_ns,
        direction,
        accepted: flow.egress.packets > 0 && sent & ACK != 0 && received & ACK != 0,
        kind: EvidenceKind::Flow,
        local: flow.local,
        remote: flow.remote,
        bytes: (flow.egress.bytes, flow.ingress.bytes),
        protocol: flow.protocol,
        process: None,
    }
}

fn of_connection(connection: &Connection, time_ns: u64) -> Option<Sighting> {
    let direction = match connection.event {
        ConnectionEvent::Connected | ConnectionEvent::ConnectFailed => Direction::Outgoing,
        ConnectionEvent::Accepted => Direction::Incoming,
        _ => return None,
    };
    Some(Sighting {
        time_ns,
        direction,
        accepted: connection.event == ConnectionEvent::Accepted,
        kind: EvidenceKind::Connection,
        local: connection.local,
        remote: connection.remote,
        bytes: (0, 0),
        protocol: connection.protocol,
        process: None,
    })
}

fn report(
    reporters: &mut Reporters,
    intel: &Intel,
    state: &mut State,
    sighting: &Sighting,
) -> Option<Signal> {
    let indicator = intel.find(sighting.remote)?;
    let process = sighting.process.as_ref();
    let row = match (indicator.category, sighting.direction, process) {
        (Category::Tor, Direction::Incoming, Some(process)) if sighting.accepted => {
            listed::tor_caller(state.tor_clients.peek(&process.key).is_some())
        }
        (Category::Tor, Direction::Incoming, _) => listed::tor_caller(false),
        (Category::Tor, _, Some(process)) => {
            state.tor_clients.get_or(&process.key, || ());
            listed::address(Category::Tor)
        }
        (category, ..) => listed::address(category),
    };
    let (reporter, severity) = reporters.of(row);
    let severity = match sighting.direction {
        // Traffic whose beginning was missed is judged by the worse case.
        Direction::Outgoing | Direction::Unknown => severity,
        // What is said of Tor's callers holds for this direction already.
        Direction::Incoming if indicator.category == Category::Tor => severity,
        Direction::Incoming if sighting.accepted => SEVERITY_ACCEPTED,
        Direction::Incoming => SEVERITY_PROBED,
    };
    let host = &state.host;
    let exe = process.map_or_else(String::new, |process| process.executable());
    let subject = format!("{exe}|{}", indicator.value);
    let mut signal = reporter.signal(host, sighting.time_ns, process, severity, &subject);
    let name = text::visible_str(&host.name);
    let remote = sighting.remote;
    let verb = match sighting.direction {
        Direction::Outgoing => "contacted",
        Direction::Incoming => "was contacted by",
        Direction::Unknown => "exchanged packets with",
    };
    let who = process.map_or_else(|| "A process".to_owned(), |process| process.name());
    signal.title = format!("{who} on {name} {verb} the listed address {}", remote.ip());
    signal.actors.push(Actor { kind: ActorKind::Address, value: remote.ip().to_string() });
    signal.evidence.push(evidence(sighting, indicator, &format!("{who} {verb} {remote}")));
    Some(signal)
}

fn evidence(sighting: &Sighting, indicator: &Indicator, what: &str) -> Evidence {
    let mut fields = vec![
        ("remote_address", sighting.remote.ip().to_string().into()),
        ("remote_port", u64::from(sighting.remote.port()).into()),
        ("local_address", sighting.local.ip().to_string().into()),
        ("local_port", u64::from(sighting.local.port()).into()),
        ("protocol", u64::from(sighting.protocol).into()),
        ("category", indicator.category.name().to_owned().into()),
        ("indicator", indicator.value.clone().into()),
        ("feed", format!("{}:{}", indicator.feed, indicator.line).into()),
        ("feed_comment", indicator.comment.clone().into()),
    ];
    if sighting.kind == EvidenceKind::Flow {
        fields.push(("bytes_sent", sighting.bytes.0.into()));
        fields.push(("bytes_received", sighting.bytes.1.into()));
    }
    let summary = format!("{what}, which {} lists as {}", indicator.feed, indicator.value);
    Evidence { time_ns: sighting.time_ns, kind: sighting.kind, summary, fields, slot: None }
}

#[cfg(test)]
mod tests {
    use crate::detect::Detectors;
    use crate::detect::scenario::host;
    use crate::policy::{PolicySet, sample};

    #[test]
    fn a_program_that_takes_from_tor_and_gives_to_it_is_a_relay() {
        let text = "name: relay
processes: {r: {exe: /opt/r, args: r}}
events:
  - {connect: r, local: '10.0.0.1:40000', remote: '203.0.113.70:9001'}
  - {accept: r, local: '10.0.0.1:9001', remote: '203.0.113.75:40000', after_ms: 10}
";
        let (_, batches) = sample::batches_of(text).unwrap();
        let mut detectors = Detectors::new(&PolicySet::embedded());
        let signals = batches.iter().flat_map(|batch| detectors.batch(batch, &host("h")));
        let kinds: Vec<String> = signals.map(|signal| signal.kind.name.clone()).collect();
        let wanted = ["CommandAndControl:Host/TorClient", "CommandAndControl:Host/TorRelay"];
        assert_eq!(kinds, wanted);
    }
}
