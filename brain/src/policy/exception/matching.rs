//! Which sightings an exception is about.
//!
//! All that is written must hold; of a list, one. What a sighting does not have, such as the user
//! of an unknown process, matches nothing: an exception never covers more than it says.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::finding::{ActorKind, Signal};
use crate::policy::node::Node;
use crate::text;

/// Values of one key.
const VALUES_MAX: usize = 1_000;

/// Conditions on a sighting; an empty list asks nothing.
#[derive(Clone, Debug, Default)]
pub struct Match {
    types: Vec<Pattern>,
    rules: Vec<Pattern>,
    hosts: Vec<Pattern>,
    roles: Vec<Pattern>,
    users: Vec<Pattern>,
    executables: Vec<Pattern>,
    containers: Vec<Pattern>,
    sha256: Vec<Vec<u8>>,
    addresses: Vec<IpNet>,
}

const KEYS: &str = "type, rule, host, role, user, executable, sha256, container, address";

impl Match {
    /// Reads the map; a refusal names the key.
    pub(super) fn read(node: &Node) -> Result<Self, (String, String)> {
        let wrong = |message: &str| (String::new(), message.to_owned());
        let entries = node.as_map().ok_or_else(|| wrong("`match` must be a map"))?;
        if entries.is_empty() {
            return Err(wrong("`match` is empty and would cover everything"));
        }
        let mut read = Self::default();
        for (key, node) in entries {
            let refuse = |message: String| (key.clone(), message);
            let values = values(node).map_err(|m| refuse(format!("`{key}` {m}")))?;
            let into = match key.as_str() {
                "type" => &mut read.types,
                "rule" => &mut read.rules,
                "host" => &mut read.hosts,
                "role" => &mut read.roles,
                "user" => &mut read.users,
                "executable" => &mut read.executables,
                "container" => &mut read.containers,
                "sha256" => {
                    let hashes = values.iter().map(|value| hash(value)).collect();
                    read.sha256 = Option::ok_or_else(hashes, || {
                        refuse("`sha256` takes 64 hexadecimal digits".to_owned())
                    })?;
                    continue;
                }
                "address" => {
                    let networks = values.iter().map(|value| network(value)).collect();
                    read.addresses = Result::map_err(networks, refuse)?;
                    continue;
                }
                _ => return Err(refuse(format!("`{key}` is not known; keys are {KEYS}"))),
            };
            *into = values.into_iter().map(Pattern).collect();
        }
        let all = [&read.types, &read.rules, &read.hosts, &read.roles, &read.users];
        let more = [&read.executables, &read.containers];
        let narrows = |patterns: &&Vec<Pattern>| {
            !patterns.is_empty() && !patterns.iter().any(Pattern::is_anything)
        };
        let is_narrow = all.iter().chain(&more).any(narrows);
        if !is_narrow && read.sha256.is_empty() && read.addresses.is_empty() {
            return Err(wrong("`match` would cover everything; name a type, a rule or a host"));
        }
        Ok(read)
    }

    /// Returns whether all conditions hold.
    pub(super) fn fits(&self, signal: &Signal) -> bool {
        let any = |patterns: &[Pattern], values: &[&str]| {
            patterns.is_empty() || values.iter().any(|v| patterns.iter().any(|p| p.fits(v)))
        };
        let process = signal.process.as_ref();
        let user = process.map(|p| text::visible(&p.user)).unwrap_or_default();
        let executable = process.map(|p| p.executable()).unwrap_or_default();
        let container = process.map(|p| text::visible(&p.container)).unwrap_or_default();
        let policy = &signal.policy;
        any(&self.types, &[&signal.kind.name])
            && any(&self.rules, &[&policy.id, &policy.file])
            && any(&self.hosts, &[&signal.host.name, &signal.host.id.0])
            && any(&self.roles, &[&signal.host.role])
            && (self.users.is_empty()
                || !user.is_empty() && any(&self.users, &[&user])
                || self.names_user(signal))
            && (self.executables.is_empty()
                || !executable.is_empty() && any(&self.executables, &[&executable]))
            && (self.containers.is_empty()
                || !container.is_empty() && any(&self.containers, &[&container]))
            && (self.sha256.is_empty()
                || process.is_some_and(|p| self.sha256.iter().any(|hash| *hash == p.sha256)))
            && (self.addresses.is_empty() || self.covers_addresses(signal))
    }

    /// A log-in is about a user without a process.
    fn names_user(&self, signal: &Signal) -> bool {
        signal.actors.iter().any(|actor| {
            actor.kind == ActorKind::User && self.users.iter().any(|p| p.fits(&actor.value))
        })
    }

    /// Every address of the sighting must be covered: one known scanner does not excuse another.
    fn covers_addresses(&self, signal: &Signal) -> bool {
        let mut addresses = (signal.actors.iter())
            .filter(|actor| actor.kind == ActorKind::Address)
            .map(|actor| actor.value.parse::<IpAddr>().map(|ip| ip.to_canonical()))
            .peekable();
        addresses.peek().is_some()
            && addresses.all(|address| {
                address.is_ok_and(|ip| self.addresses.iter().any(|network| network.contains(&ip)))
            })
    }
}

/// Text in which `*` stands for any characters. Compares without regard to the case of ASCII.
#[derive(Clone, Debug)]
struct Pattern(String);

impl Pattern {
    fn is_anything(&self) -> bool {
        self.0.chars().all(|c| c == '*')
    }

    fn fits(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let starts = |text: &str, part: &str| {
            text.get(..part.len()).is_some_and(|start| start.eq_ignore_ascii_case(part))
        };
        let Some(first) = parts.next() else { return false };
        if !starts(text, first) {
            return false;
        }
        let mut rest = &text[first.len()..];
        let Some(last) = self.0.contains('*').then(|| parts.next_back()).flatten() else {
            return rest.is_empty();
        };
        for part in parts {
            let mut ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            let Some(at) = ends.find(|&at| starts(&rest[at..], part)) else { return false };
            rest = &rest[at + part.len()..];
        }
        let at = rest.len().checked_sub(last.len());
        at.is_some_and(|at| rest.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(last)))
    }
}

fn values(node: &Node) -> Result<Vec<String>, String> {
    let single = std::slice::from_ref(node);
    let values = node.as_list().unwrap_or(single);
    if values.is_empty() || values.len() > VALUES_MAX {
        return Err(format!("takes 1 to {VALUES_MAX} values"));
    }
    let text = |node: &Node| match node {
        Node::Text(text) if !text.is_empty() => Ok(text.clone()),
        Node::Int(number) => Ok(number.to_string()),
        other => Err(format!("takes text, not {}", other.what())),
    };
    values.iter().map(text).collect()
}

fn hash(value: &str) -> Option<Vec<u8>> {
    if value.len() != 64 || !value.is_ascii() {
        return None;
    }
    (0..32).map(|at| u8::from_str_radix(&value[2 * at..2 * at + 2], 16).ok()).collect()
}

fn network(value: &str) -> Result<IpNet, String> {
    let network = value.parse::<IpNet>().or_else(|_| value.parse::<IpAddr>().map(IpNet::from));
    network.map_err(|_| format!("`{value}` is no address such as 10.1.2.3 or 10.1.0.0/16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_wildcards_and_cover_the_whole_text() {
        let fits = |pattern: &str, text: &str| Pattern(pattern.to_owned()).fits(text);
        for (pattern, text) in [
            ("/usr/bin/x", "/usr/BIN/x"),
            ("/usr/*", "/usr/"),
            ("*/x", "/a/b/x"),
            ("a*b*c", "a1b2bc"),
            ("*", ""),
            ("*ü*", "grün"),
            ("a**b", "ab"),
        ] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("/usr/bin/x", "/usr/bin/xy"),
            ("x", "ax"),
            ("a*a", "a"),
            ("ab*bc", "abc"),
            ("*ü", "u"),
            ("", "a"),
            ("gr\u{fc}", "grün"),
        ] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
