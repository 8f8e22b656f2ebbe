//! Programs that threat intelligence lists by their content.
//!
//! **What.** A program ran whose executable's SHA-256 is on a feed in `policies/intel/`.
//!
//! **Evidence.** The execution, or the first later record of the process that has the hash: large
//! files are hashed beside their execution.
//!
//! **False positives.** None by chance; a feed can list a tool that somebody uses on purpose, which
//! can be named in the settings.
//!
//! **Method.** One lookup per execution, end and connection of a process.

use std::sync::Arc;

use super::listed::{self, Reporters};
use super::report::Act;
use super::{Detector, context};
use crate::finding::{EvidenceKind, Signal};
use crate::intel::Intel;
use crate::policy::{self, Active};
use crate::record::{Event, EventKind};

/// The detector.
#[derive(Debug)]
pub struct ListedFile {
    settings: policy::ListedFile,
    intel: Arc<Intel>,
    reporters: Reporters,
}

impl ListedFile {
    /// Returns the detector over these feeds.
    pub fn new(active: &Active<policy::ListedFile>, intel: &Arc<Intel>) -> Self {
        let reporters = Reporters::new(&active.policy);
        Self { settings: active.settings.clone(), intel: Arc::clone(intel), reporters }
    }
}

impl Detector for ListedFile {
    fn name(&self) -> &'static str {
        "listed_file"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let tells = matches!(
            event.kind,
            EventKind::Exec(_) | EventKind::Exit { .. } | EventKind::Connection(_)
        );
        let Some(process) = event.process.as_ref().filter(|_| tells) else { return };
        let Some(indicator) = self.intel.find_hash(&process.sha256) else { return };
        let known = |name: &String| name.as_bytes() == context::leaf(process.exe_path());
        if self.settings.expected.iter().any(known) {
            return;
        }
        let (reporter, severity) = self.reporters.of(listed::file(indicator.category));
        let mut signal = reporter.act_about(
            event,
            Act {
                severity,
                subject: indicator.value.to_ascii_lowercase(),
                what: format!("ran, whose content is listed as {}", indicator.category.name()),
                kind: EvidenceKind::Exec,
                fields: vec![
                    ("sha256", indicator.value.to_ascii_lowercase().into()),
                    ("category", indicator.category.name().to_owned().into()),
                    ("feed", format!("{}:{}", indicator.feed, indicator.line).into()),
                    ("feed_comment", indicator.comment.clone().into()),
                ],
            },
        );
        // An execution and its end are one sighting.
        let slot = format!("{}-{}", process.key.pid, process.key.start_ns);
        signal.evidence.iter_mut().for_each(|one| one.slot = Some(slot.clone()));
        out.push(signal);
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
