//! cgroups of trials.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

/// How long members may take to leave.
const EMPTY_LIMIT: Duration = Duration::from_secs(10);
const EMPTY_PAUSE: Duration = Duration::from_millis(10);

/// A cgroup that is gone when dropped; its members must have ended.
pub struct Group(PathBuf);

impl Group {
    /// Makes one.
    pub fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("could not make {}", path.display()))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns a command that joins before it executes.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let joins = self.0.join("cgroup.procs");
        let mut command = Command::new(program);
        // SAFETY: the child writes a file before it executes; nothing else runs in it.
        unsafe { command.pre_exec(move || fs::write(&joins, "0")) };
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let start = Instant::now();
        // A member that was just waited for leaves a moment later.
        while let Err(error) = fs::remove_dir(&self.0) {
            if start.elapsed() > EMPTY_LIMIT {
                eprintln!("cgroup {} is left behind: {error}", self.0.display());
                return;
            }
            std::thread::sleep(EMPTY_PAUSE);
        }
    }
}

/// Returns where cgroup v2 is mounted.
pub fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/mounts").ok()?;
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    line.split(' ').nth(1).map(PathBuf::from)
}

/// Returns a name for a cgroup that no other trial has.
pub fn name(of: &str) -> String {
    format!("smk-t-{}-{of}", std::process::id())
}
