//! Cgroups v2 of the fleet: one subtree, killed and removed as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long killed processes may take to leave their cgroup.
const EMPTY_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks at a cgroup that is being emptied.
const EMPTY_PAUSE: Duration = Duration::from_millis(10);

/// Finds where cgroup v2 is mounted; distributions differ.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").context("failed to read /proc/mounts")?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, path, kind) = (words.next()?, words.next()?, words.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(path))
        })
        .next()
        .context("no cgroup v2 is mounted: `mount -t cgroup2 none /sys/fs/cgroup` makes one")
}

/// A subtree of our own that ends with this value.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup directly below the root.
    pub fn new(name: &str) -> Result<Self> {
        let path = root()?.join(name);
        fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(Self { path })
    }

    /// Makes a child.
    pub fn child(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            eprintln!("failed to remove {}: {error:#}", self.path.display());
        }
    }
}

/// Kills every process of a subtree of ours and removes it.
pub fn remove(path: &Path) -> Result<()> {
    let end = Instant::now() + EMPTY_LIMIT;
    loop {
        // Repeated because a process that was starting one may have got away from the first kill.
        fs::write(path.join("cgroup.kill"), "1")
            .with_context(|| format!("failed to kill the processes of {}", path.display()))?;
        if processes(path).is_empty() && remove_tree(path) {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{} still has the processes {:?}", path.display(), processes(path));
        }
        thread::sleep(EMPTY_PAUSE);
    }
}

/// Removes a tree of empty cgroups; false while the kernel still holds a part of it.
fn remove_tree(path: &Path) -> bool {
    children(path).iter().all(|child| remove_tree(child)) && fs::remove_dir(path).is_ok()
}

/// Lists the processes of a cgroup and everything below it.
pub fn processes(path: &Path) -> Vec<i32> {
    let own = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<i32> = own.lines().filter_map(|line| line.parse().ok()).collect();
    for child in children(path) {
        pids.extend(processes(&child));
    }
    pids
}

fn children(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}
