//! Files that were changed which give rights, let somebody come back, or keep traces.
//!
//! **What.** A watched file was written, replaced, linked or removed by something whose work that
//! is not.
//!
//! **Evidence.** The act, with the file and who did it.
//!
//! **False positives.** Package managers and what sets hosts up change such files all day, and so
//! do the programs that the settings name for each group, as long as they lie where packages put
//! them. Rotation renames and removes logs. A shell writes its own history. What a person at a
//! terminal does after a log-in is of low severity: it is either his work or the last chance to
//! notice a stolen key. For traces, only what loses some counts, not a line that is added.
//!
//! **Method.** One record decides; no state.

use super::paths::Paths;
use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context, shell};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active, FileGroup};
use crate::record::{Event, EventKind, File, FileAction, Process, open_flag};

const PRIVILEGE: KindText = KindText {
    name: "PrivilegeEscalation:Host/SensitiveFileModified",
    guardduty: Some("PrivilegeEscalation:Runtime/SensitiveFileModified"),
    description: "A file was changed that says who may become root or what is asked of somebody \
        who logs in.",
    remediation: "Compare the file with its package or with your configuration management. If \
        nobody changed it on purpose, set it back and look at what the process did before.",
    techniques: &["T1548.003", "T1556.003"],
};
const PERSISTENCE: KindText = KindText {
    name: "Persistence:Host/SensitiveFileModified",
    guardduty: Some("Persistence:Runtime/SensitiveFileModified"),
    description: "A file was changed that starts programs by itself, or that lets somebody log \
        in: accounts, keys, timed jobs, services, start-up files of shells.",
    remediation: "Read what was added. If nobody added it on purpose, remove it, end what it \
        started, and find out how the process came to run.",
    techniques: &["T1098.004", "T1053.003", "T1543.002", "T1546.004"],
};
const EVASION: KindText = KindText {
    name: "DefenseEvasion:Host/SensitiveFileModified",
    guardduty: Some("DefenseEvasion:Runtime/SensitiveFileModified"),
    description: "A log, the configuration of logging, or a shell's history was emptied, removed \
        or replaced. Somebody does not want to be followed.",
    remediation: "What the host sent elsewhere before is still there: look at it around this \
        time. Find out who started the process.",
    techniques: &["T1070.002", "T1070.003", "T1562.012"],
};

const SEVERITY: f64 = 6.0;
/// By a service, from where everybody writes, or in an account that no person has.
const SEVERITY_ODD: f64 = 6.9;
const SEVERITY_SESSION: f64 = 3.0;

/// Ends of names of histories, which a shell writes itself.
const HISTORIES: [&[u8]; 3] = [b"_history", b".history", b"fish_history"];

/// The detector.
#[derive(Debug)]
pub struct SensitiveFile {
    groups: [Group; 3],
}

#[derive(Debug)]
struct Group {
    paths: Paths,
    programs: Vec<String>,
    reporter: Reporter,
    /// Whether a line that is added does no harm.
    may_grow: bool,
}

impl SensitiveFile {
    /// Returns the detector.
    pub fn new(active: &Active<policy::SensitiveFile>) -> Self {
        let group = |group: &FileGroup, text, may_grow| Group {
            paths: Paths::new(&group.paths),
            programs: group.programs.clone(),
            reporter: Reporter::new(text, &active.policy),
            may_grow,
        };
        let settings = &active.settings;
        let groups = [
            group(&settings.privilege, &PRIVILEGE, false),
            group(&settings.persistence, &PERSISTENCE, false),
            group(&settings.evasion, &EVASION, true),
        ];
        Self { groups }
    }
}

impl Group {
    fn judge(&self, event: &Event, file: &File) -> Option<Signal> {
        let path = [&file.target, &file.path].into_iter().find(|path| self.paths.has(path))?;
        // A symbolic link's target is only what it leads to.
        if file.action == FileAction::Symlink && path == &file.target {
            return None;
        }
        if self.may_grow && !loses(file) {
            return None;
        }
        let process = event.process.as_deref();
        if process.is_some_and(|process| self.is_work_of(process, path)) {
            return None;
        }
        Some(self.reporter.act(
            event,
            Act {
                severity: process.map_or(SEVERITY, severity),
                subject: shown(path),
                what: format!("{} {}", verb(file), shown(path)),
                kind: EvidenceKind::File,
                fields: vec![
                    ("path", shown(path).into()),
                    ("act", verb(file).to_owned().into()),
                    ("source", shown(&file.path).into()),
                ],
            },
        ))
    }

    fn is_work_of(&self, process: &Process, path: &[u8]) -> bool {
        let rotated = context::is_below(process, &["logrotate", "savelog", "newsyslog"]);
        let own_history = HISTORIES.iter().any(|end| path.ends_with(end))
            && shell::is_shell(process)
            && shell::session(process) != shell::Session::Command;
        context::is_one_of(process, &self.programs)
            || context::is_maintenance(process)
            || self.may_grow && (rotated || own_history)
    }
}

/// Returns whether what was in the file before may be gone.
fn loses(file: &File) -> bool {
    match file.action {
        FileAction::OpenWrite => {
            file.open_flags & open_flag::TRUNCATE != 0 || file.open_flags & open_flag::APPEND == 0
        }
        FileAction::Rename | FileAction::Unlink | FileAction::Truncate | FileAction::Symlink => {
            true
        }
        _ => false,
    }
}

fn severity(process: &Process) -> f64 {
    let odd = context::service(process).is_some()
        || context::is_scratch(process)
        || context::is_service_account(process);
    match (context::is_admin_session(process), odd) {
        (true, _) => SEVERITY_SESSION,
        (false, true) => SEVERITY_ODD,
        (false, false) => SEVERITY,
    }
}

fn verb(file: &File) -> &'static str {
    match file.action {
        FileAction::Create => "created",
        FileAction::Rename => "replaced",
        FileAction::Link => "linked",
        FileAction::Symlink => "made a link at",
        FileAction::Unlink => "removed",
        FileAction::Truncate => "emptied",
        FileAction::Mode => "changed the mode of",
        FileAction::Owner => "changed the owner of",
        _ => "wrote",
    }
}

impl Detector for SensitiveFile {
    fn name(&self) -> &'static str {
        "sensitive_file"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let EventKind::File(file) = &event.kind else { return };
        let touches = matches!(
            file.action,
            FileAction::OpenRead | FileAction::Connect | FileAction::MapCode | FileAction::Unknown
        );
        if touches || file.error != 0 {
            return;
        }
        out.extend(self.groups.iter().filter_map(|group| group.judge(event, file)));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
