//! What hosts report, arriving in any order and cut anywhere; and findings without what they rest
//! on.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use wire::batch::Batch;

use super::{APP, DB, WEB, host, reload};
use crate::detect::Detectors;
use crate::finding::{EvidenceKind, Finding, FindingSet};
use crate::policy::{PolicyFile, PolicySet, sample};

const SECOND_NS: u64 = 1_000_000_000;

/// One address tries users on three hosts, few on each, and then knows a password.
const SPRAYED: [(&str, u64); 3] = [("ssh-1", 1), ("ssh-2", 5), ("ssh-3", 9)];

fn sprayed((name, first): (&str, u64)) -> String {
    let last = first + 3;
    format!(
        "name: {name}
events:
  - {{login: \"-\", action: failed, user: 'u{{n}}', remote: '203.0.113.9:4000', n: {first}-{last},
     after_ms: 700, message: 'Failed password for invalid user u{{n}} from 203.0.113.9 port 4000 ssh2'}}
  - {{login: \"-\", action: failed, user: root, remote: '203.0.113.9:4000', n: 1-9, after_ms: 400,
     message: 'Failed password for root from 203.0.113.9 port 4000 ssh2'}}
  - {{login: \"-\", action: accepted, user: root, remote: '203.0.113.9:4000', after_ms: 50,
     message: 'Accepted password for root from 203.0.113.9 port 4000 ssh2'}}
"
    )
}

/// Returns the batch with the records of which `kept` says so.
fn only(batch: &Batch, kept: &dyn Fn(Option<EvidenceKind>, u64) -> bool) -> Batch {
    let mut batch = batch.clone();
    batch.inventory.retain(|r| kept(None, r.time_ns));
    batch.logins.retain(|r| kept(Some(EvidenceKind::Login), r.time_ns));
    batch.execs.retain(|r| kept(Some(EvidenceKind::Exec), r.time_ns));
    batch.privileges.retain(|r| kept(Some(EvidenceKind::Privilege), r.time_ns));
    batch.memory.retain(|r| kept(None, r.time_ns));
    batch.files.retain(|r| kept(Some(EvidenceKind::File), r.time_ns));
    batch.connections.retain(|r| kept(Some(EvidenceKind::Connection), r.time_ns));
    batch.dns.retain(|r| kept(Some(EvidenceKind::Dns), r.time_ns));
    batch.tls.retain(|r| kept(None, r.time_ns));
    batch.uses.retain(|r| kept(None, r.first_ns));
    batch.flows.retain(|r| kept(Some(EvidenceKind::Flow), r.first_ns));
    batch.sweeps.retain(|r| kept(None, r.first_ns));
    batch.urings.retain(|r| kept(None, r.time_ns));
    batch.activities.retain(|r| kept(None, r.time_ns));
    batch.syscalls.retain(|r| kept(None, r.time_ns));
    batch.exits.retain(|r| kept(None, r.time_ns));
    batch
}

/// Cuts a batch at these times.
fn cut(batch: &Batch, mut times: Vec<u64>) -> Vec<(u64, Batch)> {
    times.sort_unstable();
    times.push(u64::MAX);
    let mut from = 0;
    let parts = times.into_iter().map(|until| {
        let mut part = only(batch, &|_, time| (from..until).contains(&time));
        part.coverage = part.coverage.filter(|coverage| (from..until).contains(&coverage.end_ns));
        from = until;
        (until, part)
    });
    let parts: Vec<(u64, Batch)> = parts.collect();
    let last = |part: &Batch| last_ns(part).unwrap_or(0);
    parts.into_iter().map(|(_, part)| (last(&part), part)).filter(|part| part.0 > 0).collect()
}

fn last_ns(batch: &Batch) -> Option<u64> {
    let latest = std::cell::Cell::new(batch.coverage.as_ref().map(|coverage| coverage.end_ns));
    only(batch, &|_, time| {
        latest.set(latest.get().max(Some(time)));
        true
    });
    latest.get()
}

/// What the hosts' sensors send, in order.
fn corpus() -> Vec<(String, Vec<Batch>)> {
    let texts = [WEB, APP, DB].map(str::to_owned).into_iter();
    let texts = texts.chain(SPRAYED.into_iter().map(sprayed));
    texts.map(|text| sample::batches_of(&text).unwrap()).collect()
}

/// Cuts and delays that someone chose: for each batch the places of its cuts, in thousandths, and
/// for each part how late it is, in milliseconds.
type Choice = (Vec<u64>, Vec<u64>);

fn run(choices: &[Choice]) -> FindingSet {
    let mut arrivals = Vec::new();
    for (at, (name, batches)) in corpus().into_iter().enumerate() {
        let (cuts, delays) = &choices[at % choices.len()];
        let mut arrived = 0;
        for (number, batch) in batches.iter().enumerate() {
            let end = last_ns(batch).unwrap_or(0);
            let start = batch.clock.unix_ns.min(end);
            let times = cuts.iter().map(|cut| start + (end - start) / 1_000 * cut).collect();
            for (part, (last, batch)) in cut(batch, times).into_iter().enumerate() {
                // One host's batches keep their order: its sensor numbers them.
                let delay = delays[(number + part) % delays.len()] * 1_000_000;
                arrived = arrived.max(last + delay);
                arrivals.push((arrived, number, part, name.clone(), batch));
            }
        }
    }
    arrivals.sort_by(|a, b| (a.0, &a.3, a.1, a.2).cmp(&(b.0, &b.3, b.1, b.2)));
    let mut detectors = Detectors::new(&PolicySet::embedded());
    let mut findings = FindingSet::default();
    let mut ticked = arrivals[0].0 / SECOND_NS * SECOND_NS;
    let end = arrivals[arrivals.len() - 1].0 + 60 * SECOND_NS;
    let mut tick_to = |until: u64, detectors: &mut Detectors, findings: &mut FindingSet| {
        while ticked + SECOND_NS <= until {
            ticked += SECOND_NS;
            detectors.tick(ticked).into_iter().for_each(|signal| drop(findings.merge(signal)));
        }
    };
    for (arrived, _, _, name, batch) in arrivals {
        tick_to(arrived, &mut detectors, &mut findings);
        batch.check().unwrap();
        for signal in detectors.batch(&batch, &host(&name)) {
            findings.merge(signal);
        }
    }
    tick_to(end, &mut detectors, &mut findings);
    findings
}

/// Tells all findings, but for what sensors said of themselves in between.
fn told(findings: &FindingSet) -> String {
    let text = |finding: &Finding| {
        let plain = Finding { coverage: Default::default(), ..finding.clone() };
        format!("{plain:#?}")
    };
    findings.iter().map(text).collect::<Vec<_>>().join("\n")
}

fn hash(told: &str) -> String {
    blake3::hash(told.as_bytes()).to_hex()[..16].to_owned()
}

/// Returns the first line in which two texts differ, for both, with some of what stands before it.
fn difference(a: &str, b: &str) -> String {
    let at = a.lines().zip(b.lines()).take_while(|(a, b)| a == b).count();
    let before = a.lines().take(at).filter(|line| line.contains("title: ")).last();
    let line = |text: &str| text.lines().nth(at).unwrap_or("").to_owned();
    format!("after {before:?}: {} / {}", line(a), line(b))
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let cuts = proptest::collection::vec(0u64..1_000, 0..5);
    // The longest batch tells of six seconds, and what is ten seconds old is late.
    let delays = proptest::collection::vec(0u64..3_000, 1..4);
    proptest::collection::vec((cuts, delays), 1..7)
}

/// R-01, with how often it was done.
#[test]
fn neither_the_order_of_arrival_nor_cuts_change_a_finding() {
    let plain = run(&[(Vec::new(), vec![0])]);
    let wanted = told(&plain);
    let kinds: Vec<&str> = plain.iter().map(|finding| finding.kind.name.as_str()).collect();
    let count = |kind: &str| kinds.iter().filter(|of| **of == kind).count();
    assert_eq!(count("CredentialAccess:Host/PasswordSpray"), 1, "{kinds:?}");
    assert_eq!(count("CredentialAccess:Host/PasswordGuessed"), 3, "{kinds:?}");
    let runs = 48;
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(runs) };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let checked = runner.run(&choices(), |choices| {
        let found = told(&run(&choices));
        prop_assert!(found == wanted, "{}", difference(&found, &wanted));
        Ok(())
    });
    checked.unwrap();
    println!(
        "figure R-01: {runs} arrivals of {} findings, all with hash {}",
        plain.len(),
        hash(&wanted)
    );
}

#[test]
fn a_problem_of_several_hosts_is_one_finding_that_names_them() {
    let findings = run(&[(Vec::new(), vec![0])]);
    let spray = findings.iter().find(|f| f.kind.name.ends_with("/PasswordSpray")).unwrap();
    let actors: Vec<&str> = spray.actors.iter().map(|actor| actor.value.as_str()).collect();
    for wanted in ["ssh-1", "ssh-2", "ssh-3", "203.0.113.9", "root"] {
        assert!(actors.contains(&wanted), "{wanted} in {actors:?}");
    }
    assert_eq!(spray.title, "Many users tried from one address: 203.0.113.9");
    assert!(spray.evidence.iter().any(|piece| piece.summary.contains("values of User")));
}

/// a finding whose evidence never happened is not there.
#[test]
fn without_the_events_that_it_names_a_finding_is_not_there() {
    let set = PolicySet::embedded();
    let (mut faithful, mut all, mut unfaithful) = (0, 0, Vec::new());
    for (file, sample) in set.samples.iter().flat_map(|f| f.fires.iter().map(move |s| (f, s))) {
        let policy = file.policy_file();
        let found = sample::findings(&set, sample, &|batch| batch).unwrap();
        for finding in found.iter().filter(|finding| finding.policy.file == policy) {
            // A count over many records names none of them.
            let cited = finding.evidence.iter().filter(|piece| piece.slot.is_none());
            let cited: BTreeMap<u64, EvidenceKind> =
                cited.map(|piece| (piece.time_ns, piece.kind)).collect();
            if cited.is_empty() || !policy.starts_with("sigma/") {
                continue;
            }
            all += 1;
            let kept = |kind: Option<EvidenceKind>, time: u64| {
                kind.is_none() || cited.get(&time) != kind.as_ref()
            };
            let without = |batch: Batch| only(&batch, &kept);
            let left = sample::findings(&set, sample, &without).unwrap();
            match left.iter().any(|left| left.id == finding.id) {
                true => unfaithful.push(format!("{policy}: {}", sample.name)),
                false => faithful += 1,
            }
        }
    }
    println!("figure R-14: {faithful} of {all} findings of rules vanish with their evidence");
    assert!(all > 10 && unfaithful.is_empty(), "{unfaithful:#?}");
}

/// Other rules come and go while somebody guesses.
#[test]
fn a_reload_of_other_rules_keeps_the_windows_of_correlations() {
    let mut files = PolicySet::embedded_files();
    let before = PolicySet::from_files(files.clone(), None);
    files.retain(|file| file.name != "sigma/download_to_shell.yml");
    files.push(PolicyFile {
        name: "sigma/a_first_one.yml".into(),
        text: "title: first\nlogsource:\n  category: process_creation\ndetection:\n  a:\n    \
               Image: /x\n  condition: a\n---\ntitle: every\ncorrelation:\n  type: event_count\n  \
               rules: [first]\n  timespan: 1m\n  condition: {gte: 2}\n"
            .into(),
    });
    let after = PolicySet::from_files(files, None);
    let mut found = Vec::new();
    for reloads in [false, true] {
        let mut detectors = Detectors::new(&before);
        let (name, batches) = sample::batches_of(&sprayed(("h", 1))).unwrap();
        let host = host(&name);
        let middle = batches[0].logins[6].time_ns;
        let mut kinds = Vec::new();
        for half in [
            only(&batches[0], &|_, time| time < middle),
            only(&batches[0], &|_, time| time >= middle),
        ] {
            kinds.extend(detectors.batch(&half, &host).into_iter().map(|s| s.kind.name.clone()));
            if reloads {
                reload(&mut detectors, &after);
            }
        }
        found.push(kinds);
    }
    assert_eq!(found[0], ["CredentialAccess:Host/PasswordGuessed"]);
    assert_eq!(found[0], found[1]);
}

/// Hosts keep their names apart.
#[test]
fn a_correlation_of_one_host_does_not_look_at_another() {
    let half = |name: &str, from: u64, last: u64| {
        format!(
            "name: {name}\nevents:\n  - {{login: \"-\", action: failed, user: root, \
             remote: '203.0.113.9:4000', n: {from}-{last}, after_ms: 400, \
             message: 'Failed password for root from 203.0.113.9 port 4000 ssh2'}}\n  - {{login: \"-\", \
             action: accepted, user: root, remote: '203.0.113.9:4000', \
             message: 'Accepted password for root from 203.0.113.9 port 4000 ssh2'}}\n"
        )
    };
    let mut detectors = Detectors::new(&PolicySet::embedded());
    let mut found = Vec::new();
    for text in [half("a", 1, 5), half("b", 6, 10)] {
        let (name, batches) = sample::batches_of(&text).unwrap();
        let host: Arc<_> = host(&name);
        batches.iter().for_each(|batch| found.extend(detectors.batch(batch, &host)));
    }
    assert!(found.is_empty(), "{found:?}");
}
