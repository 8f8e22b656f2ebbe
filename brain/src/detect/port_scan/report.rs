//! Says what was found, in words.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::track::Notice;
use crate::detect::{KindText, Reporter};
use crate::finding::{
    Actor, ActorKind, Evidence, EvidenceKind, Exactness, PolicyRef, Signal, Value,
};
use crate::intel::guard::is_private;
use crate::record::{Host, protocol};
use crate::text;

const SCAN: KindText = KindText {
    name: "Discovery:Host/PortScan",
    guardduty: Some("Recon:EC2/Portscan"),
    description: "The host probes many ports of an address in a short time. That is how somebody \
        who has a foothold looks for the next door.",
    remediation: "Look at the process and who started it. If it is not a scanner that you run, \
        isolate the host and look at what it reached: answered ports are the next targets.",
    techniques: &["T1046"],
};

const SWEEP: KindText = KindText {
    name: "Discovery:Host/PortSweep",
    guardduty: Some("Impact:EC2/PortSweep"),
    description: "The host probes one port of many addresses in a short time, as somebody does \
        who looks for hosts with one weakness, or a worm that spreads.",
    remediation: "Look at the process and who started it. If it is not a scanner or monitor that \
        you run, isolate the host.",
    techniques: &["T1046"],
};

const PROBED: KindText = KindText {
    name: "Discovery:Host/PortProbed",
    guardduty: Some("Recon:EC2/PortProbeUnprotectedPort"),
    description: "An address probes many ports of the host. Hosts that face the internet see this \
        all day; from inside the network it means that a neighbour looks around.",
    remediation: "If the source is one of your hosts, look at the scan's finding there. Otherwise \
        check that only ports that must be reachable are.",
    techniques: &["T1595.001"],
};

const SEVERITY_SCAN: f64 = 5.5;
const SEVERITY_SWEEP: f64 = 6.0;
const SEVERITY_SWEEP_PUBLIC: f64 = 7.5;
const SEVERITY_PROBED: f64 = 2.0;

/// What a notice is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    Scan {
        remote: IpAddr,
        protocol: u8,
    },
    Sweep {
        port: u16,
        protocol: u8,
    },
    /// A sweep over any ports.
    Wide,
    Probed {
        remote: IpAddr,
    },
}

/// One reporter per type.
#[derive(Debug)]
pub(super) struct Reporters {
    scan: Reporter,
    sweep: Reporter,
    probed: Reporter,
}

impl Reporters {
    pub(super) fn new(policy: &Arc<PolicyRef>) -> Self {
        Self {
            scan: Reporter::new(&SCAN, policy),
            sweep: Reporter::new(&SWEEP, policy),
            probed: Reporter::new(&PROBED, policy),
        }
    }

    pub(super) fn signal(&self, host: &Arc<Host>, subject: Subject, notice: Notice) -> Signal {
        let name = text::visible_str(&host.name);
        let process = notice.process.as_ref();
        let exe = process.map_or_else(String::new, |process| process.executable());
        let by = process.map_or_else(String::new, |process| format!(" by {}", process.name()));
        let new = |reporter: &Reporter, severity, of: &str| {
            reporter.signal(host, notice.time_ns, process, severity, of)
        };
        let mut signal = match subject {
            Subject::Scan { .. } => new(&self.scan, SEVERITY_SCAN, &exe),
            Subject::Sweep { .. } | Subject::Wide => {
                let public = addresses(&notice).any(|address| !is_private(address));
                let severity = if public { SEVERITY_SWEEP_PUBLIC } else { SEVERITY_SWEEP };
                new(&self.sweep, severity, &exe)
            }
            Subject::Probed { remote } => {
                let mut signal = new(&self.probed, SEVERITY_PROBED, &remote.to_string());
                // Whoever listens on a probed port did nothing.
                signal.process = None;
                signal
            }
        };
        signal.title = match subject {
            Subject::Scan { .. } => format!("Port scan from {name}{by}"),
            Subject::Sweep { .. } | Subject::Wide => format!("Port sweep from {name}{by}"),
            Subject::Probed { remote } => format!("Ports of {name} probed by {remote}"),
        };
        if !matches!(subject, Subject::Probed { .. }) && !exe.is_empty() {
            signal.actors.push(Actor { kind: ActorKind::Process, value: exe });
        }
        signal.actors.extend(actors(subject, &notice));
        signal.evidence.push(evidence(subject, &notice));
        signal.exactness = if notice.exact { Exactness::Exact } else { Exactness::Sketch };
        signal.count = notice.new;
        signal
    }
}

fn addresses(notice: &Notice) -> impl Iterator<Item = IpAddr> {
    notice.shown.iter().map(|&bits| Ipv6Addr::from(bits).to_canonical())
}

fn actors(subject: Subject, notice: &Notice) -> Vec<Actor> {
    let address = |address: IpAddr| Actor { kind: ActorKind::Address, value: address.to_string() };
    match subject {
        Subject::Scan { remote, .. } | Subject::Probed { remote } => vec![address(remote)],
        Subject::Sweep { .. } | Subject::Wide => addresses(notice).map(address).collect(),
    }
}

fn evidence(subject: Subject, notice: &Notice) -> Evidence {
    let about = if notice.exact { "" } else { "about " };
    let total = notice.total;
    let seconds = notice.last_ns.saturating_sub(notice.first_ns).div_ceil(1_000_000_000).max(1);
    let ports = || Value::Numbers(notice.shown.iter().map(|&port| port as u64).collect());
    let (summary, slot, mut fields) = match subject {
        Subject::Scan { remote, protocol } => {
            let name = protocol_name(protocol);
            let what = format!("probed {about}{total} {name} ports of {remote} in vain");
            let fields = vec![("remote_address", remote.to_string().into()), ("ports", ports())];
            (what, format!("{name} {remote}"), fields)
        }
        Subject::Probed { remote } => {
            let what = format!("{remote} probed {about}{total} ports in vain");
            let fields = vec![("remote_address", remote.to_string().into()), ("ports", ports())];
            (what, remote.to_string(), fields)
        }
        Subject::Wide => {
            let what = format!("probed various TCP ports of {about}{total} addresses in vain");
            (what, "various".to_owned(), Vec::new())
        }
        Subject::Sweep { port, protocol } => {
            let name = protocol_name(protocol);
            let what = if name == "echo" {
                format!("sent echo requests to {about}{total} addresses in vain")
            } else {
                format!("probed {name} port {port} of {about}{total} addresses in vain")
            };
            (what, format!("{name} {port}"), vec![("remote_port", u64::from(port).into())])
        }
    };
    let summary = format!("{summary} within {seconds} s");
    fields.push(("distinct", total.into()));
    let (time_ns, kind) = (notice.first_ns, EvidenceKind::Flow);
    Evidence { time_ns, kind, summary, fields, slot: Some(slot) }
}

fn protocol_name(protocol: u8) -> &'static str {
    match protocol {
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        _ => "echo",
    }
}
