//! What a demo or a test starts: hosts with their servers, a sink, a brain, one sensor per host.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Narrator;
use crate::fleet::brain::{Brain, Settings};
use crate::fleet::process::Running;
use crate::fleet::sensor::Sensor;
use crate::fleet::sink::Sink;
use crate::fleet::{Hosts, OUTSIDE, WATCHED, address};
use crate::{binaries, interrupt};

/// How long a sensor may take to load its programs, join and report; two cores may be busy.
const ONLINE_LIMIT: Duration = Duration::from_secs(60);

/// Servers of the fleet: host, role of the actor, port. Port 443 of `outside` is the listed one.
const SERVERS: [(&str, &str, u16); 5] = [
    ("web-1", "http-serve", 80),
    ("app-1", "http-serve", 8080),
    ("db-1", "http-serve", 5432),
    (OUTSIDE, "http-serve", 443),
    (OUTSIDE, "dns-serve", 53),
];

/// A running fleet. Fields are dropped in order: sensors leave in order before the brain ends.
#[derive(Debug)]
pub struct Stage {
    servers: Vec<Running>,
    sensors: Vec<Sensor>,
    /// The brain that all sensors report to.
    pub brain: Brain,
    /// Where the brain sends its alerts.
    pub sink: Sink,
    actor: PathBuf,
    hosts: Hosts,
}

impl Stage {
    /// Starts everything and waits until every sensor reports.
    pub fn new(label: &str, http: SocketAddr, narrator: &Narrator) -> Result<Self> {
        let actor = binaries::find(binaries::ACTOR)?;
        let hosts = Hosts::new(label)?;
        narrator.say("three hosts on one bridge, and a machine outside");
        let sink = Sink::start()?;
        let brain = Brain::start(Settings {
            folder: hosts.subfolder("brain")?,
            place: hosts.control(),
            webhook: Some(sink.url()),
            http,
        })?;
        narrator.say(format!("brain with console at http://{}/", brain.http()));
        let mut stage =
            Self { servers: Vec::new(), sensors: Vec::new(), brain, sink, actor, hosts };
        for host in WATCHED {
            let folder = stage.hosts.subfolder(&format!("sensor-{host}"))?;
            let (control, place) = (stage.hosts.control(), stage.hosts.place(host));
            stage.sensors.push(Sensor::start(&folder, &control, host, &place, &stage.brain)?);
        }
        stage.wait_online()?;
        narrator.say(format!("sensors joined and watching: {}", WATCHED.join(", ")));
        for (host, role, port) in SERVERS {
            let address = format!("{}:{port}", address(host).ipv4);
            let server = stage.start(host, &stage.actor, &[role, &address])?;
            stage.servers.push(server);
        }
        Ok(stage)
    }

    /// Runs a program on a host and waits for it.
    pub fn run(&self, host: &str, program: &Path, arguments: &[&str]) -> Result<ExitStatus> {
        let mut running = self.start(host, program, arguments)?;
        let status = running.wait(Duration::from_secs(30))?;
        interrupt::check()?;
        Ok(status)
    }

    /// Runs the actor on a host and fails when it fails.
    pub fn act(&self, host: &str, arguments: &[&str]) -> Result<()> {
        let status = self.run(host, &self.actor, arguments)?;
        ensure!(status.success(), "actor {} on {host} ended with {status}", arguments.join(" "));
        Ok(())
    }

    /// Starts a program on a host.
    pub fn start(&self, host: &str, program: &Path, arguments: &[&str]) -> Result<Running> {
        let mut command = self.hosts.place(host).command(program)?;
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // What the intruder's shell says about its missing terminal is of no interest.
            .stderr(Stdio::null())
            // A shell that finds the user's set-up files would run other programs on each machine.
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.hosts.folder());
        Running::start(&format!("{} on {host}", program.display()), &mut command)
    }

    /// The program that plays all roles.
    pub fn actor(&self) -> &Path {
        &self.actor
    }

    /// Folder for files of this run.
    pub fn folder(&self) -> &Path {
        self.hosts.folder()
    }

    /// The sensors' process numbers.
    pub fn sensor_pids(&self) -> Vec<u32> {
        self.sensors.iter().map(Sensor::pid).collect()
    }

    /// Fails when a part that must run has ended.
    pub fn alive(&mut self) -> Result<()> {
        self.brain.alive().with_context(|| format!("see {}", self.brain.log().display()))?;
        self.sensors.iter_mut().try_for_each(Sensor::alive)?;
        self.servers.iter_mut().try_for_each(Running::alive)
    }

    /// Waits until the brain has heard from every sensor what it covers.
    pub fn wait_online(&mut self) -> Result<()> {
        interrupt::eventually("all sensors online", ONLINE_LIMIT, || {
            self.alive()?;
            let hosts = self.brain.hosts()?;
            let online = hosts
                .iter()
                .filter(|host| host["state"] == "online" && host["coverage"].is_object());
            Ok((online.count() == WATCHED.len()).then_some(()))
        })
    }
}
