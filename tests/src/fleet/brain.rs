//! The brain's own program, started like an operator would, and asked through its client commands.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::process::{Place, Running};
use crate::{binaries, web};

/// How long the brain may take to listen; replaying a journal is part of it.
const START_LIMIT: Duration = Duration::from_secs(30);
/// First port tried for the console.
const CONSOLE_PORT: u16 = 8080;

/// What a brain is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Folder of its data, log and configuration.
    pub folder: PathBuf,
    /// Where it runs.
    pub place: Place,
    /// Where alerts go.
    pub webhook: Option<String>,
    /// Address of the console; port 0 takes any free one.
    pub http: SocketAddr,
}

/// A running brain.
#[derive(Debug)]
pub struct Brain {
    settings: Settings,
    program: PathBuf,
    process: Running,
    quic: SocketAddr,
    http: SocketAddr,
    setup_link: Option<String>,
}

impl Brain {
    /// Starts a brain and waits until it listens.
    pub fn start(settings: Settings) -> Result<Self> {
        Self::start_with(settings, "")
    }

    /// Does the same with more lines at the end of its configuration.
    pub fn start_with(settings: Settings, more: &str) -> Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), settings, more)
    }

    /// Does the same with an address for sensors.
    pub fn start_at(quic: SocketAddr, settings: Settings, more: &str) -> Result<Self> {
        let program = binaries::find(binaries::BRAIN)?;
        write_config(&settings, more)?;
        let started = launch(&program, &settings, quic, settings.http)?;
        let Started { process, quic, http, setup_link } = started;
        Ok(Self { settings, program, process, quic, http, setup_link })
    }

    /// Kills the brain as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill().context("failed to kill the brain")
    }

    /// Starts it again on the same data and the same addresses.
    pub fn restart(&mut self) -> Result<()> {
        let started = launch(&self.program, &self.settings, self.quic, self.http)?;
        self.process = started.process;
        Ok(())
    }

    /// Fails when the brain has ended by itself.
    pub fn alive(&mut self) -> Result<()> {
        self.process.alive()
    }

    /// Process number, for its CPU time.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where sensors connect to.
    pub fn quic(&self) -> SocketAddr {
        self.quic
    }

    /// Where the console and the API are.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// The link that makes the first account, printed at first start only.
    pub fn setup_link(&self) -> Option<&str> {
        self.setup_link.as_deref()
    }

    /// Makes a join token for one sensor.
    pub fn token(&self, role: &str) -> Result<String> {
        Ok(self.client(&["token", "create", "--role", role])?.trim().to_owned())
    }

    /// The findings, exactly as the client command prints them.
    pub fn findings_text(&self) -> Result<String> {
        self.client(&["findings", "--json"])
    }

    /// The findings.
    pub fn findings(&self) -> Result<Vec<Value>> {
        lines(&self.findings_text()?)
    }

    /// The hosts, as the client command prints them.
    pub fn hosts(&self) -> Result<Vec<Value>> {
        lines(&self.client(&["hosts", "--json"])?)
    }

    /// The metrics page.
    pub fn metrics(&self) -> Result<String> {
        let (status, page) = web::get(self.http, "/metrics")?;
        if status != 200 {
            bail!("the metrics page answered {status}");
        }
        Ok(page)
    }

    /// Where the brain's log is.
    pub fn log(&self) -> PathBuf {
        self.settings.folder.join("brain.log")
    }

    /// Runs a client command and returns what it prints.
    pub fn client(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .env("SAKURAMORI_SERVER", format!("http://{}", self.http))
            .env("SAKURAMORI_DATA", data(&self.settings.folder))
            .stdin(Stdio::null())
            .output()
            .context("failed to start the brain's client command")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`sakuramori-brain {}` failed: {}", arguments.join(" "), said.trim());
        }
        String::from_utf8(output.stdout).context("the client command printed invalid UTF-8")
    }
}

impl Drop for Brain {
    fn drop(&mut self) {
        // An orderly end first, as an operator's would be; the guard of the process kills.
        let _ = self.process.terminate();
    }
}

/// Finds an address for the console: the usual port, or the next free one.
pub fn console_address() -> Result<SocketAddr> {
    (CONSOLE_PORT..CONSOLE_PORT + 100)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .context("no port from 8080 to 8179 is free for the console")
}

struct Started {
    process: Running,
    quic: SocketAddr,
    http: SocketAddr,
    setup_link: Option<String>,
}

/// Starts the program and reads the lines in which it says where it listens.
fn launch(
    program: &Path,
    settings: &Settings,
    quic: SocketAddr,
    http: SocketAddr,
) -> Result<Started> {
    let log = settings.folder.join("brain.log");
    let mut command = settings.place.command(program)?;
    // Whoever wants other policies than the built-in ones puts them there.
    let policies = settings.folder.join("policies");
    command
        .arg("serve")
        .arg("--config")
        .arg(settings.folder.join("brain.toml"))
        .arg("--data")
        .arg(data(&settings.folder))
        .args(policies.is_dir().then_some("--policies"))
        .args(policies.is_dir().then_some(&policies))
        .args(["--listen", &quic.to_string(), "--http", &http.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::options().append(true).create(true).open(&log)?);
    let mut process = Running::start("the brain", &mut command)?;
    let output = process.child().stdout.take().context("the brain has no standard output")?;
    let said = forward_lines(output);
    let end = Instant::now() + START_LIMIT;
    let expect = |prefix: &str| -> Result<String> {
        let left = end.saturating_duration_since(Instant::now());
        let line = said.recv_timeout(left).with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("the brain did not say {prefix:?} within {START_LIMIT:?}; it logged: {log}")
        })?;
        line.strip_prefix(prefix)
            .map(str::to_owned)
            .with_context(|| format!("the brain said {line:?} where {prefix:?} was expected"))
    };
    let quic = expect("quic listening on ")?.parse().context("no address after quic")?;
    let console = expect("console at http://")?;
    let http = console.trim_end_matches('/').parse().context("no address of the console")?;
    let setup_link = said
        .recv_timeout(Duration::from_secs(1))
        .ok()
        .and_then(|line| line.strip_prefix("set-up link: ").map(str::to_owned));
    Ok(Started { process, quic, http, setup_link })
}

/// Reads lines on a thread, so that waiting for one can have a limit; it ends with the pipe.
fn forward_lines(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // The pipe is read to its end even when nobody listens, or the brain would block.
            let _ = sender.send(line);
        }
    });
    receiver
}

fn write_config(settings: &Settings, more: &str) -> Result<()> {
    let mut text = String::new();
    if let Some(webhook) = &settings.webhook {
        // The sink is on loopback, which the brain refuses as a webhook unless told otherwise.
        text = format!("[notify]\nslack_webhook = \"{webhook}\"\nallow_private = true\n");
    }
    let path = settings.folder.join("brain.toml");
    fs::write(&path, text + more).with_context(|| format!("failed to write {}", path.display()))
}

fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

fn lines(text: &str) -> Result<Vec<Value>> {
    text.lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no JSON: {line}")))
        .collect()
}
