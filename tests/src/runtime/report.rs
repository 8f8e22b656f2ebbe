//! What acts gave, in rows and sums.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::stage::HOST;
use super::table::Act;

/// Severity from which a finding is a high one.
const HIGH: f64 = 7.0;

/// A finding that an act raised, or raised again.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    /// Its type.
    pub kind: String,
    /// Its title.
    pub title: String,
    /// How bad it is.
    pub severity: f64,
    /// Whether it was not there before.
    pub is_new: bool,
    /// Whether it says on which host, by which program, and why.
    pub is_whole: bool,
}

/// What came of an act.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It cannot be performed here.
    Skipped(String),
    /// It was performed.
    Ran {
        /// What was found.
        raised: Vec<Raised>,
        /// What the act itself said went wrong.
        failure: Option<String>,
        /// How long after its beginning all that is wanted was there.
        found: Option<Duration>,
    },
}

/// All rows.
#[derive(Debug, Default)]
pub struct Report {
    rows: Vec<(Act, Outcome)>,
}

/// How a row is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Found,
    /// The right type, but two of it, or without host, program or evidence.
    Unclear,
    WrongType,
    Missed,
    Quiet,
    LowFalseAlarm,
    HighFalseAlarm,
    Skipped,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Unclear => "unclear",
            Self::WrongType => "wrong type",
            Self::Missed => "missed",
            Self::Quiet => "quiet",
            Self::LowFalseAlarm => "low false alarm",
            Self::HighFalseAlarm => "HIGH FALSE ALARM",
            Self::Skipped => "skipped",
        }
    }
}

/// Returns what is new or was sighted again.
pub fn raised(before: &[Value], after: &[Value]) -> Vec<Raised> {
    let key = |finding: &Value| finding["id"].as_str().unwrap_or_default().to_owned();
    let known: HashMap<String, u64> =
        before.iter().map(|one| (key(one), one["count"].as_u64().unwrap_or(0))).collect();
    let grew = |one: &&Value| {
        known.get(&key(one)).is_none_or(|&count| one["count"].as_u64().unwrap_or(0) > count)
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    // A log says who came from where, not by which process.
    let by_log = |one: &Value| one["evidence"][0]["kind"] == "login" && !one["actors"][0].is_null();
    let of = |one: &Value| Raised {
        kind: text(&one["type"]),
        title: text(&one["title"]),
        severity: one["severity"].as_f64().unwrap_or(0.0),
        is_new: !known.contains_key(&key(one)),
        is_whole: one["host"]["name"] == HOST
            && (!text(&one["process"]["executable"]).is_empty() || by_log(one))
            && !one["evidence"][0].is_null(),
    };
    after.iter().filter(grew).map(of).collect()
}

fn verdict(finds: &[&str], outcome: &Outcome) -> Verdict {
    let Outcome::Ran { raised, .. } = outcome else { return Verdict::Skipped };
    if finds.is_empty() {
        return match raised.iter().map(|one| one.severity).reduce(f64::max) {
            None => Verdict::Quiet,
            Some(worst) if worst >= HIGH => Verdict::HighFalseAlarm,
            Some(_) => Verdict::LowFalseAlarm,
        };
    }
    let of = |kind: &str| raised.iter().filter(|one| one.kind == kind).collect::<Vec<_>>();
    let is_clear = |kind: &&str| {
        let all = of(kind);
        all.iter().filter(|one| one.is_new).count() <= 1 && all.iter().all(|one| one.is_whole)
    };
    match (finds.iter().all(|kind| !of(kind).is_empty()), raised.is_empty()) {
        (true, _) if finds.iter().all(is_clear) => Verdict::Found,
        (true, _) => Verdict::Unclear,
        (false, true) => Verdict::Missed,
        (false, false) => Verdict::WrongType,
    }
}

impl Report {
    pub(super) fn add(&mut self, act: Act, outcome: Outcome) {
        eprintln!("{}", line(&act, &outcome));
        self.rows.push((act, outcome));
    }

    fn count(&self, wanted: Verdict) -> usize {
        self.rows.iter().filter(|(act, of)| verdict(act.finds, of) == wanted).count()
    }

    /// Returns whether all was found and nothing benign was thought to be bad.
    pub fn is_good(&self) -> bool {
        use Verdict::{HighFalseAlarm, Missed, Unclear, WrongType};
        let bad = [Missed, WrongType, Unclear, HighFalseAlarm];
        bad.iter().all(|verdict| self.count(*verdict) == 0)
    }

    fn twin(&self, name: &str) -> Option<Verdict> {
        let twin = self.rows.iter().find(|(act, _)| act.name == name && act.finds.is_empty())?;
        Some(verdict(twin.0.finds, &twin.1))
    }

    /// One line of JSON for each row, and one of sums.
    pub fn json(&self) -> String {
        let mut text = String::new();
        for (act, outcome) in &self.rows {
            let mut row = json!({
                "row": act.name,
                "wanted": act.finds,
                "verdict": verdict(act.finds, outcome).name(),
            });
            if let Some(verdict) = self.twin(act.twin) {
                row["twin"] = json!({"name": act.twin, "verdict": verdict.name()});
            }
            match outcome {
                Outcome::Skipped(why) => row["why"] = json!(why),
                Outcome::Ran { raised, failure, found } => {
                    let raised = raised.iter().map(|one| {
                        json!({"type": one.kind, "severity": one.severity, "title": one.title})
                    });
                    row["raised"] = raised.collect();
                    row["failure"] = json!(failure);
                    row["seconds"] = json!(found.map(|found| found.as_secs_f64()));
                }
            }
            let _ = writeln!(text, "{row}");
        }
        text + &format!("{}\n", json!({ "sums": self.sums() }))
    }

    /// A table of all rows with their twins, and the sums.
    pub fn table(&self) -> String {
        let mut text = format!("{:<42} {:<10} {:>5}  {:<9} TWIN\n", "ROW", "", "AFTER", "OTHERS");
        for (act, outcome) in self.rows.iter().filter(|(act, _)| !act.finds.is_empty()) {
            let (after, others) = match outcome {
                Outcome::Skipped(_) => (String::new(), String::new()),
                Outcome::Ran { raised, found, .. } => {
                    let wanted = |one: &&Raised| !act.finds.contains(&one.kind.as_str());
                    let others = raised.iter().filter(wanted).count();
                    let after =
                        found.map_or(String::new(), |one| format!("{:.1} s", one.as_secs_f64()));
                    (after, if others == 0 { String::new() } else { others.to_string() })
                }
            };
            let verdict = verdict(act.finds, outcome).name();
            let twin = self.twin(act.twin).map_or("", Verdict::name);
            let _ = writeln!(
                text,
                "{:<42} {verdict:<10} {after:>5}  {others:<9} {twin}: {}",
                act.name, act.twin
            );
        }
        text + &self.sums() + "\n"
    }

    /// The sums in one line.
    pub fn sums(&self) -> String {
        let of = |verdict| self.count(verdict);
        let is_skipped = |of: &Outcome| matches!(of, Outcome::Skipped(_));
        let ran = |is_act: bool| {
            let wanted =
                |(act, of): &&(Act, Outcome)| act.finds.is_empty() != is_act && !is_skipped(of);
            self.rows.iter().filter(wanted).count()
        };
        format!(
            "{} of {} rows found, {} unclear, {} wrong type, {} missed; {} of {} twins quiet, {} low \
             and {} high false alarms; {} skipped",
            of(Verdict::Found),
            ran(true),
            of(Verdict::Unclear),
            of(Verdict::WrongType),
            of(Verdict::Missed),
            of(Verdict::Quiet),
            ran(false),
            of(Verdict::LowFalseAlarm),
            of(Verdict::HighFalseAlarm),
            of(Verdict::Skipped),
        )
    }
}

fn line(act: &Act, outcome: &Outcome) -> String {
    let kind = if act.finds.is_empty() { "twin: " } else { "" };
    let mut text = format!("{:<16} {kind}{}", verdict(act.finds, outcome).name(), act.name);
    match outcome {
        Outcome::Skipped(why) => text += &format!(" ({why})"),
        Outcome::Ran { raised, failure, .. } => {
            for one in raised {
                let again = if one.is_new { "" } else { " (again)" };
                let half = if one.is_whole { "" } else { " (without host, program or evidence)" };
                let _ = write!(
                    text,
                    "\n    {:.1} {}: {}{again}{half}",
                    one.severity, one.kind, one.title
                );
            }
            if let Some(failure) = failure {
                let _ = write!(text, "\n    the act said: {failure}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(kinds: &[(&str, f64)]) -> Outcome {
        let raised = kinds.iter().map(|(kind, severity)| Raised {
            kind: (*kind).to_owned(),
            title: String::new(),
            severity: *severity,
            is_new: true,
            is_whole: !kind.starts_with("half"),
        });
        Outcome::Ran { raised: raised.collect(), failure: None, found: None }
    }

    #[test]
    fn verdicts_follow_what_was_raised() {
        let of = |finds: &[&str], kinds: &[(&str, f64)]| verdict(finds, &ran(kinds));
        assert_eq!(of(&["a"], &[("a", 5.0), ("b", 9.0)]), Verdict::Found);
        assert_eq!(of(&["a"], &[("a", 5.0), ("a", 5.0)]), Verdict::Unclear);
        assert_eq!(of(&["half"], &[("half", 5.0)]), Verdict::Unclear);
        assert_eq!(of(&["a", "c"], &[("a", 5.0)]), Verdict::WrongType);
        assert_eq!(of(&["a"], &[]), Verdict::Missed);
        assert_eq!(of(&[], &[]), Verdict::Quiet);
        assert_eq!(of(&[], &[("a", 6.9)]), Verdict::LowFalseAlarm);
        assert_eq!(of(&[], &[("a", 3.0), ("a", 7.0)]), Verdict::HighFalseAlarm);
    }

    #[test]
    fn only_what_grew_was_raised() {
        let one = |id: &str, count: u64| {
            json!({"id": id, "count": count, "type": id, "host": {"name": HOST},
                "process": {"executable": "/x"}, "evidence": [{}]})
        };
        let before = [one("a", 1), one("b", 2)];
        let after = [one("a", 1), one("b", 3), one("c", 1)];
        let raised = raised(&before, &after);
        let told: Vec<_> = raised.iter().map(|one| (one.kind.as_str(), one.is_new)).collect();
        assert_eq!(told, [("b", false), ("c", true)]);
        assert!(raised.iter().all(|one| one.is_whole));
    }
}
