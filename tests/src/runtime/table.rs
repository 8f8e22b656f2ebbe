//! What is done, what must be found of it, and its benign twin.

mod host;
mod kernel;
mod network;
mod shells;
mod twins;

/// Where an act runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// On the host.
    Host,
    /// In a container's cgroup below it.
    Container,
}

/// One act, or a benign twin.
#[derive(Clone, Copy, Debug)]
pub struct Act {
    /// What the report calls it; an act is called by its row.
    pub name: &'static str,
    /// Types that must all be found; none for a twin.
    pub finds: &'static [&'static str],
    /// Name of its benign twin; none for a twin.
    pub twin: &'static str,
    /// Where it runs.
    pub at: At,
    /// Programs without which it is skipped, aloud.
    pub needs: &'static [&'static str],
    /// Why it cannot be acted out at all, if so.
    pub skip: Option<&'static str>,
    /// Whether somebody waits for a shell.
    pub listens: bool,
    /// The script: `$D` is a scratch folder, `$ACT` the helper, `$ACTOR` the fleet's own program.
    pub script: &'static str,
}

/// An act on the host that needs nothing.
const HOST: Act = Act {
    name: "",
    finds: &[],
    twin: "",
    at: At::Host,
    needs: &[],
    skip: None,
    listens: false,
    script: "",
};
/// One that the helper performs.
const PYTHON: Act = Act { needs: &["python3"], ..HOST };
/// One within mounts of its own.
const MOUNTS: Act = Act { needs: &["unshare"], ..HOST };
/// One in a container.
const CONTAINER: Act = Act { at: At::Container, ..MOUNTS };

/// Returns all hostile acts, one for each row.
pub fn acts() -> Vec<Act> {
    [shells::ACTS, network::ACTS, host::ACTS, kernel::ACTS].concat()
}

/// Returns all benign twins.
pub fn twins() -> Vec<Act> {
    twins::TWINS.to_vec()
}

/// The rows of the short run, which stand for all kinds of evidence.
pub const SHORT: &[&str] = &[
    "ReverseShell: python",
    "C&CActivity.B!DNS",
    "MaliciousFileExecuted",
    "WebShell",
    "CGroupsReleaseAgentModified",
    "ProcessInjection.Ptrace",
    "PrivilegeEscalation/SensitiveFileModified",
    "RansomwareLikeWrites",
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_act_has_a_twin_and_every_twin_an_act() {
        let (acts, twins) = (acts(), twins());
        let called: HashSet<&str> = twins.iter().map(|twin| twin.name).collect();
        assert_eq!(called.len(), twins.len());
        for act in &acts {
            assert!(act.skip.is_some() || called.contains(act.twin), "{} has no twin", act.name);
            assert!(!act.finds.is_empty(), "{} finds nothing", act.name);
        }
        let wanted: HashSet<&str> = acts.iter().map(|act| act.twin).collect();
        for twin in &twins {
            assert!(wanted.contains(twin.name), "no act has the twin `{}`", twin.name);
            assert!(twin.finds.is_empty(), "`{}` finds something", twin.name);
        }
    }

    #[test]
    fn names_are_told_apart_and_the_short_run_has_only_known_ones() {
        let acts = acts();
        let names: HashSet<&str> = acts.iter().map(|act| act.name).collect();
        assert_eq!(names.len(), acts.len());
        for name in SHORT {
            assert!(names.contains(name), "no act is called `{name}`");
        }
    }
}
