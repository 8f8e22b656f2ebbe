//! One host's open connections and recent interactive shells.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::record::{Connection, Process, ProcessKey};
use crate::window::keyed::Keyed;

/// Processes whose open connections are kept. A connection that starts a shell is young or busy, so
/// letting go of the longest unused loses little.
const OWNERS_MAX: usize = 2_048;

/// Open connections kept per process, the newest.
const OPENED_PER_OWNER_MAX: usize = 8;

/// Parents whose interactive shells are kept.
const PARENTS_MAX: usize = 512;

/// Shells kept per parent, the newest.
const SHELLS_PER_PARENT_MAX: usize = 8;

/// Connections whose direction is kept.
const DIRECTIONS_MAX: usize = 2_048;

/// A connection that a process opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Opened {
    pub(super) time_ns: u64,
    pub(super) local_port: u16,
    pub(super) remote: SocketAddr,
}

/// An interactive shell.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    pub(super) process: Arc<Process>,
    pub(super) time_ns: u64,
    /// Whether its input is a pipe.
    pub(super) piped: bool,
}

/// What one host's records said.
#[derive(Debug)]
pub(super) struct Table {
    opened: Keyed<ProcessKey, Vec<Opened>>,
    /// Connections by the parent of their owner, for shells that stand beside it.
    opened_below: Keyed<ProcessKey, Vec<(ProcessKey, Opened)>>,
    shells: Keyed<ProcessKey, Vec<Shell>>,
    /// Whether the host accepted the connection, by local port and peer.
    directions: Keyed<(u16, SocketAddr), bool>,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            opened: Keyed::new(OWNERS_MAX),
            opened_below: Keyed::new(OWNERS_MAX),
            shells: Keyed::new(PARENTS_MAX),
            directions: Keyed::new(DIRECTIONS_MAX),
        }
    }
}

impl Table {
    pub(super) fn note_accepted(&mut self, local_port: u16, remote: SocketAddr, accepted: bool) {
        *self.directions.get_or(&(local_port, remote), || accepted) = accepted;
    }

    /// Returns whether the host accepted the connection, if that is known.
    pub(super) fn accepted(&mut self, local_port: u16, remote: SocketAddr) -> Option<bool> {
        self.directions.get(&(local_port, remote)).copied()
    }

    pub(super) fn note_opened(
        &mut self,
        owner: ProcessKey,
        parent: Option<ProcessKey>,
        opened: Opened,
    ) {
        push(self.opened.get_or(&owner, Vec::new), opened, OPENED_PER_OWNER_MAX);
        if let Some(parent) = parent {
            let below = self.opened_below.get_or(&parent, Vec::new);
            push(below, (owner, opened), OPENED_PER_OWNER_MAX);
        }
    }

    /// Returns the newest open connection that `owner` had opened by `until_ns`.
    pub(super) fn held_by(&mut self, owner: ProcessKey, until_ns: u64) -> Option<Opened> {
        let opened = self.opened.get(&owner)?;
        opened.iter().rev().find(|opened| opened.time_ns <= until_ns).copied()
    }

    /// Returns a connection that another child of the shell's parent opened at about the same time.
    pub(super) fn opened_beside(&mut self, shell: &Shell, slack_ns: u64) -> Option<Opened> {
        let parent = shell.process.parent.as_ref()?.key;
        let below = self.opened_below.get(&parent)?;
        let beside = |(owner, opened): &&(ProcessKey, Opened)| {
            *owner != shell.process.key && opened.time_ns.abs_diff(shell.time_ns) <= slack_ns
        };
        below.iter().rev().find(beside).map(|(_, opened)| *opened)
    }

    pub(super) fn remember_shell(&mut self, parent: ProcessKey, shell: Shell) {
        let shells = self.shells.get_or(&parent, Vec::new);
        shells.retain(|known| known.process.key != shell.process.key);
        push(shells, shell, SHELLS_PER_PARENT_MAX);
    }

    /// Returns the interactive shells that `parent` started.
    pub(super) fn shells_below(&self, parent: ProcessKey) -> impl Iterator<Item = &Shell> {
        self.shells.peek(&parent).into_iter().flatten()
    }

    pub(super) fn close(&mut self, owner: Option<ProcessKey>, connection: &Connection) {
        let (local_port, remote) = (connection.local.port(), connection.remote);
        self.directions.remove(&(local_port, remote));
        // The last holder of a socket may not be the one that opened it, and then the opener is
        // gone or goes soon; its entry leaves with it.
        if let Some(opened) = owner.and_then(|owner| self.opened.get(&owner)) {
            opened.retain(|held| held.local_port != local_port || held.remote != remote);
        }
    }

    /// Forgets a process that ended.
    pub(super) fn forget(&mut self, process: ProcessKey) {
        self.opened.remove(&process);
        self.shells.remove(&process);
        self.opened_below.remove(&process);
    }
}

/// Adds to the end; the oldest leaves when there are `max`.
fn push<T>(list: &mut Vec<T>, item: T, max: usize) {
    if list.len() == max {
        list.remove(0);
    }
    list.push(item);
}
