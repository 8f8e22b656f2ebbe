//! What the whole sensor tells of processes: hash, container, ancestors, ends.

use std::{
    cell::RefCell,
    fs,
    io::Write as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::{
    collect::Collector,
    ledger::Ledger,
    observation::{Observation, Record},
    probe::{Scope, Settings},
};
use wire::record::process_flag;

use super::{SHELL, TRUE, copy_of_true, resolved, settings};
use crate::{
    figure,
    kernel::{
        group::{self, Group},
        watch::unavailable,
    },
    skip::trial,
};

/// How long something that must happen may take; a guest without hardware help is slow.
const DEADLINE: Duration = Duration::from_secs(60);
/// As the sensor polls.
const POLL: Duration = Duration::from_millis(50);
/// Processes that live for less than a millisecond each, fewer where they take longer than
/// [`SHORT_LIVED_TIME`].
const SHORT_LIVED: usize = 10_000;
const SHORT_LIVED_TIME: Duration = Duration::from_secs(8);
/// How many tell how long one takes.
const SAMPLES: u32 = 50;
/// Chains of processes whose parents end at once.
const ORPHANS: usize = 50;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("processes::an_execution_is_told_with_its_hash", hash),
        trial("processes::a_container_and_its_pod_are_told", container),
        trial("processes::a_process_that_was_moved_is_where_it_is", moved),
        trial("processes::short_lived_processes_have_their_ancestors", ancestors),
        trial("processes::ends_tell_status_and_duration", ends),
    ]
}

/// A sensor without a brain.
struct Sensor {
    collector: Collector,
    ledger: RefCell<Ledger>,
    observations: Vec<Observation>,
}

impl Sensor {
    fn start(settings: &Settings) -> Result<Self> {
        let collector = Collector::start(settings, Vec::new())?;
        Ok(Self { collector, ledger: RefCell::default(), observations: Vec::new() })
    }

    /// Collects until something fits.
    fn until(&mut self, what: &str, mut done: impl FnMut(&[Observation]) -> bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let Self { collector, ledger, observations } = self;
            collector.poll(ledger, &mut |observation| observations.push(observation));
            if done(observations) {
                return Ok(());
            }
            if start.elapsed() > DEADLINE {
                bail!("no {what} among {} observations", observations.len());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Collects until a process was executed, and returns that observation.
    fn exec_of(&mut self, id: u32) -> Result<Observation> {
        let is_it = |seen: &Observation| {
            matches!(seen.record, Record::Exec(_)) && seen.lineage[0].key.pid == id
        };
        self.until("execution", |all| all.iter().any(is_it))?;
        self.observations.iter().find(|seen| is_it(seen)).cloned().context("found, then not")
    }
}

/// Has the system's own program hash a file.
fn sha256_of(path: &std::path::Path) -> Option<String> {
    let output = Command::new("sha256sum").arg(path).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// Executes a program until its hash is told with the execution; returns the hash, and at which
/// execution that was. A guest without hardware help hashes slowly.
fn hash_of(sensor: &mut Sensor, program: &std::path::Path) -> Result<(String, u32)> {
    const TRIES: u32 = 20;
    for tries in 1..=TRIES {
        let mut child = Command::new(program).spawn()?;
        let id = child.id();
        child.wait()?;
        let seen = sensor.exec_of(id)?;
        let process = &seen.lineage[0];
        let missing = process.flags & process_flag::HASH_MISSING != 0;
        ensure!(!missing, "no hash: {:?}", sensor.collector.hash_stats());
        if process.flags & process_flag::HASH_PENDING == 0 {
            let hash = process.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            return Ok((hash, tries));
        }
    }
    bail!("no hash after {TRIES} executions: {:?}", sensor.collector.hash_stats())
}

fn hash() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("hashed");
    copy_of_true(&program, 0o755)?;
    // Bytes behind a program do not keep it from running, and make it one of its own.
    fs::OpenOptions::new().append(true).open(&program)?.write_all(b"one of its own")?;
    let Some(expected) = sha256_of(&program) else {
        return Ok(Completion::ignored_with("sha256sum is missing"));
    };
    let mut sensor = Sensor::start(&settings())?;
    let (told, tries) = hash_of(&mut sensor, &program)?;
    eprintln!("the hash was there at execution {tries}");
    ensure!(told == expected, "{told:?} instead of {expected}");
    let (told, tries) = hash_of(&mut sensor, &program)?;
    ensure!(told == expected && tries == 1, "{told:?} at execution {tries}");
    let stats = sensor.collector.hash_stats();
    ensure!(stats.hits >= 1, "the second execution did not use what was known: {stats:?}");
    // The same name with another content is another file.
    fs::OpenOptions::new().append(true).open(&program)?.write_all(b"!")?;
    let changed = sha256_of(&program).context("sha256sum failed")?;
    let (told, _) = hash_of(&mut sensor, &program)?;
    ensure!(told == changed, "after a change {told:?} instead of {changed}");
    Ok(Completion::Completed)
}

fn container() -> Result<Completion> {
    const POD: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let id = format!("{:064x}", std::process::id());
    let pods = Group::new(root.join(group::name("kubepods.slice")))?;
    let slice = format!("kubepods-pod{}.slice", POD.replace('-', "_"));
    let pod = Group::new(pods.path().join(slice))?;
    let inner = Group::new(pod.path().join(format!("cri-containerd-{id}.scope")))?;
    let mut sensor = Sensor::start(&settings())?;
    let mut child = inner.command(SHELL).args(["-c", "/bin/true; exit 0"]).spawn()?;
    child.wait()?;
    let seen = sensor.exec_of(child.id())?;
    ensure!(*seen.lineage[0].container == *id.as_bytes(), "{:?}", seen.lineage[0]);
    ensure!(*seen.lineage[0].pod == *POD.as_bytes(), "{:?}", seen.lineage[0]);
    // Its child is in the same container; this process is in none.
    let parent = child.id();
    let is_child = |seen: &Observation| {
        matches!(seen.record, Record::Exec(_))
            && seen.lineage.get(1).is_some_and(|p| p.key.pid == parent)
    };
    // A small system's shell runs it without a process of its own.
    let alone = resolved(SHELL)? == resolved(TRUE)?;
    if !alone {
        sensor.until("execution of the child", |all| all.iter().any(is_child))?;
        let child = sensor.observations.iter().find(|seen| is_child(seen)).context("no child")?;
        ensure!(*child.lineage[0].container == *id.as_bytes(), "{:?}", child.lineage[0]);
    }
    let outside = Command::new(TRUE).spawn()?;
    let id = outside.id();
    outside.wait_with_output()?;
    let seen = sensor.exec_of(id)?;
    ensure!(seen.lineage[0].pod.is_empty(), "{:?}", seen.lineage[0]);
    Ok(Completion::Completed)
}

/// A process is executed in one group and moved to another one while it runs.
fn moved() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let id = format!("{:064x}", std::process::id());
    let (first, second) = (
        Group::new(root.join(group::name("from")))?,
        Group::new(root.join(format!("docker-{id}.scope")))?,
    );
    let mut sensor = Sensor::start(&settings())?;
    let mut child =
        first.command(SHELL).args(["-c", "read line; exit 0"]).stdin(Stdio::piped()).spawn()?;
    let pid = child.id();
    let before = sensor.exec_of(pid)?;
    fs::write(second.path().join("cgroup.procs"), pid.to_string())?;
    drop(child.stdin.take());
    child.wait()?;
    ensure!(before.lineage[0].container.is_empty(), "{:?}", before.lineage[0]);
    let is_end = |seen: &Observation| {
        matches!(seen.record, Record::Exit(_))
            && seen.lineage.first().is_some_and(|process| process.key.pid == pid)
    };
    sensor.until("end", |all| all.iter().any(is_end))?;
    let end = sensor.observations.iter().find(|seen| is_end(seen)).context("found, then not")?;
    ensure!(*end.lineage[0].container == *id.as_bytes(), "{:?}", end.lineage[0]);
    Ok(Completion::Completed)
}

/// A shell executes one short-lived program after the other; then chains are made whose middle
/// ends before their last one executes.
fn ancestors() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let group = Group::new(root.join(group::name("ancestors")))?;
    let scope = Scope { cgroup: Some(group.path().to_owned()), netns: None };
    let mut sensor = Sensor::start(&Settings { scope, ..settings() })?;
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("short");
    copy_of_true(&program, 0o755)?;
    let short = program.to_str().context("an odd folder")?;
    let start = Instant::now();
    for _ in 0..SAMPLES {
        Command::new(&program).status()?;
    }
    let each = start.elapsed() / SAMPLES;
    let fit = SHORT_LIVED_TIME.as_nanos() / each.as_nanos().max(1);
    let number = SHORT_LIVED.min(fit as usize);
    let script = format!(
        "i=0; while [ $i -lt {number} ]; do {short}; i=$((i+1)); done; \
         i=0; while [ $i -lt {ORPHANS} ]; do ( ( {short}; : ) & ); i=$((i+1)); done; wait"
    );
    let mut shell = group.command(SHELL).args(["-c", &script]).stdin(Stdio::null()).spawn()?;
    let shell_id = shell.id();
    let start = Instant::now();
    let all = number + ORPHANS;
    let (mut seen, mut right) = (0, 0);
    while seen < all && start.elapsed() < 2 * DEADLINE {
        std::thread::sleep(POLL);
        let Sensor { collector, ledger, .. } = &mut sensor;
        collector.poll(ledger, &mut |observation| {
            let Record::Exec(_) = observation.record else { return };
            let lineage = &observation.lineage;
            if !lineage[0].exe.ends_with(b"/short") {
                return;
            }
            // The orphans have two or three shells above them, each forked from the first one.
            let depth = lineage.iter().position(|process| process.key.pid == shell_id);
            let expected = if seen < number { 1..=1 } else { 2..=3 };
            right += usize::from(depth.is_some_and(|depth| expected.contains(&depth)));
            seen += 1;
        });
    }
    shell.wait()?;
    for row in ["S-13", "E-09"] {
        let figure =
            format!("{seen} of {all} short-lived processes seen, {right} with their ancestors");
        figure::tell(row, figure);
    }
    ensure!(seen == all && right == all, "{seen} seen and {right} right of {all}");
    Ok(Completion::Completed)
}

fn ends() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut sensor = Sensor::start(&settings())?;
    let start = Instant::now();
    let mut child =
        Command::new(SHELL).args(["-c", "read line; exit 7"]).stdin(Stdio::piped()).spawn()?;
    let id = child.id();
    std::thread::sleep(Duration::from_millis(300));
    drop(child.stdin.take());
    child.wait()?;
    let most = start.elapsed();
    let end = |seen: &Observation| match &seen.record {
        Record::Exit(exit) if seen.lineage.first().is_some_and(|p| p.key.pid == id) => {
            Some((exit.code, exit.duration_ns))
        }
        _ => None,
    };
    sensor.until("end", |all| all.iter().any(|seen| end(seen).is_some()))?;
    let (code, lived_ns) = sensor.observations.iter().find_map(end).context("found, then not")?;
    ensure!(code == 7 << 8, "status {code:#x}");
    let range = 290_000_000..=most.as_nanos() as u64;
    ensure!(range.contains(&lived_ns), "lived for {lived_ns} ns, not {range:?}");
    Ok(Completion::Completed)
}
