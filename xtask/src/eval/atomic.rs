//! Atomic Red Team's tests, executed in a throw-away guest with the brain and a sensor in it: which
//! of them are found, and why the others are not.
//!
//! The guest has no disk and no network. It runs the tests one after the other, each within a
//! bounded time, and tells when each began and ended, and which findings are new or have grown. A
//! test is found when a finding was last seen, or has evidence, from its time.

use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::json;

use self::case::Case;
use self::told::Told;
use crate::setup::{self, Need};
use crate::vm::kernel::Kernel;
use crate::vm::machine;
use crate::{build, shell};

mod case;
mod guest;
mod told;

/// A kernel with all the ways to attach that sensors prefer.
const KERNEL: &str = "6.12";
/// Time for one test in the guest, in seconds; some sleep, and the guest is emulated.
const TEST_SECONDS: u64 = 25;
/// Time for the guest to start brain and sensor and to power off: the kernel's verifier is emulated
/// too.
const AROUND: Duration = Duration::from_secs(900);
/// Memory: the programs of a small server lie in it.
const MEMORY: &str = "4G";
/// The share of tests with a visible act that must be found, in percent.
const GOAL: usize = 90;

/// Runs the tests and prints what became of each; `false` when fewer are found than the goal says.
pub fn run(
    material: Option<&Path>,
    rules: Option<&Path>,
    only: &str,
    as_json: bool,
) -> Result<bool> {
    let default = shell::root().join("../shared/material");
    let material = material.unwrap_or(&default);
    let list = ["tests.jsonl", "atomic-linux/tests.jsonl"].map(|name| material.join(name));
    let Some(list) = list.into_iter().find(|path| path.is_file()) else {
        eprintln!("skipped: there is no {}; name a folder by --material", list_name(material));
        return Ok(true);
    };
    setup::ensure(&[Need::Build, Need::Vm])?;
    let programs = build::run(false)?;
    let mut cases = case::read(&list)?;
    cases.retain(|case| case.technique.starts_with(only));
    let runnable: Vec<&Case> = cases.iter().filter(|case| case.is_runnable()).collect();
    let kernel = Kernel::find(KERNEL)?;
    let initrd = guest::build(&kernel, &programs, rules, &runnable, TEST_SECONDS)?;
    let told = boot(&kernel, &initrd, runnable.len())?;
    let rows: Vec<Row> = cases.iter().map(|case| Row::of(case, &told)).collect();
    Ok(report(&rows, as_json))
}

fn list_name(material: &Path) -> String {
    material.join("atomic-linux/tests.jsonl").display().to_string()
}

/// Boots the guest and reads what it tells.
fn boot(kernel: &Kernel, initrd: &Path, tests: usize) -> Result<Told> {
    let limit = AROUND + Duration::from_secs((TEST_SECONDS + 3) * tests as u64);
    let mut machine = machine::start(&kernel.image, initrd, MEMORY)?;
    let lines = machine.lines()?;
    let end = Instant::now() + limit;
    let mut told = Told::default();
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if !told.read_line(&line) {
                    eprintln!("  {line}");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the guest did not end within {} s", limit.as_secs());
            }
        }
    }
    if !told.has_ended() {
        bail!("the guest stopped before it had told its findings");
    }
    Ok(told)
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Found,
    Missed,
    /// It does nothing that could be seen, or its program is not there.
    Nothing,
    NotRun,
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missed => "missed",
            Self::Nothing => "no act",
            Self::NotRun => "not run",
        }
    }
}

/// A line of the table.
#[derive(Debug)]
struct Row {
    test: String,
    name: String,
    status: Status,
    /// Types of the findings, or the reason for none.
    why: String,
}

impl Row {
    fn of(case: &Case, told: &Told) -> Self {
        let (status, why) = match (case.obstacle(), told.run_of(&case.id())) {
            (Some(obstacle), _) => (Status::NotRun, obstacle.to_owned()),
            (None, None) => (Status::NotRun, "the guest did not come to it".to_owned()),
            (None, Some(run)) => {
                let found = told.findings_in(run);
                match (found.is_empty(), case.visible(run.code)) {
                    (false, _) => (Status::Found, found.join(", ")),
                    (true, Err(reason)) => (Status::Nothing, reason),
                    (true, Ok(act)) => {
                        (Status::Missed, format!("no finding for: {act} (exit {})", run.code))
                    }
                }
            }
        };
        Self { test: case.id(), name: case.name.clone(), status, why }
    }
}

/// Prints the table and the sums; returns whether the goal is met.
fn report(rows: &[Row], as_json: bool) -> bool {
    let count = |status: Status| rows.iter().filter(|row| row.status == status).count();
    let (found, missed) = (count(Status::Found), count(Status::Missed));
    let share = 100 * found / (found + missed).max(1);
    for Row { test, name, status, why } in rows {
        let status = status.name();
        if as_json {
            println!("{}", json!({"test": test, "name": name, "status": status, "why": why}));
        } else {
            println!("{test:<14} {status:<8} {name:.48} | {why}");
        }
    }
    let (nothing, not_run) = (count(Status::Nothing), count(Status::NotRun));
    let sums = json!({
        "found": found, "missed": missed, "no_act": nothing, "not_run": not_run,
        "percent": share, "goal": GOAL,
    });
    match as_json {
        true => println!("{sums}"),
        false => println!(
            "{found} found of {} with a visible act ({share} %, goal {GOAL}); {nothing} without an \
             act, {not_run} not run",
            found + missed
        ),
    }
    share >= GOAL
}

/// Returns a file in the build folder.
fn scratch(name: &str) -> Result<PathBuf> {
    Ok(build::target_folder().context("no build folder")?.join(name))
}
