//! Many files rewritten and renamed, or copied and removed, at once.
//!
//! **What.** A process tree opened many existing files for writing and renamed as many, or created
//! many files and removed as many, as encrypting a folder does.
//!
//! **Evidence.** Counts of a window, by process tree.
//!
//! **False positives.** Package managers, editors in place (`sed -i`) and synchronisation write a
//! *new* file and rename it over the old one; that is not rewriting. Compilers create and remove
//! temporary files: what stands below a builder is quiet, and so are programs that write many files
//! as their work and lie where packages put them. Copying and removing is what much other software
//! does too, so it takes three times as many and is of medium severity.
//!
//! **Method.** Per host, a bounded table of trees with the counts of two halves of the window. What
//! a process does counts for it and for its two nearest ancestors, since a script works through
//! children.

use std::sync::Arc;

use super::report::Act;
use super::{Detector, HOSTS_MAX, KindText, PerHost, Reporter, context, shell};
use crate::finding::{EvidenceKind, Signal};
use crate::policy::{self, Active};
use crate::record::{Activity, Event, EventKind, Process, ProcessKey};
use crate::window::keyed::Keyed;

const TEXT: KindText = KindText {
    name: "Impact:Host/RansomwareLikeWrites",
    guardduty: None,
    description: "One process tree rewrote and renamed many files within a short time. That is \
        what encrypting somebody's files looks like while it happens.",
    remediation: "Stop the process tree now and cut the host off from shared storage. Look at \
        one of the files; if it is encrypted, keep the memory of the process, since the key may \
        still be there.",
    techniques: &["T1486"],
};

const SEVERITY_REWRITE: f64 = 8.0;
const SEVERITY_COPY: f64 = 5.5;

/// How much more copies and removals it takes.
const COPY_FACTOR: u64 = 3;

/// Trees per host.
const TREES_MAX: usize = 512;

/// Ancestors for which an act counts as well.
const ANCESTORS: usize = 2;

/// Programs at which a tree ends: what they start has nothing to do with each other.
const ROOTS: &[&str] = &[
    "systemd",
    "init",
    "sshd",
    "sshd-session",
    "cron",
    "crond",
    "containerd-shim-runc-v2",
    "conmon",
    "dockerd",
    "login",
    "tmux",
    "screen",
    "kubelet",
    "gitlab-runner",
];

/// Programs that install packages of a language.
const INSTALLERS: &[&str] = &[
    "pip", "pip3", "npm", "npx", "yarn", "pnpm", "uv", "poetry", "conda", "gem", "composer",
    "cpan", "luarocks",
];

/// The detector.
#[derive(Debug)]
pub struct Ransomware {
    settings: policy::Ransomware,
    reporter: Reporter,
    hosts: PerHost<Keyed<ProcessKey, Tree>>,
    evicted: u64,
}

/// What a tree did.
#[derive(Clone, Copy, Debug, Default)]
struct Tree {
    /// Number of the half window of `now`.
    half: u64,
    now: Counts,
    before: Counts,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    rewrites: u64,
    creates: u64,
    renames: u64,
    unlinks: u64,
}

impl Counts {
    fn of(activity: &Activity) -> Self {
        Self {
            // Every file that is created is opened for writing as well.
            rewrites: activity.write_opens.saturating_sub(activity.creates),
            creates: activity.creates,
            renames: activity.renames,
            unlinks: activity.unlinks,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            rewrites: self.rewrites.saturating_add(other.rewrites),
            creates: self.creates.saturating_add(other.creates),
            renames: self.renames.saturating_add(other.renames),
            unlinks: self.unlinks.saturating_add(other.unlinks),
        }
    }
}

impl Tree {
    /// Adds counts and returns those of the window.
    fn add(&mut self, counts: Counts, half: u64) -> Counts {
        if half > self.half {
            self.before = if half == self.half + 1 { self.now } else { Counts::default() };
            (self.now, self.half) = (Counts::default(), half);
        }
        self.now = self.now.and(counts);
        self.now.and(self.before)
    }
}

impl Ransomware {
    /// Returns the detector.
    pub fn new(active: &Active<policy::Ransomware>) -> Self {
        let reporter = Reporter::new(&TEXT, &active.policy);
        let settings = active.settings.clone();
        Self { settings, reporter, hosts: Keyed::new(HOSTS_MAX), evicted: 0 }
    }

    fn is_expected(&self, process: &Process) -> bool {
        context::is_one_of(process, &self.settings.expected)
            || context::is_maintenance(process)
            || context::is_build(process)
            || context::is_below(process, INSTALLERS)
    }

    fn judge(&self, process: &Process, sum: Counts) -> Option<(f64, &'static str)> {
        if sum.rewrites.min(sum.renames) >= self.settings.files {
            return Some((SEVERITY_REWRITE, "rewrote and renamed many files"));
        }
        let by_hand = shell::is_shell(process)
            || shell::is_interpreter(process)
            || !context::is_packaged(process.exe_path());
        // What is created to be renamed over another file is an edit of that one.
        let copies = sum.creates.saturating_sub(sum.renames);
        let copied = copies.min(sum.unlinks) >= self.settings.files * COPY_FACTOR;
        (by_hand && copied).then_some((SEVERITY_COPY, "copied and removed many files"))
    }
}

impl Detector for Ransomware {
    fn name(&self) -> &'static str {
        "ransomware"
    }

    fn on_event(&mut self, event: &Event, out: &mut Vec<Signal>) {
        let (EventKind::Activity(activity), Some(process)) = (&event.kind, &event.process) else {
            return;
        };
        let counts = Counts::of(activity);
        if counts.rewrites + counts.creates + counts.renames + counts.unlinks == 0
            || self.is_expected(process)
        {
            return;
        }
        let half_ns = (self.settings.window_s * 1_000_000_000 / 2).max(1);
        let half = event.time_ns / half_ns;
        let tree: Vec<Arc<Process>> = std::iter::once(process)
            .chain(process.lineage().take(ANCESTORS))
            .take_while(|one| !context::runs(one, ROOTS) && one.key.pid > 1)
            .cloned()
            .collect();
        let mut worst = None;
        for one in tree {
            let trees = self.hosts.get_or(&event.host.id, || Keyed::new(TREES_MAX));
            let sum = trees.get_or(&one.key, Tree::default).add(counts, half);
            self.evicted += trees.take_evicted();
            if let Some((severity, what)) = self.judge(&one, sum) {
                worst = Some((one, severity, what, sum));
                break;
            }
        }
        let Some((root, severity, what, sum)) = worst else { return };
        let event = Event { process: Some(root), ..event.clone() };
        out.push(self.reporter.act(
            &event,
            Act {
                severity,
                subject: String::new(),
                what: what.to_owned(),
                kind: EvidenceKind::Activity,
                fields: vec![
                    ("rewritten", sum.rewrites.into()),
                    ("renamed", sum.renames.into()),
                    ("created", sum.creates.into()),
                    ("removed", sum.unlinks.into()),
                    ("window_s", self.settings.window_s.into()),
                ],
            },
        ));
    }

    fn on_tick(&mut self, _now_ns: u64, _out: &mut Vec<Signal>) {}

    fn evicted(&self) -> u64 {
        self.evicted + self.hosts.evicted()
    }
}
