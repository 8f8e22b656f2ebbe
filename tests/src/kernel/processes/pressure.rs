//! What a storm costs those beside it, and how large a ring has to be.
//!
//! `SAKURAMORI_TEST_SWEEP` names another number of executions for each size of ring, and
//! `SAKURAMORI_TEST_FLOOD_SECONDS` another length of the flood.

use std::{
    ffi::CString,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::{libc, unistd::Pid};
use sensor::{
    file::Watched,
    probe::{Rings, Scope, Settings},
};
use sensor_abi::{loss::Loss, seen::Signal};

use super::{
    TRUE,
    storms::{Shared, account, count, delivered, fork_many, run_many, scoped},
};
use crate::{
    figure,
    kernel::{
        child,
        group::{self, Group},
        watch::{Event, Watch, unavailable},
    },
    skip::trial,
};

/// Sizes of the ring, from the smallest that can be set; the last one holds everything.
const SIZES_KIB: [u32; 4] = [64, 256, 1_024, 4_096];
/// Executions for each size, unless the environment names others.
const SWEEP: u64 = 500;
/// Seconds of the flood, likewise.
const FLOOD_SECONDS: u64 = 3;
/// What matters while a flood goes on.
const ACTS: u64 = 100;
/// So many at least: the flood lasts until they are done, also on a slow machine.
const ACTS_MIN: u64 = 10;
/// Times the usual length that a flood may last.
const FLOOD_MAX: u32 = 20;
/// How often the sensor reads.
const POLL: Duration = Duration::from_millis(50);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("processes::a_larger_ring_loses_less", sweep),
        trial("processes::a_flood_hides_no_execution", flood_then_act),
    ]
}

fn sweep() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let executions = figure::size("SAKURAMORI_TEST_SWEEP", SWEEP)?;
    let mut curve = Vec::new();
    for kib in SIZES_KIB {
        let group = Group::new(root.join(group::name("sweep")))?;
        let rings = Rings { security: Some(kib << 10), ..Rings::default() };
        let mut watch = Watch::start(&Settings { rings, ..scoped(&group) })?;
        let done = Shared::new()?;
        let joins = group.path().join("cgroup.procs");
        let (_, status) = child::run(|| run_many(&joins, (executions, Duration::MAX), &done))?;
        ensure!(status == 0, "the runner ended with {status:#x}");
        let arrived = count(&delivered(&mut watch)?, Signal::Exec);
        let (seen, lost) = account(&mut watch, Signal::Exec);
        ensure!(seen == done.read(), "{kib} KiB: {seen} seen of {}", done.read());
        ensure!(arrived + lost.iter().sum::<u64>() == seen, "{kib} KiB: {arrived} {lost:?}");
        curve.push((kib, lost[Loss::RingFull as usize], seen));
    }
    let share = |(kib, lost, seen): &(u32, u64, u64)| -> String {
        format!("{kib} KiB {:.1} %", 100.0 * *lost as f64 / *seen as f64)
    };
    let text: Vec<String> = curve.iter().map(share).collect();
    figure::tell("S-02", format_args!("{executions} executions unread, lost: {}", text.join(", ")));
    ensure!(curve.is_sorted_by(|a, b| a.1 >= b.1), "a larger ring lost more: {curve:?}");
    let (smallest, largest) = (curve[0].1, curve[curve.len() - 1].1);
    ensure!(smallest > 0 && largest < smallest, "the sizes make no difference: {curve:?}");
    Ok(Completion::Completed)
}

/// Files written as fast as can be, then processes that end at once, in one cgroup, by two at a
/// time; in it and beside it, what must not be missed.
fn flood_then_act() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let seconds = figure::size("SAKURAMORI_TEST_FLOOD_SECONDS", FLOOD_SECONDS)?;
    let all = Group::new(root.join(group::name("flood")))?;
    let bad = Group::new(all.path().join("bad"))?;
    let good = Group::new(all.path().join("good"))?;
    let folder = tempfile::Builder::new().prefix("smk-flood-").tempdir()?;
    let file = folder.path().canonicalize()?.join("watched");
    let watched = [file.display().to_string()];
    let files = Watched::new(Some(&watched), Some(&[]), Some(&[]))?;
    let scope = Scope { cgroup: Some(all.path().to_owned()), netns: None };
    let interfaces = vec!["lo".to_owned()];
    let mut watch = Watch::start(&Settings { interfaces, files, scope, ..Settings::default() })?;
    let (opened, forked) = (Shared::new()?, Shared::new()?);
    let joins = bad.path().join("cgroup.procs");
    let path = CString::new(file.as_os_str().as_bytes())?;
    let acted = Shared::new()?;
    let flood =
        Flood { start: Instant::now(), length: Duration::from_secs(seconds), acted: &acted };
    let opener = child::start(|| open_until(&joins, &path, &flood, &opened))?;
    let forker = child::start(|| fork_until(&joins, &flood, &forked))?;
    let (mut acting, mut events, mut acts) = (0, Vec::new(), [0; 2]);
    let mut running = vec![opener, forker];
    while !running.is_empty() {
        // In the middle of the flood: in the flooding cgroup, and in another one.
        if acting < ACTS {
            for (group, done) in [&bad, &good].into_iter().zip(&mut acts) {
                let status = group.command(TRUE).status()?;
                *done += u64::from(status.success());
            }
            acting += 1;
            acted.count();
        }
        events.extend(watch.until("records", |_| true)?);
        thread::sleep(if acting < ACTS { Duration::from_millis(5) } else { POLL });
        running.retain(|pid| !has_ended(*pid));
    }
    let injector = traced(&bad)?;
    thread::sleep(POLL);
    events.extend(watch.until("records", |_| true)?);
    judge(&mut watch, &events, (&opened, &forked), acts, injector)
}

fn judge(
    watch: &mut Watch,
    events: &[Event],
    (opened, forked): (&Shared, &Shared),
    acts: [u64; 2],
    injector: u32,
) -> Result<Completion> {
    let execs = events.iter().filter(|event| matches!(event, Event::Exec(_))).count() as u64;
    let files = events.iter().filter(|event| matches!(event, Event::File(_))).count() as u64;
    let (seen, lost) = account(watch, Signal::Exec);
    let (files_seen, files_lost) = account(watch, Signal::File);
    let (forks_seen, forks_lost) = account(watch, Signal::Fork);
    let missed: u64 = lost.iter().sum();
    let acted: u64 = acts.iter().sum();
    ensure!(acts[0] == acts[1] && acts[0] >= ACTS_MIN, "the acts themselves: {acts:?}");
    figure::tell(
        "S-03",
        format_args!(
            "{} watched opens and {} forks beside {seen} executions: {missed} executions lost, \
             {} file records and {} fork records lost, all counted",
            opened.read(),
            forked.read(),
            files_lost.iter().sum::<u64>(),
            forks_lost.iter().sum::<u64>(),
        ),
    );
    ensure!(seen == acted && execs == seen && missed == 0, "{execs} of {seen}: {lost:?}");
    ensure!(files_seen == opened.read(), "{files_seen} of {} opens seen", opened.read());
    ensure!(files + files_lost.iter().sum::<u64>() == files_seen, "{files} {files_lost:?}");
    ensure!(forks_seen >= forked.read(), "{forks_seen} of {} forks seen", forked.read());
    let throttled = files_lost[Loss::Throttled as usize] + forks_lost[Loss::Throttled as usize];
    if throttled == 0 {
        return Ok(Completion::ignored_with("this machine is too slow for a flood"));
    }
    let told = events.iter().any(|event| match event {
        Event::Memory(record) => record.header.tgid == injector,
        _ => false,
    });
    ensure!(told, "what the flooding cgroup did after its flood is missing");
    figure::tell("E-11", "an execution within and a ptrace after one's own flood: 2 of 2 told");
    Ok(Completion::Completed)
}

fn has_ended(pid: Pid) -> bool {
    let mut status = 0;
    // SAFETY: a child of ours, and a status that lives through the call.
    unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::WNOHANG) != 0 }
}

/// How long a flood goes on.
struct Flood<'a> {
    start: Instant,
    length: Duration,
    /// What matters and was done meanwhile.
    acted: &'a Shared,
}

impl Flood<'_> {
    fn goes_on(&self) -> bool {
        let lasted = self.start.elapsed();
        let is_late = lasted >= self.length * FLOOD_MAX;
        !is_late && (lasted < self.length || self.acted.read() < ACTS_MIN)
    }
}

fn open_until(joins: &Path, path: &CString, flood: &Flood<'_>, done: &Shared) -> i32 {
    if std::fs::write(joins, "0").is_err() {
        return 1;
    }
    while flood.goes_on() {
        // SAFETY: a string that ends with NUL; the new descriptor is closed.
        unsafe {
            let opened = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CREAT, 0o600);
            if opened < 0 {
                return 2;
            }
            libc::close(opened);
        }
        done.count();
    }
    0
}

fn fork_until(joins: &Path, flood: &Flood<'_>, done: &Shared) -> i32 {
    const AT_ONCE: u64 = 200;
    while flood.goes_on() {
        if fork_many(joins, AT_ONCE, 0, done) != 0 {
            return 1;
        }
    }
    0
}

/// Lets a process of a cgroup be traced; returns its id.
fn traced(group: &Group) -> Result<u32> {
    let joins = group.path().join("cgroup.procs");
    let (id, status) = child::run(|| {
        if std::fs::write(&joins, "0").is_err() {
            return 1;
        }
        // SAFETY: the call takes no further arguments; the child ends at once.
        i32::from(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } != 0)
    })?;
    ensure!(status == 0, "the act itself failed: {status:#x}");
    Ok(id)
}
