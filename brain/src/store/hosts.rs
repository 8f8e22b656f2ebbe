//! Enrolled hosts. A revoked one stays in the list for good, so that its certificate stays refused.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{self, Document, FileError};
use crate::identity::SensorId;

/// Hosts that may have enrolled, revoked ones included: far above what one brain is built for. Each
/// enrolment writes the list, which then has some 15 MB.
pub const HOSTS_MAX: usize = 50_000;

/// Characters of a host's name (RFC 1035 allows 253).
const NAME_MAX: usize = 253;

/// A host that has enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// Its sensor's id.
    pub id: String,
    /// The name that it enrolled with.
    pub name: String,
    /// The role of its join token.
    pub role: String,
    /// When it enrolled.
    pub enrolled_ns: u64,
    /// When its newest certificate ends.
    pub certificate_expires_ns: u64,
    /// When it was revoked.
    pub revoked_ns: Option<u64>,
}

/// Returns where a brain with this data directory keeps the list.
pub(super) fn path_in(data: &Path) -> PathBuf {
    data.join("keep").join("hosts.json")
}

/// Reads the list of a brain that may be running, and changes nothing.
pub fn read_list(data: &Path) -> Result<Vec<HostEntry>, FileError> {
    let path = path_in(data);
    let Some(json) = file::read(&path)? else { return Ok(Vec::new()) };
    serde_json::from_slice(&json).map_err(|source| FileError::Content { path, source })
}

/// All enrolled hosts.
#[derive(Debug)]
pub struct Hosts {
    list: Document<Vec<HostEntry>>,
}

impl Hosts {
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        Ok(Self { list: Document::open(path)? })
    }

    /// Adds a host.
    pub fn add(
        &self,
        id: SensorId,
        name: &str,
        role: String,
        now_ns: u64,
        certificate_expires_ns: u64,
    ) -> Result<(), FileError> {
        let entry = HostEntry {
            id: id.to_string(),
            name: name.chars().take(NAME_MAX).collect(),
            role,
            enrolled_ns: now_ns,
            certificate_expires_ns,
            revoked_ns: None,
        };
        self.list.update(|list| {
            list.push(entry);
            Ok(())
        })
    }

    /// Notes that a host has a new certificate.
    pub fn renewed(&self, id: SensorId, certificate_expires_ns: u64) -> Result<(), FileError> {
        let id = id.to_string();
        self.list.update(|list| {
            for entry in list.iter_mut().filter(|entry| entry.id == id) {
                entry.certificate_expires_ns = certificate_expires_ns;
            }
            Ok(())
        })
    }

    /// Returns a host.
    pub fn get(&self, id: &str) -> Option<HostEntry> {
        self.list.read(|list| list.iter().find(|entry| entry.id == id).cloned())
    }

    /// Returns whether a sensor with this id may talk to the brain.
    pub fn is_welcome(&self, id: SensorId) -> bool {
        self.get(&id.to_string()).is_some_and(|entry| entry.revoked_ns.is_none())
    }

    /// Returns how many hosts have enrolled.
    pub fn count(&self) -> usize {
        self.list.read(Vec::len)
    }

    /// Returns all hosts, in the order in which they enrolled.
    pub fn all(&self) -> Vec<HostEntry> {
        self.list.read(Vec::clone)
    }

    /// Revokes a host for good; returns it, or nothing when there is none.
    pub fn revoke(&self, id: &str, now_ns: u64) -> Result<Option<HostEntry>, FileError> {
        self.list.update(|list| {
            let entry = list.iter_mut().find(|entry| entry.id == id);
            Ok(entry.map(|entry| {
                entry.revoked_ns.get_or_insert(now_ns);
                entry.clone()
            }))
        })
    }
}
