//! The sensor within limits: little memory, little processor time, a disk that fails, a brain that
//! is away, a clock that is set, a long run. What it gives up is counted, and it goes on.
//!
//! `SAKURAMORI_TEST_SOAK_SECONDS` and `SAKURAMORI_TEST_AWAY_SECONDS` name longer times,
//! `SAKURAMORI_TEST_MEMORY_MIB` another amount of memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Completion;
use nix::mount::{MsFlags, mount};
use serde_json::Value;
use tests::fleet::process::Running;
use tests::{binaries, figure, interrupt, kernel};

use super::guard::{
    Guarded, HOST, Mounted, REPORT_LIMIT, attached, kib, lost, number, reason, status_field,
};

pub mod clock;
mod group;

use self::group::Limited;

/// Executions of a storm.
const EXECUTIONS: u64 = 1_500;
/// MiB that the sensor may have, with all its maps: 62 are used while the programs are loaded, when
/// the verifier has some of them, and 43 after that. That is on two processors.
const MEMORY_MIB: u64 = 64;
/// MiB that the maps take for each further processor (`doctor` tells: 18 for six more).
const MEMORY_PER_PROCESSOR_MIB: u64 = 3;
/// Processor time in a period: a twentieth of one CPU.
const QUOTA_US: [u64; 2] = [5_000, 100_000];
/// Seconds of the soak, and how many of them pass at least before it: half of a longer one.
const SOAK_SECONDS: u64 = 20;
const WARM_UP_SECONDS: u64 = 6;
/// How much memory may grow while it is compared: the table of processes fills up for five minutes,
/// to its limit of 11 MiB.
const GROWTH_MAX_KIB: f64 = 12.0 * 1024.0;
/// Seconds for which the brain is away.
const AWAY_SECONDS: u64 = 5;

/// Says why there is nothing to be tried, if so.
fn unless_possible(run: impl FnOnce() -> Result<Completion>) -> Result<Completion> {
    match kernel::unavailable() {
        Some(reason) => Ok(Completion::ignored_with(reason)),
        None => run(),
    }
}

/// Both processes of the sensor.
fn processes(guarded: &Guarded) -> Result<[u32; 2]> {
    Ok([guarded.sensor.pid(), guarded.worker()?.as_raw().cast_unsigned()])
}

fn resident_kib(guarded: &Guarded) -> Result<u64> {
    // What both have in common is the loader's, and the program's pages are the page cache's.
    processes(guarded)?.into_iter().map(|pid| Ok(kib(&status_field(pid, "RssAnon")?))).sum()
}

/// The sensor in a cgroup with little memory, maps and all, in a storm while the brain is away.
pub fn little_memory() -> Result<Completion> {
    unless_possible(|| {
        let further = thread::available_parallelism()?.get().saturating_sub(2) as u64;
        let enough = MEMORY_MIB + further * MEMORY_PER_PROCESSOR_MIB;
        let memory = figure::size("SAKURAMORI_TEST_MEMORY_MIB", enough)? << 20;
        let limit = memory.to_string();
        let limited = match Limited::new("memory", &[("memory.limit_in_bytes", &limit)], &limit)? {
            Ok(limited) => limited,
            Err(why) => return Ok(Completion::ignored_with(why)),
        };
        // The brain is there already when this is called; only the sensor is started within.
        let mut entered = Ok(());
        let started = Guarded::start_with("test-limit-memory", |_| {
            entered = limited.enter(true);
            String::new()
        });
        limited.enter(false)?;
        entered?;
        let mut guarded = started?;
        let before = processes(&guarded)?;
        ensure!(before.iter().all(|pid| limited.has(*pid)), "the sensor is not in its cgroup");
        guarded.brain.kill()?;
        guarded.storm(EXECUTIONS, || connects(&guarded, 5_000)?.end())?;
        guarded.brain.restart()?;
        let exec = guarded.ledger("exec", EXECUTIONS)?;
        let socket = guarded.ledger("socket", 5_000)?;
        ensure!(processes(&guarded)? == before, "it was started again: {}", guarded.sensor.log());
        let (peak, kills) = (limited.memory_peak()?, limited.kills()?);
        figure::tell(
            "S-08",
            format_args!(
                "{} MiB at most of {} MiB, maps included; {kills} killed for memory; {} of {} \
                 executions and {} of {} socket changes shed, all counted",
                peak >> 20,
                memory >> 20,
                lost(&exec),
                exec["seen"],
                lost(&socket),
                socket["seen"],
            ),
        );
        ensure!(kills == 0 && peak <= memory, "{kills} killed, {peak} bytes");
        Ok(Completion::Completed)
    })
}

/// The sensor with a twentieth of a CPU beside storms of all kinds: executions come through.
pub fn little_time() -> Result<Completion> {
    unless_possible(|| {
        let [quota, period] = QUOTA_US.map(|number| number.to_string());
        let v1 = [("cpu.cfs_period_us", period.as_str()), ("cpu.cfs_quota_us", quota.as_str())];
        let limited = match Limited::new("cpu", &v1, &format!("{quota} {period}"))? {
            Ok(limited) => limited,
            Err(why) => return Ok(Completion::ignored_with(why)),
        };
        let guarded = Guarded::start("test-limit-time")?;
        let before = processes(&guarded)?;
        before.into_iter().try_for_each(|pid| limited.take(pid))?;
        let connects = connects(&guarded, 20_000)?;
        guarded.storm(EXECUTIONS, || Ok(()))?;
        connects.end()?;
        let mut lag_ms: f64 = 0.0;
        let start = Instant::now();
        // The figures of the storm are told in the coverage after it.
        while start.elapsed() < Duration::from_secs(12) {
            let coverage = guarded.coverage()?.unwrap_or(Value::Null);
            lag_ms = lag_ms.max(coverage["drain_lag_ms"].as_f64().unwrap_or(0.0));
            interrupt::sleep(Duration::from_millis(500))?;
        }
        let throttled = limited.throttled()?;
        let exec = guarded.ledger("exec", EXECUTIONS)?;
        let [socket, exit] = ["socket", "exit"].map(|signal| guarded.ledger(signal, EXECUTIONS));
        let (socket, exit) = (socket?, exit?);
        let shed = lost(&socket) + lost(&exit);
        figure::tell(
            "S-09",
            format_args!(
                "{} of {} executions lost; {shed} of {} socket changes and exits shed, all \
                 counted; longest delay of a record {lag_ms:.0} ms; held back {throttled} times",
                lost(&exec),
                exec["seen"],
                number(&socket["seen"]) + number(&exit["seen"]),
            ),
        );
        ensure!(throttled > 0, "the quota was never used up: this is no trial");
        ensure!(processes(&guarded)? == before, "it was started again: {}", guarded.sensor.log());
        ensure!(lost(&exec) == 0 || shed > 0, "executions were lost first: {exec}");
        Ok(Completion::Completed)
    })
}

/// Connections on the host, one after the other.
struct Connects {
    client: Running,
    _server: Running,
}

fn connects(guarded: &Guarded, count: u64) -> Result<Connects> {
    let actor = binaries::find(binaries::ACTOR)?;
    let address = "127.0.0.1:47400";
    let start = |name: &str, arguments: &[&str]| -> Result<Running> {
        let mut command = guarded.hosts.place(HOST).command(&actor)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        Running::start(name, &mut command)
    };
    let server = start("the server", &["accept-serve", address])?;
    interrupt::sleep(Duration::from_millis(300))?;
    let client = start("the client", &["storm", "connect", address, &count.to_string()])?;
    Ok(Connects { client, _server: server })
}

impl Connects {
    fn end(mut self) -> Result<()> {
        let status = self.client.wait(Duration::from_secs(60))?;
        ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }
}

/// The spool's disk is full, then read-only as well, while the brain is away: memory stands in, and
/// that is told.
pub fn disk_fails() -> Result<Completion> {
    /// Half of what a storm leaves in the spool, or less.
    const OPTIONS: &str = "size=12k,mode=0777";
    unless_possible(|| {
        let spool = |folder: &Path| folder.join("state/spool");
        let mut mounted = Ok(());
        let mut guarded = Guarded::start_with("test-limit-disk", |folder| {
            mounted = small_disk(&spool(folder), MsFlags::empty(), OPTIONS);
            String::new()
        })?;
        mounted.context("could not mount a small disk")?;
        let disk = Mounted(spool(&guarded.folder));
        let before = processes(&guarded)?;
        let mut failed = 0;
        // A file system cannot become read-only while a file on it is written; a folder can.
        for (what, mode) in [("full", 0o777), ("full and read-only", 0o555)] {
            fs::set_permissions(&disk.0, Permissions::from_mode(mode))?;
            guarded.brain.kill()?;
            guarded.storm(EXECUTIONS, || Ok(()))?;
            guarded.brain.restart()?;
            let told = guarded.hook("spool", |hook| failures(hook) > failed)?;
            failed = failures(&told);
            let exec = guarded.ledger("exec", EXECUTIONS)?;
            ensure!(processes(&guarded)? == before, "started again: {}", guarded.sensor.log());
            figure::tell(
                "S-11",
                format_args!(
                    "disk {what}: 0 ends, {} of {} executions lost; told: {}",
                    lost(&exec),
                    exec["seen"],
                    reason(&told)
                ),
            );
            ensure!(lost(&exec) == 0, "lost although memory had room: {exec}");
        }
        // It is used again once it works.
        fs::set_permissions(&disk.0, Permissions::from_mode(0o777))?;
        small_disk(&disk.0, MsFlags::MS_REMOUNT, "size=64m")?;
        guarded.hook("spool", |hook| attached(hook) == "on disk")?;
        drop(guarded);
        drop(disk);
        Ok(Completion::Completed)
    })
}

/// How often the spool's disk has failed, as its hook tells.
fn failures(hook: &Value) -> u64 {
    let count = reason(hook).strip_prefix("its disk failed ").and_then(|rest| rest.split_once(' '));
    count.and_then(|(count, _)| count.parse().ok()).unwrap_or(0)
}

fn small_disk(at: &Path, flags: MsFlags, options: &str) -> Result<()> {
    fs::create_dir_all(at)?;
    mount(Some("none"), at, Some("tmpfs"), flags, Some(options))?;
    Ok(())
}

/// The brain is away and the spool small: the oldest bulk goes first, and what is left comes
/// through as soon as the brain is back.
pub fn brain_away() -> Result<Completion> {
    const SPOOL_BYTES: u64 = 4 << 20;
    /// Bytes of an argument that no compression makes smaller.
    const ARGUMENT: usize = 3_000;
    unless_possible(|| {
        let seconds = figure::size("SAKURAMORI_TEST_AWAY_SECONDS", AWAY_SECONDS)?;
        let spool = format!("[spool]\nmax_bytes = {SPOOL_BYTES}\n");
        let mut guarded = Guarded::start_with("test-limit-away", |_| spool.clone())?;
        guarded.brain.kill()?;
        let start = Instant::now();
        let script = format!(
            "i=0; while [ $i -lt {EXECUTIONS} ]; do \
             /bin/true $(head -c {ARGUMENT} /dev/urandom | base64 -w 0); i=$((i+1)); done"
        );
        let mut command = guarded.hosts.place(HOST).command("/bin/sh")?;
        command.args(["-c", &script]).stdin(Stdio::null());
        let mut storm = Running::start("the storm", &mut command)?;
        ensure!(storm.wait(Duration::from_secs(120))?.success(), "the storm failed");
        interrupt::sleep(Duration::from_secs(seconds).saturating_sub(start.elapsed()))?;
        let spooled = folder_bytes(&guarded.folder.join("state/spool"))?;
        let away = start.elapsed();
        guarded.brain.restart()?;
        let back = Instant::now();
        let empty =
            || Ok((folder_bytes(&guarded.folder.join("state/spool"))? < 64 << 10).then_some(()));
        interrupt::eventually("an empty spool", REPORT_LIMIT, empty)?;
        let caught_up = back.elapsed();
        // The storm has three executions in each round.
        let exec = guarded.ledger("exec", 3 * EXECUTIONS)?;
        let [exit, fork] = ["exit", "fork"].map(|signal| guarded.ledger(signal, EXECUTIONS));
        let bulk = lost(&exit?) + lost(&fork?);
        figure::tell(
            "S-10",
            format_args!(
                "brain away for {:.0} s: {} KiB of {} KiB spooled; given up and counted: {} of {} \
                 executions, {bulk} forks and exits; caught up {:.1} s after it was back",
                away.as_secs_f64(),
                spooled >> 10,
                SPOOL_BYTES >> 10,
                lost(&exec),
                exec["seen"],
                caught_up.as_secs_f64(),
            ),
        );
        ensure!(spooled <= SPOOL_BYTES + (64 << 10), "{spooled} bytes on disk");
        ensure!(lost(&exec) > 0, "nothing was given up: this is no trial");
        ensure!(bulk > 0, "security records were given up before bulk: {exec}");
        Ok(Completion::Completed)
    })
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)?.flatten() {
        // A segment may be gone by now.
        sum += entry.metadata().map_or(0, |about| about.len());
    }
    Ok(sum)
}

/// Storms without a pause: memory and descriptors stay as they are.
pub fn soak() -> Result<Completion> {
    unless_possible(|| {
        let seconds = figure::size("SAKURAMORI_TEST_SOAK_SECONDS", SOAK_SECONDS)?;
        let guarded = Guarded::start("test-limit-soak")?;
        let before = processes(&guarded)?;
        let mut command = guarded.hosts.place(HOST).command("/bin/sh")?;
        command.args(["-c", "while :; do /bin/true; done"]).stdin(Stdio::null());
        let _storm = Running::start("the storm", &mut command)?;
        interrupt::sleep(Duration::from_secs(WARM_UP_SECONDS.max(seconds / 2)))?;
        let (start, first, descriptors) = (Instant::now(), seen(&guarded)?, opened(&guarded)?);
        let mut samples = Vec::new();
        while start.elapsed() < Duration::from_secs(seconds) {
            samples.push((start.elapsed().as_secs_f64(), resident_kib(&guarded)? as f64));
            interrupt::sleep(Duration::from_millis(500))?;
        }
        let rate = (seen(&guarded)? - first) as f64 / start.elapsed().as_secs_f64();
        let (slope, more) = (slope(&samples), opened(&guarded)? as i64 - descriptors as i64);
        let grown = slope * seconds as f64;
        let last = samples.last().map_or(0.0, |sample| sample.1);
        figure::tell(
            "S-07",
            format_args!(
                "{seconds} s at {rate:.0} events/s: resident {:.1} MiB, {:+.2} MiB/h \
                 (extrapolated from {grown:+.0} KiB), {more:+} descriptors",
                last / 1024.0,
                slope * 3600.0 / 1024.0,
            ),
        );
        ensure!(rate > 500.0, "{rate} events a second are no soak");
        ensure!(grown < GROWTH_MAX_KIB, "memory grows: {samples:?}");
        ensure!(more.abs() <= 8, "{more} more descriptors");
        ensure!(processes(&guarded)? == before, "it was started again: {}", guarded.sensor.log());
        Ok(Completion::Completed)
    })
}

/// All that the ledger says was seen.
fn seen(guarded: &Guarded) -> Result<u64> {
    let coverage = guarded.coverage()?.unwrap_or(Value::Null);
    let lines = coverage["ledger"].as_array().cloned().unwrap_or_default();
    Ok(lines.iter().map(|line| number(&line["seen"])).sum())
}

fn opened(guarded: &Guarded) -> Result<usize> {
    let count = |pid| Ok(fs::read_dir(PathBuf::from(format!("/proc/{pid}/fd")))?.count());
    processes(guarded)?.into_iter().map(count).sum()
}

/// Least squares.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|sample| sample.0), mean(|sample| sample.1));
    let above: f64 = samples.iter().map(|sample| (sample.0 - x) * (sample.1 - y)).sum();
    let below: f64 = samples.iter().map(|sample| (sample.0 - x).powi(2)).sum();
    if below > 0.0 { above / below } else { 0.0 }
}
