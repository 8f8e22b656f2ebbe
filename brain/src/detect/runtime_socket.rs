//! Containers that speak to the container runtime.
//!
//! **What.** A program in a container connected to the runtime's socket (`docker.sock` and its
//! like). Whoever speaks to it can start a container with the whole host in it.
//!
//! **Evidence.** The connection to the socket, with the container.
//!
//! **False positives.** Containers that manage others on purpose: name their program in the
//! settings.
//!
//! **Method.** One record decides; no state.

use super::paths::Paths;
use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, FileAction};

const TEXT: KindText = KindText {
    name: "PrivilegeEscalation:Host/DockerSocketAccessed",
    guardduty: Some("PrivilegeEscalation:Runtime/DockerSocketAccessed"),
    description: "A program in a container connected to the socket of the container runtime. It \
        can start a container that has the host's files, and so be root on the host.",
    remediation: "Find out why the socket is in the container. If the program there is not meant \
        to manage containers, stop it, look at which containers it started, and take the socket \
        away.",
    techniques: &["T1611", "T1610"],
};

const SEVERITY: f64 = 6.0;
/// A shell or a tool of the command line, not a server that was built for it.
const SEVERITY_TOOL: f64 = 6.9;

/// Programs with which people speak to the socket by hand.
const TOOLS: &[&str] =
    &["curl", "wget", "socat", "nc", "ncat", "docker", "podman", "crictl", "ctr", "nerdctl"];

/// The detector.
#[derive(Debug)]
pub struct RuntimeSocket {
    settings: policy::RuntimeSocket,
    sockets: Paths,
    reporter: Reporter,
}

impl RuntimeSocket {
    /// Returns the detector.
    pub fn new(active: &Active<policy::RuntimeSocket>) -> Self {
        let sockets = Paths::new(&active.settings.sockets);
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), sockets, reporter }
    }
}

impl Detector for RuntimeSocket {
    fn name(&self) -> &'static str {
        "runtime_socket"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::File(file), Some(process)) = (&event.kind, &event.process) else { return };
        if file.action != FileAction::Connect || !context::is_contained(process) {
            return;
        }
        let managed =
            (self.settings.managers.iter()).any(|known| known.as_bytes() == process.exe_name());
        if managed || !self.sockets.has(&file.path) {
            return;
        }
        let tool = context::runs(process, TOOLS) || super::shell::is_interpreter(process);
        out.push(self.reporter.act(
            event,
            Act {
                severity: if tool { SEVERITY_TOOL } else { SEVERITY },
                subject: text_of(&process.container),
                what: format!("spoke to {} from inside a container", shown(&file.path)),
                kind: EvidenceKind::File,
                fields: vec![
                    ("path", shown(&file.path).into()),
                    ("error", u64::from(file.error).into()),
                ],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}

fn text_of(container: &[u8]) -> String {
    crate::text::visible(container)
}
