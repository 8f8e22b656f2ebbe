//! What the attack must give: each finding on its host with its process, and no others.

use std::collections::HashSet;

use serde_json::Value;

/// One finding that must be there.
#[derive(Debug, Clone, Copy)]
struct Expected {
    kind: &'static str,
    host: &'static str,
    /// Part of the executable's path that tells the right process.
    executable: &'static str,
}

const EXPECTED: [Expected; 5] = [
    Expected { kind: "Discovery:Host/PortScan", host: "web-1", executable: "/actor" },
    Expected { kind: "Execution:Host/ReverseShell", host: "app-1", executable: "/bash" },
    Expected { kind: "DefenseEvasion:Host/FilelessExecution", host: "app-1", executable: "memfd:" },
    Expected { kind: "Impact:Host/CryptoMinerExecuted", host: "app-1", executable: "/xmrig" },
    Expected { kind: "CommandAndControl:Host/ListedAddress", host: "app-1", executable: "/actor" },
];

/// What a scan may be called where it starts and where it arrives.
const SCAN: [&str; 3] =
    ["Discovery:Host/PortScan", "Discovery:Host/PortProbed", "Discovery:Host/PortSweep"];

/// Lists the expected findings that are not there.
pub fn missing(findings: &[Value]) -> Vec<String> {
    EXPECTED
        .iter()
        .filter(|expected| !findings.iter().any(|finding| expected.matches(finding)))
        .map(|expected| {
            let Expected { kind, host, executable } = expected;
            format!("{kind} on {host} with a process like {executable} is missing")
        })
        .collect()
}

/// Lists the findings that no act explains, and findings that are there twice.
pub fn unwanted(findings: &[Value]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for finding in findings {
        if !explained(finding) {
            problems.push(format!("{} has no cause", name(finding)));
        }
        if !seen.insert(finding["dedup_key"].to_string()) {
            problems.push(format!("{} is there twice", name(finding)));
        }
    }
    problems
}

/// Names a finding in one phrase.
pub fn name(finding: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "{} on {} ({})",
        text(&finding["type"]),
        text(&finding["host"]["name"]),
        text(&finding["title"])
    )
}

/// Type and host of every finding, sorted: what two runs of one attack must have in common.
pub fn shape(findings: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut shape: Vec<_> = findings
        .iter()
        .map(|finding| (text(&finding["type"]), text(&finding["host"]["name"])))
        .collect();
    shape.sort();
    shape
}

fn explained(finding: &Value) -> bool {
    let kind = finding["type"].as_str().unwrap_or_default();
    SCAN.contains(&kind) || EXPECTED.iter().any(|expected| expected.matches(finding))
}

impl Expected {
    fn matches(&self, finding: &Value) -> bool {
        let executable = finding["process"]["executable"].as_str().unwrap_or_default();
        finding["type"] == self.kind
            && finding["host"]["name"] == self.host
            && executable.contains(self.executable)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn finding(kind: &str, host: &str, executable: &str) -> Value {
        json!({
            "type": kind, "title": "t", "host": { "name": host },
            "process": { "executable": executable }, "dedup_key": format!("{kind}{host}"),
        })
    }

    fn all() -> Vec<Value> {
        EXPECTED
            .iter()
            .map(|expected| finding(expected.kind, expected.host, expected.executable))
            .collect()
    }

    #[test]
    fn a_full_set_is_complete_and_quiet() {
        assert!(missing(&all()).is_empty());
        assert!(unwanted(&all()).is_empty());
    }

    #[test]
    fn the_right_type_with_the_wrong_process_is_missing() {
        let mut findings = all();
        findings[0]["process"]["executable"] = json!("/usr/bin/bash");
        assert_eq!(missing(&findings).len(), 1);
    }

    #[test]
    fn a_scan_on_its_victim_is_explained_and_a_shell_there_is_not() {
        let mut findings = all();
        findings.push(finding("Discovery:Host/PortProbed", "db-1", ""));
        assert!(unwanted(&findings).is_empty());
        findings.push(finding("Execution:Host/ReverseShell", "db-1", "/bash"));
        assert_eq!(unwanted(&findings).len(), 1);
    }

    #[test]
    fn a_finding_that_is_there_twice_is_told() {
        let mut findings = all();
        findings.push(findings[0].clone());
        assert_eq!(unwanted(&findings).len(), 1);
    }
}
