//! Commands and flags.

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::{Args, CommandFactory, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::app::App;
use crate::config::{Config, DATA_DEFAULT, Log, LogFormat};

mod client;
mod detect;
mod policy;
mod span;
mod table;

/// Sakuramori's central brain.
#[derive(Debug, Parser)]
#[command(name = "sakuramori-brain", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the brain.
    Serve(Serve),
    /// Makes, lists and ends join tokens for sensors.
    Token {
        #[command(subcommand)]
        command: TokenCommand,
        #[command(flatten)]
        server: Server,
    },
    /// Lists findings.
    Findings(Findings),
    /// Lists hosts.
    Hosts {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Acts on one host.
    Host {
        #[command(subcommand)]
        command: HostCommand,
        #[command(flatten)]
        server: Server,
    },
    /// Shows events that anybody wrote to Sigma rules: exits with 1 when one matches.
    Detect(detect::Detect),
    /// Tests, explains and tries policies. Needs no running brain.
    Policy {
        #[command(subcommand)]
        command: policy::PolicyCommand,
    },
    /// Prints completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
struct Serve {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory [default: /var/lib/sakuramori/brain]
    #[arg(long, value_name = "DIR", env = "SAKURAMORI_DATA")]
    data: Option<PathBuf>,
    /// UDP address for sensors [default: 127.0.0.1:7443]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// TCP address for people; anything but loopback is served with TLS [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// Folder that replaces the built-in policies.
    #[arg(long, value_name = "DIR")]
    policies: Option<PathBuf>,
    /// Folder of public Sigma rules, read beside the policies; may be given several times.
    #[arg(long, value_name = "DIR")]
    rules: Vec<PathBuf>,
    /// Slack's incoming webhook.
    #[arg(long, value_name = "URL", env = "SAKURAMORI_WEBHOOK", hide_env_values = true)]
    webhook: Option<String>,
    /// Lets the webhook lead to this machine or a private network.
    #[arg(long)]
    webhook_allow_private: bool,
    /// Prints no set-up link while there is no account.
    #[arg(long)]
    no_setup_link: bool,
}

/// Where the running brain is.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Address of the brain.
    #[arg(
        long,
        value_name = "URL",
        env = "SAKURAMORI_SERVER",
        default_value = "http://127.0.0.1:8080",
        global = true
    )]
    server: String,
    /// Data directory of the brain, for its token and certificate.
    #[arg(
        long,
        value_name = "DIR",
        env = "SAKURAMORI_DATA",
        default_value = DATA_DEFAULT,
        global = true
    )]
    data: PathBuf,
    /// File with the token [default: cli.token in the data directory]
    #[arg(long, value_name = "FILE", global = true)]
    token_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Makes a join token and prints it. It is shown this once.
    Create {
        /// Role of the hosts that enrol with it.
        #[arg(long, default_value = "host")]
        role: String,
        /// How many hosts may enrol with it.
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it is valid, such as 30m, 24h or 7d.
        #[arg(long, default_value = "24h", value_parser = span::seconds)]
        ttl: u64,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Lists join tokens, without their secrets.
    List {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Ends a join token.
    Revoke {
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Findings {
    /// One JSON object per line, with everything that is known.
    #[arg(long)]
    json: bool,
    /// Only of this host, by name or id.
    #[arg(long)]
    host: Option<String>,
    /// Only of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Only this severe or worse, 1.0 to 10.0.
    #[arg(long, value_name = "SEVERITY")]
    min_severity: Option<f64>,
    /// Only in this state: open, acknowledged, archived or suppressed.
    #[arg(long, value_parser = ["open", "acknowledged", "archived", "suppressed"])]
    state: Option<String>,
    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Refuses a host for good; to come back it has to enrol anew.
    Revoke {
        /// Its name or id.
        host: String,
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the program.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            // One line, whatever the causes were.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(flags) => serve(flags)?,
        Command::Token { command, server } => {
            runtime()?.block_on(client::token(command, &server))?;
        }
        Command::Findings(flags) => runtime()?.block_on(client::findings(&flags))?,
        Command::Hosts { json, server } => runtime()?.block_on(client::hosts(json, &server))?,
        Command::Host { command, server } => {
            runtime()?.block_on(client::host(command, &server))?;
        }
        Command::Detect(flags) => return Ok(detect::run(&flags)),
        Command::Policy { command } => return policy::run(command),
        Command::Completions { shell } => {
            let mut command = Cli::command();
            let name = command.get_name().to_owned();
            clap_complete::generate(shell, &mut command, name, &mut io::stdout());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn serve(flags: Serve) -> Result<()> {
    let config = flags.config()?;
    start_log(&config.log)?;
    runtime()?.block_on(async {
        let mut stop = Signals::new()?;
        let mut app = App::start(config).await?;
        announce(&app);
        let result = loop {
            tokio::select! {
                error = app.failed() => {
                    tracing::error!(error = format!("{error:#}"), "a part that nothing replaces");
                    break Err(error);
                }
                signal = stop.next() => match signal {
                    Signal::Stop => break Ok(()),
                    Signal::Reload => reload(&app).await,
                },
            }
        };
        tracing::info!("shutting down");
        result.and(app.shutdown().await)
    })
}

async fn reload(app: &App) {
    if let Err(error) = app.reload_policies().await {
        tracing::error!(error = format!("{error:#}"), "the policies stay as they were");
    }
}

/// Says where things are. Scripts read these lines, so their form is fixed.
fn announce(app: &App) {
    let mut lines =
        format!("quic listening on {}\nconsole at {}\n", app.quic_address(), app.console_url());
    if let Some(link) = app.setup_link() {
        lines.push_str(&format!("set-up link: {link}\n"));
    }
    let mut out = io::stdout().lock();
    // In one piece, and nobody has to read it: sensors are served either way.
    if let Err(error) = out.write_all(lines.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "nobody reads where the brain listens");
    }
}

impl Serve {
    fn config(self) -> Result<Config> {
        let mut config = match &self.config {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        config.data = self.data.or(config.data);
        config.ingest.listen = self.listen.unwrap_or(config.ingest.listen);
        config.http.listen = self.http.unwrap_or(config.http.listen);
        config.http.setup_link &= !self.no_setup_link;
        config.policies.dir = self.policies.or(config.policies.dir);
        config.policies.extra.extend(self.rules);
        config.notify.slack_webhook = self.webhook.or(config.notify.slack_webhook);
        config.notify.allow_private |= self.webhook_allow_private;
        config.check()?;
        Ok(config)
    }
}

fn start_log(log: &Log) -> Result<()> {
    let filter = EnvFilter::try_from_default_env()
        .or_else(|_| EnvFilter::try_new(&log.level))
        .map_err(|error| anyhow!("log.level: {error}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

enum Signal {
    Stop,
    Reload,
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hang_up.recv() => Signal::Reload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Cli::command().debug_assert();
    }
}
