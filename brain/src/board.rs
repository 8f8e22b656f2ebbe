//! Findings as everyone but the engine sees them, and the stream of what changes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::broadcast;

use crate::finding::{Finding, FindingId};
use crate::identity::SensorId;

/// Changes that a slow reader may fall behind before it has to look at everything again.
const CHANGES_MAX: usize = 1024;

/// Something that changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A finding is new or different.
    Finding(Arc<Finding>),
    /// A host connected, left, or sent something.
    Host(SensorId),
}

/// The findings, and who wants to hear of them.
#[derive(Debug)]
pub struct Board {
    findings: RwLock<BTreeMap<FindingId, Arc<Finding>>>,
    changes: broadcast::Sender<Change>,
}

impl Default for Board {
    fn default() -> Self {
        Self { findings: RwLock::default(), changes: broadcast::channel(CHANGES_MAX).0 }
    }
}

impl Board {
    /// Shows findings that are not news.
    pub fn begin<'a>(&self, findings: impl Iterator<Item = &'a Finding>) {
        let findings = findings.map(|finding| (finding.id.clone(), Arc::new(finding.clone())));
        *self.write() = findings.collect();
    }

    /// Shows a finding and tells of it.
    pub fn show(&self, finding: Arc<Finding>) {
        self.write().insert(finding.id.clone(), Arc::clone(&finding));
        // Nobody listening is no failure.
        let _ = self.changes.send(Change::Finding(finding));
    }

    /// Tells that a host has changed.
    pub fn show_host(&self, id: SensorId) {
        let _ = self.changes.send(Change::Host(id));
    }

    /// Takes down what `is_kept` refuses; returns it.
    pub fn retain(&self, is_kept: impl Fn(&FindingId) -> bool) -> Vec<FindingId> {
        let mut findings = self.write();
        let gone: Vec<FindingId> = findings.keys().filter(|id| !is_kept(id)).cloned().collect();
        findings.retain(|id, _| is_kept(id));
        gone
    }

    /// Returns a finding.
    pub fn get(&self, id: &FindingId) -> Option<Arc<Finding>> {
        self.read().get(id).cloned()
    }

    /// Returns all findings, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Finding>> {
        self.read().values().cloned().collect()
    }

    /// Begins to listen for changes.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<FindingId, Arc<Finding>>> {
        self.findings.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<FindingId, Arc<Finding>>> {
        self.findings.write().unwrap_or_else(PoisonError::into_inner)
    }
}
