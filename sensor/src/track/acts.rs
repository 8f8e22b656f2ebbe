//! Acts on memory and with privileges: whose they are, and what they change about a process.

use std::rc::Rc;

use wire::record::{CredentialChange, Credentials, Privilege, privilege_flag};

use super::Tracker;
use crate::convert::{self, ActCount, Head};
use crate::observation::{Observation, Record, Text};
use crate::process::{Key, Process};

impl Tracker {
    /// Gives an act that was counted in a tick its process; `None` when there is nothing to tell.
    pub fn act(&mut self, act: &ActCount, clock: crate::clock::ClockPair) -> Option<Observation> {
        let counted = convert::act::counted(&act.0, act.1, clock.unix_ns)?;
        let find = |tracker: &mut Self, key| tracker.lineage_of(key, clock.boot_ns);
        let lineage = find(self, counted.process);
        let target = counted.target.map(|key| find(self, key)).unwrap_or_default();
        let (signal, record) = (counted.signal, counted.record);
        Some(Observation { lineage, target, signal, events: act.1, record })
    }

    /// Learns from a change of credentials who the process is from now on, and adds what it was if
    /// the kernel did not say. Returns whether anything changed.
    pub(super) fn learn(&mut self, record: &mut Record, head: Head) -> bool {
        let Record::Privilege(privilege) = record else { return true };
        let (Some(change), Some(key)) = (privilege.credentials, head.process) else { return true };
        let known = self.processes.find(key).cloned();
        if let Some(process) = &known {
            fill_in(privilege, change, process);
        }
        let change = privilege.credentials.unwrap_or(change);
        if privilege.flags & privilege_flag::ONE_THREAD == 0 {
            self.become_other(known, key, &change.after, head);
        }
        change.before != change.after
    }

    fn become_other(
        &mut self,
        known: Option<Rc<Process>>,
        key: Key,
        now: &Credentials,
        head: Head,
    ) {
        let Some(process) = known else { return };
        let same = (process.uid, process.euid, process.gid, process.capabilities)
            == (now.uid, now.euid, now.gid, now.effective);
        if same || process.key != key {
            return;
        }
        let mut process = Process {
            uid: now.uid,
            euid: now.euid,
            gid: now.gid,
            capabilities: now.effective,
            ..(*process).clone()
        };
        process.user = match process.container.is_empty() {
            true => self.users.name(process.uid, head.time_ns),
            false => Rc::default(),
        };
        self.processes.insert(process);
    }
}

/// The process was, as far as is known, what it was before the change.
fn fill_in(privilege: &mut Privilege<Text>, mut change: CredentialChange, process: &Process) {
    if privilege.flags & privilege_flag::BEFORE_UNKNOWN == 0 {
        return;
    }
    privilege.flags &= !privilege_flag::BEFORE_UNKNOWN;
    change.before = Credentials {
        uid: process.uid,
        euid: process.euid,
        suid: process.euid,
        gid: process.gid,
        egid: process.gid,
        effective: process.capabilities,
        permitted: process.capabilities,
    };
    privilege.credentials = Some(change);
}
