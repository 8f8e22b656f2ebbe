//! Fuzzing: libFuzzer around every parser, our own crates instrumented for it, on a stable
//! compiler.
//!
//! The compiler's wrapper is this program itself ([`wrapped`]): Cargo calls it for the crates of
//! the workspace only, so that dependencies are those of every other build.

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::count::Count;
use crate::setup::{self, Need};
use crate::{build, shell};

/// Set for the compiler's wrapper.
const WRAPPED: &str = "SAKURAMORI_INSTRUMENT";
/// Which target the fuzzer runs.
const TARGET: &str = "SAKURAMORI_FUZZ_TARGET";
/// What LLVM adds to each function, for libFuzzer: which edges were taken, and what was compared.
const INSTRUMENTS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];
/// Crates that run at build time, or in the kernel.
const PLAIN_CRATES: [&str; 3] = ["build_script_build", "xtask", "sensor_ebpf"];
/// Resident memory of the fuzzer, its corpus included, and seconds that one input may take. Inputs
/// have limits of their own in memory; these end what is far beyond.
const RSS_MAX_MIB: u32 = 1_024;
const INPUT_SECONDS_MAX: u32 = 5;
/// A search that is led by coverage finds the controls within two seconds.
const CONTROL_SECONDS: u64 = 30;
/// Seconds for each target when none are asked for: as long as a step of `cargo xtask test` may be.
pub const SECONDS: u64 = 1;
/// The end of a fuzzer's output that is shown for a finding.
const LINES_SHOWN: usize = 12;

/// How libFuzzer says where it put an input that broke the target.
const WRITTEN: &str = "Test unit written to ";

/// Acts as the compiler's wrapper when Cargo calls this program as one.
pub fn wrapped() -> Option<ExitCode> {
    env::var_os(WRAPPED)?;
    let mut arguments = env::args_os().skip(1);
    let mut compiler = Command::new(arguments.next()?);
    let arguments: Vec<_> = arguments.collect();
    compiler.args(&arguments);
    let after = |flag: &str| {
        let at = arguments.iter().position(|argument| argument == flag)?;
        arguments.get(at + 1)?.to_str()
    };
    let name = after("--crate-name");
    if name.is_some_and(|name| !PLAIN_CRATES.contains(&name))
        && after("--crate-type") != Some("proc-macro")
    {
        compiler.args(INSTRUMENTS);
    }
    eprintln!("xtask: cannot start the compiler: {}", compiler.exec());
    Some(ExitCode::FAILURE)
}

/// A target as the program of inputs lists it.
struct Target {
    name: String,
    input_max: String,
    control: bool,
}

/// What came of one target.
enum Outcome {
    Quiet { runs: String, covered: String },
    Found { input: PathBuf, text: String },
}

/// Fuzzes the named targets, all of them when none is named; `false` when something was found.
pub fn run(seconds: u64, names: &[String]) -> Result<bool> {
    setup::ensure(&[Need::Build])?;
    count(seconds, names).map(|count| count.failed == 0)
}

/// Likewise, counted as one test for each target. The controls come first: without them, that
/// nothing was found would mean nothing.
pub fn count(seconds: u64, names: &[String]) -> Result<Count> {
    let programs = Programs::build()?;
    let targets = programs.targets()?;
    let known: BTreeSet<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
        bail!("no target {name}; there are {}", Vec::from_iter(known).join(", "));
    }
    let mut count = Count::default();
    for target in targets.iter().filter(|target| target.control) {
        count.add(Count::of_one(programs.control(target)?));
    }
    let is_wanted = |t: &&Target| !t.control && (names.is_empty() || names.contains(&t.name));
    for target in targets.iter().filter(is_wanted) {
        count.add(Count::of_one(programs.target(target, seconds)?));
    }
    Ok(count)
}

/// The fuzzer, and the program that runs single inputs.
struct Programs {
    fuzzer: PathBuf,
    inputs: PathBuf,
    folder: PathBuf,
}

impl Programs {
    fn build() -> Result<Self> {
        let target = build::target_folder()?;
        let cargo = |options: &[&str]| {
            let mut cargo = shell::cargo();
            cargo.args(["build", "--locked", "--quiet", "-p", "fuzz"]).args(options);
            cargo
        };
        shell::step("building the fuzzer", || {
            shell::must(&mut cargo(&["--bin", "fuzz-input"]))?;
            let own = env::current_exe().context("this program has no path")?;
            let mut fuzzer = cargo(&["--bin", "fuzz", "--features", "libfuzzer"]);
            shell::must(fuzzer.env("RUSTC_WORKSPACE_WRAPPER", own).env(WRAPPED, "1"))
        })?;
        let debug = target.join("debug");
        let folder = target.join("fuzz");
        Ok(Self { fuzzer: debug.join("fuzz"), inputs: debug.join("fuzz-input"), folder })
    }

    fn targets(&self) -> Result<Vec<Target>> {
        let list = shell::output(Command::new(&self.inputs).arg("list"));
        let list = list.context("the targets cannot be listed")?;
        let target = |line: &str| {
            let mut fields = line.split('\t').map(str::to_owned);
            let (name, input_max) = (fields.next()?, fields.next()?);
            Some(Target { name, input_max, control: fields.next()? == "control" })
        };
        list.lines().map(|line| target(line).context("a target is not understood")).collect()
    }

    /// Fuzzes a target that must be found broken.
    fn control(&self, target: &Target) -> Result<bool> {
        let found = matches!(self.fuzz(target, CONTROL_SECONDS)?, Outcome::Found { .. });
        let name = &target.name;
        match found {
            true => println!("{name:<16} found, as it must be"),
            false => println!("{name:<16} NOT FOUND: the search does not work"),
        }
        Ok(found)
    }

    fn target(&self, target: &Target, seconds: u64) -> Result<bool> {
        let name = &target.name;
        match self.fuzz(target, seconds)? {
            Outcome::Quiet { runs, covered } => {
                println!("{name:<16} nothing found in {runs} runs, {covered} edges covered");
                Ok(true)
            }
            Outcome::Found { input, text } => {
                let bytes = fs::read(&input).unwrap_or_default();
                println!("{name:<16} FOUND: {}", input.display());
                println!("    input: {}", hexadecimal(&bytes));
                println!(
                    "    again: cargo run -p fuzz --bin fuzz-input -- run {name} {}",
                    input.display()
                );
                text.lines().for_each(|line| println!("    {line}"));
                Ok(false)
            }
        }
    }

    /// Runs libFuzzer for a while. What it learns is kept for the next time, except of a control;
    /// and what it found is run again first, until it is mended.
    fn fuzz(&self, target: &Target, seconds: u64) -> Result<Outcome> {
        let folder = match target.control {
            // Nothing of it is kept, and another search may look for it at the same time.
            true => self.folder.join(format!("{}-{}", target.name, std::process::id())),
            false => self.folder.join(&target.name),
        };
        let (corpus, found) = (folder.join("corpus"), folder.join("found"));
        for folder in [&corpus, &found] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut seeds = Command::new(&self.inputs);
        shell::must(seeds.args(["seeds", &target.name]).arg(&corpus))?;
        let log = folder.join("log");
        let mut fuzzer = Command::new("nice");
        fuzzer
            .args(["-n", "10"])
            .arg(&self.fuzzer)
            .args([&corpus, &found])
            .env(TARGET, &target.name);
        fuzzer.arg(format!("-artifact_prefix={}/", found.display()));
        fuzzer
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={}", target.input_max));
        fuzzer.arg(format!("-timeout={INPUT_SECONDS_MAX}"));
        fuzzer.arg(format!("-rss_limit_mb={RSS_MAX_MIB}"));
        fuzzer.args(["-use_value_profile=1", "-print_final_stats=1", "-verbosity=1"]);
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        fuzzer.stdout(Stdio::null()).stderr(output);
        let status = fuzzer.status().context("cannot start the fuzzer")?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if target.control {
            fs::remove_dir_all(&folder).context("cannot remove a control's folder")?;
        }
        match text.rsplit_once(WRITTEN) {
            Some((_, rest)) => {
                let input = rest.lines().next().unwrap_or_default().into();
                Ok(Outcome::Found { input, text: last_lines(&text) })
            }
            None if status.success() => Ok(Outcome::Quiet {
                runs: stat(&text, "number_of_executed_units:"),
                covered: covered(&text),
            }),
            None => bail!("the fuzzer failed ({status}):\n{}", last_lines(&text)),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `stat::NAME VALUE`.
fn stat(text: &str, name: &str) -> String {
    let lines = text.lines().filter_map(|line| line.strip_prefix("stat::"));
    let value = lines.filter_map(|line| line.strip_prefix(name)).next_back();
    value.unwrap_or("an unknown number of").trim().to_owned()
}

/// Reads the last `cov: NUMBER`.
fn covered(text: &str) -> String {
    let last = text.rsplit_once(" cov: ").and_then(|(_, rest)| rest.split_whitespace().next());
    last.unwrap_or("an unknown number of").to_owned()
}

/// What is said last, without libFuzzer's progress and its dump of the input.
fn last_lines(text: &str) -> String {
    let is_said = |line: &&str| {
        !line.starts_with('#') && !line.starts_with("stat::") && !line.starts_with("0x")
    };
    let lines: Vec<&str> = text.lines().filter(is_said).collect();
    let from = lines
        .iter()
        .position(|line| line.contains("panicked at"))
        .unwrap_or_else(|| lines.len().saturating_sub(LINES_SHOWN));
    lines[from..].iter().take(LINES_SHOWN).map(|line| format!("{line}\n")).collect()
}
