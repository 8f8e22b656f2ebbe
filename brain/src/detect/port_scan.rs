//! Port scans and sweeps, from both ends.
//!
//! **What.** A host probes many ports of one address (scan), or one port of many addresses (sweep);
//! or an address probes many ports of a host.
//!
//! **Evidence.** Probes in vain: a TCP connection that was refused, never answered, or broken off
//! before it was complete; a UDP packet to a new port or an echo request that nothing answered.
//! Destinations are listed with their number of ports, as exact as the exactness says.
//!
//! **False positives.** A client of a service that is down probes one port; a busy crawler fails
//! often but succeeds more often, so a scan needs at least as many distinct failures as successes.
//! A server's answers come from one port to many, and carry SYN only with ACK, so whoever is
//! scanned does not look like a scanner. `traceroute` uses UDP ports 33434 to 33534, which are left
//! out. A cluster that loses most of its members at once can look like a sweep.
//!
//! **Method.** Failed first contacts, as in Jung, Paxson, Berger and Balakrishnan, "Fast Portscan
//! Detection Using Sequential Hypothesis Testing" (2004), here with a plain threshold over the
//! latest distinct values, which is exact, and sketches for the totals. Silence counts only after a
//! probe had time to be answered. FIN, NULL and Xmas probes, which never carry SYN, are not
//! counted.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Detector, HOSTS_MAX, PerHost};
use crate::finding::Signal;
use crate::policy::{self, Active};
use crate::record::{
    Connection, ConnectionEvent, Event, EventKind, Flow, Host, Process, address_bits, protocol,
};
use crate::window::keyed::Keyed;

mod probe;
mod report;
mod track;

use probe::{Outcome, Side, judge};
use report::{Reporters, Subject};
use track::Track;

/// Addresses per host that probes in vain are counted for.
const SCANS_MAX: usize = 1_024;

/// Ports per host that probes in vain are counted for.
const SWEEPS_MAX: usize = 256;

/// How many times the addresses of a sweep make one without regard to the port. Somebody who picks
/// ports and addresses at random, wider than the tables for each of them, is found by this.
const WIDE_FACTOR: usize = 4;

/// Probes per host that may still be answered. Past it the oldest counts as unanswered early.
const PENDING_MAX: usize = 4_096;

/// How often, in the host's time, tracks are looked through for what is due.
const REVIEW_NS: u64 = 1_000_000_000;

/// How long a scan goes on before it is reported, so that the first report has its measure.
const REPORT_AFTER_NS: u64 = 1_000_000_000;

/// How often a scan that goes on is reported again.
const REPORT_EVERY_NS: u64 = 10_000_000_000;

/// How far a silent host's time is behind the brain's, so that a tick does not cut a scan short.
const SILENCE_NS: u64 = 10_000_000_000;

const SECOND_NS: u64 = 1_000_000_000;

/// The detector.
#[derive(Debug)]
pub struct PortScan {
    limits: Limits,
    reporters: Reporters,
    hosts: PerHost<State>,
    evicted: u64,
}

/// Settings in the units that are counted in.
#[derive(Clone, Copy, Debug)]
struct Limits {
    ports: usize,
    udp_ports: usize,
    addresses: usize,
    window_ns: u64,
    settle_ns: u64,
}

/// What is counted for: the values are then ports or addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ScanKey {
    side: Side,
    protocol: u8,
    remote: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PendingKey {
    side: Side,
    protocol: u8,
    remote: IpAddr,
    /// The probed port, wherever it is.
    port: u16,
}

#[derive(Debug)]
struct Pending {
    time_ns: u64,
    process: Option<Arc<Process>>,
}

#[derive(Debug)]
struct State {
    host: Arc<Host>,
    scans: Keyed<ScanKey, Track>,
    /// By protocol and port; values are addresses.
    sweeps: Keyed<(u8, u16), Track>,
    /// Addresses probed on any TCP port.
    wide: Track,
    pending: Keyed<PendingKey, Pending>,
    now_ns: u64,
    reviewed_ns: u64,
}

/// A probe in vain.
struct Failure<'a> {
    key: PendingKey,
    time_ns: u64,
    process: Option<&'a Arc<Process>>,
}

impl PortScan {
    /// Returns the detector.
    pub fn new(active: &Active<policy::PortScan>) -> Self {
        let settings = &active.settings;
        Self {
            limits: Limits {
                ports: settings.distinct_ports as usize,
                udp_ports: settings.distinct_udp_ports as usize,
                addresses: settings.distinct_addresses as usize,
                window_ns: settings.window_s * SECOND_NS,
                settle_ns: settings.settle_ms * 1_000_000,
            },
            reporters: Reporters::new(&active.policy),
            hosts: Keyed::new(HOSTS_MAX),
            evicted: 0,
        }
    }

    fn state(&mut self, host: &Arc<Host>) -> &mut State {
        let addresses = self.limits.addresses;
        self.hosts.get_or(&host.id, || State::new(host, addresses))
    }

    fn on_flow(&mut self, event: &Event, flow: &Flow, out: &mut Vec<Signal>) {
        let limits = self.limits;
        let state = self.state(&event.host);
        if let Some((side, outcome)) = judge(flow) {
            let port = match (flow.protocol, side) {
                (protocol::ICMP | protocol::ICMPV6, _) => 0,
                (_, Side::Actor) => flow.remote.port(),
                (_, Side::Victim) => flow.local.port(),
            };
            let remote = flow.remote.ip();
            let key = PendingKey { side, protocol: flow.protocol, remote, port };
            state.note(key, outcome, event, &limits);
        }
        self.advance(&event.host, event.time_ns, out);
    }

    fn on_connection(&mut self, event: &Event, connection: &Connection) {
        let outcome = match connection.event {
            ConnectionEvent::ConnectFailed => Outcome::Refused,
            ConnectionEvent::Connected => Outcome::Answered,
            _ => return,
        };
        let limits = self.limits;
        let key = PendingKey {
            side: Side::Actor,
            protocol: connection.protocol,
            remote: connection.remote.ip(),
            port: connection.remote.port(),
        };
        self.state(&event.host).note(key, outcome, event, &limits);
    }

    /// Lets time pass on a host: probes settle, and what is due is reported.
    fn advance(&mut self, host: &Arc<Host>, now_ns: u64, out: &mut Vec<Signal>) {
        let (limits, reporters) = (self.limits, &self.reporters);
        if let Some(state) = self.hosts.get(&host.id) {
            self.evicted += state.advance(now_ns, &limits, reporters, out);
        }
    }
}

impl Detector for PortScan {
    fn name(&self) -> &'static str {
        "port_scan"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        match &event.kind {
            EventKind::Flow(flow) => self.on_flow(event, flow, out),
            EventKind::Connection(connection) => self.on_connection(event, connection),
            EventKind::Heartbeat { .. } => self.advance(&event.host, event.time_ns, out),
            _ => {}
        }
    }

    fn on_tick(&mut self, now_ns: u64, out: &mut Vec<Signal>) {
        let (limits, reporters) = (self.limits, &self.reporters);
        let now_ns = now_ns.saturating_sub(SILENCE_NS);
        let mut evicted = 0;
        self.hosts.for_each(|_, state| {
            evicted += state.advance(now_ns, &limits, reporters, out);
        });
        self.evicted += evicted;
    }

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}

impl State {
    fn new(host: &Arc<Host>, addresses: usize) -> Self {
        Self {
            wide: Track::new(addresses * WIDE_FACTOR),
            host: Arc::clone(host),
            scans: Keyed::new(SCANS_MAX),
            sweeps: Keyed::new(SWEEPS_MAX),
            pending: Keyed::new(PENDING_MAX),
            now_ns: 0,
            reviewed_ns: 0,
        }
    }

    /// Takes one probe, or its answer, into account.
    fn note(&mut self, key: PendingKey, outcome: Outcome, event: &Event, limits: &Limits) {
        let process = event.process.as_ref();
        match outcome {
            Outcome::Refused => {
                self.pending.remove(&key);
                self.fail(&Failure { key, time_ns: event.time_ns, process }, limits);
            }
            Outcome::RefusedLate => {
                // A refusal without its probe in sight counts only when the probe was seen before.
                if let Some(pending) = self.pending.remove(&key) {
                    let process = process.or(pending.process.as_ref());
                    self.fail(&Failure { key, time_ns: event.time_ns, process }, limits);
                }
            }
            Outcome::Unanswered => {
                if self.pending.is_full() && self.pending.peek(&key).is_none() {
                    self.settle_oldest(limits);
                }
                let time_ns = event.time_ns;
                let pending = || Pending { time_ns, process: process.map(Process::bounded) };
                let held = self.pending.get_or(&key, pending);
                if held.process.is_none() {
                    held.process = process.map(Process::bounded);
                }
            }
            Outcome::Answered => {
                self.pending.remove(&key);
                self.succeed(&key, event.time_ns, limits);
            }
        }
    }

    fn succeed(&mut self, key: &PendingKey, time_ns: u64, limits: &Limits) {
        let &PendingKey { side, protocol, remote, port } = key;
        if let Some(track) = self.scans.get(&ScanKey { side, protocol, remote }) {
            track.succeed(port.into(), time_ns, limits.window_ns);
        }
        if side == Side::Actor
            && let Some(track) = self.sweeps.get(&(protocol, port))
        {
            track.succeed(address_bits(remote), time_ns, limits.window_ns);
        }
        if side == Side::Actor && protocol == protocol::TCP && self.wide.has_begun() {
            self.wide.succeed(address_bits(remote), time_ns, limits.window_ns);
        }
    }

    fn fail(&mut self, failure: &Failure<'_>, limits: &Limits) {
        let PendingKey { side, protocol, remote, port } = failure.key;
        let echo = matches!(protocol, protocol::ICMP | protocol::ICMPV6);
        let udp = protocol == protocol::UDP;
        if !echo {
            let threshold = if udp { limits.udp_ports } else { limits.ports };
            let track =
                self.scans.get_or(&ScanKey { side, protocol, remote }, || Track::new(threshold));
            track.fail(port.into(), failure, limits.window_ns);
        }
        // Silence from many addresses on one UDP port is how peer-to-peer programs live.
        if side == Side::Victim || udp || remote.is_multicast() {
            return;
        }
        let address = address_bits(remote);
        let track = self.sweeps.get_or(&(protocol, port), || Track::new(limits.addresses));
        track.fail(address, failure, limits.window_ns);
        if !echo {
            self.wide.fail(address, failure, limits.window_ns);
        }
    }

    fn settle_oldest(&mut self, limits: &Limits) {
        if let Some((key, pending)) = self.pending.pop_oldest() {
            let process = pending.process.as_ref();
            self.fail(&Failure { key, time_ns: pending.time_ns, process }, limits);
        }
    }

    /// Returns how many entries were pushed out since the last time.
    fn advance(
        &mut self,
        now_ns: u64,
        limits: &Limits,
        reporters: &Reporters,
        out: &mut Vec<Signal>,
    ) -> u64 {
        self.now_ns = self.now_ns.max(now_ns);
        if self.now_ns < self.reviewed_ns.saturating_add(REVIEW_NS) {
            return 0;
        }
        self.reviewed_ns = self.now_ns;
        while let Some((_, pending)) = self.pending.oldest()
            && pending.time_ns.saturating_add(limits.settle_ns) <= self.now_ns
        {
            self.settle_oldest(limits);
        }
        let (host, now_ns) = (&self.host, self.now_ns);
        self.scans.for_each(|key, track| {
            let subject = match key.side {
                Side::Actor => Subject::Scan { remote: key.remote, protocol: key.protocol },
                Side::Victim => Subject::Probed { remote: key.remote },
            };
            out.extend(
                track.due(now_ns, limits.settle_ns).map(|n| reporters.signal(host, subject, n)),
            );
        });
        let mut swept = false;
        self.sweeps.for_each(|(protocol, port), track| {
            swept |= track.is_going_on(now_ns, limits.window_ns);
            let subject = Subject::Sweep { port: *port, protocol: *protocol };
            out.extend(
                track.due(now_ns, limits.settle_ns).map(|n| reporters.signal(host, subject, n)),
            );
        });
        // A sweep of one port is wide as well, and is told once.
        if !swept {
            let notice = self.wide.due(now_ns, limits.settle_ns);
            out.extend(notice.map(|notice| reporters.signal(host, Subject::Wide, notice)));
        }
        self.scans.take_evicted() + self.sweeps.take_evicted()
    }
}
