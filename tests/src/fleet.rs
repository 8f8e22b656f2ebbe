//! A fleet on one kernel: hosts as network namespaces and cgroups, one brain, scoped sensors.
//!
//! Everything that a fleet starts lives in its own cgroup and its own namespaces, whose names are
//! known beforehand. So nothing is left behind: guards clean up on every way out of a scope, and
//! the next run first removes what a killed one could not.
//!
//! # Reading order
//! [`cgroup`], [`namespaces`], [`process`] (a program in a place), [`sink`], [`brain`], [`sensor`].

pub mod brain;
pub mod cgroup;
pub mod namespaces;
pub mod process;
pub mod sensor;
pub mod sink;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

use self::cgroup::Cgroup;
use self::namespaces::Network;
use self::process::Place;

/// Folder of the locks that keep two fleets of one label apart.
const LOCK_FOLDER: &str = "/run/sakuramori";
/// The hosts that a sensor watches, in the order in which they are shown.
pub const WATCHED: [&str; 3] = ["web-1", "app-1", "db-1"];
/// The machine beyond the fleet: name server and listed address.
pub const OUTSIDE: &str = "outside";

/// One host's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Name of the host.
    pub host: &'static str,
    /// IPv4 address within a /24.
    pub ipv4: &'static str,
    /// IPv6 address within a /64.
    pub ipv6: &'static str,
}

/// Addresses of all hosts. `outside` has a documentation address that the demo's feed lists.
pub const ADDRESSES: [Address; 4] = [
    Address { host: "web-1", ipv4: "10.77.0.11", ipv6: "fd77::11" },
    Address { host: "app-1", ipv4: "10.77.0.12", ipv6: "fd77::12" },
    Address { host: "db-1", ipv4: "10.77.0.13", ipv6: "fd77::13" },
    Address { host: OUTSIDE, ipv4: "203.0.113.66", ipv6: "fd77::66" },
];

/// Returns the address of a host of the fleet.
///
/// # Panics
/// Panics on a name that is not in [`ADDRESSES`], which is a mistake of the caller.
pub fn address(host: &str) -> Address {
    *ADDRESSES.iter().find(|entry| entry.host == host).expect("a host of the fleet")
}

/// The hosts of a fleet with their places, from set-up until drop.
#[derive(Debug)]
pub struct Hosts {
    // Dropped in this order: processes die with the cgroup before their namespaces go.
    cgroup: Cgroup,
    network: Network,
    folder: TempDir,
    _lock: Flock<File>,
}

impl Hosts {
    /// Makes the hosts of a fleet. The label tells fleets apart that run at the same time; an
    /// earlier run of the same label that was killed is cleaned up first.
    pub fn new(label: &str) -> Result<Self> {
        let lock = lock(label)?;
        remove(label)?;
        let folder = tempfile::Builder::new()
            .prefix(&format!("sakuramori-{label}-"))
            .tempdir()
            .context("failed to make a folder for the fleet")?;
        let cgroup = Cgroup::new(&cgroup_name(label))?;
        for entry in ADDRESSES {
            cgroup.child(entry.host)?;
        }
        cgroup.child(CONTROL)?;
        let network = Network::new(label)?;
        Ok(Self { cgroup, network, folder, _lock: lock })
    }

    /// Where a host's programs run.
    pub fn place(&self, host: &str) -> Place {
        Place { cgroup: self.cgroup.path().join(host), netns: Some(self.network.path(host)) }
    }

    /// Where brain and sensors run: in the fleet's cgroup, so that they end with it, but outside
    /// of every host's, and in our own network namespace.
    pub fn control(&self) -> Place {
        Place { cgroup: self.cgroup.path().join(CONTROL), netns: None }
    }

    /// Folder for the files of this run.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Makes and returns a folder below the run's one.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::create_dir_all(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(path)
    }
}

/// Cgroup of brain and sensors.
const CONTROL: &str = "control";

/// Lists what of a fleet still exists; empty once it is gone.
pub fn leftovers(label: &str) -> Result<Vec<String>> {
    let mut found = namespaces::existing(label)?;
    let cgroup = cgroup::root()?.join(cgroup_name(label));
    if cgroup.exists() {
        let pids = cgroup::processes(&cgroup);
        found.push(format!("cgroup {} with processes {pids:?}", cgroup.display()));
    }
    Ok(found)
}

/// Removes what a killed run left: processes, cgroups, namespaces, folders.
fn remove(label: &str) -> Result<()> {
    let cgroup = cgroup::root()?.join(cgroup_name(label));
    if cgroup.exists() {
        cgroup::remove(&cgroup)?;
    }
    for name in namespaces::existing(label)? {
        namespaces::delete(&name)?;
    }
    let prefix = format!("sakuramori-{label}-");
    for entry in fs::read_dir(std::env::temp_dir())?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_dir_all(entry.path()).or_else(gone_is_fine)?;
        }
    }
    Ok(())
}

fn gone_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

fn cgroup_name(label: &str) -> String {
    format!("smk-{label}")
}

/// Takes the label's lock, which the kernel releases even when this process is killed.
fn lock(label: &str) -> Result<Flock<File>> {
    fs::create_dir_all(LOCK_FOLDER).context("failed to make the folder of locks (not root?)")?;
    let path = Path::new(LOCK_FOLDER).join(format!("fleet-{label}.lock"));
    let file = File::create(&path).with_context(|| format!("failed to open {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err(_) => bail!("another {label} fleet runs on this machine: end it first"),
    }
}
