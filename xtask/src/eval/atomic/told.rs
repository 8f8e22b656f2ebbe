//! What the guest tells: when each test began and ended, and which findings grew meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Marks that the guest's first process prints.
const BEGIN: &str = "ATOMIC-BEGIN ";
const END: &str = "ATOMIC-END ";
const FINDING: &str = "ATOMIC-FINDING ";
const DONE: &str = "ATOMIC-DONE";

/// One test's run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    begin_s: u64,
    end_s: u64,
    /// Exit code.
    pub code: i32,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Told {
    runs: BTreeMap<String, Run>,
    /// Findings as they were each time that they had changed: one gathers what many tests do.
    findings: Vec<Value>,
    ended: bool,
}

impl Told {
    /// Reads a line of the console; returns whether it was one of these.
    pub fn read_line(&mut self, line: &str) -> bool {
        let line = line.trim();
        let words = |rest: &str| rest.split(' ').map(str::to_owned).collect::<Vec<_>>();
        if let Some(rest) = line.strip_prefix(BEGIN) {
            if let [id, time] = &words(rest)[..] {
                let begin_s = time.parse().unwrap_or(0);
                self.runs.insert(id.clone(), Run { begin_s, end_s: u64::MAX, code: 0 });
                return false;
            }
        } else if let Some(rest) = line.strip_prefix(END) {
            if let [id, time, code] = &words(rest)[..]
                && let Some(run) = self.runs.get_mut(id)
            {
                run.end_s = time.parse().unwrap_or(u64::MAX);
                run.code = code.parse().unwrap_or(-1);
                return true;
            }
        } else if let Some(finding) = line.strip_prefix(FINDING) {
            self.findings.extend(serde_json::from_str::<Value>(finding).ok());
        } else if line == DONE {
            self.ended = true;
        } else {
            return false;
        }
        true
    }

    /// Whether all was told.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns a test's run.
    pub fn run_of(&self, id: &str) -> Option<Run> {
        self.runs.get(id).copied()
    }

    /// Returns the types of the findings that a test made or added to: they were last seen, or have
    /// evidence, from its time.
    pub fn findings_in(&self, run: Run) -> Vec<String> {
        let inside = |time: &Value| {
            let time = time.as_str().and_then(seconds);
            time.is_some_and(|time| (run.begin_s..=run.end_s).contains(&time))
        };
        let is_of_run = |finding: &&Value| {
            let evidence = finding["evidence"].as_array().into_iter().flatten();
            inside(&finding["last_seen"]) || evidence.map(|one| &one["time"]).any(inside)
        };
        let of_run = self.findings.iter().filter(is_of_run);
        let types: BTreeSet<&str> = of_run.filter_map(|finding| finding["type"].as_str()).collect();
        types.into_iter().map(str::to_owned).collect()
    }
}

/// Reads the seconds of a time such as `2026-11-30T04:05:06.789Z`, counted from the epoch.
fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.split_once('T')?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.get(..8)?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    // Days from the civil calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    u64::try_from((days - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2026-11-30T04:05:06.789Z"), Some(1_796_011_506));
        assert_eq!(seconds("nonsense"), None);
    }

    #[test]
    fn a_test_is_found_by_what_a_finding_saw_in_its_time() {
        let mut told = Told::default();
        for line in [
            "ATOMIC-BEGIN T1-1 100",
            "what the test prints",
            "ATOMIC-END T1-1 103 0",
            "ATOMIC-BEGIN T1-2 104",
            "ATOMIC-END T1-2 105 127",
            r#"ATOMIC-FINDING {"type":"A","evidence":[{"time":"1970-01-01T00:01:42Z"}]}"#,
            r#"ATOMIC-FINDING {"type":"B","evidence":[{"time":"1970-01-01T00:00:02Z"}]}"#,
            r#"ATOMIC-FINDING {"type":"C","last_seen":"1970-01-01T00:01:43.5Z","evidence":[]}"#,
            r#"ATOMIC-FINDING {"type":"C","last_seen":"1970-01-01T00:03:00Z","evidence":[]}"#,
            "ATOMIC-DONE",
        ] {
            told.read_line(line);
        }
        assert!(told.has_ended());
        let run = told.run_of("T1-1").unwrap();
        assert_eq!(told.findings_in(run), ["A", "C"]);
        let second = told.run_of("T1-2").unwrap();
        assert_eq!((told.findings_in(second).len(), second.code), (0, NOT_FOUND));
    }

    const NOT_FOUND: i32 = 127;
}
