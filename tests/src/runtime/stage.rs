//! Where acts run: a watched host with a container's cgroup below it, and a machine outside.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::table::{Act, At};
use crate::fleet::brain::{Brain, Settings};
use crate::fleet::process::{Place, Running};
use crate::fleet::sensor::Sensor;
use crate::fleet::{Hosts, OUTSIDE, address};
use crate::{binaries, interrupt};

/// The host that is watched, and where a listener waits for its shells.
pub const HOST: &str = "app-1";
const LISTENER: &str = "web-1";
/// Port of the first listener; each further one has the next, so that each shell is a finding of
/// its own.
const LISTENER_PORT: u16 = 4444;
/// How long the sensor may take to report.
const ONLINE_LIMIT: Duration = Duration::from_secs(60);
/// How long an act may take; a compiler is among them.
const ACT_LIMIT: Duration = Duration::from_secs(40);
/// Characters of what a failed act said.
const SAID_MAX: usize = 300;
/// Addresses that the machine outside has besides its own: those that our feeds list.
const LISTED: [&str; 6] = [
    "203.0.113.70/24",
    "203.0.113.71/24",
    "203.0.113.72/24",
    "203.0.113.73/24",
    "203.0.113.74/24",
    "203.0.113.75/24",
];
/// A container's cgroup, as an engine names it.
const CONTAINER: &str =
    "docker-5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a.scope";
/// What writes `$SAID` into the log as the host's sshd would.
const LOG_LINE: &str = r#"echo "$(date +%FT%T.%6N%:z) app-1 sshd[812]: $SAID" >> "$AUTH_LOG""#;
/// What acts need of their environment.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// The acts that need system calls of their own.
const HELPER: &str = include_str!("act.py");
/// Our policies, in the checkout that this program was built from.
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policies");

/// Everything that runs. Fields are dropped in order.
#[derive(Debug)]
pub struct Stage {
    servers: Vec<Running>,
    sensor: Sensor,
    brain: Brain,
    actor: PathBuf,
    folder: PathBuf,
    hosts: Hosts,
    port: u16,
}

/// Returns whether a program of this name can be started by acts.
pub fn exists(program: &str) -> bool {
    PATH.split(':').any(|folder| Path::new(folder).join(program).is_file())
}

impl Stage {
    /// Starts brain, sensor and servers, and waits until the sensor reports.
    pub fn new(label: &str) -> Result<Self> {
        let actor = binaries::find(binaries::ACTOR)?;
        let hosts = Hosts::new(label)?;
        let folder = hosts.subfolder("acts")?;
        fs::write(folder.join("act.py"), HELPER)?;
        let home = hosts.subfolder("brain")?;
        policies(&home.join("policies"), &folder)?;
        let brain = Brain::start(Settings {
            folder: home,
            place: hosts.control(),
            webhook: None,
            http: ([127, 0, 0, 1], 0).into(),
        })?;
        let place = hosts.place(HOST);
        fs::create_dir(place.cgroup.join(CONTAINER)).context("no cgroup for the container")?;
        let (home, control) = (hosts.subfolder("sensor")?, hosts.control());
        let log = folder.join("auth.log");
        fs::write(&log, "")?;
        let logins = format!("[logins]\nsource = \"file\"\nfiles = [{log:?}]\n");
        let sensor = Sensor::start_with(&home, &control, HOST, &place, &brain, &logins)?;
        let mut stage =
            Self { servers: Vec::new(), sensor, brain, actor, folder, hosts, port: LISTENER_PORT };
        interrupt::eventually("the sensor's report", ONLINE_LIMIT, || {
            stage.alive()?;
            let hosts = stage.brain.hosts()?;
            Ok(hosts.iter().any(|host| host["coverage"].is_object()).then_some(()))
        })?;
        stage.serve()?;
        Ok(stage)
    }

    fn serve(&mut self) -> Result<()> {
        let outside = self.hosts.place(OUTSIDE);
        for address in LISTED {
            let mut ip = outside.command("/sbin/ip")?;
            let status = ip.args(["address", "add", address, "dev", "eth0"]).status()?;
            ensure!(status.success(), "the machine outside did not get {address}");
        }
        for (role, port) in [("dns-serve", 53), ("http-serve", 443)] {
            let end = format!("{}:{port}", address(OUTSIDE).ipv4);
            let mut command = outside.command(&self.actor)?;
            command.args([role, &end]).stdin(Stdio::null()).stdout(Stdio::null());
            self.servers.push(Running::start(role, &mut command)?);
        }
        if exists("python3") {
            let mut node = outside.command("/usr/bin/env")?;
            node.env("PATH", PATH).args(["python3", "-B"]).arg(self.folder.join("act.py"));
            node.arg("tor_node").stdin(Stdio::null()).stdout(Stdio::null());
            self.servers.push(Running::start("a node of Tor", &mut node)?);
        }
        Ok(())
    }

    /// Runs an act to its end. Returns what it says when it failed, which need not mean that it
    /// left no trace.
    pub fn perform(&mut self, act: &Act) -> Result<Option<String>> {
        let script = self.folder.join("run.sh");
        let scratch = self.hosts.subfolder("scratch")?;
        fs::write(&script, act.script)?;
        let listener = act.listens.then(|| self.listen()).transpose()?;
        let said = self.folder.join("said.txt");
        let mut command = self.place(act.at).command("/bin/bash")?;
        command
            .arg(&script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said)?)
            .current_dir("/")
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &scratch)
            .env("D", &scratch)
            .env("ACT", self.folder.join("act.py"))
            .env("ACTOR", &self.actor)
            .env("IMPLANT", self.folder.join("implant"))
            .env("OWN_LIST", self.folder.join("own-list"))
            .env("AUTH_LOG", self.folder.join("auth.log"))
            .env("LOG_LINE", LOG_LINE)
            .env("PEER", address(LISTENER).ipv4)
            .env("PORT", self.port.to_string())
            .env("OUTSIDE", address(OUTSIDE).ipv4);
        let status = Running::start(act.name, &mut command)?.wait(ACT_LIMIT);
        if listener.is_some() {
            drop(listener);
            self.port += 1;
        }
        fs::remove_dir_all(&scratch).ok();
        let said = fs::read_to_string(&said).unwrap_or_default();
        let said: String = said.trim().chars().take(SAID_MAX).collect();
        Ok(match status {
            Ok(status) if status.success() => None,
            Ok(status) => Some(format!("{status}: {said}")),
            Err(error) => Some(format!("{error:#}: {said}")),
        })
    }

    fn listen(&self) -> Result<Running> {
        let end = format!("{}:{}", address(LISTENER).ipv4, self.port);
        let mut command = self.hosts.place(LISTENER).command(&self.actor)?;
        command.args(["listen-shell", &end]).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let listener = Running::start("the listener", &mut command)?;
        interrupt::sleep(Duration::from_millis(300))?;
        Ok(listener)
    }

    fn place(&self, at: At) -> Place {
        let host = self.hosts.place(HOST);
        match at {
            At::Host => host,
            At::Container => Place { cgroup: host.cgroup.join(CONTAINER), ..host },
        }
    }

    /// The findings so far.
    pub fn findings(&self) -> Result<Vec<Value>> {
        self.brain.findings()
    }

    /// Fails when a part that must run has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.brain.alive().with_context(|| format!("see {}", self.brain.log().display()))?;
        self.sensor.alive()?;
        self.servers.iter_mut().try_for_each(Running::alive)
    }
}

/// Copies our policies to where the brain takes them from, and adds feeds that list copies of a
/// program, which are put into `folder`.
fn policies(to: &Path, folder: &Path) -> Result<()> {
    copy(Path::new(POLICIES), to).with_context(|| format!("cannot copy {POLICIES}"))?;
    for (name, category) in [("implant", "malicious"), ("own-list", "custom")] {
        let file = folder.join(name);
        let mut program = fs::read("/bin/sleep")?;
        program.extend_from_slice(format!("stands for {category}\n").as_bytes());
        fs::write(&file, program)?;
        fs::set_permissions(&file, Permissions::from_mode(0o755))?;
        let output = Command::new("sha256sum").arg(&file).output().context("no sha256sum")?;
        let hash = String::from_utf8(output.stdout)?;
        let hash = hash.split_whitespace().next().context("sha256sum said nothing")?;
        let feed = to.join(format!("intel/{category}-act.txt"));
        fs::write(feed, format!("{hash} ; the act's own\n"))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in from.read_dir()? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
