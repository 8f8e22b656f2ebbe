//! Finds keys that the sensor does not know, and guesses what was meant.

use std::path::Path;

use super::ConfigError;

/// Every section with its keys.
const KEYS: &[(&str, &[&str])] = &[
    ("brain", &["address", "state_dir", "hostname"]),
    ("host", &["root"]),
    ("scope", &["cgroup", "netns"]),
    (
        "collect",
        &[
            "interfaces",
            "tick_ms",
            "syscalls",
            "xdp",
            "tunnels",
            "avoid",
            "off",
            "variables",
            "dns_ports",
        ],
    ),
    ("logins", &["source", "files"]),
    ("inventory", &["enabled"]),
    ("files", &["write", "read", "sockets"]),
    ("rings", &["security_kib", "process_kib", "file_kib", "payload_kib"]),
    ("spool", &["max_bytes"]),
    ("guard", &["user", "pin"]),
    ("scan", &["socket"]),
    ("log", &["level", "format"]),
];

/// Refuses the first unknown key of a text, which is also given as the table that it says.
pub fn check(table: &toml::Table, text: &str, path: &Path) -> Result<(), ConfigError> {
    let sections: Vec<&str> = KEYS.iter().map(|(section, _)| *section).collect();
    for (section, value) in table {
        let Some((_, keys)) = KEYS.iter().find(|(known, _)| known == section) else {
            return Err(error(text, path, section, section.clone(), &sections));
        };
        for key in value.as_table().into_iter().flat_map(toml::Table::keys) {
            if !keys.contains(&key.as_str()) {
                return Err(error(text, path, key, format!("{section}.{key}"), keys));
            }
        }
    }
    Ok(())
}

/// Returns the number of the line that holds a byte.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&b| b == b'\n').count()
}

fn error(text: &str, path: &Path, word: &str, key: String, known: &[&str]) -> ConfigError {
    let nearest = known.iter().map(|known| (distance(word, known), known)).min();
    let advice = match nearest {
        // Further apart, a guess would be as wrong as the key.
        Some((distance, known)) if distance <= word.len().min(known.len()) / 2 => {
            format!("did you mean `{known}`?")
        }
        _ => format!("known keys here: {}", known.join(", ")),
    };
    let line = line_of(text, text.find(word).unwrap_or(0));
    ConfigError::UnknownKey { path: path.to_owned(), line, key, advice }
}

/// Returns how many letters must be added, removed or changed to get from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_letters() {
        assert_eq!(distance("addres", "address"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
