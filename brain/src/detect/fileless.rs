//! Programs that run without a file.
//!
//! **What.** A program was executed from an anonymous memory file (`memfd_create`), or from a file
//! that had no name left in any directory, so that nothing on disk can be examined.
//!
//! **Evidence.** The execution, whose image the kernel marked so.
//!
//! **False positives.** Container runtimes execute a sealed copy of themselves from memory to guard
//! against CVE-2019-5736; they are known by the executable of the parent, which must lie where
//! packages put it, and by the name of the memory file. A long-running program whose package was
//! upgraded may execute its own, now deleted file again; that is quiet when the parent runs the
//! same file and the file lies where packages put it. Just-in-time compilers write code to memory
//! but do not execute a memory file as a program, so they do not come here.
//!
//! **Method.** One record decides; no state.

use wire::record::process_flag::{MEMFD, UNLINKED};

use super::{Detector, KindText, Reporter};
use crate::finding::{Actor, ActorKind, Evidence, EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, Process};
use crate::text;

const TEXT: KindText = KindText {
    name: "DefenseEvasion:Host/FilelessExecution",
    guardduty: Some("DefenseEvasion:Runtime/FilelessExecution"),
    description: "A program was executed that lies in no file system: from anonymous memory, or \
        from a file that was deleted before. Attackers do this so that nothing on disk can be \
        scanned or kept as evidence.",
    remediation: "Keep the process alive and copy its image from /proc/PID/exe before anything \
        else. Then look at its parent and at what it connects to.",
    techniques: &["T1620", "T1027"],
};

const SEVERITY_MEMFD: f64 = 6.5;
const SEVERITY_UNLINKED: f64 = 5.0;

/// The detector.
#[derive(Debug)]
pub struct Fileless {
    settings: policy::Fileless,
    reporter: Reporter,
}

impl Fileless {
    /// Returns the detector.
    pub fn new(active: &Active<policy::Fileless>) -> Self {
        let settings = active.settings.clone();
        Self { settings, reporter: Reporter::new(&TEXT, &active.policy) }
    }

    /// Returns whether the process is a container runtime's copy of itself.
    fn is_runtime(&self, process: &Process) -> bool {
        let Some(parent) = &process.parent else { return false };
        let image = process.exe_path();
        let clone =
            [&b"runc_cloned"[..], b"crun", b"/proc/self/exe", b"youki", b"buildah", b"podman"]
                .iter()
                .any(|name| image.windows(name.len()).any(|window| window == *name));
        let name = parent.exe_name();
        clone
            && self.settings.runtimes.iter().any(|known| known.as_bytes() == name)
            && in_folders(parent.exe_path(), &self.settings.runtime_folders)
            && !parent.has(MEMFD | UNLINKED)
    }

    /// Returns whether a program from a package executes its own file after an upgrade removed it.
    fn is_upgraded(&self, process: &Process) -> bool {
        process.parent.as_ref().is_some_and(|parent| {
            parent.exe_path() == process.exe_path()
                && in_folders(process.exe_path(), &self.settings.package_folders)
        })
    }
}

fn in_folders(path: &[u8], folders: &[String]) -> bool {
    let climbs = path.split(|&byte| byte == b'/').any(|part| part == b"..");
    !climbs && folders.iter().any(|folder| path.starts_with(folder.as_bytes()))
}

impl Detector for Fileless {
    fn name(&self) -> &'static str {
        "fileless"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Exec(_), Some(process)) = (&event.kind, &event.process) else { return };
        if !process.has(MEMFD | UNLINKED) {
            return;
        }
        let memory = process.has(MEMFD);
        if if memory { self.is_runtime(process) } else { self.is_upgraded(process) } {
            return;
        }
        let (severity, from) = if memory {
            (SEVERITY_MEMFD, "an anonymous memory file")
        } else {
            (SEVERITY_UNLINKED, "a deleted file")
        };
        // A memory file's name is the attacker's choice and often random, so it does not tell
        // problems apart; the program that started it does.
        let starter = process.parent.as_ref().map_or_else(String::new, |p| p.executable());
        let kind = if memory { "memory" } else { "deleted" };
        let mut signal = self.reporter.signal(
            &event.host,
            event.time_ns,
            Some(process),
            severity,
            &format!("{kind}|{starter}"),
        );
        let host = text::visible_str(&event.host.name);
        signal.title = format!("{} ran from {from} on {host}", process.name());
        signal.actors.push(Actor { kind: ActorKind::Process, value: process.executable() });
        signal.evidence.push(Evidence {
            time_ns: event.time_ns,
            kind: EvidenceKind::Exec,
            summary: format!("{} was executed from {from}", process.executable()),
            fields: vec![
                ("executable", process.executable().into()),
                ("command_line", process.command_line().into()),
                ("pid", u64::from(process.key.pid).into()),
                ("started_by", starter.into()),
            ],
            slot: None,
        });
        out.push(signal);
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
