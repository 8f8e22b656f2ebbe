//! Rules and values that mean harm: each ends soon, and with one clear sentence.

#![cfg(test)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::document::{self, Document, Options};
use super::set::{Matcher, RuleSet};
use super::{LogSource, Object, Rule};
use crate::finding::PolicyRef;
use crate::policy::Problem;
use crate::policy::node::Node;

/// No refusal may take longer, on a machine that others use as well.
const REFUSED_WITHIN: Duration = Duration::from_secs(5);

const HEAD: &str = "title: t\nlogsource:\n    category: process_creation\n";

fn read(text: &str) -> Result<Vec<Document>, Problem> {
    let policy = |id, author| {
        let (file, revision) = (String::new(), String::new());
        Arc::new(PolicyRef { id, file, revision, author })
    };
    document::read(text, &Options::default(), &policy)
}

fn rule(detection: &str) -> Arc<Rule> {
    match read(&format!("{HEAD}detection:\n{detection}")).map(|mut all| all.pop()) {
        Ok(Some(Document::Rule(rule))) => rule,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_means_harm_is_refused_at_once_and_says_why() {
    let mut bomb = format!("{HEAD}a: &a [x, x, x, x, x, x, x, x, x, x]\n");
    for (name, of) in ["b", "c", "d", "e", "f", "g"].iter().zip(["a", "b", "c", "d", "e", "f"]) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", "));
    }
    let selection = |value: &str| {
        format!("{HEAD}detection:\n    s:\n        Image: {value}\n    condition: s\n")
    };
    let long = "x".repeat(10 * 1024 * 1024);
    let condition = |condition: &str| selection("x").replace("condition: s", condition);
    for (what, text, part) in [
        ("alias bomb", bomb, "values"),
        ("nesting", format!("{HEAD}a: {}", "[".repeat(100_000)), "brackets"),
        ("nesting in block style", format!("{HEAD}a:\n  {}x", "- ".repeat(10_000)), "nested"),
        ("NUL", selection("\"\0\""), "NUL"),
        ("a key twice", selection("x\n        Image: y"), "twice"),
        ("10 MiB", selection(&long), "larger"),
        (
            "regex bomb",
            selection("x").replace("Image:", "Image|re: '(?:a{1000}){1000}' #"),
            "refused",
        ),
        ("many nots", condition(&format!("condition: {}s", "not ".repeat(900))), "nested"),
        ("many words", condition(&format!("condition: s{}", " or s".repeat(1_000))), "words"),
        ("many values", selection(&format!("[{}]", "x, ".repeat(6_000))), "values"),
        ("no text", "- 1\n- 2\n".to_owned(), "map"),
        ("nothing", "# only a comment\n".to_owned(), "no rule"),
    ] {
        let start = Instant::now();
        let refused = read(&text);
        let took = start.elapsed();
        let problem = refused.expect_err(what);
        println!("{what}: {took:?}: line {:?}: {}", problem.line, problem.message);
        assert!(problem.message.contains(part), "{what}: {problem:?}");
        assert!(took < REFUSED_WITHIN, "{what} took {took:?}");
    }
    assert!(read(&format!("\u{feff}{}", selection("x"))).is_ok(), "a mark of byte order is none");
}

#[test]
fn values_that_mean_harm_cost_as_much_as_their_length() {
    // Each is hard for an engine that goes back and tries again, or looks for one text at a time.
    let rules: Vec<Arc<Rule>> = [
        "CommandLine|re: '(a+)+$'",
        "CommandLine|re: '(a|aa)+$'",
        "CommandLine|re: '(.*a){12}$'",
        "CommandLine|re|i: '(x+x+)+y'",
        r"CommandLine|re: '^(([a-z])+.)+[A-Z]([a-z])+$'",
        "CommandLine: '*a*a*a*a*a*a*a*a*a*a*b'",
        "CommandLine: '*a?a?a?a?a?a?a?a?c*'",
        "CommandLine|contains: ['aaaaaaaab', 'aaaaaaaaab', 'aaaab', 'aab', 'ab']",
        "CommandLine|windash|contains: 'a-a-a-a-b'",
    ]
    .iter()
    .map(|item| rule(&format!("    s:\n        {item}\n    condition: s\n")))
    .collect();
    let log = LogSource::new("", "process_creation", "");
    let mut worst: (f64, String) = (0.0, String::new());
    for one in &rules {
        let mut matcher = Matcher::new(Arc::new(RuleSet::new(vec![Arc::clone(one)])));
        for value in ["a", "x", "a-", "aX"] {
            let text = value.repeat(64 * 1024 / value.len()) + "!";
            let bytes = text.len() as f64;
            let root = Node::Map(vec![("CommandLine".to_owned(), Node::Text(text))]);
            let object = Object { log: log.clone(), root };
            matcher.object(&object, |_, _| {});
            let start = Instant::now();
            matcher.object(&object, |_, _| {});
            let each = start.elapsed().as_nanos() as f64 / bytes;
            if each > worst.0 {
                worst = (each, format!("{:?} over {value:?}", one.selections[0].alternatives));
            }
        }
    }
    println!("figure D-10: {:.0} ns/byte at worst: {}", worst.0, worst.1);
    assert!(worst.0 < 5_000.0, "{worst:?}");
}
