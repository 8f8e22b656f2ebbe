//! What the program decides for all rules at once is what each rule's words say alone.

use proptest::prelude::*;

use super::super::document::{self, Document, Options};
use super::super::set::{Matcher, RuleSet};
use super::super::{evaluate, recognise};
use super::*;
use crate::detect::scenario;
use crate::finding::PolicyRef;
use crate::policy::node;
use crate::record::{Event, events};

fn rules(texts: &[String]) -> Vec<Arc<Rule>> {
    let policy = |id, author| {
        let (file, revision) = (String::new(), String::new());
        Arc::new(PolicyRef { id, file, revision, author })
    };
    let one = |text: &String| match document::read(text, &Options::default(), &policy) {
        Ok(mut documents) => match documents.pop() {
            Some(Document::Rule(rule)) => rule,
            other => panic!("not a rule: {other:?}"),
        },
        Err(problem) => panic!("{problem:?} in\n{text}"),
    };
    texts.iter().map(one).collect()
}

fn alone(rules: &[Arc<Rule>], fields: &Fields<'_>) -> Vec<u32> {
    let matching = |(_, rule): &(u32, &Arc<Rule>)| evaluate::matches(rule, fields);
    (0..).zip(rules).filter(matching).map(|(index, _)| index).collect()
}

fn of_objects(rules: &[Arc<Rule>], objects: &[Object]) {
    let mut matcher = Matcher::new(Arc::new(RuleSet::new(rules.to_vec())));
    for object in objects {
        let mut together = Vec::new();
        matcher.object(object, |index, _| together.push(index.0));
        assert_eq!(together, alone(rules, &Fields::of_object(object)), "{object:?}");
    }
}

fn of_records(rules: &[Arc<Rule>], records: &[Event]) {
    let mut matcher = Matcher::new(Arc::new(RuleSet::new(rules.to_vec())));
    for event in records {
        let (mut together, mut each) = (Vec::new(), Vec::new());
        matcher.event(event, |index, _| together.push(index.0));
        view::of(event, |view| each.extend(alone(rules, &Fields::of_event(view, event))));
        together.sort_unstable();
        each.sort_unstable();
        each.dedup();
        assert_eq!(together, each, "{event:?}");
    }
}

fn quoted(text: String) -> String {
    format!("'{text}'")
}

/// A field with modifiers and values, in YAML's flow style.
fn any_item() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        Just("Image"),
        Just("CommandLine"),
        Just("User"),
        Just("ParentImage"),
        Just("Nothing"),
    ];
    let word = "[abAB/ -]{1,4}";
    let list = proptest::collection::vec(word.prop_map(quoted), 2..5);
    let list = list.prop_map(|words| format!("[{}]", words.join(", ")));
    let one = "[abAB/*? -]{0,6}".prop_map(quoted);
    let asked = prop_oneof![
        one.prop_map(|value| ("", value)),
        (
            prop_oneof![
                Just("|contains"),
                Just("|startswith"),
                Just("|endswith"),
                Just("|contains|all"),
                Just("|cased"),
                Just("|endswith|neq"),
                Just("|windash|contains"),
                Just(""),
            ],
            list
        ),
        "[ab](a|b|\\[ab\\]|\\.|c\\?|a\\+|\\(ab\\|ba\\)){0,3}".prop_map(|v| ("|re", quoted(v))),
        "ab(a|b|s|k|\\.){0,3}".prop_map(|v| ("|re|i", quoted(v))),
        Just(("|exists", "true".to_owned())),
        Just(("|exists", "false".to_owned())),
        Just(("", "null".to_owned())),
        Just(("", "''".to_owned())),
        Just(("|fieldref", "CommandLine".to_owned())),
        Just(("|fieldref|startswith", "User".to_owned())),
        Just(("|gte", "7".to_owned())),
        Just(("|cidr", "10.0.0.0/8".to_owned())),
    ];
    (field, asked).prop_map(|(field, (modifiers, value))| format!("{field}{modifiers}: {value}"))
}

fn any_selection() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(any_item(), 1..3).prop_map(|items| {
            let items: Vec<String> = (items.iter().enumerate())
                .map(|(at, item)| format!("{{{item}, ProcessId|gte: {}}}", at * 5))
                .collect();
            format!("[{}]", items.join(", "))
        }),
        any_item().prop_map(|item| format!("{{{item}}}")),
        "[ab]{1,3}".prop_map(|word| format!("['{word}', 'c*d']")),
    ]
}

fn any_rule() -> impl Strategy<Value = String> {
    let condition = prop_oneof![
        Just("s0"),
        Just("not s0"),
        Just("s0 and not s1"),
        Just("s0 or s1"),
        Just("1 of s*"),
        Just("all of them"),
        Just("s0 and (s1 or not s2)"),
        Just("not (s0 or s1) and s2"),
        Just("not s0 or not (s1 and not s2)"),
    ];
    let source = prop_oneof![
        Just("{category: process_creation}"),
        Just("{product: linux}"),
        Just("{product: linux, service: auditd}"),
        Just("{category: file_event}"),
    ];
    (source, condition, any_selection(), any_selection(), any_selection()).prop_map(
        |(source, condition, s0, s1, s2)| {
            format!(
                "title: t\nlogsource: {source}\ndetection:\n  s0: {s0}\n  s1: {s1}\n  s2: {s2}\n  \
                 condition: {condition}\n"
            )
        },
    )
}

fn any_object() -> impl Strategy<Value = Object> {
    let text = || {
        prop_oneof![
            3 => "[abABsk/ -]{0,8}".prop_map(|text| format!("{text:?}")),
            1 => Just("null".to_owned()),
            1 => Just("[\"ab\", \"b a\", 7]".to_owned()),
            1 => (0..12).prop_map(|number: i32| number.to_string()),
            1 => Just("\"10.1.2.3\"".to_owned()),
        ]
    };
    let field = prop_oneof![
        Just("Image"),
        Just("CommandLine"),
        Just("User"),
        Just("ParentImage"),
        Just("ProcessId"),
        Just("process.executable"),
        Just("Event.EventData.CommandLine"),
    ];
    let source = prop_oneof![
        Just("product=linux,category=process_creation"),
        Just("category=process_creation"),
        Just("product=linux,category=file_event"),
        Just("product=linux,service=auditd"),
        Just("product=windows,category=process_creation"),
    ];
    (source, proptest::collection::btree_map(field, text(), 0..5)).prop_map(|(source, fields)| {
        let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k:?}: {v}")).collect();
        let root = node::parse(&format!("{{{}}}", fields.join(", "))).unwrap();
        Object { log: LogSource::parse(source).unwrap(), root }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn together_as_alone_over_events_of_others(
        texts in proptest::collection::vec(any_rule(), 1..12),
        objects in proptest::collection::vec(any_object(), 1..8),
    ) {
        of_objects(&rules(&texts), &objects);
    }

    #[test]
    fn together_as_alone_over_our_records(
        texts in proptest::collection::vec(any_rule(), 1..12),
        commands in proptest::collection::vec(("[abAB/]{0,6}", "[abABsk/ -]{0,12}"), 1..6),
    ) {
        let records: Vec<Event> = (commands.iter())
            .flat_map(|(exe, command)| {
                events(&scenario::exec_batch(exe, command), &scenario::host("h"))
            })
            .collect();
        of_records(&rules(&texts), &records);
    }
}

fn rule(source: &str, detection: &str) -> String {
    format!("title: t\nlogsource: {source}\ndetection:\n  {detection}\n  condition: s\n")
}

#[test]
fn a_rule_never_matches_an_event_of_another_log_source() {
    let sources = [
        "{product: linux, category: process_creation}",
        "{product: linux, service: auditd}",
        "{product: windows, category: process_creation}",
        "{product: zeek, service: dns}",
        "{category: dns}",
        "{category: file_event, product: linux}",
        "{service: sshd, product: linux}",
    ];
    let everything = rules(&sources.map(|source| rule(source, "s: {type|re: '.'}")));
    let mut matcher = Matcher::new(Arc::new(RuleSet::new(everything.clone())));
    let mut others = 0;
    for source in sources {
        let text = format!("{{type: x, Image: x, logsource: {source}}}");
        let root = node::parse(&text).unwrap();
        let object = Object { log: recognise(&root), root };
        let mut own = 0;
        matcher.object(&object, |index, _| {
            let covers = everything[index.0 as usize].log.covers(&object.log);
            if covers { own += 1 } else { others += 1 }
        });
        assert!(own > 0, "{source}");
    }
    println!("cross-logsource matches: {others}");
    assert_eq!(others, 0);
    let unknown = Object { log: LogSource::default(), root: node::parse("{type: x}").unwrap() };
    matcher.object(&unknown, |index, _| panic!("{index:?} matches an event of no known log"));
}

#[test]
fn what_no_sensor_tells_never_widens_a_rule() {
    let texts = [
        rule("{category: process_creation}", "s: {IntegrityLevel: High}"),
        rule("{category: process_creation}", "s: {IntegrityLevel: null}"),
        rule("{category: process_creation}", "s: {IntegrityLevel|exists: false}"),
        rule("{category: process_creation}", "s: {IntegrityLevel|neq: High}"),
        rule("{category: process_creation}", "s: {Image: /bin/x}")
            .replace("condition: s", "n: {IntegrityLevel: High}\n  condition: s and not n"),
        rule("{category: process_creation}", "s: {Image: /bin/x}"),
    ];
    let rules = rules(&texts);
    let set = Arc::new(RuleSet::new(rules.clone()));
    assert_eq!(set.reachable(), [false, false, false, false, false, true]);
    let event = events(&scenario::exec_batch("/bin/x", "x"), &scenario::host("h")).remove(0);
    let mut matched = Vec::new();
    Matcher::new(set).event(&event, |index, _| matched.push(index.0));
    assert_eq!(matched, [5]);
    of_records(&rules, &[event]);
}

#[test]
fn a_rule_that_nothing_wakes_is_not_looked_at() {
    let texts: Vec<String> = (0..1_000)
        .map(|n| {
            rule("{category: process_creation}", &format!("s: {{CommandLine|contains: w{n}x}}"))
        })
        .collect();
    let set = RuleSet::new(rules(&texts));
    assert_eq!(set.always(), 0);
    let event = events(&scenario::exec_batch("/bin/x", "a w77x b"), &scenario::host("h")).remove(0);
    let mut scratch = Scratch::default();
    let program = Program::of_view(View::ProcessCreation, set.rules());
    let fields = Fields::of_event(View::ProcessCreation, &event);
    assert_eq!(program.run(&fields, &mut scratch), [77]);
    assert_eq!(scratch.queue, [77]);
    println!("{} bytes for 1000 rules of one text", program.size());
}
