//! The tactics of ATT&CK for enterprises, and what its latest edition has renamed.

/// Edition of the matrix that techniques and tactics are named by. It split Defense Evasion into
/// Stealth, which kept the number, and Defense Impairment.
pub const VERSION: &str = "19";

/// A column of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tactic {
    /// Its id.
    pub id: &'static str,
    /// Its name.
    pub name: &'static str,
    tag: &'static str,
}

const fn tactic(id: &'static str, name: &'static str, tag: &'static str) -> Tactic {
    Tactic { id, name, tag }
}

/// All of them, in the order of the matrix.
pub const TACTICS: [Tactic; 15] = [
    tactic("TA0043", "Reconnaissance", "reconnaissance"),
    tactic("TA0042", "Resource Development", "resource-development"),
    tactic("TA0001", "Initial Access", "initial-access"),
    tactic("TA0002", "Execution", "execution"),
    tactic("TA0003", "Persistence", "persistence"),
    tactic("TA0004", "Privilege Escalation", "privilege-escalation"),
    tactic("TA0005", "Stealth", "stealth"),
    tactic("TA0112", "Defense Impairment", "defense-impairment"),
    tactic("TA0006", "Credential Access", "credential-access"),
    tactic("TA0007", "Discovery", "discovery"),
    tactic("TA0008", "Lateral Movement", "lateral-movement"),
    tactic("TA0009", "Collection", "collection"),
    tactic("TA0011", "Command and Control", "command-and-control"),
    tactic("TA0010", "Exfiltration", "exfiltration"),
    tactic("TA0040", "Impact", "impact"),
];

/// Techniques that moved under another number with the split: the old one and the present one.
const MOVED: [(&str, &str); 3] =
    [("T1070.002", "T1685.006"), ("T1562.001", "T1685"), ("T1562.004", "T1686")];

/// Techniques of what was Defense Evasion that belong to Defense Impairment; the others are
/// Stealth.
const IMPAIRMENT: [&str; 6] = ["T1222", "T1553", "T1562", "T1685", "T1686", "T1690"];

/// Returns the present number of a technique.
pub(super) fn present(id: &str) -> String {
    let id = id.to_ascii_uppercase();
    MOVED.iter().find(|(old, _)| *old == id).map_or(id, |(_, new)| (*new).to_owned())
}

/// Returns the tactic that a Sigma tag names, where it is one; `technique` decides between the
/// halves of what older rules call `defense-evasion`.
pub(super) fn of_tag(tag: &str, technique: &str) -> Option<Tactic> {
    let name = tag.strip_prefix("attack.")?.replace('_', "-");
    of_name(&name, technique)
}

/// Returns the tactic of this name, in words or as tags spell it.
pub(super) fn of_name(name: &str, technique: &str) -> Option<Tactic> {
    let name = name.to_ascii_lowercase().replace(' ', "-");
    let parent = technique.split('.').next().unwrap_or_default();
    let name = match name.as_str() {
        "defense-evasion" if IMPAIRMENT.contains(&parent) => "defense-impairment",
        "defense-evasion" => "stealth",
        other => other,
    };
    TACTICS.into_iter().find(|tactic| tactic.tag == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_defense_evasion_is_one_of_two() {
        let name = |tag: &str, technique: &str| of_tag(tag, technique).map(|tactic| tactic.name);
        assert_eq!(name("attack.defense-evasion", "T1685.006"), Some("Defense Impairment"));
        assert_eq!(name("attack.defense_evasion", "T1070.003"), Some("Stealth"));
        assert_eq!(name("attack.stealth", "T1027"), Some("Stealth"));
        assert_eq!(name("attack.t1027", "T1027"), None);
        assert_eq!(present("t1070.002"), "T1685.006");
        assert_eq!(present("t1059.004"), "T1059.004");
    }
}
