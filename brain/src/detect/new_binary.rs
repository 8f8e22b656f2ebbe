//! Programs and libraries that a container's image did not have.
//!
//! **What.** A program was executed, or a library mapped as code, whose file lies on the upper
//! layer of the container's file system: it was written after the container was started.
//!
//! **Evidence.** The execution or the mapping, with the container and the file.
//!
//! **False positives.** Containers in which software is installed or built while they run: what
//! stands below a package manager or a compiler is quiet. Programs that are written into a
//! container on purpose can be named in the settings. Engines without overlay file systems give no
//! layers, and then nothing is found here.
//!
//! **Method.** One record decides; one finding for each file of a container.

use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, File, FileAction, Process};
use wire::record::{file_flag, process_flag};

const REMEDIATION: &str = "Containers are made to run what their image has. Find out how the \
    file came into the container, keep a copy of it, and start the container anew from its image.";

const PROGRAM: KindText = KindText {
    name: "Execution:Host/NewBinaryExecuted",
    guardduty: Some("Execution:Runtime/NewBinaryExecuted"),
    description: "A program ran in a container that its image did not have, or had otherwise. \
        Somebody brought it into the running container.",
    remediation: REMEDIATION,
    techniques: &["T1610", "T1105"],
};
const LIBRARY: KindText = KindText {
    name: "Execution:Host/NewLibraryLoaded",
    guardduty: Some("Execution:Runtime/NewLibraryLoaded"),
    description: "A program in a container loaded a library that its image did not have, or had \
        otherwise. Somebody brought it into the running container.",
    remediation: REMEDIATION,
    techniques: &["T1574.006", "T1105"],
};

const SEVERITY: f64 = 6.0;
/// Below a service, or from where everybody writes.
const SEVERITY_ODD: f64 = 6.9;

/// The detector.
#[derive(Debug)]
pub struct NewBinary {
    settings: policy::NewBinary,
    program: Reporter,
    library: Reporter,
}

impl NewBinary {
    /// Returns the detector.
    pub fn new(active: &Active<policy::NewBinary>) -> Self {
        Self {
            settings: active.settings.clone(),
            program: Reporter::new(&PROGRAM, &active.policy),
            library: Reporter::new(&LIBRARY, &active.policy),
        }
    }

    fn is_quiet(&self, process: &Process, path: &[u8]) -> bool {
        let known = |name: &String| name.as_bytes() == context::leaf(path);
        !context::is_contained(process)
            || self.settings.expected.iter().any(known)
            || context::is_maintenance(process)
            || context::is_build(process)
    }

    fn report(&self, event: &Event, process: &Process, reporter: &Reporter, act: Act) -> Signal {
        let odd = context::service(process).is_some() || context::is_scratch(process);
        let severity = if odd { SEVERITY_ODD } else { SEVERITY };
        reporter.act(event, Act { severity, ..act })
    }

    fn on_exec(&self, event: &Event, process: &Process) -> Option<Signal> {
        if !process.has(process_flag::UPPER_LAYER) || self.is_quiet(process, process.exe_path()) {
            return None;
        }
        let act = Act {
            severity: SEVERITY,
            subject: shown(&process.container),
            what: "ran, which the container's image does not have".to_owned(),
            kind: EvidenceKind::Exec,
            fields: Vec::new(),
        };
        Some(self.report(event, process, &self.program, act))
    }

    fn on_file(&self, event: &Event, file: &File, process: &Process) -> Option<Signal> {
        let new = file.action == FileAction::MapCode && file.flags & file_flag::UPPER_LAYER != 0;
        if !new || self.is_quiet(process, &file.path) {
            return None;
        }
        let path = shown(&file.path);
        let act = Act {
            severity: SEVERITY,
            subject: format!("{}|{path}", shown(&process.container)),
            what: format!("loaded {path}, which the container's image does not have"),
            kind: EvidenceKind::File,
            fields: vec![("path", path.clone().into())],
        };
        Some(self.report(event, process, &self.library, act))
    }
}

impl Detector for NewBinary {
    fn name(&self) -> &'static str {
        "new_binary"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let Some(process) = &event.process else { return };
        match &event.kind {
            EventKind::Exec(_) => out.extend(self.on_exec(event, process)),
            EventKind::File(file) => out.extend(self.on_file(event, file, process)),
            _ => {}
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
