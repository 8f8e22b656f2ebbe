//! Counting tests from what test programs print, skips with their reasons included.

/// What tests came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Tests that ran and held.
    pub passed: u64,
    /// Tests that ran and did not.
    pub failed: u64,
    /// Tests that could not run here, each with its reason.
    pub skipped: Vec<String>,
    /// Figures that trials printed to be kept, without the word `measured`.
    pub measured: Vec<String>,
    /// Tests that the program counted as ignored.
    ignored: u64,
}

impl Count {
    /// One test with a known outcome.
    pub fn of_one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into(), ..Self::default() }
    }

    /// Adds what another program's tests came to.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.measured.extend(other.measured);
    }

    /// Reads a line of a test program's output.
    pub fn read_line(&mut self, line: &str) {
        let line = line.trim();
        if let Some(figure) = line.strip_prefix("measured ") {
            self.measured.push(figure.to_owned());
        } else if let Some(summary) = line.strip_prefix("test result: ") {
            self.read_summary(summary);
        } else if let Some(skip) = line.strip_prefix("SKIP ") {
            // A plain test that skips itself is counted as passed by its program.
            self.passed = self.passed.wrapping_sub(1);
            self.skipped.push(skip.to_owned());
        } else if let Some((name, reason)) = ignored(line) {
            self.skipped.push(format!("{name}: {reason}"));
        }
    }

    /// Ends the reading: an ignored test without a reason is a skip that says so.
    pub fn finish(mut self) -> Self {
        let named = self.skipped.len() as u64;
        for _ in named..self.ignored {
            self.skipped.push("a test was ignored without a reason".into());
        }
        self
    }

    fn read_summary(&mut self, summary: &str) {
        for part in summary.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.passed = self.passed.wrapping_add(number),
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// Reads `test NAME ... ignored, REASON`, as both harnesses print it.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let reason = outcome.strip_prefix("ignored")?.trim_start_matches([',', ' ']);
    Some((name.trim(), if reason.is_empty() { "no reason given" } else { reason }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(output: &str) -> Count {
        let mut count = Count::default();
        output.lines().for_each(|line| count.read_line(line));
        count.finish()
    }

    #[test]
    fn summaries_of_several_programs_add_up() {
        let two = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n\
                   test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured";
        let count = count(two);
        assert_eq!((count.passed, count.failed, count.skipped.len()), (4, 2, 0));
    }

    #[test]
    fn skips_keep_their_reason_and_are_not_passes() {
        let output = "SKIP a::b: needs root\ntest c ... ignored, no kprobes here\n\
                      test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured";
        let count = count(output);
        assert_eq!((count.passed, count.failed), (1, 0));
        assert_eq!(count.skipped, ["a::b: needs root", "c: no kprobes here"]);
    }

    #[test]
    fn an_ignored_test_without_a_reason_is_still_listed() {
        let count = count("test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured");
        assert_eq!(count.skipped.len(), 1);
    }
}
