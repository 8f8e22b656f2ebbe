//! Settings: a TOML file, then flags over it. A mistake becomes one sentence that names file and
//! line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("failed to read the configuration {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what is expected.
    #[error("{path}: {message}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Line, and what is wrong there.
        message: String,
    },
    /// A value makes no sense.
    #[error("{key}: {message}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
}

/// Everything that `serve` can be told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Data directory.
    pub data: Option<PathBuf>,
    /// Where sensors connect.
    pub ingest: Ingest,
    /// Where people and scripts connect.
    pub http: Http,
    /// What is looked for.
    pub policies: Policies,
    /// Who is told.
    pub notify: Notify,
    /// What is acknowledged.
    pub journal: Journal,
    /// Limits on what peers may use.
    pub limits: Limits,
    /// The program's own log.
    pub log: Log,
}

/// Data directory when none is named.
pub const DATA_DEFAULT: &str = "/var/lib/sakuramori/brain";

/// `[ingest]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// UDP address.
    pub listen: SocketAddr,
}

impl Default for Ingest {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 7443)) }
    }
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// TCP address. Anything but loopback is served with TLS.
    pub listen: SocketAddr,
    /// Whether a set-up link is printed while there is no account.
    pub setup_link: bool,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), setup_link: true }
    }
}

/// `[policies]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// Folder that replaces the policies of this build.
    pub dir: Option<PathBuf>,
    /// Folders of public Sigma rules that are read as well, whatever their layout.
    pub extra: Vec<PathBuf>,
}

/// `[notify]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Slack's incoming webhook.
    pub slack_webhook: Option<String>,
    /// Findings below are not sent. 4.0 is where "medium" begins: less is for the console.
    pub min_severity: f64,
    /// Whether the webhook may lead to this machine or a private network.
    pub allow_private: bool,
    /// Messages in a minute; what is more is summed up. Slack allows about one a second.
    pub max_per_minute: u32,
    /// Address of the console in messages; by default where HTTP listens.
    pub console_url: Option<String>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            slack_webhook: None,
            min_severity: 4.0,
            allow_private: false,
            max_per_minute: 20,
            console_url: None,
        }
    }
}

/// `[journal]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Journal {
    /// Bytes on disk; the oldest batches go first. 4 GiB is days of a hundred hosts.
    pub max_bytes: u64,
    /// Bytes after which a new file begins; what is removed is removed by the file.
    pub segment_bytes: u64,
}

impl Default for Journal {
    fn default() -> Self {
        Self { max_bytes: 4 << 30, segment_bytes: 64 << 20 }
    }
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// QUIC connections at once. Each may hold 256 KiB of unread bytes, 2.5 GiB at the most; an
    /// enrolled host also a frame that is not whole for each lane, for as long as a frame may take.
    pub connections: u32,
    /// Bytes of one sensor in a second, before it is read more slowly: those that its batches have
    /// unpacked, 4 KiB for each batch, 64 for each record. A busy host sends a tenth.
    pub bytes_per_second: u64,
    /// Handshakes of one address in a second, and as many again in a burst.
    pub handshakes_per_second: u32,
    /// Refused enrolments of one address in a minute; more are refused unread.
    pub failed_enrolments_per_minute: u32,
    /// Failed log-ins of one address in a minute.
    pub failed_logins_per_minute: u32,
    /// Open live streams of the console.
    pub live_streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            bytes_per_second: 8 << 20,
            handshakes_per_second: 200,
            failed_enrolments_per_minute: 30,
            failed_logins_per_minute: 10,
            live_streams: 256,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Filter, such as `info` or `brain=debug`.
    pub level: String,
    /// Form of the lines.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Forms of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text)
            .map_err(|message| ConfigError::Content { path: path.to_owned(), message })
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            match line {
                Some(line) => format!("line {line}: {}", error.message()),
                None => error.message().to_owned(),
            }
        })
    }

    /// Checks values that the types cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let refuse =
            |key, message: &str| Err(ConfigError::Value { key, message: message.to_owned() });
        if !(1.0..=10.0).contains(&self.notify.min_severity) {
            return refuse("notify.min_severity", "a severity lies between 1.0 and 10.0");
        }
        if self.notify.max_per_minute == 0 {
            return refuse(
                "notify.max_per_minute",
                "it must be at least 1; leave out slack_webhook to send nothing",
            );
        }
        if self.journal.segment_bytes < 64 * 1024 {
            return refuse("journal.segment_bytes", "it must be at least 65536");
        }
        if self.journal.max_bytes < 2 * self.journal.segment_bytes {
            return refuse(
                "journal.max_bytes",
                "it must hold at least two segments (journal.segment_bytes)",
            );
        }
        if self.limits.connections == 0 {
            return refuse("limits.connections", "it must be at least 1");
        }
        Ok(())
    }

    /// Returns the data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(DATA_DEFAULT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_default_and_valid() {
        let config = Config::parse("").unwrap();
        config.check().unwrap();
        assert_eq!(config.ingest.listen.to_string(), "127.0.0.1:7443");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let error =
            Config::parse("[ingest]\nlisten = \"127.0.0.1:7443\"\nlisten_on = 1\n").unwrap_err();
        assert!(error.starts_with("line 3: unknown field `listen_on`"), "{error}");
        let error = Config::parse("[http]\nlisten = \"nowhere\"").unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let wrong = [
            "[notify]\nmin_severity = 0.0",
            "[journal]\nmax_bytes = 1",
            "[limits]\nconnections = 0",
        ];
        for text in wrong {
            assert!(Config::parse(text).unwrap().check().is_err(), "{text}");
        }
    }
}
