//! The tests, as the material describes them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Where a test's own files would lie; the material has none of them.
const FILES: &str = "PathToAtomicsFolder";
/// Exit code of a shell that does not find a program.
const NOT_FOUND: i32 = 127;

/// A test.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Case {
    pub status: String,
    pub technique: String,
    pub n: u32,
    pub name: String,
    pub executor: String,
    pub user: String,
    pub command: String,
    #[serde(default)]
    pub cleanup: String,
    #[serde(default)]
    pub prereq_get: Vec<String>,
    #[serde(default)]
    observed: Observed,
}

/// What was seen when it ran elsewhere.
#[derive(Clone, Debug, Default, Deserialize)]
struct Observed {
    #[serde(default)]
    exec: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
    #[serde(default)]
    removes: Vec<String>,
    #[serde(default)]
    net: Vec<String>,
}

/// Reads the list, one test a line.
pub fn read(path: &Path) -> Result<Vec<Case>> {
    let text = fs::read_to_string(path)?;
    let case = |(index, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), index + 1))
    };
    text.lines().enumerate().map(case).collect()
}

impl Case {
    /// Technique and number, by which the table names it.
    pub fn id(&self) -> String {
        format!("{}-{}", self.technique, self.n)
    }

    /// Returns whether it is executed.
    pub fn is_runnable(&self) -> bool {
        self.obstacle().is_none()
    }

    /// Returns why it is not executed.
    pub fn obstacle(&self) -> Option<&'static str> {
        match self.status.as_str() {
            status if !status.starts_with("A_") => Some(match status {
                "C_NET_STUB" => "needs a server at the other end",
                "D_NEEDS_PAYLOAD" => "needs a program that the material does not have",
                "B_VM_SYSTEMD" => "needs systemd as the first process",
                "B_VM_POWER" => "would power the guest off",
                _ => "needs a kernel module or a device that the guest does not have",
            }),
            _ if self.needs_file() => Some("needs a file that the material lacks"),
            _ => None,
        }
    }

    fn needs_file(&self) -> bool {
        let commands = self.prereq_get.iter().chain([&self.command]);
        commands.into_iter().any(|command| command.contains(FILES))
    }

    /// Returns what of it can be seen, or why nothing can.
    pub fn visible(&self, code: i32) -> Result<String, String> {
        let is_shell = |program: &str| {
            let name = program.rsplit('/').next().unwrap_or_default();
            ["sh", "bash", "which", "command"].contains(&name)
        };
        let programs = self.observed.exec.iter();
        let act = programs
            .filter(|command| !command.split(' ').next().is_none_or(is_shell))
            .chain(self.observed.writes.iter())
            .chain(self.observed.removes.iter())
            .chain(self.observed.net.iter())
            .next();
        match act {
            _ if code == NOT_FOUND => Err("its program is not in the guest".to_owned()),
            Some(act) => Ok(act.chars().take(80).collect()),
            None => Err("a shell's own words, without a program or a file".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(exec: &[&str]) -> Case {
        let exec = exec.iter().map(|command| (*command).to_owned()).collect();
        let observed = Observed { exec, ..Observed::default() };
        Case { status: "A_RAN_OK".to_owned(), observed, ..Case::default() }
    }

    #[test]
    fn an_act_is_more_than_a_shell() {
        assert!(case(&["sh /job/cmd.sh", "which python3"]).visible(0).is_err());
        assert_eq!(case(&["sh /job/cmd.sh", "ss -antp"]).visible(0), Ok("ss -antp".to_owned()));
        assert!(case(&["ss -antp"]).visible(NOT_FOUND).is_err());
    }

    #[test]
    fn what_cannot_be_run_says_why() {
        let mut case = case(&[]);
        assert!(case.is_runnable());
        case.command = format!("sh {FILES}/x");
        assert_eq!(case.obstacle(), Some("needs a file that the material lacks"));
        case.status = "B_VM_POWER".to_owned();
        assert_eq!(case.obstacle(), Some("would power the guest off"));
    }
}
