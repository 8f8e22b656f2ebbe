//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use ipnet::IpNet;

use crate::config::{Config, ConfigError, DEFAULT_PATH};
use crate::join::JoinToken;
use crate::replay::Options;
use crate::tuning;

/// Sakuramori's agent: watches this host's processes and packets from inside the kernel.
///
/// Exit codes: 0 good, 1 failed, 2 wrong use. Logs go to standard error, data to standard output.
#[derive(Debug, Parser)]
#[command(name = "sakuramori-sensor", version, max_term_width = 100)]
pub struct Cli {
    /// Configuration file (TOML); every key is optional.
    #[arg(long, global = true, value_name = "FILE", help = format!(
        "Configuration file (TOML); every key is optional [default: {DEFAULT_PATH}, if it exists]"
    ))]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent: collect, and send to the brain.
    ///
    /// The first run on a host needs a join token, which `sakuramori-brain token create` prints.
    /// Stops on SIGTERM or SIGINT after a last flush; what the brain has not got by then waits on
    /// disk.
    Run(RunArgs),
    /// Show what this kernel allows: every hook, how it is attached, or why not and what is lost.
    ///
    /// Attaches everything for a moment and detaches it again. Needs root, but no brain. Exits with
    /// 0 when no required hook is missing.
    Doctor {
        /// What is watched.
        #[command(flatten)]
        scope: ScopeArgs,
        /// Print one JSON object per line instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Show live records on the terminal until Ctrl-C. Needs root, but no brain.
    ///
    /// Bytes that could confuse a terminal are shown as visible escapes.
    Watch {
        /// What is watched.
        #[command(flatten)]
        scope: ScopeArgs,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Say whether the sensor that runs with this configuration is alive; for probes and scripts.
    ///
    /// Exits with 0 when its worker gave a sign of life a moment ago. Loads nothing.
    Health {
        /// Oldest sign, in seconds, that counts; one is given every five.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        max_age_s: u64,
    },
    /// Do nothing: the sensor executes this now and then, and must see it.
    #[command(hide = true)]
    Canary {
        /// Tells one execution from another.
        number: u32,
    },
    /// Read log files at once and print what they say of log-ins, one JSON object per line.
    ///
    /// For whoever wants to know what is understood of a host's logs. Needs no rights but to read
    /// them.
    Logins {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Put a capture (pcap or pcapng) through the sensor, in the capture's own time.
    ///
    /// Prints records as `watch` does, or sends them to a brain when one is named. Needs neither
    /// root nor a kernel that can be watched. What was read is summed up on standard error.
    Replay(ReplayArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Flags of `run`; each overrides the configuration.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Join token, for a host that is not enrolled yet. Better given as an environment variable:
    /// other users of the host can see a command line.
    #[arg(long, value_name = "TOKEN", env = "SAKURAMORI_JOIN", hide_env_values = true)]
    pub join: Option<String>,
    /// Where the brain listens, `host:port` (UDP).
    #[arg(long, value_name = "ADDR")]
    pub brain: Option<String>,
    /// Directory for key, certificate and spool.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name under which the host is shown.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// What is watched.
    #[command(flatten)]
    pub scope: ScopeArgs,
}

/// Flags of `replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The capture.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Networks that are the host's own, separated by commas. Without it those of RFC 1918 and
    /// RFC 4193 are; between two of a kind, the host is the one that begins.
    #[arg(long, value_name = "CIDR", value_delimiter = ',')]
    pub local: Vec<IpNet>,
    /// Look into one level of GRE, VXLAN and IP in IP; the `collect.tunnels` of a capture.
    #[arg(long)]
    pub tunnels: bool,
    /// Print one JSON object per line.
    #[arg(long, conflicts_with = "brain")]
    pub json: bool,
    /// Send the records to the brain that listens there, `host:port` (UDP).
    #[arg(long, value_name = "ADDR", requires = "state_dir")]
    pub brain: Option<String>,
    /// Join token, unless the state directory is enrolled already.
    #[arg(long, value_name = "TOKEN", env = "SAKURAMORI_JOIN", hide_env_values = true)]
    pub join: Option<String>,
    /// Directory for key, certificate and spool of the host that the capture stands for; not that
    /// of a sensor that runs.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Name of the host that the capture stands for.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
}

/// What is watched; each flag overrides the configuration.
#[derive(Debug, Args)]
pub struct ScopeArgs {
    /// Watch only tasks below this cgroup v2 directory.
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,
    /// Watch interfaces and sockets of this network namespace, such as /run/netns/web-1.
    #[arg(long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
}

impl Cli {
    /// Returns the configuration with the flags, and for `run` what the brain's policy set last.
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        let own = self.with_flags(Config::load(self.config.as_deref())?)?;
        if !matches!(self.command, Command::Run(_)) {
            return Ok(own);
        }
        match tuning::kept(&own.state_dir) {
            Ok(None) => Ok(own),
            Ok(Some(policy)) => match own.under(&policy) {
                Ok(config) => self.with_flags(config),
                // The host's configuration may have changed since the policy was checked.
                Err(error) => {
                    tracing::error!(%error, "what the brain's policy sets is left out");
                    Ok(own)
                }
            },
            Err(error) => {
                tracing::error!(%error, "what the brain's policy sets cannot be read");
                Ok(own)
            }
        }
    }

    fn with_flags(&self, mut config: Config) -> Result<Config, ConfigError> {
        match &self.command {
            Command::Run(args) => args.apply(&mut config)?,
            Command::Doctor { scope, .. } | Command::Watch { scope, .. } => {
                scope.apply(&mut config);
            }
            Command::Replay(args) => args.apply(&mut config)?,
            Command::Logins { .. }
            | Command::Health { .. }
            | Command::Canary { .. }
            | Command::Completions { .. } => {}
        }
        config.check("the command line")?;
        Ok(config)
    }

    /// Prints a completion script.
    pub fn print_completions(shell: Shell) {
        let mut command = Self::command();
        let name = command.get_name().to_owned();
        clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
    }
}

/// Puts what flags say of the brain, and of the host that reports to it, over the configuration.
fn reach(
    config: &mut Config,
    [join, brain, hostname]: [&Option<String>; 3],
    state_dir: Option<&Path>,
) -> Result<(), ConfigError> {
    config.join = join.as_deref().map(JoinToken::parse).transpose()?;
    if let Some(address) = brain {
        config.brain_address.clone_from(address);
    }
    if let Some(state_dir) = state_dir {
        config.state_dir = state_dir.to_owned();
    }
    if hostname.is_some() {
        config.hostname.clone_from(hostname);
    }
    Ok(())
}

impl RunArgs {
    fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let Self { join, brain, state_dir, hostname, scope } = self;
        reach(config, [join, brain, hostname], state_dir.as_deref())?;
        scope.apply(config);
        Ok(())
    }
}

impl ReplayArgs {
    fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let Self { join, brain, state_dir, hostname, .. } = self;
        reach(config, [join, brain, hostname], state_dir.as_deref())
    }

    /// Returns what is to be replayed and where to.
    pub fn options(self) -> Options {
        let send = self.brain.is_some();
        let Self { file, local, tunnels, json, .. } = self;
        Options { file, local, tunnels, json, send }
    }
}

impl ScopeArgs {
    fn apply(&self, config: &mut Config) {
        if self.cgroup.is_some() {
            config.scope.cgroup.clone_from(&self.cgroup);
        }
        if self.netns.is_some() {
            config.scope.netns.clone_from(&self.netns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(args: &[&str]) -> Result<Config, ConfigError> {
        Cli::try_parse_from(args).unwrap().configuration()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_override_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sensor.toml");
        std::fs::write(&file, "[brain]\naddress='a:1'\nhostname='old'\n").unwrap();
        let file = file.to_str().unwrap();
        let config = configuration(&[
            "sakuramori-sensor",
            "run",
            "--config",
            file,
            "--hostname",
            "web-1",
            "--netns",
            "/run/netns/web-1",
        ]);
        let config = config.unwrap();
        assert_eq!(
            (config.brain_address.as_str(), config.hostname.as_deref()),
            ("a:1", Some("web-1"))
        );
        assert!(config.scope.netns.is_some());
        let error = configuration(&["sakuramori-sensor", "--config", file, "run", "--brain", "x"]);
        assert!(error.unwrap_err().to_string().starts_with("the command line: `brain.address`"));
    }
}
