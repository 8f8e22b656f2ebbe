//! What a guest printed, read: how many trials passed, failed and were skipped.

use std::fmt;

use crate::count::Count;

/// How the trials of a guest ended.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    count: Count,
    /// Names of trials that failed.
    failed: Vec<String>,
    /// Whether the guest's first process was reached.
    begun: bool,
    /// Exit status of the trials' program, once it has ended.
    code: Option<i32>,
}

impl Verdict {
    /// Reads a line of the guest's console.
    pub fn read_line(&mut self, line: &str) {
        let line = line.trim();
        self.count.read_line(line);
        self.begun |= line.starts_with("SAKURAMORI-VM-START");
        if let Some(code) = line.strip_prefix("SAKURAMORI-VM-EXIT") {
            // A program that left no status was killed.
            self.code = Some(code.trim().parse().unwrap_or(-1));
        } else if let Some((name, "FAILED")) =
            line.strip_prefix("test ").and_then(|rest| rest.rsplit_once(" ... "))
        {
            self.failed.push(name.trim().to_owned());
        }
    }

    /// Whether the kernel came as far as the guest's first process.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// Whether the trials' program has ended, well or not.
    pub fn has_ended(&self) -> bool {
        self.code.is_some()
    }

    /// Whether the guest ended well, after trials that were told of and did not fail.
    pub fn is_good(&self) -> bool {
        let told = self.count.passed > 0 || !self.count.skipped.is_empty();
        self.code == Some(0) && self.count.failed == 0 && told
    }

    /// What the trials came to.
    pub fn count(self) -> Count {
        self.count.finish()
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count.clone().finish();
        let skipped = count.skipped.len();
        write!(f, "{} passed, {} failed, {skipped} skipped", count.passed, count.failed)?;
        for name in &self.failed {
            write!(f, "\n  failed {name}")?;
        }
        for skip in &count.skipped {
            write!(f, "\n  skipped {skip}")?;
        }
        match self.code {
            _ if self.is_good() || !self.failed.is_empty() => Ok(()),
            Some(0) => write!(f, "\n  no trial ran"),
            Some(code) => write!(f, "\n  the trials' program ended with status {code}"),
            None => write!(f, "\n  the trials' program did not end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Verdict {
        let mut verdict = Verdict::default();
        text.lines().for_each(|line| verdict.read_line(line));
        verdict
    }

    #[test]
    fn a_whole_run_is_good() {
        let verdict = read(
            "SAKURAMORI-VM-START 6.1.0\n\
             test a::b ... ok\ntest c   ... ignored, no modules here\n\
             test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out\n\
             SAKURAMORI-VM-EXIT 0",
        );
        assert!(verdict.has_begun() && !read("Kernel panic - not syncing").has_begun());
        assert!(verdict.is_good());
        let said = "1 passed, 0 failed, 1 skipped\n  skipped c: no modules here";
        assert_eq!(verdict.to_string(), said);
    }

    #[test]
    fn failures_are_named() {
        let verdict = read(
            "test a ... FAILED\ntest b ... ok\n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored\nSAKURAMORI-VM-EXIT 101",
        );
        assert!(!verdict.is_good());
        assert_eq!(verdict.to_string(), "1 passed, 1 failed, 0 skipped\n  failed a");
    }

    #[test]
    fn a_run_without_trials_or_that_breaks_off_is_not_good() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored\nSAKURAMORI-VM-EXIT 0";
        assert!(!read(none).is_good());
        assert!(!read("test a ... ok\nSAKURAMORI-VM-EXIT 139").is_good());
        let killed = read("test a ... ok\nSAKURAMORI-VM-EXIT");
        assert!(killed.has_ended() && !killed.is_good());
        assert!(!read("test result: ok. 1 passed; 0 failed; 0 ignored").is_good());
    }
}
