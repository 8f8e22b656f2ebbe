//! What people have been told. A finding that is not in here is still to be sent, so a crash can
//! delay a message, but not lose it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::state::{State, failing};
use crate::finding::FindingId;

/// What was said of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// When.
    pub time_ns: u64,
    /// The count that was told; more than that is news.
    pub count: u64,
}

/// All that was sent.
#[derive(Debug)]
pub struct Outbox {
    tree: sled::Tree,
    state: Arc<State>,
}

impl Outbox {
    pub(super) fn open(state: &Arc<State>) -> Result<Self, StoreError> {
        Ok(Self { tree: state.tree("outbox")?, state: Arc::clone(state) })
    }

    /// Returns what was said of a finding.
    pub fn get(&self, id: &FindingId) -> Result<Option<Sent>, StoreError> {
        let value = self.tree.get(&id.0).map_err(failing("read"))?;
        Ok(value.map(|value| serde_json::from_slice(&value)).transpose()?)
    }

    /// Notes what was said of findings; durable when this returns.
    pub fn note(&self, sent: &[(FindingId, Sent)]) -> Result<(), StoreError> {
        self.state.has_room()?;
        let mut batch = sled::Batch::default();
        for (id, sent) in sent {
            batch.insert(id.0.as_str(), serde_json::to_vec(sent)?);
        }
        self.tree.apply_batch(batch).map_err(failing("write"))?;
        self.state.sync()
    }

    /// Forgets findings that are no longer kept.
    pub fn retain(&self, is_kept: impl Fn(&FindingId) -> bool) -> Result<(), StoreError> {
        for item in &self.tree {
            let (key, _) = item.map_err(failing("read"))?;
            let id = FindingId(String::from_utf8_lossy(&key).into_owned());
            if !is_kept(&id) {
                self.tree.remove(key).map_err(failing("write"))?;
            }
        }
        Ok(())
    }
}
