//! Gives up every privilege of this process for good, and says which parts of that held.
//!
//! # Reading order
//! [`capability`], [`account`] (whom to become), [`folders`] (landlock), [`calls`] (seccomp).

use std::fmt::Write as _;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{self, Gid, Uid};

pub mod account;
pub mod calls;
pub mod capability;
pub mod folders;

use self::account::Account;

/// What the process keeps.
#[derive(Debug)]
pub struct Plan {
    /// Whom to become; `None` stays who it is.
    pub account: Option<Account>,
    /// The only folder that may be written.
    pub state: OwnedFd,
    /// More files and folders that may be read.
    pub readable: Vec<PathBuf>,
}

/// What holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The user whom the process became, or was.
    pub uid: u32,
    /// Whether no capability is left, and none in the bounding set.
    pub bounding_empty: bool,
    /// How far landlock holds.
    pub landlock: Option<&'static str>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
    /// What does not hold, and why.
    pub missing: Vec<String>,
}

impl Held {
    /// Says what holds in one line.
    pub fn sentence(&self) -> String {
        let mut text = format!("uid {}, no capabilities, no new privileges", self.uid);
        if self.bounding_empty {
            text.push_str(", empty bounding set");
        }
        if let Some(landlock) = self.landlock {
            // Writing to a string cannot fail.
            let _ = write!(text, ", landlock {landlock}");
        }
        if self.seccomp {
            text.push_str(", seccomp");
        }
        text
    }
}

/// Gives everything up. Call it before any thread starts: some of it is each thread's own. From
/// then on the process gets SIGTERM when its parent ends.
///
/// Capabilities must go, or this fails. Landlock and seccomp are as good as the kernel has them,
/// and what is missing is told.
pub fn enter(plan: &Plan) -> io::Result<Held> {
    // Changing the user clears what the process may do, so the bounding set goes first.
    let bounding_empty = capability::empty_bounding_set()?;
    let mut held = Held { bounding_empty, ..Held::default() };
    if !held.bounding_empty {
        held.missing.push("the bounding set is not emptied, which takes CAP_SETPCAP".to_owned());
    }
    if let Some(account) = &plan.account {
        become_account(account)?;
    }
    held.uid = unistd::geteuid().as_raw();
    capability::drop_all()?;
    prctl::set_no_new_privs()?;
    prctl::set_dumpable(false)?;
    // The kernel forgets this when the user changes, so it comes after.
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    match folders::restrict(&plan.state, &plan.readable) {
        Ok(how) => held.landlock = Some(how),
        Err(why) => held.missing.push(format!("landlock: {why}")),
    }
    match calls::filter() {
        Ok(()) => held.seccomp = true,
        Err(why) => held.missing.push(format!("seccomp: {why}")),
    }
    Ok(held)
}

fn become_account(account: &Account) -> io::Result<()> {
    let groups: Vec<Gid> = account.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    unistd::setgroups(&groups)?;
    let gid = Gid::from_raw(account.gid);
    unistd::setresgid(gid, gid, gid)?;
    let uid = Uid::from_raw(account.uid);
    unistd::setresuid(uid, uid, uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_is_said() {
        let held = Held { uid: 7, landlock: Some("fully"), seccomp: true, ..Held::default() };
        assert_eq!(
            held.sentence(),
            "uid 7, no capabilities, no new privileges, landlock fully, seccomp"
        );
    }
}
