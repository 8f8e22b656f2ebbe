//! Commands that let somebody come back, run where nobody should run them.
//!
//! **What.** A user was made or given rights, a timed job or a service was set up, or a password
//! was set, by a command whose surroundings do not explain it.
//!
//! **Evidence.** The execution with its command line and ancestors.
//!
//! **False positives.** These are everyday commands: for package managers and what sets hosts up,
//! for a person at a terminal after a log-in, and for builds. All of these are quiet; what is left
//! is a command below a service, in a container, from a script that nobody scheduled.
//!
//! **Method.** One record decides; no state.

use super::report::{Act, shown};
use super::{Detector, KindText, Reporter, context};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Event, EventKind, Process};

const TEXT: KindText = KindText {
    name: "Persistence:Host/SuspiciousCommand",
    guardduty: Some("Persistence:Runtime/SuspiciousCommand"),
    description: "A command set up an account, a timed job or a service, and neither a person at \
        a terminal nor a package manager or configuration management ran it.",
    remediation: "Undo what the command set up, unless somebody knows it. Then find out how its \
        session began.",
    techniques: &["T1136.001", "T1098", "T1053.003", "T1543.002"],
};

const SEVERITY: f64 = 5.0;
/// Below a service, from where everybody writes, in a service's account or in a container.
const SEVERITY_ODD: f64 = 6.5;

/// What a command sets up.
const ACCOUNT: &str = "made an account";
const RIGHTS: &str = "gave an account rights";
const PASSWORD: &str = "set a password";
const JOB: &str = "set up a timed job";
const SERVICE: &str = "set up a service";

/// The detector.
#[derive(Debug)]
pub struct PersistenceCommand {
    settings: policy::PersistenceCommand,
    reporter: Reporter,
}

impl PersistenceCommand {
    /// Returns the detector.
    pub fn new(active: &Active<policy::PersistenceCommand>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        Self { settings: active.settings.clone(), reporter }
    }

    /// Returns what the command sets up.
    fn purpose(&self, process: &Process) -> Option<&'static str> {
        let arguments: Vec<&[u8]> = process.arguments().skip(1).collect();
        let has = |word: &[u8]| arguments.contains(&word);
        match process.exe_name() {
            b"useradd" | b"adduser" | b"newusers" => Some(ACCOUNT),
            b"usermod" | b"gpasswd" if self.gives_rights(&arguments) => Some(RIGHTS),
            b"chpasswd" => Some(PASSWORD),
            // Without `-l`, or a name of somebody's table, it changes one.
            b"crontab" if !has(b"-l") => Some(JOB),
            b"at" | b"batch" if !has(b"-l") && !has(b"-c") => Some(JOB),
            b"systemd-run" if arguments.iter().any(|one| one.starts_with(b"--on-")) => Some(JOB),
            b"systemctl" if has(b"enable") || has(b"link") || has(b"reenable") => Some(SERVICE),
            b"update-rc.d" | b"chkconfig" | b"rc-update" => Some(SERVICE),
            b"loginctl" if has(b"enable-linger") => Some(SERVICE),
            _ => None,
        }
    }

    /// Returns whether a user is put into a group that leads to root, or becomes root by his id.
    fn gives_rights(&self, arguments: &[&[u8]]) -> bool {
        let is_group = |word: &[u8]| self.settings.groups.iter().any(|g| g.as_bytes() == word);
        let grouped = arguments.iter().any(|one| one.split(|&b| b == b',').any(is_group));
        let by_id = arguments.windows(2).any(|two| two[0] == b"-u" && two[1] == b"0");
        grouped || by_id
    }
}

impl Detector for PersistenceCommand {
    fn name(&self) -> &'static str {
        "persistence_command"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Exec(_), Some(process)) = (&event.kind, &event.process) else { return };
        let Some(purpose) = self.purpose(process) else { return };
        if context::is_maintenance(process)
            || context::is_admin_session(process)
            || context::is_build(process)
        {
            return;
        }
        let odd = context::service(process).is_some()
            || context::is_service_account(process)
            || context::is_contained(process)
            || process.lineage().any(|one| context::is_scratch(one));
        out.push(self.reporter.act_about(
            event,
            Act {
                severity: if odd { SEVERITY_ODD } else { SEVERITY },
                subject: process.parent.as_ref().map_or_else(String::new, |one| one.executable()),
                what: format!("{purpose}: {}", shown(&process.command_line_bytes())),
                kind: EvidenceKind::Exec,
                fields: vec![("purpose", purpose.to_owned().into())],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}
}
