//! Traffic with addresses that threat intelligence lists.
//!
//! **What.** A host exchanged packets with, or connected to, an address on a feed in
//! `policies/intel/`.
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

use super::{Detector, HOSTS_MAX, KindText, PerHost, Reporter};
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Signal};
use crate::intel::{Indicator, Intel};
use crate::policy::{self, Active};
use crate::record::tcp_flag::{ACK, SYN};
use crate::record::{
    Connection, ConnectionEvent, Direction, Event, EventKind, Flow, Host, Process,
};
use crate::text;
use crate::window::keyed::Keyed;

const TEXT: KindText = KindText {
    name: "CommandAndControl:Host/ListedAddress",
    guardduty: Some("Backdoor:Runtime/C&CActivity.B"),
    description: "The host exchanged packets with an address that a threat intelligence feed \
        lists. If the host began the conversation, a program on it may be under someone else's \
        control.",
    remediation: "Look at the process and its ancestors. If the host began the conversation and \
        nobody can explain it, isolate the host and keep the process's memory and image.",
    techniques: &["T1071", "T1095"],
};

const SEVERITY_OUTGOING: f64 = 8.0;
const SEVERITY_ACCEPTED: f64 = 5.0;
const SEVERITY_PROBED: f64 = 2.0;

/// Conversations per host that wait for their process or whose process is remembered.
const CONVERSATIONS_MAX: usize = 256;

/// The detector.
#[derive(Debug)]
pub struct ListedAddress {
    wait_ns: u64,
    intel: Arc<Intel>,
    reporter: Reporter,
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
            reporter: Reporter::new(&TEXT, &active.policy),
            hosts: Keyed::new(HOSTS_MAX),
            evicted: 0,
        }
    }

    fn sight(&mut self, host: &Arc<Host>, mut sighting: Sighting, out: &mut Vec<Signal>) {
        let state = self.hosts.get_or(&host.id, || State {
            host: Arc::clone(host),
            waiting: Keyed::new(CONVERSATIONS_MAX),
            known: Keyed::new(CONVERSATIONS_MAX),
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
                out.extend(report(&self.reporter, &self.intel, host, &sighting));
            }
            return;
        }
        if state.waiting.is_full()
            && let Some((_, oldest)) = state.waiting.pop_oldest()
        {
            self.evicted += 1;
            out.extend(report(&self.reporter, &self.intel, host, &oldest));
        }
        let merged = waited.map_or_else(|| sighting.clone(), |before| before.joined(&sighting));
        state.waiting.get_or(&ends, || merged);
    }

    /// Reports what has waited long enough, as seen at `now_ns`.
    fn give_up(&mut self, host: Option<&Arc<Host>>, now_ns: u64, out: &mut Vec<Signal>) {
        let (wait_ns, reporter, intel) = (self.wait_ns, &self.reporter, &self.intel);
        let mut flush = |state: &mut State| {
            for key in state.waiting.keys() {
                let due = |s: &Sighting| s.time_ns.saturating_add(wait_ns) <= now_ns;
                if state.waiting.peek(&key).is_some_and(due)
                    && let Some(sighting) = state.waiting.remove(&key)
                {
                    out.extend(report(reporter, intel, &state.host, &sighting));
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
            EventKind::Heartbeat => {
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
    reporter: &Reporter,
    intel: &Intel,
    host: &Arc<Host>,
    sighting: &Sighting,
) -> Option<Signal> {
    let indicator = intel.find(sighting.remote)?;
    let process = sighting.process.as_ref();
    let severity = match sighting.direction {
        // Traffic whose beginning was missed is judged by the worse case.
        Direction::Outgoing | Direction::Unknown => SEVERITY_OUTGOING,
        Direction::Incoming if sighting.accepted => SEVERITY_ACCEPTED,
        Direction::Incoming => SEVERITY_PROBED,
    };
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
