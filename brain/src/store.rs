//! What the brain keeps besides the journal.
//!
//! Two kinds of places, for two kinds of loss. Accounts, tokens, hosts and the audit log cannot be
//! made again from anything, so they are small files that are written beside, synced and renamed.
//! Findings, checkpoints, sessions and what was sent are in sled: they are many, and a corrupt sled
//! is set aside and built again from the journal. sled's `flush` is no fsync on Linux, so at each
//! checkpoint its file is synced by us.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::metrics::Metrics;

pub mod audit;
pub mod file;
pub mod findings;
pub mod hosts;
pub mod outbox;
pub mod sessions;
pub mod state;
pub mod tokens;
pub mod users;

use file::FileError;

/// Why the store cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A small file fails.
    #[error(transparent)]
    File(#[from] FileError),
    /// sled fails.
    #[error("failed to {act} the state store: {source}")]
    State {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        source: sled::Error,
    },
    /// A newer version of this program wrote the data.
    #[error("{path} has schema {found}, this version knows {known}; run the newer version")]
    Newer {
        /// The folder.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The disk is almost full.
    #[error("{path} is almost full, {free} bytes are left; make room, then it goes on by itself")]
    Full {
        /// Where.
        path: PathBuf,
        /// Room that is left.
        free: u64,
    },
    /// A value cannot be written or read.
    #[error("a stored value is not what this version writes: {0}")]
    Value(#[from] serde_json::Error),
    /// Another brain runs on the same data.
    #[error("{0} is in use by another brain; stop it, or choose another data directory")]
    InUse(PathBuf),
}

/// All of it.
#[derive(Debug)]
pub struct Store {
    /// Join tokens.
    pub tokens: tokens::Tokens,
    /// Enrolled hosts and which are revoked.
    pub hosts: hosts::Hosts,
    /// Accounts.
    pub users: users::Users,
    /// Who changed what.
    pub audit: audit::Audit,
    /// Findings and checkpoints.
    pub findings: findings::Findings,
    /// Log-ins.
    pub sessions: sessions::Sessions,
    /// What was sent.
    pub outbox: outbox::Outbox,
    /// Whether the state had to be begun anew because the old one was corrupt.
    pub rebuilt: bool,
}

impl Store {
    /// Opens everything below the data directory.
    pub fn open(data: &Path, metrics: &Metrics) -> Result<Self, StoreError> {
        let keep = data.join("keep");
        file::private_dir(&keep)?;
        let state = Arc::new(state::State::open(&data.join("state"))?);
        if state.rebuilt {
            metrics.store_rebuilt.inc();
        }
        Ok(Self {
            tokens: tokens::Tokens::open(keep.join("tokens.json"))?,
            hosts: hosts::Hosts::open(hosts::path_in(data))?,
            users: users::Users::open(keep.join("users.json"))?,
            audit: audit::Audit::open(keep.join("audit.jsonl"))?,
            findings: findings::Findings::open(&state)?,
            sessions: sessions::Sessions::open(&state)?,
            outbox: outbox::Outbox::open(&state)?,
            rebuilt: state.rebuilt,
        })
    }
}
