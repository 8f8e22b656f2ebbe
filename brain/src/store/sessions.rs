//! Log-ins. The browser has the secret, the store only its hash.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::StoreError;
use super::state::{State, failing};
use crate::clock::SECOND_NS;
use crate::identity;

/// A session ends this long after it began, whatever is done in it.
const LIFETIME_NS: u64 = 12 * 3600 * SECOND_NS;

/// A session ends after this long without a request. The console's live stream asks for nothing, so
/// somebody who watches it for an hour is logged out on the next click.
const IDLE_NS: u64 = 60 * 60 * SECOND_NS;

/// The time of the last request is written no more often than this.
const TOUCH_NS: u64 = 60 * SECOND_NS;

/// Sessions at once, of all users; the oldest ends when there are more.
const SESSIONS_MAX: usize = 10_000;

/// A log-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Whose.
    pub user: String,
    /// What requests that change something must repeat.
    pub csrf: String,
    began_ns: u64,
    seen_ns: u64,
}

/// All log-ins.
#[derive(Debug)]
pub struct Sessions {
    tree: sled::Tree,
    state: Arc<State>,
}

impl Sessions {
    pub(super) fn open(state: &Arc<State>) -> Result<Self, StoreError> {
        Ok(Self { tree: state.tree("sessions")?, state: Arc::clone(state) })
    }

    /// Begins a session; returns the cookie's secret with it.
    pub fn begin(&self, user: &str, now_ns: u64) -> Result<(String, Session), StoreError> {
        self.state.has_room()?;
        let secret = identity::random_secret();
        let csrf = identity::random_secret();
        let session = Session { user: user.to_owned(), csrf, began_ns: now_ns, seen_ns: now_ns };
        self.forget_ended(now_ns)?;
        self.put(&identity::secret_hash(secret.as_bytes()), &session)?;
        self.state.sync()?;
        Ok((secret, session))
    }

    /// Returns the session of a cookie.
    pub fn find(&self, secret: &str, now_ns: u64) -> Result<Option<Session>, StoreError> {
        let key = identity::secret_hash(secret.as_bytes());
        let Some(value) = self.tree.get(&key).map_err(failing("read"))? else { return Ok(None) };
        let mut session: Session = serde_json::from_slice(&value)?;
        if session.has_ended(now_ns) {
            self.tree.remove(&key).map_err(failing("write"))?;
            return Ok(None);
        }
        let is_due = now_ns.saturating_sub(session.seen_ns) > TOUCH_NS;
        if is_due && self.state.has_room().is_ok() {
            session.seen_ns = now_ns;
            self.put(&key, &session)?;
        }
        Ok(Some(session))
    }

    /// Ends a session.
    pub fn end(&self, secret: &str) -> Result<(), StoreError> {
        let key = identity::secret_hash(secret.as_bytes());
        self.tree.remove(key).map_err(failing("write"))?;
        self.state.sync()
    }

    fn put(&self, key: &str, session: &Session) -> Result<(), StoreError> {
        self.tree.insert(key, serde_json::to_vec(session)?).map_err(failing("write"))?;
        Ok(())
    }

    fn forget_ended(&self, now_ns: u64) -> Result<(), StoreError> {
        let mut oldest: Option<(u64, sled::IVec)> = None;
        for item in &self.tree {
            let (key, value) = item.map_err(failing("read"))?;
            let ended = serde_json::from_slice::<Session>(&value)
                .map_or((true, 0), |session| (session.has_ended(now_ns), session.seen_ns));
            if ended.0 {
                self.tree.remove(&key).map_err(failing("write"))?;
            } else if oldest.as_ref().is_none_or(|(seen_ns, _)| ended.1 < *seen_ns) {
                oldest = Some((ended.1, key));
            }
        }
        if self.tree.len() >= SESSIONS_MAX
            && let Some((_, key)) = oldest
        {
            self.tree.remove(key).map_err(failing("write"))?;
        }
        Ok(())
    }
}

impl Session {
    fn has_ended(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.began_ns) > LIFETIME_NS
            || now_ns.saturating_sub(self.seen_ns) > IDLE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_when_idle_and_after_their_life() {
        let dir = tempfile::tempdir().unwrap();
        let state = Arc::new(State::open(dir.path()).unwrap());
        let sessions = Sessions::open(&state).unwrap();
        let (secret, session) = sessions.begin("admin", 0).unwrap();
        assert_eq!(sessions.find(&secret, IDLE_NS).unwrap().unwrap().csrf, session.csrf);
        assert!(sessions.find("other", 0).unwrap().is_none());
        let mut now = IDLE_NS;
        while now < LIFETIME_NS {
            assert!(sessions.find(&secret, now).unwrap().is_some());
            now += IDLE_NS / 2;
        }
        assert!(sessions.find(&secret, LIFETIME_NS + 1).unwrap().is_none());
        let (secret, _) = sessions.begin("admin", 0).unwrap();
        sessions.end(&secret).unwrap();
        assert!(sessions.find(&secret, 0).unwrap().is_none());
    }
}
