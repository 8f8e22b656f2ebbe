//! `cargo xtask vm`: boots Debian's kernels in an emulator and runs the kernel trials there.
//!
//! The developer's kernel is one of many; what it lacks (kprobes, modules) the guests have, and
//! what an older verifier refuses shows only there. A guest has no disk and no network card: its
//! whole system is the trials' program, what that needs, and a shell that starts it.

pub(crate) mod archive;
pub(crate) mod guest;
pub(crate) mod kernel;
pub(crate) mod machine;
mod module;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::kernel::Kernel;
use self::verdict::Verdict;
use crate::count::Count;
use crate::{shell, test};

/// The oldest kernel that is supported, and a current one, as Debian has them.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// Programs of the host that a guest cannot be made or run without.
const TOOLS: [&str; 6] = ["qemu-system-x86_64", "busybox", "xz", "ip", "dpkg", "ldd"];
/// Time for a guest from power on to power off. The largest group of trials takes some fifteen
/// minutes on two cores that are shared.
const GUEST_LIMIT: Duration = Duration::from_secs(2_400);
/// Guests at a time: an emulator keeps one or two cores busy and takes 2 GiB.
const GUESTS_MAX: usize = 2;

/// A guest to boot: a kernel, and what its trials' program is told.
#[derive(Debug)]
struct Job<'a> {
    version: &'a str,
    kernel: &'a Kernel,
    /// The trials, as the lines of their guest are marked.
    name: String,
    options: Vec<String>,
}

/// What one guest came to.
#[derive(Debug)]
struct Outcome {
    /// The package of the kernel, or the version that was asked for when there is none.
    kernel: String,
    /// The trials.
    name: String,
    verdict: Result<Verdict>,
}

/// Runs the trials on the given kernel versions, or on the usual ones when there are none; returns
/// whether all passed. `options` are for the trials' program; without any, all trials run, each
/// group of them in a guest of its own.
pub fn run(versions: &[String], options: &[String]) -> Result<bool> {
    let total = count(versions, options)?;
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped.len());
    Ok(total.failed == 0)
}

/// Does the same and counts single trials, each kernel's on their own. A kernel on which nothing
/// passed has proved nothing.
pub fn count(versions: &[String], options: &[String]) -> Result<Count> {
    let mut total = Count::default();
    let mut trials = BTreeMap::<String, u64>::new();
    for outcome in outcomes(versions, options)? {
        println!("{outcome}");
        let kernel = outcome.kernel.clone();
        let count = outcome.count();
        *trials.entry(kernel).or_default() += count.passed + count.failed;
        total.add(count);
    }
    for (kernel, _) in trials.iter().filter(|(_, number)| **number == 0) {
        println!("{kernel}: no trial ran");
        total.failed += 1;
    }
    Ok(total)
}

fn outcomes(versions: &[String], options: &[String]) -> Result<Vec<Outcome>> {
    if let Some(tool) = TOOLS.into_iter().find(|tool| !shell::exists(tool)) {
        bail!("{tool} is missing: `cargo xtask setup vm` installs what guests need");
    }
    let program = test::test_program("kernel")?;
    let usual = KERNELS.map(str::to_owned);
    let versions = if versions.is_empty() { &usual } else { versions };
    // Before any guest starts: two of one kernel would fetch it at the same time.
    let (mut kernels, mut missing) = (Vec::new(), Vec::new());
    for version in versions {
        match Kernel::find(version) {
            Ok(kernel) => kernels.push((version.as_str(), kernel)),
            Err(error) => missing.push(Outcome {
                kernel: version.clone(),
                name: "package".to_owned(),
                verdict: Err(error),
            }),
        }
    }
    let jobs = jobs(&kernels, options, &program)?;
    let number = jobs.len() + missing.len();
    let waiting = Mutex::new(jobs.into_iter());
    let done = Mutex::new(missing);
    let next = || waiting.lock().ok().and_then(|mut jobs| jobs.next());
    thread::scope(|scope| {
        for _ in 0..GUESTS_MAX.min(number) {
            scope.spawn(|| {
                while let Some(job) = next() {
                    let outcome = Outcome::of(&job, &program);
                    if let Ok(mut done) = done.lock() {
                        done.push(outcome);
                    }
                }
            });
        }
    });
    let mut outcomes = done.into_inner().unwrap_or_default();
    if outcomes.len() != number {
        bail!("{} guests of {number} were not told of", number - outcomes.len());
    }
    outcomes.sort_by(|one, other| (&one.kernel, &one.name).cmp(&(&other.kernel, &other.name)));
    Ok(outcomes)
}

/// Returns the guests to boot. All trials are too many for one: they would take an hour, and one
/// that brings a kernel down would hide those behind it.
fn jobs<'a>(
    kernels: &'a [(&'a str, Kernel)],
    options: &[String],
    program: &Path,
) -> Result<Vec<Job<'a>>> {
    let parts: Vec<(String, Vec<String>)> = match options {
        [] => groups(program)?.into_iter().map(|group| (group.clone(), vec![group])).collect(),
        some => vec![(some.join(" "), some.to_vec())],
    };
    let mut jobs = Vec::new();
    for (version, kernel) in kernels {
        for (name, options) in &parts {
            let (name, options) = (name.clone(), options.clone());
            jobs.push(Job { version, kernel, name, options });
        }
    }
    Ok(jobs)
}

/// Returns the groups of trials that the program has, as it takes them: `files::`.
fn groups(program: &Path) -> Result<BTreeSet<String>> {
    let list = shell::output(Command::new(program).arg("--list"))
        .context("the trials' program does not list its trials")?;
    let groups: BTreeSet<String> = list
        .lines()
        .filter_map(|line| line.split_once("::"))
        .map(|(group, _)| format!("{}::", group.trim()))
        .collect();
    if groups.is_empty() {
        bail!("the trials' program lists no trials");
    }
    Ok(groups)
}

impl Outcome {
    fn of(job: &Job<'_>, program: &Path) -> Self {
        let Job { version, kernel, name, options } = job;
        println!("{} {name}", kernel.package);
        let verdict = guest::build(kernel, name, program, options).and_then(|initrd| {
            machine::boot(&kernel.image, &initrd, &format!("{version} {name}"), GUEST_LIMIT)
        });
        Self { kernel: kernel.package.clone(), name: name.clone(), verdict }
    }

    /// Whether its trials ended, and none failed. All of a group may be skipped.
    fn is_good(&self) -> bool {
        self.verdict.as_ref().is_ok_and(Verdict::is_good)
    }

    /// Counts trials; a guest that ended badly has failed even when no trial says so.
    fn count(self) -> Count {
        let is_good = self.is_good();
        let mut count = self.verdict.map_or_else(|_| Count::default(), |verdict| verdict.count());
        if !is_good && count.failed == 0 {
            count.failed = 1;
        }
        for skip in &mut count.skipped {
            *skip = format!("{} on {}", skip, self.kernel);
        }
        count
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Ok(verdict) => write!(f, "{} {}: {verdict}", self.kernel, self.name),
            Err(error) => write!(f, "{} {}: failed: {error:#}", self.kernel, self.name),
        }
    }
}

/// Folder of kernels, kept between checkouts.
fn cache() -> Result<PathBuf> {
    Ok(shell::cache()?.join("kernels"))
}
