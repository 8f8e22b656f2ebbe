//! What policies want of sensors: configuration that stands over the hosts' own.
//!
//! A file `sensors/ROLE.toml` is for hosts of that role, `sensors/default.toml` for all that have
//! none of their own. The brain looks no further than that it is TOML: a sensor knows its settings,
//! takes all of a file or nothing, and says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::limits;

use super::{PolicyFile, Problem, YaraRules};

/// The file for hosts whose role has none.
const DEFAULT: &str = "default";

/// Settings for one kind of host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SensorPolicy {
    /// Names the file's state.
    pub revision: String,
    /// What it says.
    pub text: Arc<str>,
}

/// All of them, by role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SensorPolicies {
    by_role: BTreeMap<String, SensorPolicy>,
    /// YARA rules, for all hosts.
    pub yara: YaraRules,
}

impl SensorPolicies {
    /// Returns what a host of this role should be set to, if anything.
    pub fn of_role(&self, role: &str) -> Option<&SensorPolicy> {
        self.by_role.get(role).or_else(|| self.by_role.get(DEFAULT))
    }

    /// Takes a file in.
    pub(super) fn read(&mut self, file: &PolicyFile, revision: String) -> Result<(), Problem> {
        if file.text.len() > limits::SETTINGS_MAX {
            let most = limits::SETTINGS_MAX;
            return Err(Problem { line: None, message: format!("longer than {most} bytes") });
        }
        if let Err(error) = toml::from_str::<toml::Table>(&file.text) {
            let before = error.span().map_or("", |span| &file.text[..span.start]);
            let line = before.matches('\n').count() + 1;
            return Err(Problem::at(line, error.message().replace('\n', " ")));
        }
        let leaf = file.name.rsplit('/').next().unwrap_or_default();
        let role = leaf.strip_suffix(".toml").unwrap_or(leaf).to_owned();
        let text = Arc::from(file.text.as_str());
        self.by_role.insert(role, SensorPolicy { revision, text });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PolicyFile, PolicySet};

    fn set(files: &[(&str, &str)]) -> PolicySet {
        let file =
            |&(name, text): &(&str, &str)| PolicyFile { name: name.into(), text: text.into() };
        PolicySet::from_files(files.iter().map(file).collect(), None)
    }

    #[test]
    fn a_role_has_its_own_file_or_the_default() {
        let set = set(&[
            ("sensors/default.toml", "[collect]\ntick_ms = 2000\n"),
            ("sensors/db.toml", "[collect]\ntick_ms = 500\n"),
        ]);
        let text = |role| set.sensors.of_role(role).map(|policy| &*policy.text);
        assert_eq!(text("db"), Some("[collect]\ntick_ms = 500\n"));
        assert_eq!(text("web"), Some("[collect]\ntick_ms = 2000\n"));
        assert_ne!(set.sensors.of_role("db"), set.sensors.of_role("web"));
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_and_nothing_of_it_counts() {
        let set = set(&[("sensors/web.toml", "[collect]\ntick_ms = = 5\n")]);
        assert_eq!(set.sensors.of_role("web"), None);
        assert!(set.errors[0].to_string().starts_with("sensors/web.toml:2: "), "{:?}", set.errors);
    }
}
