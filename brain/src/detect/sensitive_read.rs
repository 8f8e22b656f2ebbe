//! Secrets that were read by something whose work that is not.
//!
//! **What.** A file with password hashes, private keys, credentials of clouds and clusters, or what
//! a browser keeps was opened for reading.
//!
//! **Evidence.** The open, with the file and who did it.
//!
//! **False positives.** Each group names the programs that read it as their work; they count where
//! packages put them. Maintenance reads everything. A program outside of that list that lies where
//! packages put it, such as a backup, is of low severity; what copies, encodes or interprets is not
//! a reader of its own and is of medium severity, except for a person at a terminal. Containers
//! read the token that their cluster gives them.
//!
//! **Method.** One record decides; one finding for each program and group.

use super::paths::Paths;
use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context, shell};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active, FileGroup};
use crate::record::{Event, EventKind, File, FileAction, Process};

const TEXT: KindText = KindText {
    name: "CredentialAccess:Host/SensitiveFileRead",
    guardduty: None,
    description: "A program read a file with secrets that is not known to need it: password \
        hashes, private keys, credentials of a cloud, or what a browser keeps.",
    remediation: "If the program has no reason to read the file, treat what is in it as stolen: \
        change it, and look for where it was sent.",
    techniques: &["T1003.008", "T1552.001", "T1552.004", "T1555.003"],
};

const SEVERITY: f64 = 6.0;
/// By a service, from where everybody writes, or in an account that no person has.
const SEVERITY_ODD: f64 = 6.9;
/// A program of a package that is not on the list, or a person's own look.
const SEVERITY_QUIET: f64 = 3.0;

/// Programs that show, copy, pack or encode whatever they are given.
const COPIERS: &[&str] = &[
    "cat", "tac", "head", "tail", "less", "more", "cp", "mv", "dd", "tar", "zip", "gzip", "xz",
    "base64", "base32", "xxd", "od", "hexdump", "strings", "sed", "awk", "mawk", "gawk", "grep",
    "egrep", "rg", "cut", "tr", "sort", "nl", "tee", "openssl", "curl", "wget", "scp", "nc",
    "ncat", "socat", "john", "hashcat", "unshadow", "busybox", "vi", "vim", "nano", "find",
    "xargs", "diff", "jq",
];

/// What a cluster gives each of its containers.
const OWN_TOKEN: &[u8] = b"kubernetes.io/serviceaccount/";

/// The detector.
#[derive(Debug)]
pub struct SensitiveRead {
    groups: [(&'static str, Paths, Vec<String>); 4],
    reporter: Reporter,
}

impl SensitiveRead {
    /// Returns the detector.
    pub fn new(active: &Active<policy::SensitiveRead>) -> Self {
        let group =
            |name, group: &FileGroup| (name, Paths::new(&group.paths), group.programs.clone());
        let settings = &active.settings;
        let groups = [
            group("password hashes", &settings.passwords),
            group("private keys", &settings.keys),
            group("credentials", &settings.cloud),
            group("a browser's secrets", &settings.browsers),
        ];
        Self { groups, reporter: Reporter::new(&TEXT, &active.policy) }
    }

    fn judge(&self, event: &Event, file: &File, process: &Process) -> Option<Signal> {
        let (what, _, programs) = self.groups.iter().find(|(_, paths, _)| paths.has(&file.path))?;
        if context::is_one_of(process, programs) || context::is_maintenance(process) {
            return None;
        }
        let by_hand = context::runs(process, COPIERS)
            || shell::is_shell(process)
            || shell::is_interpreter(process);
        let own = file.path.windows(OWN_TOKEN.len()).any(|window| window == OWN_TOKEN);
        if own && context::is_contained(process) && !by_hand {
            return None;
        }
        Some(self.reporter.act(
            event,
            Act {
                severity: severity(process, by_hand),
                subject: (*what).to_owned(),
                what: format!("read {what} in {}", shown(&file.path)),
                kind: EvidenceKind::File,
                fields: vec![("path", shown(&file.path).into())],
            },
        ))
    }
}

fn severity(process: &Process, by_hand: bool) -> f64 {
    let odd = context::service(process).is_some()
        || context::is_scratch(process)
        || context::is_service_account(process);
    match odd {
        _ if context::is_admin_session(process) => SEVERITY_QUIET,
        true => SEVERITY_ODD,
        false if by_hand || !context::is_packaged(process.exe_path()) => SEVERITY,
        false => SEVERITY_QUIET,
    }
}

impl Detector for SensitiveRead {
    fn name(&self) -> &'static str {
        "sensitive_read"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::File(file), Some(process)) = (&event.kind, &event.process) else { return };
        if file.action == FileAction::OpenRead && file.error == 0 {
            out.extend(self.judge(event, file, process));
        }
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
