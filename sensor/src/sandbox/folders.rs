//! What of the file system the worker sees (landlock): the system's own folders to read, one folder
//! to write. No TCP either, but for name servers.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};

/// The newest set of rules that is asked for; older kernels hold what they know of it.
const RULES: ABI = ABI::V6;
/// Name servers answer over TCP what is too long for a datagram.
const DNS_PORT: u16 = 53;
/// Folders that the worker reads: processes, the kernel's counters, cgroups, name service and time
/// zones, logs, tables of packages. Whatever only root may read stays so.
const READABLE: [&str; 12] = [
    "/dev/urandom",
    "/dev/null",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/run",
    "/sys",
    "/usr",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/log",
];

/// Restricts this process; returns how far the kernel holds it.
pub fn restrict(state: &OwnedFd, more: &[PathBuf]) -> Result<&'static str, RulesetError> {
    let status = rules(state, more)?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => "fully",
        RulesetStatus::PartiallyEnforced => "partly, as this kernel has it",
        RulesetStatus::NotEnforced => "not, which this kernel lacks",
    })
}

/// Returns the version of landlock that this kernel has, if it has any.
pub fn version() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION`.
    const VERSION: u32 = 1;
    let nothing = std::ptr::null::<u8>();
    // SAFETY: asked for the version, the call takes no memory.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0, VERSION) };
    u32::try_from(answer).ok().filter(|&version| version > 0)
}

fn rules(state: &OwnedFd, more: &[PathBuf]) -> Result<RestrictionStatus, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    // Nothing in the state folder is ever executed.
    let own = AccessFs::from_all(RULES) & !AccessFs::Execute;
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(RULES))?
        .handle_access(AccessNet::from_all(RULES))?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rule(PathBeneath::new(state.as_fd(), own))?
        .add_rule(NetPort::new(DNS_PORT, AccessNet::ConnectTcp))?;
    let folders = READABLE.iter().map(Path::new).chain(more.iter().map(PathBuf::as_path));
    for folder in folders {
        // A folder that is not there needs no rule.
        if let Ok(opened) = PathFd::new(folder) {
            let access = if folder.is_dir() { read } else { AccessFs::ReadFile.into() };
            ruleset = ruleset.add_rule(PathBeneath::new(opened, access))?;
        }
    }
    ruleset.restrict_self()
}
