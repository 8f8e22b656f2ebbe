//! cgroup ids → paths, and the container that a path belongs to.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Paths remembered. A host with more cgroups forgets all of them once full, and learns them again.
const CACHED_MAX: usize = 8192;
/// Directories looked at in one walk of the hierarchy.
const WALKED_MAX: usize = 16_384;
/// Depth of the hierarchy that a walk follows.
const DEPTH_MAX: usize = 16;
/// Time between two walks; an id that is still unknown stays so until then.
const WALK_INTERVAL_NS: u64 = 5_000_000_000;
/// Length of the hexadecimal ids that container engines give.
const CONTAINER_ID_LEN: usize = 64;

/// A cgroup as records name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Path below the hierarchy's root, such as `/system.slice/ssh.service`.
    pub path: Rc<[u8]>,
    /// Id of the container, empty outside containers.
    pub container: Rc<[u8]>,
}

impl Cgroup {
    /// Builds the cgroup of a path.
    pub fn of_path(path: &[u8]) -> Self {
        Self { path: path.into(), container: container_id(path).unwrap_or_default().into() }
    }
}

/// Remembers the path of each cgroup v2 id.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    by_id: HashMap<u64, Cgroup>,
    walked_ns: Option<u64>,
}

impl Cgroups {
    /// Finds the mount point of the cgroup v2 hierarchy.
    pub fn new() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self { mount: cgroup2_mount(&mounts), ..Self::default() }
    }

    /// Returns the cgroup of a task that was just seen: by id when known, else from its `/proc`
    /// entry, else by a walk of the hierarchy.
    pub fn of_task(&mut self, id: u64, pid: u32, now_ns: u64) -> Cgroup {
        if let Some(known) = self.by_id.get(&id) {
            return known.clone();
        }
        if let Some(path) = self.path_of_task(id, pid) {
            let cgroup = Cgroup::of_path(&path);
            self.remember(id, cgroup.clone());
            return cgroup;
        }
        if self.walked_ns.is_none_or(|last| now_ns.saturating_sub(last) >= WALK_INTERVAL_NS) {
            self.walked_ns = Some(now_ns);
            self.walk();
        }
        self.by_id.get(&id).cloned().unwrap_or_default()
    }

    /// Reads the path from `/proc`, and believes it only when the directory has the record's id:
    /// the task may have moved, or its pid may be another task's by now.
    fn path_of_task(&self, id: u64, pid: u32) -> Option<Vec<u8>> {
        let text = std::fs::read(format!("/proc/{pid}/cgroup")).ok()?;
        let path = unified_path(&text)?;
        let relative = path.strip_prefix(b"/")?;
        let directory = self.mount.as_ref()?.join(OsStr::from_bytes(relative));
        (directory.metadata().ok()?.ino() == id).then(|| path.to_vec())
    }

    fn walk(&mut self) {
        let Some(mount) = self.mount.clone() else { return };
        let mut waiting = vec![(mount.clone(), 0)];
        let mut walked = 0;
        while let Some((directory, depth)) = waiting.pop() {
            walked += 1;
            let Ok(metadata) = directory.metadata() else { continue };
            let relative = directory.strip_prefix(&mount).unwrap_or(Path::new(""));
            let path = [b"/", relative.as_os_str().as_bytes()].concat();
            self.remember(metadata.ino(), Cgroup::of_path(&path));
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

/// Returns the innermost container's id in a cgroup path, as docker, containerd, CRI-O and podman
/// write it: `/docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `…:cri-containerd:ID`,
/// `crio-ID`, `libpod-ID.scope/container`, or a bare id below `kubepods`.
pub fn container_id(path: &[u8]) -> Option<&[u8]> {
    path.split(|&b| b == b'/').rev().find_map(|component| {
        let name = component.strip_suffix(b".scope").unwrap_or(component);
        // A container's monitor runs on the host, in a group that is named after the container.
        if name.windows(7).any(|w| w == b"conmon-") {
            return None;
        }
        let at = name.iter().rposition(|&b| b == b'-' || b == b':').map_or(0, |at| at + 1);
        let id = &name[at..];
        (id.len() == CONTAINER_ID_LEN && id.iter().all(u8::is_ascii_hexdigit)).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_are_found_as_each_engine_writes_them() {
        let id = "0123456789abcdef".repeat(4);
        let paths = [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/kubepods.slice/kubepods-burstable.slice/cri-containerd-{id}.scope"),
            format!("/kubepods/besteffort/pod12/{id}"),
            format!("/system.slice/containerd.service/kubepods-pod1.slice:cri-containerd:{id}"),
            format!("/kubepods.slice/kubepods-pod1.slice/crio-{id}"),
            format!("/machine.slice/libpod-{id}.scope/container"),
            format!("/docker/{}/docker/{id}", "f".repeat(64)),
        ];
        for path in paths {
            assert_eq!(container_id(path.as_bytes()), Some(id.as_bytes()), "{path}");
        }
    }

    #[test]
    fn other_groups_have_no_container() {
        let id = "0123456789abcdef".repeat(4);
        let paths = [
            "/".to_owned(),
            "/system.slice/ssh.service".to_owned(),
            format!("/machine.slice/libpod-conmon-{id}.scope"),
            format!("/user.slice/{}", &id[1..]),
            format!("/user.slice/{}g", &id[1..]),
        ];
        for path in paths {
            assert_eq!(container_id(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn the_unified_line_and_mount_are_found_on_a_hybrid_host() {
        let text = b"4:memory:/x\n1:name=systemd:/y\n0::/system.slice/a.service\n";
        assert_eq!(unified_path(text), Some(&b"/system.slice/a.service"[..]));
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
    }

    #[test]
    fn the_id_of_this_process_leads_to_its_path() {
        let mut cgroups = Cgroups::new();
        let text = std::fs::read("/proc/self/cgroup").unwrap();
        let (Some(mount), Some(path)) = (cgroups.mount.clone(), unified_path(&text)) else {
            eprintln!("skipped: no cgroup v2 hierarchy is mounted here");
            return;
        };
        let directory = mount.join(OsStr::from_bytes(&path[1..]));
        let id = directory.metadata().unwrap().ino();
        assert_eq!(&cgroups.of_task(id, std::process::id(), 0).path[..], path);
        // Another process's id, so only the walk can answer.
        let mut cgroups = Cgroups::new();
        assert_eq!(&cgroups.of_task(id, u32::MAX, 0).path[..], path);
    }
}
