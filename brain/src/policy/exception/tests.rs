//! What exceptions cover, and what they do not.

use super::*;
use crate::detect::scenario;
use crate::detect::{KindText, Reporter};
use crate::finding::{Actor, ActorKind};
use crate::policy::PolicySet;

const DAY_NS: u64 = 24 * 3_600 * 1_000_000_000;

/// 2027-01-01.
const NOW_NS: u64 = 1_798_761_600 * 1_000_000_000;

const HEAD: &str = "owner: db team\nreason: nightly copy\nexpires: 2027-02-01\n";

fn set(files: &[(&str, &str)]) -> PolicySet {
    let file = |&(name, text): &(&str, &str)| PolicyFile { name: name.into(), text: text.into() };
    PolicySet::from_files(files.iter().map(file).collect(), None)
}

fn signal() -> Signal {
    let text = KindText {
        name: "Discovery:Host/PortScan",
        guardduty: None,
        description: "",
        remediation: "",
        techniques: &[],
    };
    let policy = PolicyRef {
        id: "port-scan".into(),
        file: "detectors/port_scan.yml".into(),
        revision: String::new(),
        author: None,
    };
    let batch = scenario::exec_batch("/usr/bin/nmap", "nmap -sS");
    let event = crate::record::events(&batch, &scenario::host("db-1")).remove(0);
    let reporter = Reporter::new(&text, &Arc::new(policy));
    let mut signal = reporter.signal(&event.host, 5, event.process.as_ref(), 5.0, "x");
    signal.actors = ["10.1.2.3", "::ffff:10.1.9.9"]
        .map(|value| Actor { kind: ActorKind::Address, value: value.to_owned() })
        .to_vec();
    signal
}

fn suppresses(matching: &str) -> bool {
    let text = format!("{HEAD}match: {matching}\n");
    let set = set(&[("suppress/a.yml", &text)]);
    assert_eq!(set.errors, Vec::new(), "{matching}");
    set.exceptions.apply(&mut signal(), NOW_NS).suppressed.is_some()
}

#[test]
fn all_that_is_written_must_hold_and_of_a_list_one() {
    for matching in [
        "{type: 'discovery:host/portscan'}",
        "{type: 'Discovery:*', host: [web-1, db-1]}",
        "{rule: port-scan}",
        "{rule: detectors/port_scan.yml, role: test}",
        "{executable: '*/nmap'}",
        "{address: 10.1.0.0/16}",
        "{address: [10.1.2.3, 10.1.9.9]}",
    ] {
        assert!(suppresses(matching), "{matching}");
    }
    for matching in [
        "{type: 'Discovery:*', host: web-1}",
        "{host: 'db'}",
        "{role: db}",
        "{user: '*', host: db-1}",
        "{container: '*', host: db-1}",
        "{address: 10.1.2.3}",
        "{address: 10.1.2.0/24}",
        &format!("{{sha256: {}}}", "ab".repeat(32)),
    ] {
        assert!(!suppresses(matching), "{matching}");
    }
}

#[test]
fn mistakes_are_named_by_line() {
    let all = |rest: &str| format!("{HEAD}{rest}");
    for (text, line, part) in [
        ("owner: a\nreason: b\nmatch: {host: x}\n".to_owned(), 1, "`expires` is missing"),
        ("reason: b\nexpires: 2027-01-01\nmatch: {host: x}\n".to_owned(), 1, "`owner` is missing"),
        ("owner: a\nexpires: 2027-01-01\nmatch: {host: x}\n".to_owned(), 1, "`reason` is missing"),
        ("owner: a\nreason: ' '\nexpires: 2027-01-01\n".to_owned(), 2, "not empty"),
        (HEAD.replace("2027-02-01", "soon") + "match: {host: x}\n", 3, "`soon` is no time"),
        (all(""), 1, "`match` is missing"),
        (all("match: {}\n"), 4, "empty"),
        (all("match:\n  host: '*'\n"), 4, "everything"),
        (all("match:\n  hots: x\n"), 5, "`hots` is not known"),
        (all("match:\n  host: x\n  address: 10.1.2\n"), 6, "`10.1.2` is no address"),
        (all("match:\n  host: x\n  sha256: abc\n"), 6, "64 hexadecimal"),
        (all("match: {host: x}\nseverity: 1\n"), 5, "`severity` is not known"),
    ] {
        let set = set(&[("suppress/a.yml", &text)]);
        let [error] = set.errors.as_slice() else { panic!("{text}: {:?}", set.errors) };
        assert_eq!((error.line, error.message.contains(part)), (Some(line), true), "{error}");
        assert_eq!(set.exceptions.iter().count(), 0);
    }
    let low = all("match: {host: x}\nseverity: 0.5\n");
    let low = set(&[("overrides/a.yml", &low)]);
    assert_eq!(low.errors[0].line, Some(5), "{:?}", low.errors);
}

#[test]
fn what_has_ended_does_nothing_and_is_told() {
    let set = set(&[("suppress/a.yml", &format!("{HEAD}match: {{host: db-1}}\n"))]);
    let end_ns = NOW_NS + 32 * DAY_NS;
    let at = |now_ns| set.exceptions.apply(&mut signal(), now_ns).suppressed.is_some();
    assert!(at(end_ns - 1) && !at(end_ns));
    assert_eq!(set.exceptions.ended(end_ns - 20 * DAY_NS), []);
    let soon = &set.exceptions.ended(end_ns - DAY_NS)[0];
    assert!(!soon.is_over && soon.message.starts_with("ends on 2027-02-02 00:00 UTC"), "{soon:?}");
    let over = &set.exceptions.ended(end_ns)[0];
    assert_eq!((over.is_over, over.line, over.file.as_str()), (true, 3, "suppress/a.yml"));
}

#[test]
fn overrides_set_the_severity_and_history_says_who_and_why() {
    let over = |severity: &str, host: &str| {
        format!("owner: o\nreason: r\nmatch: {{host: {host}}}\nseverity: {severity}\n")
    };
    let set = set(&[
        ("overrides/a.yml", &over("9", "db-1")),
        ("overrides/b.yml", &over("2.5", "db-1")),
        ("overrides/c.yml", &over("1.0", "web-1")),
        ("suppress/z.yml", &format!("{HEAD}match: {{host: db-1}}\n")),
    ]);
    assert_eq!(set.errors, Vec::new());
    let mut signal = signal();
    let treatment = set.exceptions.apply(&mut signal, NOW_NS);
    assert_eq!(signal.severity, Severity::new(2.5));
    let told: Vec<(&str, &str)> =
        treatment.history.iter().map(|d| (d.user.as_str(), d.note.as_str())).collect();
    let wanted = [
        ("policy overrides/a.yml", "severity 5.0 becomes 9.0: r (owner o)"),
        ("policy overrides/b.yml", "severity 9.0 becomes 2.5: r (owner o)"),
        ("policy suppress/z.yml", "nightly copy (owner db team; ends 2027-02-02)"),
    ];
    assert_eq!(told, wanted);
    assert!(signal.dedup_key.ends_with("|suppressed by suppress/z.yml"));
}
