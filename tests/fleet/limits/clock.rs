//! A clock that is set while the sensor runs. The host's own clock stays as it is: a small library
//! that is loaded into the sensor moves what the sensor reads.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Completion;
use tests::{figure, interrupt};

use super::super::guard::{Guarded, REPORT_LIMIT, lost};
use super::unless_possible;

/// How far the clock is set.
const STEP_S: i64 = 3_600;
/// Executions before and after.
const EXECUTIONS: u64 = 300;

/// Adds the seconds in a file, which it maps at its start, to calendar time.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
static volatile long *step;
static int (*real)(clockid_t, struct timespec *);
__attribute__((constructor)) static void begin(void) {
    real = dlsym(RTLD_NEXT, "clock_gettime");
    const char *path = getenv("CLOCK_STEP_FILE");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = file < 0 ? MAP_FAILED : mmap(0, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    step = at == MAP_FAILED ? 0 : at;
}
int clock_gettime(clockid_t clock, struct timespec *time) {
    int answer = real(clock, time);
    if (clock == CLOCK_REALTIME && step) time->tv_sec += *step;
    return answer;
}
"#;

/// The clock goes an hour ahead: the brain is told, no process gets another name, nothing is lost,
/// and no duration is wrong.
pub fn clock_is_set() -> Result<Completion> {
    unless_possible(|| {
        let folder = tempfile::tempdir()?;
        let library = folder.path().join("step.so");
        if !build(&library)? {
            return Ok(Completion::ignored_with("there is no C compiler to make a clock with"));
        }
        let step = folder.path().join("step");
        set(&step, 0)?;
        let guarded = Guarded::start_with_variables(
            "test-limit-clock",
            vec![("LD_PRELOAD", library.into()), ("CLOCK_STEP_FILE", step.clone().into())],
        )?;
        let worker = guarded.worker()?;
        guarded.storm(EXECUTIONS, || Ok(()))?;
        ensure!(offset_ms(&guarded)?.abs() < 1_000.0, "the clock is wrong before it is set");
        let set_at = Instant::now();
        guarded.storm(EXECUTIONS, || set(&step, STEP_S))?;
        let told = interrupt::eventually("a clock that is ahead", REPORT_LIMIT, || {
            let offset = offset_ms(&guarded)?;
            Ok(((offset - STEP_S as f64 * 1e3).abs() < 1_000.0).then_some(offset))
        })?;
        let took = set_at.elapsed();
        let host = guarded.brain.hosts()?.into_iter().next().context("the host is gone")?;
        ensure!(host["clock_wrong"] == true && host["clock_steps"] == 1, "not flagged: {host}");
        let exec = guarded.ledger("exec", 2 * EXECUTIONS)?;
        let exit = guarded.ledger("exit", 2 * EXECUTIONS)?;
        ensure!(lost(&exec) + lost(&exit) == 0, "lost: {exec} {exit}");
        ensure!(guarded.worker()? == worker, "the worker was started again");
        figure::tell(
            "S-12",
            format_args!(
                "clock set {STEP_S} s ahead in a storm: the brain is told {told:.0} ms after \
                 {:.1} s; {} executions and {} exits, 0 lost",
                took.as_secs_f64(),
                exec["seen"],
                exit["seen"]
            ),
        );
        drop(guarded);
        interrupt::sleep(Duration::ZERO)?;
        Ok(Completion::Completed)
    })
}

fn offset_ms(guarded: &Guarded) -> Result<f64> {
    let hosts = guarded.brain.hosts()?;
    hosts.first().and_then(|host| host["clock_offset_ms"].as_f64()).context("no offset is told")
}

/// Writes in place: the file is mapped.
fn set(file: &Path, seconds: i64) -> Result<()> {
    let mut file = fs::File::options().write(true).create(true).truncate(false).open(file)?;
    file.write_all(&seconds.to_ne_bytes())?;
    Ok(())
}

fn build(library: &Path) -> Result<bool> {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(compiler);
    command.args(["-x", "c", "-shared", "-fPIC", "-o"]).arg(library).arg("-");
    let Ok(mut child) = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn() else {
        return Ok(false);
    };
    child.stdin.take().context("no way to the compiler")?.write_all(LIBRARY.as_bytes())?;
    Ok(child.wait()?.success())
}
