//! What the brain's policy sets, over the host's own configuration.

use std::path::Path;

use super::{Config, ConfigError};

/// Names the policy in errors, where a file would be named.
const SOURCE: &str = "the brain's policy";

/// What a policy may set: what can change while the sensor runs, and opens nothing of the host to
/// the brain that its own configuration has not opened. So a policy names no logs to read.
const SETTABLE: &[(&str, &[&str])] = &[
    ("collect", &["interfaces", "tick_ms", "syscalls", "variables", "dns_ports", "off"]),
    ("files", &["write", "read", "sockets"]),
    ("logins", &["source"]),
    ("inventory", &["enabled"]),
];

impl Config {
    /// Puts a policy over the file that this was read from; flags are left out.
    pub fn under(&self, policy: &str) -> Result<Self, ConfigError> {
        Self::under_policy(&self.text, &self.path, policy)
    }

    /// Parses the text of a file and puts a policy over it. Each is right by itself, or an error
    /// says which is not and where.
    fn under_policy(own: &str, path: &Path, policy: &str) -> Result<Self, ConfigError> {
        Self::parse(own, path)?;
        Self::parse(policy, Path::new(SOURCE))?;
        // Both were parsed just now.
        let table = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
        let mut merged = table(own);
        for (section, keys) in table(policy) {
            let toml::Value::Table(keys) = keys else { continue };
            for (key, value) in keys {
                if !settable(&section, &key) {
                    return Err(refused(&section, &key));
                }
                let empty = || toml::Value::Table(toml::Table::new());
                let target = merged.entry(section.clone()).or_insert_with(empty);
                target.as_table_mut().and_then(|table| table.insert(key, value));
            }
        }
        let merged = Self::parse(&merged.to_string(), path)?;
        Ok(Self { text: own.to_owned(), ..merged })
    }
}

fn settable(section: &str, key: &str) -> bool {
    SETTABLE.iter().any(|(known, keys)| *known == section && keys.contains(&key))
}

fn refused(section: &str, key: &str) -> ConfigError {
    let of_section = SETTABLE.iter().filter(|(known, _)| *known == section);
    let keys: Vec<&str> = of_section.flat_map(|(_, keys)| keys.iter().copied()).collect();
    let advice = match keys.is_empty() {
        true => {
            let sections: Vec<&str> = SETTABLE.iter().map(|(section, _)| *section).collect();
            format!("a policy sets only sections {}", sections.join(", "))
        }
        false => format!("a policy sets only {} here", keys.join(", ")),
    };
    ConfigError::UnknownKey {
        path: SOURCE.into(),
        line: 1,
        key: format!("{section}.{key}"),
        advice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn under(own: &str, policy: &str) -> Result<Config, String> {
        let config = Config::under_policy(own, Path::new("/etc/sensor.toml"), policy);
        config.map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_stands_over_what_the_host_says_and_leaves_the_rest() {
        let own = "[brain]\naddress='b:1'\n[collect]\ntick_ms=500\ninterfaces=['eth0']\n";
        let config = under(own, "[collect]\ntick_ms=2000\n[inventory]\nenabled=false\n").unwrap();
        assert_eq!((config.tick_ms, config.inventory), (2000, false));
        assert_eq!((config.brain_address.as_str(), config.interfaces.len()), ("b:1", 1));
        assert_eq!(under(own, "").unwrap().tick_ms, 500);
        let ports = under(own, "[collect]\ndns_ports=[53,5353]\n").unwrap().dns_ports;
        assert_eq!(ports, [53, 5353]);
    }

    #[test]
    fn a_number_beyond_every_limit_is_an_error_and_loses_nothing() {
        let own = "[log]\nformat='json'\n[spool]\nmax-bytes=99999999999999999999999999\n";
        let error = under(own, "").unwrap_err();
        assert!(error.contains("/etc/sensor.toml, line 4"), "{error}");
    }

    #[test]
    fn what_a_policy_may_not_set_is_refused_whole() {
        for (policy, said) in [
            ("[brain]\naddress='x:1'\n", "`brain.address`; a policy sets only sections"),
            ("[logins]\nfiles=['/etc/shadow']\n", "`logins.files`; a policy sets only source"),
            ("[collect]\ntick_ms=1\n", "the brain's policy: `collect.tick_ms` is 1; write 100"),
            ("[collect]\ntick_msx=1\n", "the brain's policy, line 2: unknown key"),
            ("tick_ms = = 1\n", "the brain's policy, line 1"),
        ] {
            let error = under("", policy).unwrap_err();
            assert!(error.contains(said), "{policy}: {error}");
        }
    }
}
