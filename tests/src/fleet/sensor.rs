//! The sensor's own program, scoped to one host of the fleet.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::brain::Brain;
use super::process::{Place, Running};
use crate::binaries;

/// A running sensor.
#[derive(Debug)]
pub struct Sensor {
    process: Running,
    log: PathBuf,
}

impl Sensor {
    /// Starts a sensor that watches one host, and joins the brain with a fresh token.
    pub fn start(
        folder: &Path,
        control: &Place,
        host: &str,
        place: &Place,
        brain: &Brain,
    ) -> Result<Self> {
        Self::start_with(folder, control, host, place, brain, "")
    }

    /// Does the same with more lines at the end of its configuration.
    pub fn start_with(
        folder: &Path,
        control: &Place,
        host: &str,
        place: &Place,
        brain: &Brain,
        more: &str,
    ) -> Result<Self> {
        let config = folder.join("sensor.toml");
        fs::write(&config, configuration(folder, host, place, brain) + more)
            .with_context(|| format!("failed to write {}", config.display()))?;
        let role = host.split('-').next().unwrap_or(host);
        // A token is a secret: an argument would show it to every user of the machine.
        launch(folder, control, host, Some(brain.token(role)?), &[])
    }

    /// Starts it with variables in its environment.
    pub fn start_with_variables(
        folder: &Path,
        control: &Place,
        host: &str,
        place: &Place,
        brain: &Brain,
        variables: &[(&str, OsString)],
    ) -> Result<Self> {
        fs::write(folder.join("sensor.toml"), configuration(folder, host, place, brain))?;
        let role = host.split('-').next().unwrap_or(host);
        launch(folder, control, host, Some(brain.token(role)?), variables)
    }

    /// Starts it again, enrolled as it is.
    pub fn again(folder: &Path, control: &Place, host: &str) -> Result<Self> {
        launch(folder, control, host, None, &[])
    }

    /// Fails with the end of the log when the sensor has ended by itself, and when its worker has
    /// panicked, however soon there was another one.
    pub fn alive(&mut self) -> Result<()> {
        let log = self.log();
        if let Some(at) = log.find("panicked at") {
            bail!("the worker panicked:\n{}", log[at..].lines().take(4).collect::<String>());
        }
        self.process.alive().with_context(|| {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("its log ends with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
        })
    }

    /// Kills it at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().context("failed to kill the sensor")
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Process number, for its CPU time.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Drop for Sensor {
    fn drop(&mut self) {
        // An orderly end detaches the programs at once; the guard of the process kills.
        let _ = self.process.terminate();
    }
}

fn launch(
    folder: &Path,
    control: &Place,
    host: &str,
    token: Option<String>,
    variables: &[(&str, OsString)],
) -> Result<Sensor> {
    let log = folder.join("sensor.log");
    let output = File::options().append(true).create(true).open(&log);
    let mut command = control.command(binaries::find(binaries::SENSOR)?)?;
    command
        .arg("--config")
        .arg(folder.join("sensor.toml"))
        .arg("run")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .envs(token.map(|token| ("SAKURAMORI_JOIN", token)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(output.context("failed to make the sensor's log")?);
    let process = Running::start(&format!("the sensor of {host}"), &mut command)?;
    Ok(Sensor { process, log })
}

fn configuration(folder: &Path, host: &str, place: &Place, brain: &Brain) -> String {
    let netns = place.netns.as_deref().map_or(String::new(), |path| path.display().to_string());
    format!(
        "[brain]\naddress = \"{}\"\nstate_dir = \"{}\"\nhostname = \"{host}\"\n\
         [scope]\ncgroup = \"{}\"\nnetns = \"{netns}\"\n\
         [collect]\ninterfaces = [\"eth0\"]\n",
        brain.quic(),
        folder.join("state").display(),
        place.cgroup.display(),
    )
}
