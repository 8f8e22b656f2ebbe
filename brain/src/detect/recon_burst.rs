//! Many different questions about the host, within a short time.
//!
//! **What.** One session asked for several different things that an intruder wants to know first:
//! who he is, what system this is, who else is there, what listens, what may be run as root.
//!
//! **Evidence.** The executions, counted by what they ask.
//!
//! **False positives.** Single commands are everybody's. What a person at a terminal asks after a
//! log-in, what maintenance and monitoring ask at set times, and what builds ask is quiet. Below a
//! service, in a service's account or in a container fewer questions suffice, since nobody works
//! there by hand.
//!
//! **Method.** Per host, a bounded table of sessions with the time of each question.

use std::sync::Arc;

use super::report::Act;
use super::shell::{is_interpreter, is_shell};
use super::{Detector, HOSTS_MAX, KindText, PerHost, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, Process, ProcessKey};
use crate::window::keyed::Keyed;

const TEXT: KindText = KindText {
    name: "Discovery:Host/SuspiciousCommand",
    guardduty: Some("Discovery:Runtime/SuspiciousCommand"),
    description: "A session ran many different commands that tell what this host is, within a \
        short time and not from somebody's terminal. That is how an intruder begins.",
    remediation: "Look at what started the session and at what it did next. If it is a job of \
        yours, run it by cron or name its program to your configuration management.",
    techniques: &["T1082", "T1033", "T1049", "T1057", "T1087.001"],
};

const SEVERITY: f64 = 2.5;
const SEVERITY_ODD: f64 = 3.9;

/// Sessions per host.
const SESSIONS_MAX: usize = 256;

/// Ancestors in which a session's begin is looked for.
const DEPTH_MAX: usize = 8;

/// What is asked, and the commands that ask it: a name, perhaps with a word that must be among the
/// arguments.
const QUESTIONS: &[(&str, &[(&str, &str)])] = &[
    ("who am I", &[("id", ""), ("whoami", ""), ("groups", ""), ("logname", "")]),
    (
        "who else is here",
        &[("w", ""), ("who", ""), ("last", ""), ("lastlog", ""), ("users", ""), ("finger", "")],
    ),
    (
        "which accounts are there",
        &[
            ("getent", "passwd"),
            ("cat", "/etc/passwd"),
            ("cat", "/etc/group"),
            ("cat", "/etc/shadow"),
            ("grep", "/etc/passwd"),
        ],
    ),
    (
        "which system is this",
        &[
            ("uname", ""),
            ("hostnamectl", ""),
            ("lsb_release", ""),
            ("cat", "/etc/os-release"),
            ("cat", "/etc/issue"),
            ("cat", "/proc/version"),
            ("hostname", ""),
            ("arch", ""),
        ],
    ),
    (
        "which hardware",
        &[
            ("lscpu", ""),
            ("lspci", ""),
            ("dmidecode", ""),
            ("nproc", ""),
            ("cat", "/proc/cpuinfo"),
            ("free", ""),
            ("nvidia-smi", ""),
        ],
    ),
    (
        "which disks",
        &[
            ("df", ""),
            ("mount", ""),
            ("lsblk", ""),
            ("findmnt", ""),
            ("cat", "/proc/mounts"),
            ("cat", "/etc/fstab"),
            ("fdisk", "-l"),
        ],
    ),
    (
        "which networks",
        &[
            ("ip", ""),
            ("ifconfig", ""),
            ("route", ""),
            ("arp", ""),
            ("cat", "/etc/resolv.conf"),
            ("cat", "/etc/hosts"),
            ("iptables", "-L"),
        ],
    ),
    ("what listens", &[("ss", ""), ("netstat", ""), ("lsof", "")]),
    ("what runs", &[("ps", ""), ("top", ""), ("pstree", ""), ("systemctl", "list-units")]),
    (
        "what may I run as root",
        &[
            ("sudo", "-l"),
            ("find", "-perm"),
            ("getcap", "-r"),
            ("cat", "/etc/sudoers"),
            ("capsh", "--print"),
        ],
    ),
    (
        "what runs by itself",
        &[
            ("crontab", "-l"),
            ("systemctl", "list-timers"),
            ("cat", "/etc/crontab"),
            ("ls", "/etc/cron"),
        ],
    ),
    ("which settings", &[("env", ""), ("printenv", "")]),
    ("which modules", &[("lsmod", ""), ("dmesg", ""), ("cat", "/proc/modules")]),
    (
        "which keys",
        &[
            ("find", "id_rsa"),
            ("cat", ".ssh/"),
            ("ls", ".ssh"),
            ("find", ".ssh"),
            ("cat", ".bash_history"),
            ("grep", "password"),
        ],
    ),
    (
        "which containers",
        &[("docker", "ps"), ("kubectl", "get"), ("crictl", "ps"), ("cat", "/proc/1/cgroup")],
    ),
];

/// The detector.
#[derive(Debug)]
pub struct ReconBurst {
    settings: policy::ReconBurst,
    reporter: Reporter,
    hosts: PerHost<Keyed<ProcessKey, [u64; QUESTIONS.len()]>>,
    evicted: u64,
}

impl ReconBurst {
    /// Returns the detector.
    pub fn new(active: &Active<policy::ReconBurst>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        let settings = active.settings.clone();
        Self { settings, reporter, hosts: Keyed::new(HOSTS_MAX), evicted: 0 }
    }

    fn on_exec(&mut self, event: &Event, process: &Arc<Process>) -> Option<Signal> {
        let question = question(process)?;
        if context::is_admin_session(process)
            || context::is_maintenance(process)
            || context::is_scheduled(process)
            || context::is_build(process)
        {
            return None;
        }
        let begin = session_of(process)?;
        let sessions = self.hosts.get_or(&event.host.id, || Keyed::new(SESSIONS_MAX));
        let asked = sessions.get_or(&begin.key, || [0; QUESTIONS.len()]);
        asked[question] = asked[question].max(event.time_ns);
        let since = event.time_ns.saturating_sub(self.settings.window_s * 1_000_000_000);
        let within: Vec<&str> = QUESTIONS
            .iter()
            .zip(asked.iter())
            .filter(|(_, time)| **time > 0 && **time >= since)
            .map(|((name, _), _)| *name)
            .collect();
        self.evicted += sessions.take_evicted();
        let odd = is_odd(process, &begin);
        let wanted = if odd { self.settings.distinct_odd } else { self.settings.distinct };
        if within.len() < wanted as usize {
            return None;
        }
        let mut signal = self.reporter.act_about(
            event,
            Act {
                severity: if odd { SEVERITY_ODD } else { SEVERITY },
                subject: begin.executable(),
                what: format!("asked {} different questions about the host", within.len()),
                kind: EvidenceKind::Exec,
                fields: vec![
                    ("questions", within.join(", ").into()),
                    ("session_of", begin.executable().into()),
                    ("session_pid", u64::from(begin.key.pid).into()),
                ],
            },
        );
        // The latest answer says it all.
        signal.evidence.iter_mut().for_each(|one| one.slot = Some(begin.key.pid.to_string()));
        Some(signal)
    }
}

fn question(process: &Process) -> Option<usize> {
    let mut arguments = process.arguments();
    // BusyBox and its like are called by the command's name.
    let called = context::leaf(arguments.next().unwrap_or(b""));
    let rest: Vec<&[u8]> = arguments.collect();
    let asks = |&(name, word): &(&str, &str)| {
        let named = process.exe_name() == name.as_bytes() || called == name.as_bytes();
        let has = |argument: &&[u8]| {
            argument.windows(word.len().max(1)).any(|window| window == word.as_bytes())
        };
        named && (word.is_empty() || rest.iter().any(has))
    };
    QUESTIONS.iter().position(|(_, commands)| commands.iter().any(asks))
}

/// Returns what began the session: a service, else the highest ancestor that is a shell or an
/// interpreter without anything else between, else the parent.
fn session_of(process: &Arc<Process>) -> Option<Arc<Process>> {
    let service = process.lineage().filter(|one| context::is_service(one)).last();
    let runs_commands = |one: &&Arc<Process>| is_shell(one) || is_interpreter(one);
    let begin = process.lineage().take(DEPTH_MAX).take_while(runs_commands).last();
    service.or(begin).or(process.parent.as_ref()).map(Arc::clone)
}

fn is_odd(process: &Process, begin: &Process) -> bool {
    context::service(process).is_some()
        || context::is_service_account(process)
        || context::is_contained(process)
        || context::is_scratch(begin)
}

impl Detector for ReconBurst {
    fn name(&self) -> &'static str {
        "recon_burst"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        if let (EventKind::Exec(_), Some(process)) = (&event.kind, &event.process) {
            out.extend(self.on_exec(event, process));
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}
