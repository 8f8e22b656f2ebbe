//! The sensor guards itself: the worker has no privilege, what ends or stops it is noticed and
//! mended, nothing of that happens without a line in the ledger.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Completion;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tests::fleet::Hosts;
use tests::fleet::brain::{Brain, Settings};
use tests::fleet::process::{Place, Running};
use tests::fleet::sensor::Sensor;
use tests::{figure, interrupt};

/// The host that is watched.
pub(crate) const HOST: &str = "web-1";
/// Time for a sensor to report, with a coverage record every ten seconds.
pub(crate) const REPORT_LIMIT: Duration = Duration::from_secs(45);
/// Time for the loader to start another worker.
pub(crate) const RESTART_LIMIT: Duration = Duration::from_secs(10);
/// Executions of a storm.
const EXECUTIONS: u64 = 3_000;
/// Of these, how many may be missed while links are handed over: a twentieth of a second's.
const MISSED_MAX: u64 = 30;
/// What the loader may keep: DAC_READ_SEARCH, KILL, SETGID, SETUID, SETPCAP, NET_ADMIN, SYS_PTRACE,
/// PERFMON, BPF, and SYS_ADMIN for the namespace of the host.
const LOADER_MAY: u64 =
    1 << 2 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 19 | 1 << 21 | 1 << 38 | 1 << 39;
/// Highest exposure of the unit, as `systemd-analyze security` counts it.
const EXPOSURE_MAX: f64 = 2.0;
/// Most exposure that the scanner's unit may have.
const SCANNER_MAX: f64 = 0.5;

/// A brain and one sensor that it knows.
pub(crate) struct Guarded {
    // Dropped in this order: the programs end before their hosts go.
    pub(crate) sensor: Sensor,
    pub(crate) brain: Brain,
    pub(crate) folder: PathBuf,
    pub(crate) hosts: Hosts,
}

impl Guarded {
    pub(crate) fn start(label: &str) -> Result<Self> {
        Self::start_with(label, |_| String::new())
    }

    /// Starts with more lines of configuration, which may depend on the sensor's folder.
    pub(crate) fn start_with(label: &str, more: impl FnOnce(&Path) -> String) -> Result<Self> {
        Self::start_by(label, |folder, control, place, brain| {
            let more = more(folder);
            Sensor::start_with(folder, control, HOST, place, brain, &more)
        })
    }

    /// Starts with variables in the sensor's environment.
    pub(crate) fn start_with_variables(
        label: &str,
        variables: Vec<(&str, OsString)>,
    ) -> Result<Self> {
        Self::start_by(label, |folder, control, place, brain| {
            Sensor::start_with_variables(folder, control, HOST, place, brain, &variables)
        })
    }

    fn start_by(
        label: &str,
        start: impl FnOnce(&Path, &Place, &Place, &Brain) -> Result<Sensor>,
    ) -> Result<Self> {
        let hosts = Hosts::new(label)?;
        let brain = Brain::start(Settings {
            folder: hosts.subfolder("brain")?,
            place: hosts.control(),
            webhook: None,
            http: ([127, 0, 0, 1], 0).into(),
        })?;
        let folder = hosts.subfolder(HOST)?;
        let (control, place) = (hosts.control(), hosts.place(HOST));
        let sensor = start(&folder, &control, &place, &brain)?;
        let guarded = Self { sensor, brain, folder, hosts };
        guarded.hook("canary", |hook| !attached(hook).is_empty())?;
        Ok(guarded)
    }

    pub(crate) fn worker(&self) -> Result<Pid> {
        interrupt::eventually("a worker", RESTART_LIMIT, || Ok(child_of(self.sensor.pid())))
    }

    pub(crate) fn coverage(&self) -> Result<Option<Value>> {
        let hosts = self.brain.hosts()?;
        Ok(hosts.first().map(|host| host["coverage"].clone()).filter(|c| !c.is_null()))
    }

    /// Waits until coverage has a hook as it should be.
    pub(crate) fn hook(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        interrupt::eventually(&format!("the hook {name}"), REPORT_LIMIT, || {
            let Some(coverage) = self.coverage()? else { return Ok(None) };
            let hooks = coverage["hooks"].as_array().cloned().unwrap_or_default();
            Ok(hooks.into_iter().find(|hook| hook["name"] == name && fits(hook)))
        })
    }

    /// Runs a storm of executions on the host, and does something in the middle of it.
    pub(crate) fn storm(&self, executions: u64, middle: impl FnOnce() -> Result<()>) -> Result<()> {
        let script = format!("i=0; while [ $i -lt {executions} ]; do /bin/true; i=$((i+1)); done");
        let mut command = self.hosts.place(HOST).command("/bin/sh")?;
        command.args(["-c", &script]).stdin(Stdio::null());
        let mut storm = Running::start("the storm", &mut command)?;
        interrupt::sleep(Duration::from_secs(1))?;
        middle()?;
        let status = storm.wait(Duration::from_secs(120))?;
        ensure!(status.success(), "the storm ended with {status}");
        Ok(())
    }

    /// Waits until the ledger of a signal is closed: at least so much seen, and nothing missing.
    pub(crate) fn ledger(&self, signal: &str, at_least: u64) -> Result<Value> {
        let mut latest = Value::Null;
        let closed =
            interrupt::eventually(&format!("{signal} accounted for"), REPORT_LIMIT, || {
                let Some(coverage) = self.coverage()? else { return Ok(None) };
                let lines = coverage["ledger"].as_array().cloned().unwrap_or_default();
                let Some(line) = lines.into_iter().find(|line| line["signal"] == signal) else {
                    return Ok(None);
                };
                latest = line.clone();
                let seen = number(&line["seen"]);
                let told = number(&line["delivered"]) + lost(&line);
                Ok((seen >= at_least && seen == told).then_some(line))
            });
        closed.with_context(|| format!("the ledger says {latest}"))
    }
}

/// The worker's status as the kernel shows it: nothing to take, nothing to gain.
pub fn worker_has_no_privilege() -> Result<()> {
    let guarded = Guarded::start("test-guard-caps")?;
    let worker = guarded.worker()?;
    let of = |pid: u32, field: &str| status_field(pid, field);
    let pid = worker.as_raw().cast_unsigned();
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let value = of(pid, field)?;
        ensure!(u64::from_str_radix(&value, 16) == Ok(0), "{field} of the worker is {value}");
    }
    for (field, expected) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        let value = of(pid, field)?;
        ensure!(value == expected, "{field} of the worker is {value}");
    }
    let uid = of(pid, "Uid")?;
    ensure!(uid.split_whitespace().all(|id| id != "0"), "the worker's users are {uid}");
    let loader = of(guarded.sensor.pid(), "CapPrm")?;
    let kept = u64::from_str_radix(&loader, 16)?;
    ensure!(kept & !LOADER_MAY == 0, "the loader keeps {loader}");
    let sandbox = guarded.hook("sandbox", |hook| !attached(hook).is_empty())?;
    let held = attached(&sandbox);
    ensure!(held.contains("landlock fully") || !landlock_is_there(), "held: {held}");
    ensure!(sandbox["reason"].is_null(), "something is refused or missing: {sandbox}");
    let memory = |pid| -> Result<u64> { Ok(kib(&of(pid, "VmRSS")?)) };
    figure::tell(
        "O-01",
        format_args!(
            "worker: CapEff 0, uid {}, {held}; loader: CapEff {loader}, resident {} KiB + {} KiB",
            uid.split_whitespace().next().unwrap_or_default(),
            memory(pid)?,
            memory(guarded.sensor.pid())?
        ),
    );
    Ok(())
}

/// A worker that is killed in a storm: the kernel's counters lose nothing, and what the worker had
/// in its hands is told.
pub fn killed_in_a_storm() -> Result<()> {
    let guarded = Guarded::start("test-guard-kill")?;
    let mut away = Duration::ZERO;
    guarded.storm(EXECUTIONS, || {
        let first = guarded.worker()?;
        let killed = Instant::now();
        kill(first, Signal::SIGKILL)?;
        interrupt::eventually("another worker", RESTART_LIMIT, || {
            Ok(child_of(guarded.sensor.pid()).filter(|worker| *worker != first))
        })?;
        away = killed.elapsed();
        Ok(())
    })?;
    let exec = guarded.ledger("exec", EXECUTIONS)?;
    let reasons = exec["lost"].as_array().cloned().unwrap_or_default();
    for reason in &reasons {
        let name = reason["reason"].as_str().unwrap_or_default();
        ensure!(name.starts_with("worker_ended"), "lost for another reason: {exec}");
    }
    let told = guarded.hook("worker", |hook| reason(hook).contains("killed by SIGKILL"))?;
    figure::tell(
        "X-01",
        format_args!(
            "killed: another worker after {} ms; of {} executions 0 were missed by the kernel's \
         counters, {} went with the worker; told: {}",
            away.as_millis(),
            exec["seen"],
            lost(&exec),
            reason(&told)
        ),
    );
    Ok(())
}

/// A worker that is stopped goes on, one that is told to end by a stranger is replaced.
pub fn stopped_and_told_to_end() -> Result<()> {
    let guarded = Guarded::start("test-guard-stop")?;
    let worker = guarded.worker()?;
    let stopped = Instant::now();
    kill(worker, Signal::SIGSTOP)?;
    interrupt::eventually("the worker going on", RESTART_LIMIT, || {
        let state = status_field(worker.as_raw().cast_unsigned(), "State")?;
        Ok((!state.starts_with('T')).then_some(()))
    })?;
    let went_on = stopped.elapsed();
    kill(worker, Signal::SIGTERM)?;
    interrupt::eventually("another worker", RESTART_LIMIT, || {
        Ok(child_of(guarded.sensor.pid()).filter(|other| *other != worker))
    })?;
    let told = guarded.hook("worker", |hook| reason(hook).contains("started again 1 times"))?;
    ensure!(reason(&told).contains("stopped 1 times"), "told: {told}");
    let went_on = went_on.as_millis();
    figure::tell(
        "X-01",
        format_args!("stopped: went on after {went_on} ms; told: {}", reason(&told)),
    );
    Ok(())
}

/// New settings in a storm: a broken file changes nothing, a good one is taken, nothing is lost.
pub fn settings_in_a_storm() -> Result<()> {
    let guarded = Guarded::start("test-guard-settings")?;
    let config = guarded.folder.join("sensor.toml");
    let good = fs::read_to_string(&config)?;
    let loader = Pid::from_raw(guarded.sensor.pid().cast_signed());
    fs::write(&config, good.replace("[collect]", "[colect]"))?;
    kill(loader, Signal::SIGHUP)?;
    let refused = guarded.hook("settings", |hook| reason(hook).contains("colect"))?;
    guarded.storm(EXECUTIONS, || {
        fs::write(&config, good.replace("[collect]", "[collect]\ntick_ms = 200"))?;
        kill(loader, Signal::SIGHUP).context("the loader is gone")
    })?;
    guarded.hook("settings", |hook| attached(hook).contains("again 1 times"))?;
    let exec = guarded.ledger("exec", EXECUTIONS)?;
    ensure!(lost(&exec) == 0, "events were lost to new settings: {exec}");
    println!("settings: {}; then taken, 0 of {} lost", reason(&refused), exec["seen"]);
    Ok(())
}

/// A mount that ends with this value.
pub(crate) struct Mounted(pub(crate) PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Also when the sensor never came so far as to mount it.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A loader that is killed in a storm: pinned programs go on counting while nobody is there, and
/// the next loader delivers what they counted.
pub fn loader_killed_in_a_storm() -> Result<()> {
    let names = |folder: &Path| folder.join("bpf");
    let mut guarded = Guarded::start_with("test-guard-loader", |folder| {
        format!("[guard]\npin = \"{}\"\n", names(folder).display())
    })?;
    let _mounted = Mounted(names(&guarded.folder));
    let script = format!("i=0; while [ $i -lt {EXECUTIONS} ]; do /bin/true; i=$((i+1)); done");
    let mut command = guarded.hosts.place(HOST).command("/bin/sh")?;
    command.args(["-c", &script]).stdin(Stdio::null());
    let mut storm = Running::start("the storm", &mut command)?;
    interrupt::sleep(Duration::from_millis(500))?;
    let away = Instant::now();
    guarded.sensor.kill()?;
    interrupt::sleep(Duration::from_secs(1))?;
    guarded.sensor = Sensor::again(&guarded.folder, &guarded.hosts.control(), HOST)?;
    guarded.worker()?;
    let away = away.elapsed();
    let status = storm.wait(Duration::from_secs(120))?;
    ensure!(status.success(), "the storm ended with {status}");
    // What happened while the links were handed over is missed by the kernel's counters too.
    let exec = guarded.ledger("exec", EXECUTIONS - MISSED_MAX)?;
    let log = guarded.sensor.log();
    let taken_over =
        log.lines().find(|line| line.contains("were taken over") && line.contains("gap"));
    let taken_over = taken_over.context("the log does not tell of maps that were taken over")?;
    figure::tell(
        "S-16",
        format_args!(
            "loader killed: away for {} ms; {} of {EXECUTIONS} executions seen, {} lost with the \
         worker; {taken_over}",
            away.as_millis(),
            exec["seen"],
            lost(&exec)
        ),
    );
    Ok(())
}

/// The unit's exposure, and whether systemd understands it.
pub fn unit_is_strict() -> Result<libtest_mimic::Completion> {
    for (unit, most) in
        [("sakuramori-sensor.service", EXPOSURE_MAX), ("sakuramori-scanner@.service", SCANNER_MAX)]
    {
        if let Completion::Ignored { reason } = strict(unit, most)? {
            return Ok(Completion::Ignored { reason });
        }
    }
    Ok(Completion::Completed)
}

fn strict(unit: &str, most: f64) -> Result<Completion> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd").join(unit);
    let analyze =
        |arguments: &[&str]| Command::new("systemd-analyze").args(arguments).arg(&path).output();
    let Ok(output) = analyze(&["security", "--offline=true"]) else {
        return Ok(Completion::ignored_with("needs systemd-analyze"));
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains("Overall exposure level"));
    let line = line.with_context(|| format!("no verdict in {text}"))?;
    let mut words = line.rsplit(':').next().unwrap_or_default().split_whitespace();
    let exposure: f64 = words.next().context("no number")?.parse()?;
    ensure!(exposure <= most, "the exposure of {unit} is {exposure}");
    let verified = analyze(&["verify"]).context("could not run systemd-analyze")?;
    let complaints = String::from_utf8_lossy(&verified.stderr).into_owned();
    // The program is not installed where this runs.
    let serious = complaints.lines().filter(|line| !line.contains("is not executable"));
    let serious: Vec<&str> = serious.filter(|line| line.contains("sakuramori-s")).collect();
    ensure!(serious.is_empty(), "systemd complains: {serious:?}");
    figure::tell("O-02", format_args!("{unit}: exposure {exposure} of at most {most}"));
    Ok(Completion::Completed)
}

/// Runs a trial that needs the kernel programs, or says that it cannot.
pub fn with_programs(run: fn() -> Result<()>) -> Result<libtest_mimic::Completion> {
    match tests::kernel::unavailable() {
        Some(reason) => Ok(libtest_mimic::Completion::ignored_with(reason)),
        None => run().map(|()| libtest_mimic::Completion::Completed),
    }
}

fn child_of(parent: u32) -> Option<Pid> {
    let text = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    let mut children = text.split_whitespace().filter_map(|word| word.parse().ok());
    // A canary is a child for a moment, too.
    let is_worker = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|c| c.trim() == "sakuramori-work")
    };
    children.find(is_worker).map(Pid::from_raw)
}

pub(crate) fn status_field(pid: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    match value {
        Some(value) => Ok(value.trim().to_owned()),
        None => bail!("no {field} of process {pid}"),
    }
}

fn landlock_is_there() -> bool {
    const CREATE_RULESET: nix::libc::c_long = 444;
    const VERSION: u32 = 1;
    // SAFETY: asking for the version takes no memory.
    unsafe { nix::libc::syscall(CREATE_RULESET, 0, 0, VERSION) > 0 }
}

pub(crate) fn kib(text: &str) -> u64 {
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

pub(crate) fn attached(hook: &Value) -> &str {
    hook["attached"].as_str().unwrap_or_default()
}

pub(crate) fn reason(hook: &Value) -> &str {
    hook["reason"].as_str().unwrap_or_default()
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

pub(crate) fn lost(line: &Value) -> u64 {
    let reasons = line["lost"].as_array().cloned().unwrap_or_default();
    reasons.iter().map(|reason| number(&reason["count"])).sum()
}
