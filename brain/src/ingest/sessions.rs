//! Live sessions, one per identity.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quinn::Connection;

use super::CLOSE_CODE;
use crate::identity::SensorId;

/// Who is connected.
#[derive(Debug, Default)]
pub struct Sessions {
    live: Mutex<HashMap<SensorId, (u64, Connection)>>,
}

impl Sessions {
    /// Notes a session. One of the same identity is cut: the newer wins, since the older may be a
    /// connection that a network swallowed. Returns whether there was one.
    pub(super) fn begin(&self, id: SensorId, number: u64, connection: &Connection) -> bool {
        let old = self.live().insert(id, (number, connection.clone()));
        if let Some((_, old)) = &old {
            old.close(CLOSE_CODE, b"superseded");
        }
        old.is_some()
    }

    /// Notes that a session has ended, unless a newer one is there.
    pub(super) fn end(&self, id: SensorId, number: u64) {
        let mut live = self.live();
        if live.get(&id).is_some_and(|(newest, _)| *newest == number) {
            live.remove(&id);
        }
    }

    /// Cuts the session of an identity, if there is one.
    pub fn cut(&self, id: SensorId, reason: &'static str) {
        if let Some((_, connection)) = self.live().remove(&id) {
            connection.close(CLOSE_CODE, reason.as_bytes());
        }
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.live().len()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<SensorId, (u64, Connection)>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
