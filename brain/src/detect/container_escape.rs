//! Ways out of a container.
//!
//! **What.** A program in a container mounts a disk or another part of the host, replaces the
//! program that starts containers, or writes a file through which the kernel runs a program outside
//! of any container.
//!
//! **Evidence.** The mount or the file act, with the container.
//!
//! **False positives.** The runtime sets a container up from inside its cgroup, so mounts of a
//! runtime that was started outside are quiet; so are mounts of what a container has of its own
//! (`tmpfs`, `proc`, `overlay` of an engine in a container). Packages replace runtimes, and init
//! systems set `release_agent` at boot: both by programs from where packages put them, outside of
//! containers.
//!
//! **Method.** One record decides; no state.

use super::paths::Paths;
use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, File, FileAction, Privilege, PrivilegeAction, Process};

const MOUNT: KindText = KindText {
    name: "PrivilegeEscalation:Host/ContainerMountsHostDirectory",
    guardduty: Some("PrivilegeEscalation:Runtime/ContainerMountsHostDirectory"),
    description: "A program in a container mounted a disk or a cgroup hierarchy of the host. With \
        the host's files at hand it is on the host.",
    remediation: "Stop the container, keep its image and its file system, and find out why it is \
        privileged. Look for what was changed on the disk that was mounted.",
    techniques: &["T1611"],
};
const RUNTIME: KindText = KindText {
    name: "PrivilegeEscalation:Host/RuncContainerEscape",
    guardduty: Some("PrivilegeEscalation:Runtime/RuncContainerEscape"),
    description: "The program that starts containers on the host was opened for writing or \
        replaced, by something that is not a package manager (CVE-2019-5736 and its like). The \
        next container that is started runs the attacker's code as root on the host.",
    remediation: "Start no container on the host. Compare the runtime's file with that of its \
        package, reinstall it, and treat the host as taken over.",
    techniques: &["T1611", "T1554"],
};
const AGENT: KindText = KindText {
    name: "PrivilegeEscalation:Host/CGroupsReleaseAgentModified",
    guardduty: Some("PrivilegeEscalation:Runtime/CGroupsReleaseAgentModified"),
    description: "A file was written through which the kernel runs a program as root outside of \
        any container: a cgroup's release_agent, or one that works like it.",
    remediation: "Stop the container, read the file to learn what the kernel would run, set it \
        back, and look for what ran already.",
    techniques: &["T1611"],
};

const SEVERITY_CONTAINED: f64 = 8.5;
const SEVERITY_HOST: f64 = 6.0;
/// Outside of a container it needs root, so it is somebody's second step.
const SEVERITY_AGENT: f64 = 7.5;
const SEVERITY_MOUNT: f64 = 6.5;
const SEVERITY_SESSION: f64 = 3.5;

/// File systems that lie on disks, and the old cgroup hierarchy with its `release_agent`.
const HOST_TYPES: [&[u8]; 12] = [
    b"ext2", b"ext3", b"ext4", b"xfs", b"btrfs", b"vfat", b"zfs", b"f2fs", b"nfs", b"cifs",
    b"ntfs3", b"cgroup",
];

/// Where devices of disks lie.
const DEVICES: &[u8] = b"/dev/";

/// Names that `mount` takes for file systems that are no devices, though some call them so.
const NO_DEVICES: [&[u8]; 6] =
    [b"/dev/shm", b"/dev/pts", b"/dev/mqueue", b"/dev/null", b"/dev/console", b"/dev/fuse"];

/// Programs that set the old hierarchy's agent when a host starts.
const INIT_SYSTEMS: &[&str] = &["systemd", "init", "openrc-run", "elogind", "cgmanager"];

/// The detector.
#[derive(Debug)]
pub struct ContainerEscape {
    settings: policy::ContainerEscape,
    runtime_files: Paths,
    kernel_files: Paths,
    mount: Reporter,
    runtime: Reporter,
    agent: Reporter,
}

impl ContainerEscape {
    /// Returns the detector.
    pub fn new(active: &Active<policy::ContainerEscape>) -> Self {
        let of = |text| Reporter::new(text, &active.policy);
        Self {
            runtime_files: Paths::new(&active.settings.runtime_files),
            kernel_files: Paths::new(&active.settings.kernel_files),
            settings: active.settings.clone(),
            mount: of(&MOUNT),
            runtime: of(&RUNTIME),
            agent: of(&AGENT),
        }
    }

    /// Returns whether the process is a runtime that sets a container up: it is inside already, and
    /// was started outside.
    fn is_set_up(&self, process: &Process) -> bool {
        let name = process.exe_name();
        let known = |known: &String| name == known.as_bytes();
        let outside = process.parent.as_ref().is_some_and(|parent| !context::is_contained(parent));
        outside && self.settings.runtimes.iter().any(known)
    }

    fn on_mount(&self, event: &Event, privilege: &Privilege, process: &Process) -> Option<Signal> {
        if !context::is_contained(process) || self.is_set_up(process) {
            return None;
        }
        let source = &privilege.source[..];
        let device = source.starts_with(DEVICES) && !NO_DEVICES.contains(&source);
        let disk = HOST_TYPES.contains(&&privilege.type_name[..]);
        if !device && !disk {
            return None;
        }
        let from = if source.is_empty() { &privilege.type_name } else { &privilege.source };
        let (from, to) = (shown(from), shown(&privilege.name));
        Some(self.mount.act(
            event,
            Act {
                severity: SEVERITY_MOUNT,
                subject: from.clone(),
                what: format!("mounted {from} of the host"),
                kind: EvidenceKind::Privilege,
                fields: vec![
                    ("source", from.into()),
                    ("mount_point", to.into()),
                    ("file_system", shown(&privilege.type_name).into()),
                ],
            },
        ))
    }

    fn on_agent(&self, event: &Event, path: &[u8], content: &[u8]) -> Option<Signal> {
        let process = event.process.as_deref();
        let contained = process.is_some_and(context::is_contained);
        let by_init =
            |one: &Process| context::runs(one, INIT_SYSTEMS) || context::is_maintenance(one);
        if !contained && process.is_some_and(by_init) {
            return None;
        }
        let session = process.is_some_and(context::is_admin_session);
        let what =
            if path.is_empty() { "a cgroup's release_agent".to_owned() } else { shown(path) };
        Some(self.agent.act(
            event,
            Act {
                severity: match (contained, session) {
                    (false, true) => SEVERITY_SESSION,
                    (false, false) => SEVERITY_AGENT,
                    (true, _) => SEVERITY_CONTAINED,
                },
                subject: String::new(),
                what: format!("wrote {what}"),
                kind: EvidenceKind::File,
                fields: vec![("path", shown(path).into()), ("content", shown(content).into())],
            },
        ))
    }

    fn on_file(&self, event: &Event, file: &File) -> Option<Signal> {
        if !is_change(file.action) || file.error != 0 {
            return None;
        }
        let named = |paths: &Paths| [&file.target, &file.path].into_iter().find(|p| paths.has(p));
        if let Some(path) = named(&self.kernel_files) {
            return self.on_agent(event, path, b"");
        }
        let path = named(&self.runtime_files)?;
        let process = event.process.as_deref();
        let contained = process.is_some_and(context::is_contained);
        // A copy of a runtime where everybody writes starts nobody's containers.
        if context::is_scratch_path(path) {
            return None;
        }
        if !contained && process.is_some_and(context::is_maintenance) {
            return None;
        }
        let session = process.is_some_and(context::is_admin_session);
        Some(self.runtime.act(
            event,
            Act {
                severity: match (contained, session) {
                    (true, _) => SEVERITY_CONTAINED,
                    (false, true) => SEVERITY_SESSION,
                    (false, false) => SEVERITY_HOST,
                },
                subject: shown(path),
                what: format!("changed the container runtime {}", shown(path)),
                kind: EvidenceKind::File,
                fields: vec![("path", shown(path).into())],
            },
        ))
    }
}

fn is_change(action: FileAction) -> bool {
    matches!(
        action,
        FileAction::OpenWrite
            | FileAction::Create
            | FileAction::Rename
            | FileAction::Link
            | FileAction::Symlink
            | FileAction::Unlink
            | FileAction::Truncate
    )
}

impl Detector for ContainerEscape {
    fn name(&self) -> &'static str {
        "container_escape"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        match &event.kind {
            EventKind::File(file) => out.extend(self.on_file(event, file)),
            EventKind::Privilege(privilege) if privilege.error == 0 => {
                match (privilege.action, &event.process) {
                    (PrivilegeAction::Mount, Some(process)) => {
                        out.extend(self.on_mount(event, privilege, process));
                    }
                    (PrivilegeAction::ReleaseAgent, _) => {
                        out.extend(self.on_agent(event, &privilege.name, &privilege.source));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
