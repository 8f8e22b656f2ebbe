//! Libraries that are put before all others.
//!
//! **What.** A program was executed with `LD_PRELOAD` or `LD_AUDIT` naming a library from where
//! users write. The library runs inside the program and can change what it does and sees.
//!
//! **Evidence.** The execution with its environment.
//!
//! **False positives.** Allocators, `fakeroot` and tracers preload libraries from where packages
//! put them, which is quiet. What a person preloads from his own folder is of low severity, and so
//! is what a build does.
//!
//! **Method.** One record decides; one finding for each library.

use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, Process};

const TEXT: KindText = KindText {
    name: "DefenseEvasion:Host/LibraryPreloaded",
    guardduty: None,
    description: "A program was started with a library put before all others that lies where \
        users write. Such a library can hide files and connections from the program, or read \
        what passes through it.",
    remediation: "Keep a copy of the library and find out who put it there. Look at \
        /etc/ld.so.preload and at what else was started with it.",
    techniques: &["T1574.006"],
};

const SEVERITY: f64 = 6.5;
const SEVERITY_QUIET: f64 = 3.0;

/// Variables that make the dynamic loader load a library first.
const VARIABLES: [&[u8]; 2] = [b"LD_PRELOAD=", b"LD_AUDIT="];

/// The detector.
#[derive(Debug)]
pub struct Preload {
    settings: policy::Preload,
    reporter: Reporter,
}

impl Preload {
    /// Returns the detector.
    pub fn new(active: &Active<policy::Preload>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }

    /// Returns the first library that lies where users write.
    fn library(&self, process: &Process) -> Option<Vec<u8>> {
        let variables = process.env.split(|&byte| byte == 0);
        let values = variables
            .filter_map(|variable| VARIABLES.iter().find_map(|name| variable.strip_prefix(*name)));
        // The loader takes both as separators (ld.so(8)).
        let names = values.flat_map(|value| value.split(|byte| matches!(byte, b':' | b' ')));
        names.map(|name| absolute(name, &process.cwd)).find(|path| self.is_odd(path))
    }

    fn is_odd(&self, path: &[u8]) -> bool {
        let hidden = path.split(|&byte| byte == b'/').any(|part| part.first() == Some(&b'.'));
        let below = |folder: &String| path.starts_with(folder.as_bytes());
        path.first() == Some(&b'/') && (hidden || self.settings.folders.iter().any(below))
    }
}

/// A name with a slash is a path; the loader looks for others where libraries are.
fn absolute(name: &[u8], cwd: &[u8]) -> Vec<u8> {
    let relative = name.first() != Some(&b'/') && name.contains(&b'/');
    let name = name.strip_prefix(b"./").unwrap_or(name);
    match relative {
        true => [cwd, b"/", name].concat(),
        false => name.to_vec(),
    }
}

impl Detector for Preload {
    fn name(&self) -> &'static str {
        "preload"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Exec(_), Some(process)) = (&event.kind, &event.process) else { return };
        if process.env.is_empty() {
            return;
        }
        let Some(library) = self.library(process) else { return };
        let own = !context::is_scratch_path(&library) && context::is_admin_session(process);
        let quiet = own || context::is_build(process) || context::is_maintenance(process);
        let path = shown(&library);
        out.push(self.reporter.act_about(
            event,
            Act {
                severity: if quiet { SEVERITY_QUIET } else { SEVERITY },
                subject: path.clone(),
                what: format!("was started with {path} put before its libraries"),
                kind: EvidenceKind::Exec,
                fields: vec![("library", path.into()), ("environment", shown(&process.env).into())],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
