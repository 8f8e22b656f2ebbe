//! The part of MITRE ATT&CK that findings name. Names and ids are those of the enterprise matrix.

/// A technique as a finding shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Technique {
    /// Tactic that it serves, in the words of finding types' readers.
    pub tactic: String,
    /// Id, such as `T1059.004`.
    pub id: String,
    /// Name; empty when this build does not know the id.
    pub name: String,
}

/// Techniques with their tactic and name, ordered by id.
const TECHNIQUES: &[(&str, &str, &str)] = &[
    ("T1003", "Credential Access", "OS Credential Dumping"),
    ("T1003.008", "Credential Access", "/etc/passwd and /etc/shadow"),
    ("T1007", "Discovery", "System Service Discovery"),
    ("T1014", "Defense Evasion", "Rootkit"),
    ("T1016", "Discovery", "System Network Configuration Discovery"),
    ("T1027", "Defense Evasion", "Obfuscated Files or Information"),
    ("T1033", "Discovery", "System Owner/User Discovery"),
    ("T1036.005", "Defense Evasion", "Match Legitimate Resource Name or Location"),
    ("T1036.007", "Defense Evasion", "Double File Extension"),
    ("T1036.008", "Defense Evasion", "Masquerade File Type"),
    ("T1046", "Discovery", "Network Service Discovery"),
    ("T1048", "Exfiltration", "Exfiltration Over Alternative Protocol"),
    ("T1049", "Discovery", "System Network Connections Discovery"),
    ("T1053.002", "Persistence", "At"),
    ("T1053.003", "Persistence", "Cron"),
    ("T1055", "Defense Evasion", "Process Injection"),
    ("T1055.008", "Defense Evasion", "Ptrace System Calls"),
    ("T1055.009", "Defense Evasion", "Proc Memory"),
    ("T1057", "Discovery", "Process Discovery"),
    ("T1059", "Execution", "Command and Scripting Interpreter"),
    ("T1059.004", "Execution", "Unix Shell"),
    ("T1059.006", "Execution", "Python"),
    ("T1068", "Privilege Escalation", "Exploitation for Privilege Escalation"),
    ("T1070", "Defense Evasion", "Indicator Removal"),
    ("T1070.002", "Defense Evasion", "Clear Linux or Mac System Logs"),
    ("T1070.003", "Defense Evasion", "Clear Command History"),
    ("T1070.006", "Defense Evasion", "Timestomp"),
    ("T1071", "Command and Control", "Application Layer Protocol"),
    ("T1071.001", "Command and Control", "Web Protocols"),
    ("T1071.004", "Command and Control", "DNS"),
    ("T1082", "Discovery", "System Information Discovery"),
    ("T1083", "Discovery", "File and Directory Discovery"),
    ("T1087.001", "Discovery", "Local Account"),
    ("T1090.003", "Command and Control", "Multi-hop Proxy"),
    ("T1095", "Command and Control", "Non-Application Layer Protocol"),
    ("T1098", "Persistence", "Account Manipulation"),
    ("T1098.004", "Persistence", "SSH Authorized Keys"),
    ("T1105", "Command and Control", "Ingress Tool Transfer"),
    ("T1106", "Execution", "Native API"),
    ("T1110", "Credential Access", "Brute Force"),
    ("T1110.003", "Credential Access", "Password Spraying"),
    ("T1136.001", "Persistence", "Local Account"),
    ("T1140", "Defense Evasion", "Deobfuscate/Decode Files or Information"),
    ("T1189", "Initial Access", "Drive-by Compromise"),
    ("T1190", "Initial Access", "Exploit Public-Facing Application"),
    ("T1201", "Discovery", "Password Policy Discovery"),
    ("T1204.002", "Execution", "Malicious File"),
    ("T1205.002", "Defense Evasion", "Socket Filters"),
    ("T1222.002", "Defense Evasion", "Linux and Mac File and Directory Permissions Modification"),
    ("T1486", "Impact", "Data Encrypted for Impact"),
    ("T1489", "Impact", "Service Stop"),
    ("T1496", "Impact", "Resource Hijacking"),
    ("T1496.001", "Impact", "Compute Hijacking"),
    ("T1505.003", "Persistence", "Web Shell"),
    ("T1518.001", "Discovery", "Security Software Discovery"),
    ("T1531", "Impact", "Account Access Removal"),
    ("T1543.002", "Persistence", "Systemd Service"),
    ("T1546.004", "Privilege Escalation", "Unix Shell Configuration Modification"),
    ("T1547.006", "Persistence", "Kernel Modules and Extensions"),
    ("T1548.001", "Privilege Escalation", "Setuid and Setgid"),
    ("T1548.003", "Privilege Escalation", "Sudo and Sudo Caching"),
    ("T1552.001", "Credential Access", "Credentials In Files"),
    ("T1552.003", "Credential Access", "Shell History"),
    ("T1552.004", "Credential Access", "Private Keys"),
    ("T1552.005", "Credential Access", "Cloud Instance Metadata API"),
    ("T1554", "Persistence", "Compromise Host Software Binary"),
    ("T1555.003", "Credential Access", "Credentials from Web Browsers"),
    ("T1556.003", "Credential Access", "Pluggable Authentication Modules"),
    ("T1562", "Defense Evasion", "Impair Defenses"),
    ("T1562.001", "Defense Evasion", "Disable or Modify Tools"),
    ("T1562.004", "Defense Evasion", "Disable or Modify System Firewall"),
    ("T1562.012", "Defense Evasion", "Disable or Modify Linux Audit System"),
    ("T1564.001", "Defense Evasion", "Hidden Files and Directories"),
    ("T1566", "Initial Access", "Phishing"),
    ("T1566.002", "Initial Access", "Spearphishing Link"),
    ("T1567", "Exfiltration", "Exfiltration Over Web Service"),
    ("T1568.002", "Command and Control", "Domain Generation Algorithms"),
    ("T1571", "Command and Control", "Non-Standard Port"),
    ("T1574.006", "Defense Evasion", "Dynamic Linker Hijacking"),
    ("T1583.001", "Resource Development", "Domains"),
    ("T1588.002", "Resource Development", "Tool"),
    ("T1595", "Reconnaissance", "Active Scanning"),
    ("T1595.001", "Reconnaissance", "Scanning IP Blocks"),
    ("T1610", "Execution", "Deploy Container"),
    ("T1611", "Privilege Escalation", "Escape to Host"),
    ("T1614.001", "Discovery", "System Language Discovery"),
    ("T1620", "Defense Evasion", "Reflective Code Loading"),
    ("T1622", "Defense Evasion", "Debugger Evasion"),
];

/// Tactics as tags spell them, and as we show them. Later editions of the matrix split Defense
/// Evasion in two; both halves are shown under the name that finding types carry.
const TACTICS: &[(&str, &str)] = &[
    ("reconnaissance", "Reconnaissance"),
    ("resource-development", "Resource Development"),
    ("initial-access", "Initial Access"),
    ("execution", "Execution"),
    ("persistence", "Persistence"),
    ("privilege-escalation", "Privilege Escalation"),
    ("defense-evasion", "Defense Evasion"),
    ("stealth", "Defense Evasion"),
    ("defense-impairment", "Defense Evasion"),
    ("credential-access", "Credential Access"),
    ("discovery", "Discovery"),
    ("lateral-movement", "Lateral Movement"),
    ("collection", "Collection"),
    ("command-and-control", "Command and Control"),
    ("exfiltration", "Exfiltration"),
    ("impact", "Impact"),
];

/// Returns the technique with this id, in any case of letters.
pub fn technique(id: &str) -> Technique {
    let id = id.to_ascii_uppercase();
    match TECHNIQUES.binary_search_by_key(&id.as_str(), |row| row.0) {
        Ok(at) => {
            let (_, tactic, name) = TECHNIQUES[at];
            Technique { tactic: tactic.to_owned(), id, name: name.to_owned() }
        }
        Err(_) => Technique { tactic: String::new(), id, name: String::new() },
    }
}

/// Returns the tactic that a tag such as `attack.defense-evasion` names.
pub fn tactic_of_tag(tag: &str) -> Option<&'static str> {
    let name = tag.strip_prefix("attack.")?.replace('_', "-");
    TACTICS.iter().find(|(spelt, _)| *spelt == name).map(|(_, shown)| *shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn techniques_are_in_order_and_found() {
        assert!(TECHNIQUES.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(technique("t1059.004").name, "Unix Shell");
        assert_eq!(technique("T9999").name, "");
    }

    #[test]
    fn tags_lead_to_tactics() {
        assert_eq!(tactic_of_tag("attack.stealth"), Some("Defense Evasion"));
        assert_eq!(tactic_of_tag("attack.command_and_control"), Some("Command and Control"));
        assert_eq!(tactic_of_tag("attack.t1059"), None);
        assert_eq!(tactic_of_tag("cve.2021-44228"), None);
    }
}
