//! TOML → checked settings, or one sentence that says what is wrong and what to do.

use std::path::{Path, PathBuf};

use sensor_abi::parse::payload::DNS_PORTS;
use serde::Deserialize;
use thiserror::Error;
use wire::limits;

use crate::file::Watched;
use crate::host_watch;
use crate::join::{JoinToken, JoinTokenError};
use crate::ledger::Signal;
use crate::login::follow::{self, Source};
use crate::probe::{
    Rings, SWITCHABLE, Scope, Settings, SyscallMode, VARIABLES, VARIABLES_MAX, WayKind, XdpMode,
};
use crate::scan;
use crate::spool;

mod policy;
mod rings;
mod unknown;

/// Where the configuration is looked for when no file is named.
pub const DEFAULT_PATH: &str = "/etc/sakuramori/sensor.toml";

const DEFAULT_ADDRESS: &str = "127.0.0.1:7443";
const DEFAULT_STATE_DIR: &str = "/var/lib/sakuramori/sensor";
/// A day of a quiet host, an hour of a busy one.
const DEFAULT_SPOOL_BYTES: u64 = 256 * 1024 * 1024;
const DEFAULT_TICK_MS: u64 = 1000;
/// Shorter costs more than it tells; longer delays findings.
const TICK_MS: std::ops::RangeInclusive<u64> = 100..=60_000;
/// Longest host name that DNS allows.
const HOSTNAME_MAX: usize = 253;
/// Bytes of a configuration file.
const FILE_MAX: u64 = 1024 * 1024;

/// Everything that the sensor can be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the file says, flags and policy apart.
    pub text: String,
    /// The file.
    pub path: PathBuf,
    /// Where the brain listens, `host:port`.
    pub brain_address: String,
    /// Enrols a host that is not enrolled yet. Never in a file, only given at start.
    pub join: Option<JoinToken>,
    /// Key, certificate and spool live here.
    pub state_dir: PathBuf,
    /// Whom the worker becomes; nothing chooses `sakuramori`, or else nobody.
    pub user: Option<String>,
    /// Folder of the BPF file system in which maps and links get names, so that they outlive the
    /// sensor.
    pub pin: Option<PathBuf>,
    /// Overrides the kernel's host name.
    pub hostname: Option<String>,
    /// What is watched.
    pub scope: Scope,
    /// Interfaces, see [`Settings::interfaces`].
    pub interfaces: Vec<String>,
    /// Time between two readings of the counters.
    pub tick_ms: u64,
    /// When system calls are counted.
    pub syscalls: SyscallMode,
    /// How XDP is attached.
    pub xdp: XdpMode,
    /// Whether packets inside tunnels are looked at.
    pub tunnels: bool,
    /// Signals that nobody wants, of [`SWITCHABLE`].
    pub off: Vec<Signal>,
    /// Kinds of ways to attach programs that are not tried, to work around a broken kernel.
    pub avoid: Vec<WayKind>,
    /// Environment variables that are told of executed programs.
    pub variables: Vec<String>,
    /// Where DNS is spoken; empty for its own port.
    pub dns_ports: Vec<u16>,
    /// Where log-ins are read from.
    pub logins: Source,
    /// Which logs are read instead of those that distributions have.
    pub login_files: Vec<PathBuf>,
    /// Whether packages, accounts and listeners are told.
    pub inventory: bool,
    /// Where the host's own files are, for a sensor in a container; nothing stands for `/`.
    pub host_root: Option<PathBuf>,
    /// Which files and unix sockets are watched.
    pub files: Watched,
    /// How large the rings of records are.
    pub rings: Rings,
    /// Where the scanner listens.
    pub scanner: PathBuf,
    /// Most bytes that wait on disk.
    pub spool_max_bytes: u64,
    /// Least important level that is logged.
    pub log_level: LogLevel,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Least important level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What must be repaired.
    Error,
    /// What may need repair.
    Warn,
    /// What changes.
    #[default]
    Info,
    /// What is done; includes the kernel programs' own diagnostics.
    Debug,
    /// Everything.
    Trace,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {reason}; name an existing file with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is not TOML, or a value has the wrong type.
    #[error("{path}, line {line}: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key is not known.
    #[error("{path}, line {line}: unknown key `{key}`; {advice}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The key with its section.
        key: String,
        /// What to write instead.
        advice: String,
    },
    /// The join token is not one.
    #[error("--join: {0}")]
    Join(#[from] JoinTokenError),
    /// A value is out of its range.
    #[error("{source_name}: `{key}` is {value}; {advice}")]
    Value {
        /// The file, or the command line.
        source_name: String,
        /// The key with its section.
        key: &'static str,
        /// What it is.
        value: String,
        /// What it may be.
        advice: String,
    },
}

#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    brain: Brain,
    #[serde(default)]
    host: HostSection,
    #[serde(default)]
    scope: ScopeSection,
    #[serde(default)]
    collect: Collect,
    #[serde(default)]
    logins: LoginsSection,
    #[serde(default)]
    inventory: InventorySection,
    #[serde(default)]
    files: Files,
    #[serde(default)]
    rings: rings::RingsSection,
    #[serde(default)]
    spool: SpoolSection,
    #[serde(default)]
    guard: Guard,
    #[serde(default)]
    scan: Scan,
    #[serde(default)]
    log: Log,
}

#[derive(Debug, Default, Deserialize)]
struct Scan {
    socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct Guard {
    user: Option<String>,
    pin: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct Brain {
    address: Option<String>,
    state_dir: Option<PathBuf>,
    hostname: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct HostSection {
    root: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct ScopeSection {
    cgroup: Option<PathBuf>,
    netns: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct Collect {
    #[serde(default)]
    interfaces: Vec<String>,
    tick_ms: Option<u64>,
    syscalls: Option<SyscallsWord>,
    xdp: Option<XdpWord>,
    tunnels: Option<bool>,
    #[serde(default)]
    off: Vec<String>,
    #[serde(default)]
    avoid: Vec<WayWord>,
    variables: Option<Vec<String>>,
    #[serde(default)]
    dns_ports: Vec<u16>,
}

#[derive(Debug, Default, Deserialize)]
struct LoginsSection {
    #[serde(default)]
    source: Source,
    #[serde(default)]
    files: Vec<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
struct InventorySection {
    enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
struct Files {
    write: Option<Vec<String>>,
    read: Option<Vec<String>>,
    sockets: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
struct SpoolSection {
    max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct Log {
    #[serde(default)]
    level: LogLevel,
    #[serde(default)]
    format: LogFormat,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SyscallsWord {
    Off,
    Sampled,
    Continuous,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum XdpWord {
    Auto,
    Native,
    Generic,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WayWord {
    Lsm,
    Fentry,
    Kprobe,
    RawTracepoint,
    Tracepoint,
}

impl From<WayWord> for WayKind {
    fn from(word: WayWord) -> Self {
        match word {
            WayWord::Lsm => Self::Lsm,
            WayWord::Fentry => Self::Fentry,
            WayWord::Kprobe => Self::Kprobe,
            WayWord::RawTracepoint => Self::RawTracepoint,
            WayWord::Tracepoint => Self::Tracepoint,
        }
    }
}

impl Config {
    /// Reads the configuration. Without a named file the default one is read when it exists.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let default = Path::new(DEFAULT_PATH);
        match path {
            None if !default.exists() => Self::parse("", default),
            path => {
                let path = path.unwrap_or(default);
                Self::parse(&read(path)?, path)
            }
        }
    }

    /// Parses and checks the text of a file.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let syntax = |error| syntax(text, path, &error);
        // Whole first: what is unknown may be no value at all, such as a number beyond every limit.
        let table: toml::Table = text.parse().map_err(syntax)?;
        let file: File = toml::from_str(text).map_err(syntax)?;
        unknown::check(&table, text, path)?;
        let config = Self {
            text: text.to_owned(),
            path: path.to_owned(),
            brain_address: file.brain.address.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned()),
            join: None,
            state_dir: file.brain.state_dir.unwrap_or_else(|| PathBuf::from(DEFAULT_STATE_DIR)),
            user: file.guard.user,
            pin: file.guard.pin,
            hostname: file.brain.hostname,
            scope: Scope { cgroup: file.scope.cgroup, netns: file.scope.netns },
            interfaces: file.collect.interfaces,
            tick_ms: file.collect.tick_ms.unwrap_or(DEFAULT_TICK_MS),
            syscalls: match file.collect.syscalls {
                Some(SyscallsWord::Off) => SyscallMode::Off,
                Some(SyscallsWord::Continuous) => SyscallMode::Continuous,
                Some(SyscallsWord::Sampled) | None => SyscallMode::Sampled,
            },
            xdp: match file.collect.xdp {
                Some(XdpWord::Native) => XdpMode::Native,
                Some(XdpWord::Generic) => XdpMode::Generic,
                Some(XdpWord::Auto) | None => XdpMode::Auto,
            },
            tunnels: file.collect.tunnels.unwrap_or(false),
            off: switched_off(&file.collect.off, path)?,
            avoid: file.collect.avoid.into_iter().map(WayKind::from).collect(),
            dns_ports: file.collect.dns_ports,
            variables: file
                .collect
                .variables
                .unwrap_or_else(|| VARIABLES.map(str::to_owned).to_vec()),
            logins: file.logins.source,
            login_files: match &file.host.root {
                Some(root) if file.logins.files.is_empty() => follow::below(root),
                _ => file.logins.files,
            },
            inventory: file.inventory.enabled.unwrap_or(true),
            host_root: file.host.root,
            files: watched(&file.files, path)?,
            rings: ring_sizes(&file.rings, path)?,
            scanner: file.scan.socket.unwrap_or_else(|| PathBuf::from(scan::SOCKET)),
            spool_max_bytes: file.spool.max_bytes.unwrap_or(DEFAULT_SPOOL_BYTES),
            log_level: file.log.level,
            log_format: file.log.format,
        };
        config.check(&path.display().to_string())?;
        Ok(config)
    }

    /// Checks every value's range. `source_name` says where the values are from.
    pub fn check(&self, source_name: &str) -> Result<(), ConfigError> {
        let wrong = |key, value: &dyn std::fmt::Display, advice: String| {
            let source_name = source_name.to_owned();
            Err(ConfigError::Value { source_name, key, value: value.to_string(), advice })
        };
        let port = self.brain_address.rsplit_once(':').and_then(|(host, port)| {
            port.parse::<u16>().ok().filter(|&port| port > 0 && !host.is_empty())
        });
        if port.is_none() {
            let advice = "write host:port, such as brain.example:7443".to_owned();
            return wrong("brain.address", &self.brain_address, advice);
        }
        if let Some(name) = &self.hostname
            && (name.is_empty() || name.len() > HOSTNAME_MAX)
        {
            return wrong("brain.hostname", name, format!("write 1 to {HOSTNAME_MAX} characters"));
        }
        if let Some(root) = self.host_root.as_ref().filter(|root| !root.is_absolute()) {
            let advice = "write where the host's own files are mounted, from / on".to_owned();
            return wrong("host.root", &root.display(), advice);
        }
        if self.variables.len() > VARIABLES_MAX {
            let advice = format!("name at most {VARIABLES_MAX}");
            return wrong("collect.variables", &self.variables.len(), advice);
        }
        if self.dns_ports.len() > DNS_PORTS || self.dns_ports.contains(&0) {
            let advice = format!("name at most {DNS_PORTS} ports, from 1 to 65535");
            return wrong("collect.dns_ports", &format_args!("{:?}", self.dns_ports), advice);
        }
        let named = |name: &&String| !name.is_empty() && !name.contains(['=', '\0']);
        if let Some(name) = self.variables.iter().find(|name| !named(name)) {
            let advice = "write names of environment variables, without `=`".to_owned();
            return wrong("collect.variables", name, advice);
        }
        if !TICK_MS.contains(&self.tick_ms) {
            let advice = format!("write {} to {}", TICK_MS.start(), TICK_MS.end());
            return wrong("collect.tick_ms", &self.tick_ms, advice);
        }
        if self.spool_max_bytes < spool::BYTES_MIN {
            let advice = format!("write at least {}", spool::BYTES_MIN);
            return wrong("spool.max_bytes", &self.spool_max_bytes, advice);
        }
        if self.interfaces.len() > limits::HOOKS_MAX / 4 {
            let advice = format!("name at most {}", limits::HOOKS_MAX / 4);
            return wrong("collect.interfaces", &self.interfaces.len(), advice);
        }
        if self.login_files.len() > follow::FILES_MAX {
            let advice = format!("name at most {}", follow::FILES_MAX);
            return wrong("logins.files", &self.login_files.len(), advice);
        }
        Ok(())
    }

    /// Returns what is read of the host's logs and inventory; positions in logs are kept in a
    /// folder, or nowhere.
    pub fn host_settings(&self, state_dir: Option<&Path>) -> host_watch::Settings {
        let state_dir = state_dir.map(Path::to_owned);
        let (source, files) = (self.logins, self.login_files.clone());
        let logins = follow::Settings { source, files, state_dir };
        host_watch::Settings { logins, inventory: self.inventory, root: self.host_root.clone() }
    }

    /// Returns what the probe table needs to know.
    pub fn probe_settings(&self) -> Settings {
        Settings {
            scope: self.scope.clone(),
            interfaces: self.interfaces.clone(),
            beside: false,
            xdp: self.xdp,
            tunnels: self.tunnels,
            syscalls: self.syscalls,
            off: self.off.clone(),
            avoid: self.avoid.clone(),
            variables: self.variables.clone(),
            files: self.files.clone(),
            rings: self.rings,
            pins: None,
            dns_ports: self.dns_ports.clone(),
            kernel_log: matches!(self.log_level, LogLevel::Debug | LogLevel::Trace),
        }
    }
}

fn switched_off(names: &[String], path: &Path) -> Result<Vec<Signal>, ConfigError> {
    let known = |name: &String| SWITCHABLE.into_iter().find(|signal| signal.name() == name);
    let signal = |name: &String| {
        known(name).ok_or_else(|| ConfigError::Value {
            source_name: path.display().to_string(),
            key: "collect.off",
            value: name.clone(),
            advice: format!(
                "what can be switched off is {}; system calls, log-ins and inventory have settings \
                 of their own",
                SWITCHABLE.map(Signal::name).join(", ")
            ),
        })
    };
    names.iter().map(signal).collect()
}

fn ring_sizes(section: &rings::RingsSection, path: &Path) -> Result<Rings, ConfigError> {
    section.rings().map_err(|(key, kib)| ConfigError::Value {
        source_name: path.display().to_string(),
        key,
        value: kib.to_string(),
        advice: rings::ADVICE.to_owned(),
    })
}

fn watched(files: &Files, path: &Path) -> Result<Watched, ConfigError> {
    let lists = [files.write.as_deref(), files.read.as_deref(), files.sockets.as_deref()];
    for (key, at) in [("files.write", 0), ("files.read", 1), ("files.sockets", 2)] {
        let only = |other| if other == at { lists[at] } else { Some(&[][..]) };
        if let Err(error) = Watched::new(only(0), only(1), only(2)) {
            return Err(ConfigError::Value {
                source_name: path.display().to_string(),
                key,
                value: error.to_string(),
                advice: "a `*` stands for a part of a name, `**` for any number of names, and \
                         `default` for the built-in list"
                    .to_owned(),
            });
        }
    }
    Ok(Watched::new(lists[0], lists[1], lists[2]).unwrap_or_default())
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: String| ConfigError::Unreadable { path: path.to_owned(), reason };
    let metadata = path.metadata().map_err(|error| unreadable(error.to_string()))?;
    if metadata.len() > FILE_MAX {
        return Err(unreadable(format!("it is longer than {FILE_MAX} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

fn syntax(text: &str, path: &Path, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start);
    let message = error.message().replace('\n', " ");
    ConfigError::Syntax { path: path.to_owned(), line: unknown::line_of(text, at), message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/sensor.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn every_key_is_optional() {
        let config = parse("").unwrap();
        assert_eq!(config.brain_address, "127.0.0.1:7443");
        assert_eq!((config.tick_ms, config.syscalls), (1000, SyscallMode::Sampled));
        assert_eq!(config.spool_max_bytes, 268_435_456);
        assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Text));
    }

    #[test]
    fn every_key_is_taken() {
        let text = "[files]\nread=['/srv/key']\nwrite=['default','/srv/']\nsockets=[]\n\
            [brain]\naddress='b:1'\nstate_dir='/s'\nhostname='web-1'\n\
            [scope]\ncgroup='/c'\nnetns='/n'\n\
            [collect]\ninterfaces=['eth0']\ntick_ms=500\nsyscalls='off'\nxdp='generic'\ntunnels=true\n\
            avoid=['lsm','raw_tracepoint']\noff=['dns','file']\n\
            [logins]\nsource='file'\nfiles=['/l']\n[inventory]\nenabled=false\n\
            [rings]\nsecurity_kib=4096\n[scan]\nsocket='/q'\n[spool]\nmax_bytes=9000000\n[log]\nlevel='debug'\nformat='json'\n";
        let config = parse(text).unwrap();
        assert_eq!(config.hostname.as_deref(), Some("web-1"));
        assert_eq!(config.scope.netns.as_deref(), Some(Path::new("/n")));
        assert_eq!((config.xdp, config.interfaces), (XdpMode::Generic, vec!["eth0".to_owned()]));
        assert_eq!((config.tick_ms, config.spool_max_bytes), (500, 9_000_000));
        assert_eq!((config.logins, config.inventory), (Source::File, false));
        assert_eq!(config.login_files, [PathBuf::from("/l")]);
        assert_eq!(config.rings, Rings { security: Some(4 << 20), ..Rings::default() });
        assert!(config.tunnels && config.scanner == Path::new("/q"));
        assert_eq!(config.avoid, [WayKind::Lsm, WayKind::RawTracepoint]);
    }

    #[test]
    fn errors_say_where_and_what_to_do() {
        for (text, sentence) in [
            (
                "[brain]\naddres = 'x:1'\n",
                "/etc/sensor.toml, line 2: unknown key `brain.addres`; did you mean `address`?",
            ),
            (
                "\n[colect]\n",
                "/etc/sensor.toml, line 2: unknown key `colect`; did you mean `collect`?",
            ),
            (
                "[spool]\nzzzzzzzz = 1\n",
                "/etc/sensor.toml, line 2: unknown key `spool.zzzzzzzz`; known keys here: max_bytes",
            ),
            (
                "[brain]\naddress = 'nowhere'\n",
                "/etc/sensor.toml: `brain.address` is nowhere; write host:port, such as \
                 brain.example:7443",
            ),
            (
                "[collect]\ndns_ports = [53, 0]\n",
                "/etc/sensor.toml: `collect.dns_ports` is [53, 0]; name at most 4 ports, from 1 to 65535",
            ),
            (
                "[host]\nroot = 'host'\n",
                "/etc/sensor.toml: `host.root` is host; write where the host's own files are mounted, \
                 from / on",
            ),
            (
                "[collect]\ntick_ms = 5\n",
                "/etc/sensor.toml: `collect.tick_ms` is 5; write 100 to 60000",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err(), sentence);
        }
        let error = parse("[collect]\nsyscalls = 'always'\n").unwrap_err();
        assert!(error.starts_with("/etc/sensor.toml, line 2: ") && error.contains("continuous"));
        let error = Config::load(Some(Path::new("/no/such.toml"))).unwrap_err().to_string();
        assert!(error.contains("/no/such.toml") && error.contains("--config"));
    }
}
