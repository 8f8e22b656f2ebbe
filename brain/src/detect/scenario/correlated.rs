//! Every type of correlation, from its text to its finding, and what is refused.

use super::host;
use crate::detect::Detectors;
use crate::finding::FindingSet;
use crate::policy::{PolicyFile, PolicySet, sample};

/// Rules that correlations build on. They are in a file of their own, so that samples are about the
/// correlation alone.
const RULES: &str = "title: run
id: 10000000-0000-4000-8000-000000000001
name: run
logsource: {product: linux, category: process_creation}
detection: {s: {Image|startswith: /opt/}, condition: s}
---
title: connected
name: connected
logsource: {product: linux, category: network_connection}
detection: {s: {Initiated: 'true'}, condition: s}
---
title: failed
name: failed
logsource: {product: linux, service: sshd}
detection: {s: {Message|startswith: Failed}, condition: s}
---
title: accepted
name: accepted
logsource: {product: linux, service: sshd}
detection: {s: {Message|startswith: Accepted}, condition: s}
";

/// A correlation's map, scenarios that it finds, and scenarios that it does not, each a list of
/// events. In all of them the processes are `a` to `d`.
struct Case {
    says: &'static str,
    fires: &'static [&'static str],
    quiet: &'static [&'static str],
}

/// What is judged at its end is so once an event of the host is a minute past it.
const LATER: &str = "{exit: a, after_ms: 600000}";

const CASES: &[Case] = &[
    Case {
        says: "type: event_count, rules: [run], group-by: [Computer, User], timespan: 10s, \
               condition: {gt: 2}",
        fires: &["{exec: a, n: 1-3, after_ms: 4000}", "{exec: a, n: 1-9, after_ms: 4000}"],
        quiet: &[
            "{exec: a, n: 1-2}",
            "{exec: a, n: 1-3, after_ms: 6000}",
            "{exec: a}, {exec: b}, {exec: c}",
            "{exit: a, n: 1-3}",
        ],
    },
    // By its id, over the fleet, within bounds.
    Case {
        says: "type: event_count, rules: [10000000-0000-4000-8000-000000000001], timespan: 1m, \
               condition: {gte: 2, lt: 4}",
        fires: &["{exec: a}, {exec: d}", "{exec: a, n: 1-3}"],
        quiet: &["{exec: a}", "{exec: a, n: 1-4}"],
    },
    Case {
        says: "type: event_count, rules: [run], group-by: [host.name], timespan: 1m, \
               condition: {neq: 2}",
        fires: &["{exec: a}", "{exec: a, n: 1-3}"],
        quiet: &["{exec: a, n: 1-2}"],
    },
    Case {
        says: "type: value_count, rules: [run], group-by: [Computer], timespan: 1m, \
               condition: {field: Image, gte: 3}",
        fires: &["{exec: a}, {exec: b}, {exec: c}"],
        quiet: &["{exec: a, n: 1-9}, {exec: b}"],
    },
    Case {
        says: "type: value_count, rules: [run], group-by: [Computer], timespan: 1m, \
               condition: {field: Image, eq: 1}",
        fires: &["{exec: a, n: 1-9}"],
        quiet: &["{exec: a, n: 1-9}, {exec: b}"],
    },
    // Several fields are counted as one.
    Case {
        says: "type: value_count, rules: [failed], group-by: [Computer], timespan: 1m, \
               condition: {field: [User, RemoteHost], gte: 4}",
        fires: &[
            "{login: '-', action: failed, user: 'u{n}', remote: '10.0.0.1:1', message: Failed, \
                  n: 1-2}, {login: '-', action: failed, user: 'u{n}', remote: '10.0.0.2:1', \
                  message: Failed, n: 1-2}",
        ],
        quiet: &["{login: '-', action: failed, user: 'u{n}', remote: '10.0.0.1:1', \
                  message: Failed, n: 1-3}"],
    },
    Case {
        says: "type: value_sum, rules: [connected], group-by: [Computer, Image], timespan: 1m, \
               condition: {field: DestinationPort, gte: 1000}",
        fires: &["{connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:500', n: 1-2}"],
        quiet: &[
            "{connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:999'}",
            "{connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:500'}, \
             {connect: b, local: '10.0.0.1:1', remote: '10.0.0.2:500'}",
        ],
    },
    Case {
        says: "type: value_avg, rules: [connected], group-by: [Computer], timespan: 1m, \
               condition: {field: DestinationPort, gt: 299}",
        fires: &["{connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:100'}, \
                  {connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:500'}"],
        quiet: &["{connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:100', n: 1-2}, \
                  {connect: a, local: '10.0.0.1:1', remote: '10.0.0.2:500'}"],
    },
    Case {
        says: "type: value_percentile, rules: [run], group-by: [Computer], timespan: 1m, \
               condition: {field: Image, lte: 10}",
        fires: &["{exec: a, n: 1-9}, {exec: b}"],
        quiet: &["{exec: a, n: 1-8}, {exec: b}", "{exec: a, n: 1-99}"],
    },
    // The same address under two names.
    Case {
        says: "type: temporal, rules: [failed, connected], group-by: [Computer, peer], \
               timespan: 1m, aliases: {peer: {failed: RemoteHost, connected: DestinationIp}}",
        fires: &[
            "{login: '-', action: failed, remote: '10.0.0.9:1', message: Failed}, \
             {connect: a, local: '10.0.0.1:1', remote: '10.0.0.9:500', after_ms: 60000}",
            "{connect: a, local: '10.0.0.1:1', remote: '10.0.0.9:500'}, \
             {login: '-', action: failed, remote: '10.0.0.9:1', message: Failed}",
        ],
        quiet: &[
            "{login: '-', action: failed, remote: '10.0.0.8:1', message: Failed}, \
             {connect: a, local: '10.0.0.1:1', remote: '10.0.0.9:500'}",
            "{login: '-', action: failed, remote: '10.0.0.9:1', message: Failed}, \
             {connect: a, local: '10.0.0.1:1', remote: '10.0.0.9:500', after_ms: 60001}",
        ],
    },
    Case {
        says: "type: temporal, rules: [failed, accepted, run], group-by: [Computer], \
               timespan: 1m, condition: {gte: 2}",
        fires: &["{login: '-', action: failed, message: Failed}, {exec: a}"],
        quiet: &["{login: '-', action: failed, message: Failed, n: 1-5}"],
    },
    Case {
        says: "type: temporal_ordered, rules: [failed, accepted, run], group-by: [Computer], \
               timespan: 1m",
        fires: &["{exec: a}, {login: '-', action: failed, message: Failed}, \
                  {login: '-', action: accepted, message: Accepted}, {exec: a}"],
        quiet: &[
            "{login: '-', action: accepted, message: Accepted}, \
             {login: '-', action: failed, message: Failed, after_ms: 1}, {exec: a, after_ms: 1}",
            "{login: '-', action: failed, message: Failed}, \
             {login: '-', action: accepted, message: Accepted, after_ms: 59000}, \
             {exec: a, after_ms: 2000}",
        ],
    },
    // Over another correlation, which stands in the rules' file.
    Case {
        says: "type: temporal_ordered, rules: [many, accepted], group-by: [Computer, RemoteHost], \
               timespan: 1m",
        fires: &["{login: '-', action: failed, remote: '10.0.0.9:1', message: Failed, n: 1-3}, \
                  {login: '-', action: accepted, remote: '10.0.0.9:1', message: Accepted}"],
        quiet: &["{login: '-', action: failed, remote: '10.0.0.9:1', message: Failed, n: 1-2}, \
                  {login: '-', action: accepted, remote: '10.0.0.9:1', message: Accepted}"],
    },
];

const MANY: &str = "---
title: many
name: many
correlation: {type: event_count, rules: [failed], group-by: [Computer, RemoteHost], timespan: 1m,
  condition: {gte: 3}}
";

/// Returns a scenario as a file of samples has it.
fn scenario(events: &str) -> String {
    let mut text = format!("  - name: \"{}\"\n    processes:\n", events.replace('"', "'"));
    for name in ["a", "b", "c", "d"] {
        text += &format!("      {name}: {{exe: /opt/{name}, user: user-{name}}}\n");
    }
    text + &format!("    events: [{events}, {LATER}]\n")
}

fn samples(case: &Case) -> String {
    let all =
        |scenarios: &[&str]| scenarios.iter().map(|events| scenario(events)).collect::<String>();
    format!("fires:\n{}quiet:\n{}", all(case.fires), all(case.quiet))
}

fn set(files: &[(&str, &str)]) -> PolicySet {
    let file = |(name, text): &(&str, &str)| PolicyFile {
        name: (*name).to_owned(),
        text: (*text).to_owned(),
    };
    let sigma = ("detectors/sigma.yml", "detector: sigma\n");
    PolicySet::from_files(files.iter().chain([&sigma]).map(file).collect(), None)
}

#[test]
fn every_type_finds_what_it_says() {
    let mut tried = 0;
    for case in CASES {
        let correlation = format!("title: c\ncorrelation: {{{}}}\n", case.says);
        let rules = format!("{RULES}{MANY}");
        let set = set(&[
            ("sigma/rules.yml", &rules),
            ("sigma/c.yml", &correlation),
            ("sigma/c.samples.yml", &samples(case)),
        ]);
        assert_eq!(set.errors, [], "{correlation}");
        for outcome in sample::test(&set) {
            assert_eq!(outcome.failure, None, "{}\n{}", case.says, outcome.sample);
            tried += 1;
        }
    }
    println!("{tried} scenarios of {} correlations do as they say", CASES.len());
    assert_eq!(tried, CASES.iter().map(|case| case.fires.len() + case.quiet.len()).sum::<usize>());
}

#[test]
fn rules_speak_for_themselves_only_when_it_is_wanted() {
    let says = "type: event_count, rules: [run], group-by: [Computer], timespan: 1m, \
                condition: {gte: 2}";
    for (more, wanted) in [("", "c"), (", generate: true", "c, run"), (", generate: false", "c")] {
        let correlation = format!("title: c\ncorrelation: {{{says}{more}}}\n");
        let case = Case { says, fires: &["{exec: a, n: 1-3}"], quiet: &[] };
        let set = set(&[
            ("sigma/rules.yml", RULES),
            ("sigma/c.yml", &correlation),
            ("sigma/c.samples.yml", &samples(&case)),
        ]);
        let found = sample::findings(&set, &set.samples[0].fires[0], &|batch| batch).unwrap();
        let mut rules: Vec<&str> = found.iter().map(|found| found.policy.id.as_str()).collect();
        rules.iter_mut().filter(|id| id.len() > 9).for_each(|id| *id = "run");
        rules.sort_unstable();
        assert_eq!(rules.join(", "), wanted, "{more}");
    }
}

#[test]
fn what_cannot_be_honoured_is_refused_by_file_and_line() {
    let says = "type: event_count, rules: [run], timespan: 1m, condition: {gte: 2}";
    let one = |title: &str, says: &str| format!("title: {title}\ncorrelation: {{{says}}}\n");
    let good = one("good", says);
    for (changed, part) in [
        (one("c", &says.replace("[run]", "[nobody]")), "no rule with the name or id `nobody`"),
        (one("c", &says.replace("[run]", "[c]")), "refers to itself"),
        (one("good", says), "id good is taken by"),
        (one("c", &says.replace("timespan", "group-by: [Colour], timespan")), "field `Colour`"),
        (one("c", &says.replace("timespan", "group-by: [RemoteHost], timespan")), "`RemoteHost`"),
        (one("c", &says.replace("{gte: 2}", "run")), "a map"),
    ] {
        let text = format!("{good}---\n{changed}");
        let set = set(&[("sigma/rules.yml", RULES), ("sigma/c.yml", &text)]);
        assert_eq!(set.errors.len(), 1, "{changed}{:?}", set.errors);
        let error = &set.errors[0];
        assert!(error.message.contains(part), "{part}: {error}");
        assert_eq!(
            (error.file.as_str(), error.line.is_some_and(|line| line >= 4)),
            ("sigma/c.yml", true)
        );
    }
}

/// Somebody makes noise until all that is kept as evidence is his own; and the finding is about
/// those whom it is about, not about whoever comes along when it is judged.
#[test]
fn a_flood_hides_nothing_that_is_judged_at_the_end_of_its_window() {
    let says = "type: event_count, rules: [run], group-by: [Computer, Image], timespan: 1m, \
                condition: {eq: 3}";
    let correlation = format!("title: c\ncorrelation: {{{says}}}\n");
    let set = set(&[("sigma/rules.yml", RULES), ("sigma/c.yml", &correlation)]);
    for (noise, evidence) in [(10, 3), (10_000, 0)] {
        let noise = format!("{{exec: b, n: 1-{noise}}}");
        let later = "{exec: c, after_ms: 200000}".to_owned();
        let mut detectors = Detectors::new(&set);
        let mut findings = FindingSet::default();
        for events in ["{exec: a, n: 1-3}".to_owned(), noise.clone(), noise, later] {
            let text = scenario(&events).replacen("  - name", "    name", 1);
            let text = text.replace(&format!(", {LATER}"), "");
            for batch in sample::batches_of(&text).unwrap().1 {
                let found = detectors.batch(&batch, &host("h"));
                found.into_iter().for_each(|signal| drop(findings.merge(signal)));
            }
        }
        let found: Vec<_> = findings.iter().collect();
        let [found] = found[..] else { panic!("{found:#?}") };
        let process = found.process.as_ref().map(|process| process.executable());
        assert_eq!((found.title.as_str(), process.as_deref()), ("c: /opt/a on h", Some("/opt/a")));
        let shown = found.evidence.iter().filter(|piece| piece.slot.is_none()).count();
        assert_eq!((shown, found.count), (evidence, 3));
    }
}

/// One that is wrong takes those along that build on it, and no others.
#[test]
fn what_builds_on_a_refused_correlation_is_refused() {
    let text = "title: inner\nname: inner\ncorrelation: {type: event_count, rules: [gone], timespan: 1m, \
                condition: {gte: 2}}\n---\ntitle: outer\ncorrelation: {type: temporal, rules: [inner, run], \
                timespan: 1m}\n---\ntitle: other\ncorrelation: {type: event_count, rules: [run], \
                timespan: 1m, condition: {gte: 2}}\n";
    let set = set(&[("sigma/rules.yml", RULES), ("sigma/c.yml", text)]);
    let left: Vec<&str> = set.correlations.iter().map(|one| one.title.as_str()).collect();
    assert_eq!((left, set.errors.len()), (vec!["other"], 2), "{:?}", set.errors);
}
