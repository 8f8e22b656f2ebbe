//! Settings that the brain's policy wants: checked, kept in a file, and taken by a new worker.
//!
//! The file lies in the worker's state directory, so that settings hold while the brain is away and
//! after a restart. The loader reads it at each start and whenever the worker asks for it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use wire::control::{Settings, SettingsReply};
use wire::limits;

use crate::atomic_file;
use crate::config::Config;
use crate::privileged::{protocol, remote::Remote};

/// Name of the file in the state directory.
const FILE: &str = "policy.toml";
/// Nobody else has to read it.
const MODE: u32 = 0o600;

/// Reads what the policy wanted last; `None` without such a file.
///
/// The file is the worker's, which is not trusted: it is read only if it is a plain file, and no
/// longer than settings may be.
pub fn kept(state_dir: &Path) -> io::Result<Option<String>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let opened = File::options().read(true).custom_flags(flags).open(state_dir.join(FILE));
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let mut text = String::new();
    file.take(limits::SETTINGS_MAX as u64 + 1).read_to_string(&mut text)?;
    if text.len() > limits::SETTINGS_MAX {
        return Err(io::Error::other(format!("it is longer than {} bytes", limits::SETTINGS_MAX)));
    }
    Ok(Some(text))
}

/// Takes settings from the brain.
#[derive(Debug)]
pub struct Tuning {
    config: Config,
    loader: Option<&'static Remote>,
}

impl Tuning {
    /// Checks settings against the configuration that they will stand over; without a loader they
    /// are taken at the next start.
    pub fn new(config: Config, loader: Option<&'static Remote>) -> Self {
        Self { config, loader }
    }

    /// Checks and keeps settings. Returns what to answer, and whether a new worker has to take
    /// them: that is asked for by [`Tuning::begin`] once the answer is on its way.
    pub fn take(&self, settings: &Settings) -> (SettingsReply, bool) {
        let taken = self.keep(&settings.text);
        let problem = match &taken {
            Ok(_) => String::new(),
            Err(problem) => {
                tracing::error!(problem, "the brain's settings are refused; the old ones go on");
                problem.clone()
            }
        };
        let reply = SettingsReply { revision: settings.revision.clone(), problem };
        (reply, taken.unwrap_or(false))
    }

    /// Has the loader start a worker with the new settings.
    pub fn begin(&self) {
        tracing::info!("the brain's settings are taken");
        if let Some(loader) = self.loader {
            loader.tell(protocol::RELOAD);
        }
    }

    /// Returns whether anything is new.
    fn keep(&self, text: &str) -> Result<bool, String> {
        if text.len() > limits::SETTINGS_MAX {
            return Err(format!("the settings are longer than {} bytes", limits::SETTINGS_MAX));
        }
        self.config.under(text).map_err(|error| error.to_string())?;
        let before = kept(&self.config.state_dir).ok().flatten().unwrap_or_default();
        if before == text {
            return Ok(false);
        }
        atomic_file::write(&self.config.state_dir.join(FILE), text.as_bytes(), MODE)
            .map_err(|error| format!("the settings cannot be kept: {error}"))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuning(folder: &Path) -> Tuning {
        let own = Config::parse("[collect]\ntick_ms = 500\n", Path::new("sensor.toml")).unwrap();
        Tuning::new(Config { state_dir: folder.to_owned(), ..own }, None)
    }

    fn settings(text: &str) -> Settings {
        Settings { revision: "r1".to_owned(), text: text.to_owned() }
    }

    #[test]
    fn new_settings_are_kept_and_the_same_again_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let tuning = tuning(folder.path());
        let wanted = settings("[collect]\ntick_ms = 2000\n");
        let (reply, new) = tuning.take(&wanted);
        assert_eq!((reply.revision.as_str(), reply.problem.as_str(), new), ("r1", "", true));
        assert_eq!(kept(folder.path()).unwrap().as_deref(), Some(wanted.text.as_str()));
        assert!(!tuning.take(&wanted).1);
        assert!(tuning.take(&settings("")).1, "settings can be taken back");
    }

    #[test]
    fn refused_settings_leave_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let tuning = tuning(folder.path());
        tuning.take(&settings("[collect]\ntick_ms = 2000\n"));
        for bad in ["[collect]\ntick_ms = 1\n", "[brain]\naddress = 'evil:1'\n", "\0"] {
            let (reply, new) = tuning.take(&settings(bad));
            assert!(!reply.problem.is_empty() && !new, "{bad}");
        }
        let long = settings(&"#".repeat(limits::SETTINGS_MAX + 1));
        assert!(tuning.take(&long).0.problem.contains("longer than"));
        let text = kept(folder.path()).unwrap().unwrap();
        assert_eq!(text, "[collect]\ntick_ms = 2000\n");
    }

    #[test]
    fn a_file_that_leads_elsewhere_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join(FILE)).unwrap();
        assert!(kept(folder.path()).is_err());
    }
}
