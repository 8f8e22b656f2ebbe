//! `cargo xtask vm`: boots Debian's kernels in an emulator and runs the kernel trials there.
//!
//! The developer's kernel is one of many; what it lacks (kprobes, modules) the guests have, and
//! what an older verifier refuses shows only there. A guest has no disk and no network card: its
//! whole system is the trials' program, what that needs, and a shell that starts it.

mod archive;
mod guest;
mod kernel;
mod machine;
mod module;
mod verdict;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};

use self::kernel::Kernel;
use self::verdict::Verdict;
use crate::count::Count;
use crate::{shell, test};

/// The oldest kernel that is supported, and a current one, as Debian has them.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// Programs of the host that a guest cannot be made or run without.
const TOOLS: [&str; 6] = ["qemu-system-x86_64", "busybox", "xz", "ip", "dpkg", "ldd"];
/// Time for a guest from power on to power off; some minutes are usual on two cores that are
/// shared.
const GUEST_LIMIT: Duration = Duration::from_secs(900);

/// What one kernel came to.
#[derive(Debug)]
struct Outcome {
    /// The package of the kernel, or the version that was asked for when there is none.
    kernel: String,
    verdict: Result<Verdict>,
}

/// Runs the trials on the given kernel versions, or on the usual ones when there are none; returns
/// whether all kernels passed. `options` are for the trials' program.
pub fn run(versions: &[String], options: &[String]) -> Result<bool> {
    let outcomes = outcomes(versions, options)?;
    for outcome in &outcomes {
        println!("{outcome}");
    }
    Ok(outcomes.iter().all(Outcome::is_good))
}

/// Does the same and counts single trials, each kernel's on their own.
pub fn count(versions: &[String], options: &[String]) -> Result<Count> {
    let mut total = Count::default();
    for outcome in outcomes(versions, options)? {
        println!("{outcome}");
        total.add(outcome.count());
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
    Ok(versions.iter().map(|version| Outcome::of(version, &program, options)).collect())
}

impl Outcome {
    fn of(version: &str, program: &Path, options: &[String]) -> Self {
        match Kernel::find(version) {
            Ok(kernel) => {
                println!("{}", kernel.package);
                let verdict = guest::build(&kernel, program, options)
                    .and_then(|initrd| machine::boot(&kernel.image, &initrd, GUEST_LIMIT));
                Self { kernel: kernel.package, verdict }
            }
            Err(error) => Self { kernel: version.to_owned(), verdict: Err(error) },
        }
    }

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
            Ok(verdict) => write!(f, "{}: {verdict}", self.kernel),
            Err(error) => write!(f, "{}: failed: {error:#}", self.kernel),
        }
    }
}

/// Folder of kernels, kept between checkouts.
fn cache() -> Result<PathBuf> {
    Ok(shell::cache()?.join("kernels"))
}
