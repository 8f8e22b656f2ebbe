//! Findings, hosts' counters and the journal index that both belong to, written in one step.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::state::{State, failing};
use crate::finding::{Finding, FindingId};

mod form;

/// Up to where the journal is in the stored state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Index of the last record that counts.
    pub index: u64,
    /// When that record was received.
    pub received_ns: u64,
    /// Until when the detectors were told that time has passed.
    pub ticked_ns: u64,
}

const CHECKPOINT_KEY: &[u8] = b"checkpoint";
const FINDING_PREFIX: &[u8] = b"f/";
const HOST_PREFIX: &[u8] = b"h/";

/// What is stored.
#[derive(Debug, Default)]
pub struct Stored {
    /// Where the journal goes on.
    pub checkpoint: Checkpoint,
    /// All findings.
    pub findings: Vec<Finding>,
    /// Counters of hosts by id, as JSON.
    pub hosts: Vec<(String, Vec<u8>)>,
}

/// What has changed since the last checkpoint.
#[derive(Debug, Default)]
pub struct Changes<'a> {
    /// Findings that are new or different.
    pub changed: Vec<&'a Finding>,
    /// Findings that were given up.
    pub removed: Vec<FindingId>,
    /// Counters of hosts by id, as JSON.
    pub hosts: Vec<(String, Vec<u8>)>,
}

/// The table.
#[derive(Debug)]
pub struct Findings {
    tree: sled::Tree,
    state: Arc<State>,
}

impl Findings {
    pub(super) fn open(state: &Arc<State>) -> Result<Self, StoreError> {
        Ok(Self { tree: state.tree("engine")?, state: Arc::clone(state) })
    }

    /// Reads everything.
    pub fn load(&self) -> Result<Stored, StoreError> {
        let mut stored = Stored::default();
        for item in &self.tree {
            let (key, value) = item.map_err(failing("read"))?;
            if key == CHECKPOINT_KEY {
                stored.checkpoint = serde_json::from_slice(&value)?;
            } else if key.starts_with(FINDING_PREFIX) {
                stored.findings.push(form::read(&value)?);
            } else if let Some(id) = key.strip_prefix(HOST_PREFIX) {
                let id = String::from_utf8_lossy(id).into_owned();
                stored.hosts.push((id, value.to_vec()));
            }
        }
        Ok(stored)
    }

    /// Returns an error when the disk has too little room to save anything.
    pub fn has_room(&self) -> Result<(), StoreError> {
        self.state.has_room()
    }

    /// Writes changes and the checkpoint in one step; durable when this returns.
    pub fn save(&self, checkpoint: &Checkpoint, changes: &Changes<'_>) -> Result<(), StoreError> {
        let key = |prefix: &[u8], id: &str| [prefix, id.as_bytes()].concat();
        let mut batch = sled::Batch::default();
        for finding in &changes.changed {
            batch.insert(key(FINDING_PREFIX, &finding.id.0), form::write(finding)?);
        }
        for id in &changes.removed {
            batch.remove(key(FINDING_PREFIX, &id.0));
        }
        for (id, json) in &changes.hosts {
            batch.insert(key(HOST_PREFIX, id), json.as_slice());
        }
        batch.insert(CHECKPOINT_KEY, serde_json::to_vec(checkpoint)?);
        self.tree.apply_batch(batch).map_err(failing("write"))?;
        self.state.sync()
    }
}
