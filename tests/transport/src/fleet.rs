//! One brain and very many sensors: what a session costs, and how long a batch takes to its
//! acknowledgement. The brain is the program that is shipped, and so are the sessions; the sensors
//! are [`crate::load`], in a process of their own.

use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use brain::ca::Ca;
use brain::identity::SensorId;
use brain::store::hosts::HostEntry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::load::{Connected, Identities, Measured, Pace};

/// What must hold with the largest fleet: bytes of the brain, and records a second.
const BYTES_GOAL: u64 = 1536 << 20;
const RECORDS_GOAL: f64 = 300_000.0;

/// What an acknowledgement may take at half load, in milliseconds.
const ACK_GOAL_MS: f64 = 500.0;

/// What a fleet does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many sensors.
    pub sessions: usize,
    /// How fast they send.
    pub pace: Pace,
    /// How long it is measured.
    pub time: Duration,
}

/// What it cost.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    name: String,
    sessions: usize,
    connected: usize,
    connect_s: f64,
    /// Attempts to connect that had to be made again.
    again: usize,
    records_per_second: f64,
    batches_per_second: f64,
    /// Processors that the brain was busy with.
    processors: f64,
    resident: u64,
    resident_per_session: u64,
    ack_ms: [f64; 3],
    late: u64,
}

impl Row {
    /// Starts a brain and a fleet, and measures both.
    pub fn measure(name: &str, folder: &Path, plan: Plan) -> Result<Self> {
        let data = folder.join("data");
        let identities = folder.join("identities.json");
        enrol(&data, plan.sessions, &identities)?;
        let mut brain = Brain::start(folder, &data)?;
        let before = resident(brain.child.id())?;
        let mut load = Load::start(&brain.quic, &identities, plan)?;
        let connected: Connected = load.said("connected")?;
        let (cpu, rest) = (processor_time(brain.child.id())?, resident(brain.child.id())?);
        let measured: Measured = load.said("measured")?;
        let cpu = processor_time(brain.child.id())?.saturating_sub(cpu);
        let after = resident(brain.child.id())?.max(rest);
        load.end()?;
        brain.alive()?;
        Ok(Self {
            name: name.to_owned(),
            sessions: plan.sessions,
            connected: connected.sessions,
            connect_s: connected.seconds,
            again: connected.again,
            records_per_second: measured.records as f64 / measured.seconds,
            batches_per_second: measured.batches as f64 / measured.seconds,
            processors: cpu.as_secs_f64() / measured.seconds,
            resident: after,
            resident_per_session: after.saturating_sub(before) / plan.sessions.max(1) as u64,
            ack_ms: measured.ack_ms,
            late: measured.late,
        })
    }

    /// Batches that were acknowledged in a second.
    pub fn batches_per_second(&self) -> f64 {
        self.batches_per_second
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        let mut row = json!(self);
        row["bench"] = "fleet".into();
        row
    }

    /// For people.
    pub fn to_line(&self) -> String {
        let [p50, p99, p999] = self.ack_ms;
        format!(
            "{:<14} {:>6} {:>8.1} s {:>5} {:>9.0} {:>10.0} {:>8.2} {:>9.2} {:>8.1} MiB {:>7.1} KiB \
             {:>8.1} {:>8.1} {:>8.1} {:>7}",
            self.name,
            self.connected,
            self.connect_s,
            self.again,
            self.batches_per_second,
            self.records_per_second,
            self.processors,
            self.processors * 1_000.0 / self.sessions.max(1) as f64,
            self.resident as f64 / f64::from(1 << 20),
            self.resident_per_session as f64 / 1_024.0,
            p50,
            p99,
            p999,
            self.late,
        )
    }

    /// Whether the largest fleet fits.
    pub fn memory_goal(&self) -> (Value, String) {
        let what = format!("{} sessions in {} MiB", self.connected, self.resident >> 20);
        let met = self.resident <= BYTES_GOAL && self.connected == self.sessions;
        goal("memory", met, &format!("{what}, at most {} MiB", BYTES_GOAL >> 20))
    }

    /// Whether as much as is wanted gets through.
    pub fn rate_goal(&self) -> (Value, String) {
        let met = self.records_per_second >= RECORDS_GOAL;
        let records = self.records_per_second;
        goal("rate", met, &format!("{records:.0} records/s, at least {RECORDS_GOAL}"))
    }

    /// Whether acknowledgements come soon enough.
    pub fn ack_goal(&self) -> (Value, String) {
        let p99 = self.ack_ms[1];
        let what = format!("p99 of acknowledgements {p99:.1} ms at half load, below {ACK_GOAL_MS}");
        goal("ack", p99 < ACK_GOAL_MS, &what)
    }
}

fn goal(name: &str, met: bool, what: &str) -> (Value, String) {
    let verdict = if met { "met" } else { "MISSED" };
    (
        json!({"bench": "fleet", "goal": name, "what": what, "met": met}),
        format!("goal {verdict}: {what}"),
    )
}

/// Heading of the table.
pub fn heading() -> String {
    format!(
        "times in milliseconds; processors of the brain, and those per 1 000 sensors\n\
         {:<14} {:>6} {:>10} {:>5} {:>9} {:>10} {:>8} {:>9} {:>12} {:>11} {:>8} {:>8} {:>8} {:>7}",
        "FLEET",
        "LIVE",
        "CONNECT",
        "AGAIN",
        "BATCHES/S",
        "RECORDS/S",
        "CPU",
        "CPU/1000",
        "RESIDENT",
        "/SESSION",
        "ACK P50",
        "P99",
        "P99.9",
        "LATE"
    )
}

/// Signs certificates with the brain's own CA and lists the hosts as if they had enrolled: ten
/// thousand enrolments would each write the whole list. Returns their ids.
pub(crate) fn enrol(data: &Path, count: usize, identities: &Path) -> Result<Vec<SensorId>> {
    let now_ns = brain::clock::now_ns();
    std::fs::create_dir_all(data.join("keep")).context("failed to make the data directory")?;
    let ca = Ca::open(&data.join("ca"), now_ns)?;
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::default().serialize_request(&key)?;
    let mut known = Identities { key: key.serialize_der(), ..Identities::default() };
    known.ca = ca.certificate().to_vec();
    let (mut hosts, mut ids) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for number in 0..count {
        let id = SensorId::random();
        ids.push(id);
        let issued = ca.issue(id, request.der(), now_ns)?;
        known.certificates.push(issued.der);
        hosts.push(HostEntry {
            id: id.to_string(),
            name: format!("host-{number:05}"),
            role: "web".to_owned(),
            enrolled_ns: now_ns,
            certificate_expires_ns: issued.expires_ns,
            revoked_ns: None,
        });
    }
    std::fs::write(data.join("keep/hosts.json"), serde_json::to_vec(&hosts)?)?;
    std::fs::write(identities, serde_json::to_vec(&known)?)?;
    Ok(ids)
}

/// The brain's program; ended with its guard.
pub(crate) struct Brain {
    child: Child,
    quic: String,
    lines: mpsc::Receiver<String>,
}

impl Brain {
    pub(crate) fn start(folder: &Path, data: &Path) -> Result<Self> {
        Self::start_at(folder, data, "127.0.0.1:0")
    }

    /// Starts one where another was before.
    pub(crate) fn start_at(folder: &Path, data: &Path, listen: &str) -> Result<Self> {
        let program = beside("sakuramori-brain")?;
        let config = folder.join("brain.toml");
        // All sensors have one address here, and all connect at once.
        let limits = "[limits]\nconnections = 20000\nhandshakes_per_second = 100000\n\
                      [log]\nlevel = \"error\"\n[http]\nsetup_link = false\n";
        std::fs::write(&config, limits)?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&config).arg("--data").arg(data);
        command.args(["--listen", listen, "--http", "127.0.0.1:0"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start the brain")?;
        let output = child.stdout.take().context("the brain has no output")?;
        let mut lines = BufReader::new(output).lines();
        let first = lines.next().context("the brain says nothing")??;
        let quic = first.strip_prefix("quic listening on ").map(str::to_owned);
        let (said, later) = mpsc::channel();
        let brain = Self { quic: quic.clone().unwrap_or_default(), child, lines: later };
        ensure!(quic.is_some(), "the brain said {first:?}");
        // The pipe is read to its end, or the brain would block.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|l| said.send(l)));
        Ok(brain)
    }

    /// Returns where sensors connect.
    pub(crate) fn quic(&self) -> &str {
        &self.quic
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(&mut self) -> Result<()> {
        let asked = Command::new("kill").arg(self.child.id().to_string()).status()?;
        ensure!(asked.success(), "the brain cannot be asked to end");
        let ended = self.child.wait()?;
        ensure!(ended.success(), "the brain ended with {ended}");
        Ok(())
    }

    pub(crate) fn processor_time(&self) -> Result<Duration> {
        processor_time(self.child.id())
    }

    /// Returns where people connect; it is told once.
    pub(crate) fn console(&self) -> Result<String> {
        let line = self.lines.recv().context("the brain says nothing more")?;
        let console = line.strip_prefix("console at ").map(|url| url.trim_end_matches('/'));
        console.map(str::to_owned).with_context(|| format!("the brain said {line:?}"))
    }

    fn alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the brain ended by itself with {status}"),
        }
    }
}

impl Drop for Brain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The sensors' process.
struct Load {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Load {
    fn start(brain: &str, identities: &Path, plan: Plan) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["load", "--brain", brain, "--identities"]).arg(identities);
        command.args(["--seconds", &plan.time.as_secs().to_string()]);
        match plan.pace {
            Pace::PerSecond(batches) => {
                command.args(["--batches-per-second", &batches.to_string()]);
            }
            Pace::Window(window) => {
                command.args(["--window", &window.to_string()]);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().context("failed to start the sensors")?;
        let output = child.stdout.take().context("the sensors have no output")?;
        Ok(Self { child, lines: BufReader::new(output).lines() })
    }

    /// Reads what the sensors say next.
    fn said<T: for<'a> Deserialize<'a>>(&mut self, what: &str) -> Result<T> {
        let line =
            self.lines.next().with_context(|| format!("the sensors never were {what}"))??;
        serde_json::from_str(&line).with_context(|| format!("the sensors said {line:?}"))
    }

    fn end(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "the sensors ended with {status}");
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn beside(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find this program")?;
    let path = own.with_file_name(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}

fn resident(process: u32) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    Ok(kib.context("the kernel tells no memory")? * 1024)
}

/// What all threads of a process have spent, to the nanosecond.
fn processor_time(process: u32) -> Result<Duration> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        sum += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}
