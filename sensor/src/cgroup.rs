//! cgroup ids → paths, and the container and pod that a path belongs to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::privileged::{self, ProcFile};

use crate::container;
use crate::pod::{self, Pods};
use crate::table::Table;

/// Paths remembered. A host with more cgroups forgets all of them once full, and learns them again.
const CACHED_MAX: usize = 8192;
/// Directories looked at in one walk of the hierarchy.
const WALKED_MAX: usize = 16_384;
/// Depth of the hierarchy that a walk follows.
const DEPTH_MAX: usize = 16;
/// Time between two walks; an id that is still unknown stays so until then.
const WALK_INTERVAL_NS: u64 = 5_000_000_000;

/// A cgroup as records name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Path below the hierarchy's root, such as `/system.slice/ssh.service`.
    pub path: Rc<[u8]>,
    /// Id of the container, empty outside containers.
    pub container: Rc<[u8]>,
    /// Kubernetes namespace and pod, or the pod's uid; empty outside pods.
    pub pod: Rc<[u8]>,
}

/// Remembers the path of each cgroup v2 id.
#[derive(Debug)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    by_id: Table<u64, Cgroup>,
    walked_ns: Option<u64>,
    pods: Pods,
    /// Whether engines may keep containers in hierarchies of version 1.
    has_legacy: bool,
}

impl Cgroups {
    /// Finds the mount point of the cgroup v2 hierarchy.
    pub fn of_host() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            mount: cgroup2_mount(&mounts),
            by_id: Table::default(),
            walked_ns: None,
            pods: Pods::new(pod::FOLDER),
            has_legacy: mounts.lines().any(|line| line.split(' ').nth(2) == Some("cgroup")),
        }
    }

    /// Takes the names of pods from another folder.
    pub fn take_pods_from(&mut self, folder: PathBuf) {
        self.pods = Pods::new(folder);
    }

    /// Returns the cgroup of a path.
    pub fn of_path(&mut self, path: &[u8], now_ns: u64) -> Cgroup {
        let pod = container::pod_uid(path).map(|uid| self.pods.name(&uid, now_ns));
        Cgroup {
            path: path.into(),
            container: container::container(path).unwrap_or_default().into(),
            pod: pod.unwrap_or_default(),
        }
    }

    /// Returns whether containers may be in hierarchies that cgroup ids do not tell of.
    pub fn has_legacy(&self) -> bool {
        self.has_legacy
    }

    /// Adds the container and pod of a task from hierarchies of version 1.
    pub fn add_legacy(&mut self, cgroup: &mut Cgroup, pid: u32, now_ns: u64) {
        let Ok(text) = privileged::read(pid, ProcFile::Cgroup) else { return };
        if let Some(path) = legacy_path(&text) {
            let legacy = self.of_path(path, now_ns);
            (cgroup.container, cgroup.pod) = (legacy.container, legacy.pod);
        }
    }

    /// Returns the cgroup of a task that was just seen: by id when known, else from its `/proc`
    /// entry, else by a walk of the hierarchy.
    pub fn of_task(&mut self, id: u64, pid: u32, now_ns: u64) -> Cgroup {
        if let Some(known) = self.by_id.get(&id) {
            return known.clone();
        }
        if let Some(path) = self.path_of_task(id, pid) {
            let cgroup = self.of_path(&path, now_ns);
            self.remember(id, cgroup.clone());
            return cgroup;
        }
        if self.walked_ns.is_none_or(|last| now_ns.saturating_sub(last) >= WALK_INTERVAL_NS) {
            self.walked_ns = Some(now_ns);
            self.walk(now_ns);
        }
        self.by_id.get(&id).cloned().unwrap_or_default()
    }

    /// Reads the path from `/proc`, and believes it only when the directory has the record's id:
    /// the task may have moved, or its pid may be another task's by now.
    fn path_of_task(&self, id: u64, pid: u32) -> Option<Vec<u8>> {
        let text = privileged::read(pid, ProcFile::Cgroup).ok()?;
        let path = unified_path(&text)?;
        let relative = path.strip_prefix(b"/")?;
        let directory = self.mount.as_ref()?.join(OsStr::from_bytes(relative));
        (directory.metadata().ok()?.ino() == id).then(|| path.to_vec())
    }

    fn walk(&mut self, now_ns: u64) {
        let Some(mount) = self.mount.clone() else { return };
        let mut waiting = vec![(mount.clone(), 0)];
        let mut walked = 0;
        while let Some((directory, depth)) = waiting.pop() {
            walked += 1;
            let Ok(metadata) = directory.metadata() else { continue };
            let relative = directory.strip_prefix(&mount).unwrap_or(Path::new(""));
            let path = [b"/", relative.as_os_str().as_bytes()].concat();
            let cgroup = self.of_path(&path, now_ns);
            self.remember(metadata.ino(), cgroup);
            if depth == DEPTH_MAX || walked + waiting.len() >= WALKED_MAX {
                continue;
            }
            let Ok(entries) = directory.read_dir() else { continue };
            let directories = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            waiting.extend(directories.map(|e| (e.path(), depth + 1)).take(WALKED_MAX));
        }
    }

    fn remember(&mut self, id: u64, cgroup: Cgroup) {
        if self.by_id.len() >= CACHED_MAX && !self.by_id.contains_key(&id) {
            self.by_id.clear();
        }
        self.by_id.insert(id, cgroup);
    }
}

/// Returns the cgroup v2 path in the text of a `/proc/PID/cgroup`.
pub fn unified_path(text: &[u8]) -> Option<&[u8]> {
    text.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

/// Returns the first path of a hierarchy of version 1 that names a container.
pub fn legacy_path(text: &[u8]) -> Option<&[u8]> {
    let paths = text.split(|&b| b == b'\n').filter_map(|line| {
        let mut parts = line.splitn(3, |&b| b == b':').skip(1);
        let controllers = parts.next()?;
        parts.next().filter(|_| !controllers.is_empty())
    });
    paths.into_iter().find(|path| container::container(path).is_some())
}

/// Returns where cgroup v2 is mounted, from the text of `/proc/self/mounts`.
pub fn cgroup2_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let target = words.next()?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(target))
    })
}

/// Returns the cgroup v2 path of a directory below the hierarchy's mount point.
pub fn path_below_mount(directory: &Path) -> Option<Vec<u8>> {
    let mount = cgroup2_mount(&std::fs::read_to_string("/proc/self/mounts").ok()?)?;
    let directory = directory.canonicalize().ok()?;
    let relative = directory.strip_prefix(mount).ok()?.as_os_str().as_bytes();
    // The root has every task, like no scope at all.
    Some(if relative.is_empty() { Vec::new() } else { [b"/", relative].concat() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unified_line_and_mount_are_found_on_a_hybrid_host() {
        let text = b"4:memory:/x\n1:name=systemd:/y\n0::/system.slice/a.service\n";
        assert_eq!(unified_path(text), Some(&b"/system.slice/a.service"[..]));
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn a_container_of_version_1_is_found() {
        let id = "0123456789abcdef".repeat(4);
        let text = format!("12:pids:/\n4:memory,cpu:/docker/{id}\n0::/docker/{id}/x\n");
        assert_eq!(legacy_path(text.as_bytes()), Some(format!("/docker/{id}").as_bytes()));
        assert_eq!(legacy_path(format!("0::/docker/{id}\n").as_bytes()), None);
        assert_eq!(legacy_path(b"4:memory:/x\n\n:"), None);
    }

    #[test]
    fn the_id_of_this_process_leads_to_its_path() {
        let mut cgroups = Cgroups::of_host();
        let text = std::fs::read("/proc/self/cgroup").unwrap();
        let (Some(mount), Some(path)) = (cgroups.mount.clone(), unified_path(&text)) else {
            eprintln!("skipped: no cgroup v2 hierarchy is mounted here");
            return;
        };
        let directory = mount.join(OsStr::from_bytes(&path[1..]));
        let id = directory.metadata().unwrap().ino();
        assert_eq!(&cgroups.of_task(id, std::process::id(), 0).path[..], path);
        // Another process's id, so only the walk can answer.
        let mut cgroups = Cgroups::of_host();
        assert_eq!(&cgroups.of_task(id, u32::MAX, 0).path[..], path);
    }
}
