//! Whether both engines say the same of the same events.

use std::collections::{BTreeMap, BTreeSet};

use brain::detect::sigma::LogSource as OurLog;
use rsigma_parser::LogSource;
use serde_json::Value;

use crate::generate::{self, Random};
use crate::known;
use crate::rules::{self, Both, log_source};

/// Examples kept of one rule's differences.
const EXAMPLES_MAX: usize = 3;

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Events that were shown to both.
    pub events: u64,
    /// Verdicts that were compared: rules times events.
    pub verdicts: u64,
    /// Events that matched the rule that they were made from; of real ones, matches of any rule.
    pub matched: u64,
    /// Rules that never matched any of their own events.
    pub never: Vec<String>,
    /// Differences by rule: how many, and some of them.
    pub differences: BTreeMap<String, (u64, Vec<Difference>)>,
    /// Differences in how both read the specification, by what it is about.
    pub readings: BTreeMap<&'static str, u64>,
    /// Looks at events as if they were from another log.
    pub foreign: u64,
    /// Rules that matched then, although they are about another log.
    pub strays: u64,
}

/// An event of which the engines say different things.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The event.
    pub event: Value,
    /// Whether we say that the rule matches it.
    pub ours: bool,
}

/// Makes `each` events of every rule and compares what both engines say of them. What we say of
/// them as events of any other log is looked at as well.
pub fn compare(both: &mut Both, each: u64, seed: u64) -> Report {
    let mut report = Report::default();
    let rules = both.rules.clone();
    let logs: BTreeSet<_> = rules.iter().map(|rule| log_source(&rule.logsource)).collect();
    for (at, rule) in (0..).zip(&rules) {
        let mut random = Random::new(seed ^ (at + 1));
        let (id, matched) = (rules::id(rule), report.matched);
        for _ in 0..each {
            let event = generate::event(rule, &mut random);
            let found = report.judge(both, &event, &rule.logsource);
            report.matched += u64::from(found.contains(id));
            let elsewhere = std::iter::once(elsewhere(&rule.logsource));
            let others = logs.iter().filter(|log| **log != log_source(&rule.logsource)).cloned();
            report.stray(both, &event, others.chain(elsewhere));
        }
        if report.matched == matched {
            report.never.push(id.to_owned());
        }
    }
    report
}

/// Compares what both engines say of events that somebody else wrote.
pub fn compare_real(both: &mut Both, events: &[(LogSource, Value)]) -> Report {
    let mut report = Report::default();
    for (log, event) in events {
        report.matched += report.judge(both, event, log).len() as u64;
    }
    report
}

impl Report {
    /// Shows an event to both engines; returns the rules that match according to us.
    fn judge(&mut self, both: &mut Both, event: &Value, log: &LogSource) -> BTreeSet<String> {
        let (ours, theirs) = both.verdicts(event, log);
        self.events += 1;
        self.verdicts += both.rules.len() as u64;
        for rule in ours.symmetric_difference(&theirs) {
            let known = both.rules.iter().find(|known| rules::id(known) == rule);
            if let Some(reading) = known.and_then(|known| known::reading(known, event)) {
                *self.readings.entry(reading).or_default() += 1;
                continue;
            }
            let (count, examples) = self.differences.entry(rule.clone()).or_default();
            *count += 1;
            if examples.len() < EXAMPLES_MAX {
                let ours = ours.contains(rule);
                examples.push(Difference { event: event.clone(), ours });
            }
        }
        ours
    }

    /// Shows an event as one of other logs and counts the rules that match although they are about
    /// another one.
    fn stray(&mut self, both: &mut Both, event: &Value, logs: impl Iterator<Item = OurLog>) {
        let mut object = rules::object(event, &LogSource::default());
        for log in logs {
            object.log = log;
            self.foreign += 1;
            let mut ours = both.ours(&object);
            ours.retain(|found| {
                let rule = both.rules.iter().find(|rule| rules::id(rule) == found);
                !rule.is_some_and(|rule| is_about(&rule.logsource, &object.log))
            });
            self.strays += ours.len() as u64;
        }
    }
}

/// Returns whether a rule is about events of a log: whatever it names is what that log is.
fn is_about(rule: &LogSource, log: &OurLog) -> bool {
    let part = |rule: &Option<String>, log: &Option<Box<str>>| {
        rule.is_none() || rule.as_deref() == log.as_deref()
    };
    part(&rule.product, &log.product)
        && part(&rule.category, &log.category)
        && part(&rule.service, &log.service)
}

/// Returns a log source that no rule for `log` is about: each part that it names is another.
fn elsewhere(log: &LogSource) -> OurLog {
    let other = |part: &Option<String>| match part {
        Some(part) => format!("not-{part}"),
        None => String::new(),
    };
    OurLog::new(&other(&log.product), &other(&log.category), &other(&log.service))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::rules::RuleFile;

    const HEAD: &str = "logsource:\n    product: linux\n    category: process_creation\n\
        detection:\n";

    /// Every way to ask something of a field, and ways to join what is asked.
    const DETECTIONS: &[&str] = &[
        "    a:\n        Image|endswith: [/bash, /sh]\n        CommandLine|contains|all: [one, two]\n    \
         condition: a\n",
        "    a:\n        CommandLine|startswith: 'zed '\n    b:\n        User: root\n    condition: a and not b\n",
        "    a:\n        CommandLine: '*/tmp/?x*\\*y'\n    condition: a\n",
        "    a:\n        CommandLine|re: '^(ab|c)+\\d{2,3}[x-z]$'\n    condition: a\n",
        "    a:\n        CommandLine|re|i: 'cUrL.{1,3}http'\n    condition: a\n",
        "    a:\n        CommandLine|cased|contains: 'PaTh'\n    condition: a\n",
        "    a:\n        ProcessId|gte: 10\n    b:\n        ProcessId|lt: 12\n    condition: 1 of them\n",
        "    a:\n        DestinationIp|cidr: 10.1.2.0/24\n    condition: a\n",
        "    a:\n        DestinationIp|cidr: ['2001:db8::/32', '192.0.2.128/25']\n    condition: a\n",
        "    a:\n        ParentImage|exists: true\n    b:\n        User|exists: false\n    condition: all of them\n",
        "    a:\n        User: null\n    b:\n        Image: ''\n    condition: a or b\n",
        "    a:\n        Image|fieldref: ParentImage\n    condition: a\n",
        "    a:\n        CommandLine|windash|contains: ' -enc '\n    condition: a\n",
        "    a:\n        CommandLine|base64|contains: 'secret words'\n    condition: a\n",
        "    a:\n        CommandLine|base64offset|contains: 'secret'\n    condition: a\n",
        "    a:\n        - Image: /bin/a\n        - CommandLine|contains: [x1, x2]\n          User: root\n    \
         condition: a\n",
        "    a:\n        - first word\n        - second\n    condition: a\n",
        "    sel_a:\n        Image: /a\n    sel_b:\n        Image: /b\n    filter_c:\n        User: c\n    \
         condition: (1 of sel_* or all of filter_*) and not (sel_a and filter_c)\n",
        "    a:\n        Value: [1, 2.5, true, text]\n    condition: a\n",
    ];

    fn made_up() -> Vec<RuleFile> {
        let rule = |(at, detection): (usize, &&str)| RuleFile {
            name: format!("made-up-{at}"),
            text: format!("title: made up {at}\nid: made-up-{at}\n{HEAD}{detection}"),
        };
        DETECTIONS.iter().enumerate().map(rule).collect()
    }

    /// R-02 on our rules and on made-up ones, and R-03; `cargo xtask eval sigma` does the same with
    /// public rules.
    #[test]
    fn an_independent_engine_says_the_same() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/sigma");
        let mut files = rules::read(&folder).unwrap();
        files.extend(made_up());
        let mut both = Both::new(&files);
        assert_eq!(both.refused, [""; 0]);
        let report = compare(&mut both, 400, 7);
        println!(
            "figure R-02: {} rules, {} events, {} verdicts, {} matches; {} differ, {} by reading",
            both.rules.len(),
            report.events,
            report.verdicts,
            report.matched,
            report.differences.len(),
            report.readings.values().sum::<u64>()
        );
        println!(
            "figure R-03: {} looks at events as of other logs, {} matches of rules about another",
            report.foreign, report.strays
        );
        assert!(report.differences.is_empty(), "{:#?}", report.differences);
        assert_eq!((report.strays, report.never), (0, Vec::new()));
    }
}
