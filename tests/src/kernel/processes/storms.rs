//! Storms: what is seen is delivered or lost for a reason, exactly, and one cgroup's storm costs
//! the others nothing. Every trial counts on its own.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;
use sensor::probe::{Scope, Settings};
use sensor_abi::{activity::Act, loss::Loss, seen::Signal};

use super::{TRUE, settings};
use crate::{
    figure,
    kernel::{
        child,
        group::{self, Group},
        watch::{Event, Watch, unavailable},
    },
    skip::trial,
};

/// Executions while nobody reads: more than the ring holds.
const EXECUTIONS: u64 = 2_000;
/// Bytes of an argument that makes their records as long as some are.
const ARGUMENT: usize = 3_000;
/// A guest without hardware help makes as many as it can in this time.
const STORM_LIMIT: Duration = Duration::from_secs(8);
/// Names another number of executions, such as 100000, for a run that may take minutes.
const EXECUTIONS_VARIABLE: &str = "SAKURAMORI_TEST_EXECUTIONS";
/// Processes of the bomb: more than its allowance, and few enough for a slow guest.
const BOMB: u64 = 20_000;
/// Processes of the neighbour.
const NEIGHBOUR: u64 = 200;
/// What the programs let one cgroup report: a burst, and so many a second on top.
const FORK_BURST: u64 = 4_096;
const FORKS_PER_SECOND: u64 = 2_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("processes::nothing_is_lost_in_silence_while_nobody_reads", paused),
        trial("processes::a_fork_bomb_costs_its_neighbours_nothing", bomb),
        trial("processes::a_reused_id_is_another_process", reuse),
    ]
}

pub(super) fn scoped(group: &Group) -> Settings {
    Settings { scope: Scope { cgroup: Some(group.path().to_owned()), netns: None }, ..settings() }
}

/// Events of a signal that were seen, and those lost by reason.
pub(super) fn account(watch: &mut Watch, signal: Signal) -> (u64, [u64; Loss::COUNT]) {
    let lost = watch.drain.lost();
    (watch.drain.seen()[signal as usize], Loss::ALL.map(|loss| lost[loss.slot(signal)]))
}

/// Reads everything; returns executions, forks and exits, in all and by cgroup.
pub(super) fn delivered(watch: &mut Watch) -> Result<Vec<(Signal, u64)>> {
    let events = watch.until("records", |_| true)?;
    let signal = |event: &Event| match event {
        Event::Exec(exec) => Some((Signal::Exec, exec.header.cgroup_id)),
        Event::Fork(fork) => Some((Signal::Fork, fork.header.cgroup_id)),
        Event::Exit(exit) => Some((Signal::Exit, exit.header.cgroup_id)),
        _ => None,
    };
    Ok(events.iter().filter_map(signal).collect())
}

pub(super) fn count(delivered: &[(Signal, u64)], signal: Signal) -> u64 {
    delivered.iter().filter(|(of, _)| *of == signal).count() as u64
}

fn check(
    watch: &mut Watch,
    delivered: &[(Signal, u64)],
    (row, signal): (&str, Signal),
    done: u64,
) -> Result<u64> {
    let (seen, lost) = account(watch, signal);
    let arrived = count(delivered, signal);
    let all_lost: u64 = lost.iter().sum();
    let by: Vec<String> = (Loss::ALL.iter().zip(lost).filter(|(_, count)| *count > 0))
        .map(|(loss, count)| format!("{} {count}", loss.name()))
        .collect();
    let (name, by) = (signal.name(), by.join(", "));
    let residual = seen.abs_diff(arrived + all_lost);
    figure::tell(
        row,
        format_args!(
            "{name}: {done} done = {seen} seen = {arrived} delivered + {all_lost} lost ({by}), \
             residual {residual}"
        ),
    );
    ensure!(seen == done, "{}: {seen} seen of {done}", signal.name());
    ensure!(arrived + all_lost == seen, "{}: a residual", signal.name());
    Ok(all_lost)
}

fn paused() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let wanted = match std::env::var(EXECUTIONS_VARIABLE) {
        Ok(number) => (number.parse()?, Duration::MAX),
        Err(_) => (EXECUTIONS, STORM_LIMIT),
    };
    let done = Shared::new()?;
    let group = Group::new(root.join(group::name("paused")))?;
    let mut watch = Watch::start(&scoped(&group))?;
    let joins = group.path().join("cgroup.procs");
    // The runner forks and executes; it is in the group, and is itself neither forked nor executed
    // there, but ends there.
    let runner = child::start(|| run_many(&joins, wanted, &done))?;
    let mut status = 0;
    // SAFETY: a child of ours, and a status that lives through the call.
    unsafe { libc::waitpid(runner.as_raw(), &raw mut status, 0) };
    ensure!(status == 0, "the runner ended with {status:#x}");
    let executions = done.read();
    let mut all = delivered(&mut watch)?;
    all.extend(delivered(&mut watch)?);
    let lost = check(&mut watch, &all, ("S-01", Signal::Exec), executions)?;
    check(&mut watch, &all, ("S-01", Signal::Fork), executions)?;
    check(&mut watch, &all, ("S-01", Signal::Exit), executions + 1)?;
    // What comes afterwards arrives.
    let mut late = group.command(TRUE).spawn()?;
    late.wait()?;
    super::exec_by(&mut watch, late.id())?;
    if lost == 0 {
        ensure!(executions < wanted.0, "the ring holds {executions} executions: nothing is shown");
        let reason = format!("{executions} executions took {STORM_LIMIT:?}, which is no storm");
        return Ok(Completion::ignored_with(reason));
    }
    Ok(Completion::Completed)
}

/// Joins a cgroup and executes a program so many times, or for so long.
pub(super) fn run_many(
    joins: &std::path::Path,
    (executions, limit): (u64, Duration),
    done: &Shared,
) -> i32 {
    if fs::write(joins, "0").is_err() {
        return 1;
    }
    let start = Instant::now();
    let argument = "x".repeat(ARGUMENT);
    for _ in 0..executions {
        match Command::new(TRUE).arg(&argument).status() {
            Ok(status) if status.success() => done.count(),
            _ => return 2,
        }
        if start.elapsed() > limit {
            break;
        }
    }
    0
}

/// A number that a child counts and its parent reads.
pub(super) struct Shared(*const AtomicU64);

impl Shared {
    pub(super) fn new() -> Result<Self> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapping = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: new memory of one page, which the kernel fills with zeros and nobody frees.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 8, protection, mapping, -1, 0) };
        ensure!(page != libc::MAP_FAILED, "no memory to share");
        Ok(Self(page.cast()))
    }

    pub(super) fn count(&self) {
        // SAFETY: aligned memory that is never freed.
        unsafe { &*self.0 }.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> u64 {
        // SAFETY: as above.
        unsafe { &*self.0 }.load(Relaxed)
    }
}

fn bomb() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let Some(root) = group::root() else {
        return Ok(Completion::ignored_with("no cgroup v2 hierarchy is mounted"));
    };
    let both = Group::new(root.join(group::name("bomb")))?;
    let (bad, good) = (Group::new(both.path().join("bad"))?, Group::new(both.path().join("good"))?);
    let mut watch = Watch::start(&scoped(&both))?;
    let (bad_joins, good_joins) =
        (bad.path().join("cgroup.procs"), good.path().join("cgroup.procs"));
    let start = Instant::now();
    let (bombed, neighbours) = (Shared::new()?, Shared::new()?);
    let bomber = child::start(|| fork_many(&bad_joins, BOMB, 0, &bombed))?;
    let pause_ns = 2_000_000;
    let neighbour = child::start(|| fork_many(&good_joins, NEIGHBOUR, pause_ns, &neighbours))?;
    // The sensor reads meanwhile, as it does.
    let mut all = Vec::new();
    let mut running = vec![bomber, neighbour];
    while !running.is_empty() {
        all.extend(delivered(&mut watch)?);
        std::thread::sleep(Duration::from_millis(50));
        running.retain(|pid| {
            let mut status = 0;
            // SAFETY: children of ours, and a status that lives through the call.
            unsafe { libc::waitpid(pid.as_raw(), &raw mut status, libc::WNOHANG) == 0 }
        });
    }
    let took = start.elapsed();
    all.extend(delivered(&mut watch)?);
    let (bombed, neighbours) = (bombed.read(), neighbours.read());
    let done = bombed + neighbours;
    let lost = check(&mut watch, &all, ("S-04", Signal::Fork), done)?;
    check(&mut watch, &all, ("S-04", Signal::Exit), done + 2)?;
    let (_, by_reason) = account(&mut watch, Signal::Fork);
    ensure!(by_reason[Loss::Throttled as usize] == lost, "lost for other reasons: {by_reason:?}");
    let acts = watch.drain.activity();
    let of_bomber = acts.iter().filter(|(key, _)| key.tgid == bomber.as_raw() as u32);
    let counted: u64 = of_bomber.map(|(_, counts)| counts[Act::Fork as usize]).sum();
    ensure!(counted == bombed, "{counted} forks of {bombed} are counted");
    let good_id = fs::metadata(good.path()).map(|found| {
        use std::os::unix::fs::MetadataExt as _;
        found.ino()
    })?;
    let theirs: Vec<_> = all.iter().copied().filter(|(_, cgroup)| *cgroup == good_id).collect();
    let arrived = (count(&theirs, Signal::Fork), count(&theirs, Signal::Exit));
    figure::tell(
        "S-04",
        format_args!(
            "{bombed} forks in {:.1} s by one cgroup, {} of {neighbours} forks of its neighbour told",
            took.as_secs_f64(),
            arrived.0
        ),
    );
    let all_theirs = (neighbours, neighbours + 1);
    ensure!(arrived == all_theirs, "of the neighbour {arrived:?} arrived, not {all_theirs:?}");
    let allowed = FORK_BURST + FORKS_PER_SECOND * (took.as_secs() + 1);
    if lost == 0 && bombed > allowed {
        anyhow::bail!("{bombed} forks in {took:?} were not throttled");
    }
    if lost == 0 {
        let reason = format!("{bombed} forks took {took:?} here, which is no storm");
        return Ok(Completion::ignored_with(reason));
    }
    Ok(Completion::Completed)
}

/// Joins a cgroup, then makes processes that end at once, one after the other. They share this
/// one's memory, so that making one is as cheap as for a small program.
pub(super) fn fork_many(joins: &std::path::Path, forks: u64, pause_ns: i64, done: &Shared) -> i32 {
    const STACK: usize = 64 * 1024;
    extern "C" fn end(_argument: *mut libc::c_void) -> libc::c_int {
        0
    }
    if fs::write(joins, "0").is_err() {
        return 1;
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let mapping = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: new memory, which nobody frees.
    let stack = unsafe { libc::mmap(std::ptr::null_mut(), STACK, protection, mapping, -1, 0) };
    let start = Instant::now();
    for _ in 0..forks {
        if start.elapsed() > STORM_LIMIT {
            break;
        }
        // SAFETY: the child has a stack of its own and ends at once; this process waits meanwhile.
        unsafe {
            match libc::clone(end, stack.byte_add(STACK), flags, std::ptr::null_mut()) {
                -1 => return 2,
                child => libc::waitpid(child, std::ptr::null_mut(), 0),
            };
            done.count();
            let pause = libc::timespec { tv_sec: 0, tv_nsec: pause_ns };
            if pause_ns > 0 {
                libc::nanosleep(&raw const pause, std::ptr::null_mut());
            }
        }
    }
    0
}

/// The kernel lets root say which id it gives next.
fn reuse() -> Result<Completion> {
    const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";
    const TRIES: u32 = 50;
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let (first, _) = child::run(|| 0)?;
    // Ids are told apart by the ten milliseconds in which their processes start.
    std::thread::sleep(Duration::from_millis(30));
    for _ in 0..TRIES {
        if fs::write(LAST_PID, (first - 1).to_string()).is_err() {
            return Ok(Completion::ignored_with("this kernel lets nobody choose process ids"));
        }
        let (id, _) = child::run(|| 0)?;
        if id != first {
            continue;
        }
        let of = |event: &Event| match event {
            Event::Fork(fork) if fork.header.tgid == first => Some(fork.header.start_ns),
            _ => None,
        };
        let events =
            watch.until("both forks", |events| events.iter().filter_map(of).count() == 2)?;
        let starts: Vec<u64> = events.iter().filter_map(of).collect();
        let keys: Vec<_> =
            starts.iter().map(|start| sensor::process::Key::new(first, *start)).collect();
        ensure!(keys[0] != keys[1], "two processes have the same name: {starts:?}");
        return Ok(Completion::Completed);
    }
    let reason = format!("other processes took the id {TRIES} times");
    Err(anyhow::anyhow!(reason)).context("could not get an id twice")
}
