//! Every test that this machine can run, cheapest first.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::count::Count;
use crate::setup::{self, Need};
use crate::{build, chart, fuzz, shell, tidy, vm};

/// A test step: its name and what it runs.
type Step = (&'static str, fn() -> Result<Count>);

/// Steps that take seconds to a few minutes.
const QUICK: [Step; 10] = [
    ("format", || one(shell::cargo().args(["fmt", "--all", "--check"]))),
    ("tidy", || Ok(Count::of_one(told(tidy::run(&shell::root()))))),
    ("lints", || one(&mut clippy())),
    ("console", || one(build::npm().args(["run", "--silent", "check"]))),
    ("host tests", || harness(&mut host_tests())),
    ("trials' own tests", || harness(&mut own_tests())),
    ("fuzz", || fuzz::count(fuzz::SECONDS, &[])),
    ("kernel trials", || trials("kernel")),
    ("fleet trials", || trials("fleet")),
    ("chart", chart::run),
];

/// Steps that start other kernels, the whole demo or a browser.
const SLOW: [Step; 2] = [
    ("other kernels", || vm::count(&[], &GUEST_TRIALS.map(str::to_owned))),
    ("console in a browser", || trials("browser")),
];

/// What guests run here: every program loads and attaches, and the basic signals arrive. An
/// emulated kernel takes some twenty seconds to load the programs for one trial, so all the others
/// are left to `cargo xtask vm`.
const GUEST_TRIALS: [&str; 3] = ["load::", "--skip", "payload::"];

/// Runs the tests; returns whether none failed.
pub fn run(quick: bool) -> Result<bool> {
    let start = Instant::now();
    let needs = [Need::Build, Need::Demo, Need::Browser, Need::Vm];
    setup::ensure(if quick { &needs[..2] } else { &needs })?;
    // Without its tools the step is skipped, and says so.
    if let Err(error) = setup::ensure(&[Need::Chart]) {
        eprintln!("  {error:#}");
    }
    build::npm_packages()?;
    build::run(false)?;
    let mut total = Count::default();
    let slow: &[Step] = if quick { &[] } else { &SLOW };
    for (name, run) in QUICK.iter().chain(slow) {
        total.add(step(name, run));
    }
    if quick {
        total.skipped.extend(SLOW.map(|(name, _)| format!("{name}: left out by --quick")));
    }
    report(&total, start);
    Ok(total.failed == 0)
}

/// Runs one step; one that cannot even run has failed.
fn step(name: &str, run: impl FnOnce() -> Result<Count>) -> Count {
    eprintln!("── {name}");
    let start = Instant::now();
    let count = run().unwrap_or_else(|error| {
        eprintln!("{name} failed: {error:#}");
        Count::of_one(false)
    });
    let (passed, failed, skipped) = (count.passed, count.failed, count.skipped.len());
    let seconds = start.elapsed().as_secs_f32();
    eprintln!("   {name}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.0} s");
    count
}

fn report(total: &Count, start: Instant) {
    println!();
    for skip in &total.skipped {
        println!("skipped {skip}");
    }
    println!("took {:.0} s", start.elapsed().as_secs_f32());
    println!("{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped.len());
}

/// A command that is one test by itself.
fn one(command: &mut Command) -> Result<Count> {
    shell::succeeds(command).map(Count::of_one)
}

fn told(result: Result<()>) -> bool {
    result.inspect_err(|error| eprintln!("{error:#}")).is_ok()
}

fn clippy() -> Command {
    let mut clippy = shell::cargo();
    clippy.args(["clippy", "--locked", "--quiet", "--workspace", "--exclude", "sensor-ebpf"]);
    clippy.args(["--all-targets", "--", "-D", "warnings"]);
    clippy
}

fn host_tests() -> Command {
    let mut tests = shell::cargo();
    tests.args(["test", "--locked", "--workspace", "--exclude", "tests", "--no-fail-fast"]);
    // Without documentation tests, of which there are none; looking for them takes a minute.
    tests.args(["--lib", "--bins", "--tests"]);
    tests.env("SAKURAMORI_BPF", "require");
    tests
}

/// Tests of what the trials are made of.
fn own_tests() -> Command {
    let mut tests = shell::cargo();
    tests.args(["test", "--locked", "-p", "tests", "--lib", "--bins", "--no-fail-fast"]);
    tests.env("SAKURAMORI_BPF", "require");
    tests
}

/// Runs a trial program of the `tests` crate as root.
fn trials(name: &str) -> Result<Count> {
    let program = test_program(name)?;
    harness(shell::as_root(program).arg("--nocapture"))
}

/// Builds a test program of the `tests` crate and returns where it is.
pub fn test_program(name: &str) -> Result<PathBuf> {
    let mut build = shell::cargo();
    build.args(["test", "--locked", "--no-run", "-p", "tests", "--test", name]);
    build.args(["--message-format", "json"]).env("SAKURAMORI_BPF", "require");
    let output = build.stderr(Stdio::inherit()).output().context("failed to start cargo")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(Into::into))
        .with_context(|| format!("the test program {name} did not build"))
}

/// Runs a program with a test harness: shows its output and counts its tests. A program that ends
/// badly without having said that a test failed has failed itself.
pub fn harness(command: &mut Command) -> Result<Count> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("failed to start the tests")?;
    let mut count = Count::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            count.read_line(&line);
        }
    }
    let status = child.wait()?;
    let mut count = count.finish();
    if !status.success() && count.failed == 0 {
        count.failed = 1;
    }
    Ok(count)
}
