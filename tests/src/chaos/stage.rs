//! The brain, the sensors, their disks and the link of one trial.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::libc;
use tempfile::TempDir;

use super::disk::Disk;
use super::feed::Kernel;
use super::link::Proxy;
use super::plan::{Feed, Plan, SENSORS, Step};
use super::{judge, sensor};
use crate::fleet::brain::{self, Brain};
use crate::fleet::cgroup;
use crate::fleet::process::{Place, Running};
use crate::{binaries, interrupt, web};

/// Room for the journal of the longest trial and for the brain's state.
const BRAIN_DISK: u64 = 96 << 20;
/// Twice the spool.
const SENSOR_DISK: u64 = 8 << 20;
/// Small segments, so that a trial has many.
const BRAIN_CONFIG: &str = "[journal]\nsegment_bytes = 262144\nmax_bytes = 1073741824\n";
/// How long enrolment may take on a clean link.
const ENROL_LIMIT: Duration = Duration::from_secs(30);
/// How long everything may take to arrive once the trouble is over.
const ARRIVE_LIMIT: Duration = Duration::from_secs(60);
/// No file of a sensor grows beyond this when they are limited: less than a segment of its spool,
/// more than its log has.
const FILE_MAX: u64 = 256 << 10;
/// Ports of brains, below those that the kernel chooses from.
const PORTS: Range<u16> = 12_000..32_000;
/// The brain's counter of batches by what became of them.
const BATCHES: &str = "sakuramori_ingest_batches_total";

/// A sensor and what feeds it.
#[derive(Debug)]
struct Sensor {
    number: usize,
    feed: Feed,
    clock: PathBuf,
    // Dropped in this order: the process, then its disk.
    running: Option<Running>,
    kernel: Kernel,
    disk: Disk,
}

impl Sensor {
    /// Sets its clock off by so many seconds; in one step, as it looks at any time.
    fn set_clock(&self, ahead_s: i64) -> Result<()> {
        let new = self.clock.with_extension("new");
        fs::write(&new, ahead_s.to_string())?;
        fs::rename(new, &self.clock).context("failed to set a clock")
    }

    /// Lets none of its files grow beyond so many bytes.
    fn limit_files(&self, bytes: u64) -> Result<()> {
        let Some(running) = &self.running else { return Ok(()) };
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
        let (pid, null) = (running.pid().cast_signed(), std::ptr::null_mut());
        // SAFETY: the call reads a limit that lives through it, and nothing asks for the old one.
        let result = unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &limit, null) };
        Errno::result(result).context("failed to limit a sensor's files")?;
        Ok(())
    }
}

/// A trial under way.
#[derive(Debug)]
pub struct Stage {
    brain: Option<Brain>,
    brain_runs: bool,
    sensors: Vec<Sensor>,
    proxy: Proxy,
    brain_disk: Disk,
    place: Place,
    /// What went wrong on the way.
    pub faults: Vec<String>,
    /// Batches that brains refused as known, as far as they could be asked before they were killed.
    pub duplicates: u64,
    /// Times that a brain whose disk was full went on until there was room.
    pub outlived: u64,
    folder: TempDir,
}

impl Stage {
    /// Starts everything, and waits until both sensors have enrolled.
    pub fn start(plan: &Plan, seed: u64) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sakuramori-chaos-").tempdir()?;
        let brain_disk = Disk::new(&folder.path().join("data"), BRAIN_DISK)?;
        let place = Place { cgroup: own_cgroup()?, netns: None };
        let [quic, http] = own_addresses(seed)?;
        let settings = brain::Settings {
            folder: folder.path().to_owned(),
            place: place.clone(),
            webhook: None,
            http,
        };
        let brain = Brain::start_at(quic, settings, BRAIN_CONFIG)?;
        let proxy = Proxy::start(brain.quic(), plan.link, seed)?;
        let mut stage = Self {
            brain: Some(brain),
            brain_runs: true,
            sensors: Vec::new(),
            proxy,
            brain_disk,
            place,
            faults: Vec::new(),
            duplicates: 0,
            outlived: 0,
            folder,
        };
        for (number, feed) in plan.feeds.into_iter().enumerate() {
            stage.enrol(number, feed)?;
        }
        stage.proxy.trouble(true);
        Ok(stage)
    }

    fn enrol(&mut self, number: usize, feed: Feed) -> Result<()> {
        let path = self.folder.path().join(format!("sensor-{number}"));
        let disk = Disk::new(&path, SENSOR_DISK)?;
        let counters = self.folder.path().join(format!("sensor-{number}.counters"));
        let kernel = Kernel::start(&counters, number, feed)?;
        let token = self.brain.as_ref().context("the brain has ended")?.token("chaos")?;
        let clock = self.folder.path().join(format!("sensor-{number}.clock"));
        let mut sensor = Sensor { number, feed, clock, running: None, kernel, disk };
        sensor.set_clock(0)?;
        sensor.running = Some(self.launch(&sensor, Some(&token))?);
        let certificate = sensor.disk.path().join("cert.pem");
        self.sensors.push(sensor);
        interrupt::eventually("enrolment", ENROL_LIMIT, || Ok(certificate.exists().then_some(())))
    }

    fn launch(&self, sensor: &Sensor, token: Option<&str>) -> Result<Running> {
        let log = self.folder.path().join(format!("sensor-{}.log", sensor.number));
        let mut command = self.place.command(binaries::find(binaries::CHAOS)?)?;
        command
            .args(["sensor", "--brain", &self.proxy.address().to_string()])
            .args(["--name", &format!("chaos-{}", sensor.number)])
            .arg("--state")
            .arg(sensor.disk.path())
            .arg("--counters")
            .arg(sensor.kernel.counters())
            .args(["--bytes", &sensor.feed.bytes.to_string()])
            .arg("--clock")
            .arg(&sensor.clock)
            .envs(token.map(|token| (sensor::TOKEN, token)))
            .stdin(sensor.kernel.ring()?)
            .stdout(Stdio::null())
            .stderr(File::options().append(true).create(true).open(log)?);
        Running::start("a sensor", &mut command)
    }

    /// Does what the plan says, when it says so, then mends everything.
    pub fn trouble(&mut self, plan: &Plan) -> Result<()> {
        let begun = Instant::now();
        for &(at_ms, step) in &plan.steps {
            let left = Duration::from_millis(at_ms).saturating_sub(begun.elapsed());
            interrupt::sleep(left)?;
            self.watch();
            self.act(step)?;
        }
        self.proxy.cut(false);
        self.proxy.trouble(false);
        self.act(Step::FreeBrain)?;
        self.act(Step::StartBrain)?;
        for number in 0..SENSORS {
            self.act(Step::FreeSensor(number))?;
            self.act(Step::FreeFiles(number))?;
            self.act(Step::StartSensor(number, 0))?;
        }
        self.watch();
        Ok(())
    }

    /// Notes who has ended without having been killed.
    fn watch(&mut self) {
        if self.brain_runs
            && let Some(Err(error)) = self.brain.as_mut().map(Brain::alive)
        {
            self.faults.push(format!("{error:#}"));
            self.brain_runs = false;
        }
        for sensor in &mut self.sensors {
            if let Some(Err(error)) = sensor.running.as_mut().map(Running::alive) {
                self.faults.push(format!("{error:#}"));
                sensor.running = None;
            }
        }
    }

    fn act(&mut self, step: Step) -> Result<()> {
        match step {
            Step::KillBrain => {
                self.count_duplicates();
                self.brain.iter_mut().try_for_each(Brain::kill)?;
                self.brain_runs = false;
            }
            Step::StartBrain if self.brain_runs => {}
            Step::StartBrain => self.start_brain(),
            Step::KillSensor(number) => {
                self.sensors[number].running.take().iter_mut().try_for_each(Running::kill)?;
            }
            Step::StartSensor(number, _) if self.sensors[number].running.is_some() => {}
            Step::StartSensor(number, clock_s) => {
                self.sensors[number].set_clock(clock_s)?;
                let running = self.launch(&self.sensors[number], None)?;
                self.sensors[number].running = Some(running);
            }
            Step::SetClock(number, clock_s) => self.sensors[number].set_clock(clock_s)?,
            Step::LimitFiles(number) => self.sensors[number].limit_files(FILE_MAX)?,
            Step::FreeFiles(number) => self.sensors[number].limit_files(libc::RLIM_INFINITY)?,
            Step::Move => self.proxy.change_addresses(),
            Step::Cut => self.proxy.cut(true),
            Step::Mend => self.proxy.cut(false),
            Step::FillBrain => self.brain_disk.fill()?,
            Step::FreeBrain => {
                self.outlived += u64::from(self.brain_runs && self.brain_disk.is_full());
                self.brain_disk.free()?;
            }
            Step::FillSensor(number) => self.sensors[number].disk.fill()?,
            Step::FreeSensor(number) => self.sensors[number].disk.free()?,
        }
        Ok(())
    }

    /// A brain counts from its start on. One that does not answer, because it starts or its disk is
    /// full, is not asked again, so this counts too few at times.
    fn count_duplicates(&mut self) {
        let page = self.brain.as_ref().filter(|_| self.brain_runs).map(Brain::metrics);
        if let Some(Ok(page)) = page {
            self.duplicates += web::metric(&page, BATCHES, "duplicate") as u64;
        }
    }

    /// A brain whose disk is full may refuse to start; it is started again once there is room, as a
    /// service manager would.
    fn start_brain(&mut self) {
        let Some(brain) = &mut self.brain else { return };
        match brain.restart() {
            Ok(()) => self.brain_runs = true,
            Err(_) if self.brain_disk.is_full() => {}
            Err(error) => self.faults.push(format!("the brain does not start: {error:#}")),
        }
    }

    /// Waits until everything has arrived, ends the brain, and judges its journal. Returns the
    /// verdict, what spoiled journals were not noticed, and how long it took to arrive.
    pub fn judge(&mut self) -> Result<(judge::Verdict, Vec<&'static str>, Duration)> {
        let begun = Instant::now();
        let made = self.sensors.iter_mut().map(|sensor| sensor.kernel.stop());
        let made = made.collect::<Result<Vec<_>>>()?;
        for sensor in &mut self.sensors {
            let Some(running) = &mut sensor.running else { continue };
            let left = ARRIVE_LIMIT.saturating_sub(begun.elapsed());
            match running.wait(left) {
                Ok(status) if status.success() => sensor.running = None,
                Ok(status) => self.faults.push(format!("a sensor ended with {status}")),
                Err(error) => self.faults.push(format!("not all arrives: {error:#}")),
            }
            interrupt::check()?;
        }
        let took = begun.elapsed();
        self.watch();
        self.count_duplicates();
        self.brain = None;
        let arrived = judge::read(self.brain_disk.path())?;
        Ok((judge::judge(&arrived, &made), judge::unnoticed(&arrived, &made), took))
    }

    /// Returns packets that passed the link, were lost there and were doubled.
    pub fn packets(&self) -> [u64; 3] {
        self.proxy.counts()
    }

    /// Keeps the logs, for a trial that went wrong, and returns where.
    pub fn keep_logs(&self, seed: u64) -> Result<PathBuf> {
        let kept = std::env::temp_dir().join(format!("sakuramori-chaos-seed-{seed}"));
        fs::create_dir_all(&kept)?;
        for entry in fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "log") {
                fs::copy(&path, kept.join(path.file_name().unwrap_or_default()))?;
            }
        }
        Ok(kept)
    }
}

/// Addresses for a brain that nobody takes while it is dead: the kernel gives these ports to no
/// socket that wants any.
fn own_addresses(seed: u64) -> Result<[SocketAddr; 2]> {
    let begin = seed * 16 % PORTS.len() as u64;
    let mut ports = PORTS.cycle().skip(begin as usize).take(PORTS.len());
    let mut free = || {
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let is_free =
            |of: &SocketAddr| UdpSocket::bind(of).is_ok() && TcpListener::bind(of).is_ok();
        ports.by_ref().map(address).find(is_free).context("no port is free for a brain")
    };
    Ok([free()?, free()?])
}

/// The cgroup that we are in already: a trial needs none of its own.
fn own_cgroup() -> Result<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").context("failed to read our cgroup")?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    Ok(cgroup::root()?.join(Path::new(path.context("cgroup v2 is not used")?)))
}
