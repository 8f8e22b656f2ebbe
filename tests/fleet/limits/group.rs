//! A cgroup that limits what is in it, in whichever hierarchy the controller is.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::gettid;

/// How long members may take to leave.
const EMPTY_LIMIT: Duration = Duration::from_secs(10);

/// A cgroup with a limit; gone when dropped, after its members.
pub struct Limited {
    path: PathBuf,
    parent: PathBuf,
    is_v2: bool,
}

impl Limited {
    /// Makes one with these files of version 1, or the controller's limit of version 2; the inner
    /// error says why that cannot be had here.
    pub fn new(controller: &str, v1: &[(&str, &str)], v2: &str) -> Result<Result<Self, String>> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let mounted = |fits: &dyn Fn(&[&str]) -> bool| {
            mounts.lines().find_map(|line| {
                let words: Vec<&str> = line.split(' ').collect();
                fits(&words).then(|| PathBuf::from(words[1]))
            })
        };
        let has = |words: &[&str]| words[3].split(',').any(|option| option == controller);
        let name = format!("smk-limit-{}", std::process::id());
        if let Some(parent) = mounted(&|words| words[2] == "cgroup" && has(words)) {
            let limited = Self { path: parent.join(name), parent, is_v2: false };
            fs::create_dir(&limited.path)?;
            for (file, value) in v1 {
                limited.set(file, value)?;
            }
            return Ok(Ok(limited));
        }
        let Some(parent) = mounted(&|words| words[2] == "cgroup2") else {
            return Ok(Err("no cgroups are mounted".to_owned()));
        };
        let enabled = fs::write(parent.join("cgroup.subtree_control"), format!("+{controller}"));
        if let Err(error) = enabled {
            return Ok(Err(format!("cgroups cannot limit {controller} here: {error}")));
        }
        let limited = Self { path: parent.join(name), parent, is_v2: true };
        fs::create_dir(&limited.path)?;
        limited.set(&format!("{controller}.max"), v2)?;
        Ok(Ok(limited))
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).with_context(|| format!("could not write {}", path.display()))
    }

    /// Moves a process in.
    pub fn take(&self, pid: u32) -> Result<()> {
        self.set("cgroup.procs", &pid.to_string())
    }

    /// Whether a process is in it.
    pub fn has(&self, pid: u32) -> bool {
        let members = fs::read_to_string(self.path.join("cgroup.procs")).unwrap_or_default();
        members.lines().any(|line| line == pid.to_string())
    }

    /// Moves this thread in or out: what it starts is where it is.
    pub fn enter(&self, inside: bool) -> Result<()> {
        let file = if self.is_v2 { "cgroup.procs" } else { "tasks" };
        let own = if self.is_v2 { std::process::id().to_string() } else { gettid().to_string() };
        let at = if inside { &self.path } else { &self.parent };
        fs::write(at.join(file), own).with_context(|| format!("could not enter {}", at.display()))
    }

    fn number(&self, file: &str, field: &str) -> Result<u64> {
        let text = fs::read_to_string(self.path.join(file))
            .with_context(|| format!("could not read {file}"))?;
        let value = match field {
            "" => Some(text.trim()),
            _ => text.lines().find_map(|line| line.strip_prefix(field)).map(str::trim),
        };
        Ok(value.with_context(|| format!("no {field} in {file}"))?.parse()?)
    }

    /// The most memory that was used at once.
    pub fn memory_peak(&self) -> Result<u64> {
        let file = if self.is_v2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        self.number(file, "")
    }

    /// Processes that were killed for want of memory.
    pub fn kills(&self) -> Result<u64> {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        self.number(file, "oom_kill ")
    }

    /// How often the members were held back.
    pub fn throttled(&self) -> Result<u64> {
        self.number("cpu.stat", "nr_throttled ")
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let start = Instant::now();
        while let Err(error) = fs::remove_dir(&self.path) {
            if start.elapsed() > EMPTY_LIMIT {
                eprintln!("{} is left behind: {error}", Path::display(&self.path));
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
