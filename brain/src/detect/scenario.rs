//! Batches for tests, and an attack over three hosts as their sensors would report it.

use std::sync::Arc;

use proptest::prelude::*;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::record::{
    Address, Connection, Coverage, Exec, Exit, Flow, Privilege, Process, ProcessRef, Stdio,
};
use wire::text::{StrId, StringTableBuilder};

use super::Detectors;
use super::prepared::Prepared;
use crate::finding::{Finding, FindingSet, Severity};
use crate::policy::{PolicyFile, PolicySet, sample};
use crate::record::{Host, HostId};

mod arrival;
mod correlated;

/// Returns a host that is called by its id.
pub(crate) fn host(name: &str) -> Arc<Host> {
    Arc::new(Host { id: HostId(name.into()), name: name.to_owned(), role: "test".to_owned() })
}

fn empty() -> Batch {
    Batch::empty(Position { epoch: 1, lane: Lane::Bulk, seq: 1 }, Clock::default())
}

/// Returns a batch in which something ends at each of these times.
pub(crate) fn exits_at(times: &[u64]) -> Batch {
    let mut batch = empty();
    batch.exits = times.iter().map(|&time_ns| Exit { time_ns, ..Exit::default() }).collect();
    batch
}

/// Returns a batch in which a process without a parent executes `exe` with `command`'s words.
pub(crate) fn exec_batch(exe: &str, command: &str) -> Batch {
    let mut strings = StringTableBuilder::default();
    let args: String = command.split(' ').flat_map(|word| [word, "\0"]).collect();
    let mut batch = empty();
    batch.processes.push(Process {
        pid: 7,
        exe: strings.add(exe.as_bytes()).unwrap(),
        args: strings.add(args.as_bytes()).unwrap(),
        ..Process::default()
    });
    batch.execs.push(Exec { process: ProcessRef(1), ..Exec::default() });
    batch.strings = strings.finish();
    batch
}

/// What the scanning host's sensor reports: the scan, its own half of the shell, and daily life.
const WEB: &str = include_str!("scenario/web-1.yml");

/// What the attacked host's sensor reports.
const APP: &str = include_str!("scenario/app-1.yml");

/// What the third host's sensor reports: it is scanned, and its daily life goes on.
const DB: &str = include_str!("scenario/db-1.yml");

fn findings(order: &[&str]) -> FindingSet {
    let mut detectors = Detectors::new(&PolicySet::embedded());
    let mut findings = FindingSet::default();
    for text in order {
        let (name, batches) = sample::batches_of(text).unwrap();
        for batch in batches {
            batch.check().unwrap();
            for signal in detectors.batch(&batch, &host(&name)) {
                findings.merge(signal);
            }
        }
    }
    findings
}

fn found<'a>(findings: &'a FindingSet, kind: &str, host: &str) -> Vec<&'a Finding> {
    findings.iter().filter(|f| f.kind.name == kind && f.host.name == host).collect()
}

#[test]
fn the_attack_is_found_step_by_step_and_nothing_else() {
    let findings = findings(&[WEB, APP, DB]);
    let mut wanted = 0;
    for (kind, host, exe) in [
        ("Discovery:Host/PortScan", "web-1", Some("/actor")),
        ("Discovery:Host/PortProbed", "app-1", None),
        ("Discovery:Host/PortProbed", "db-1", None),
        ("Execution:Host/ReverseShell", "app-1", Some("/usr/bin/bash")),
        ("DefenseEvasion:Host/FilelessExecution", "app-1", Some("/memfd:payload")),
        ("Impact:Host/CryptoMinerExecuted", "app-1", Some("/tmp/xmrig")),
        ("CommandAndControl:Host/ListedAddress", "app-1", Some("/actor")),
    ] {
        let of_kind = found(&findings, kind, host);
        let exes: Vec<_> =
            of_kind.iter().map(|f| f.process.as_ref().map(|p| p.executable())).collect();
        assert_eq!(exes, [exe.map(str::to_owned)], "{kind} on {host}");
        wanted += 1;
    }
    let all: Vec<_> = findings.iter().map(|f| (&f.kind.name, &f.host.name, &f.title)).collect();
    assert_eq!(all.len(), wanted, "{all:#?}");
}

#[test]
fn findings_carry_what_an_analyst_needs() {
    let findings = findings(&[WEB, APP, DB]);
    let scan = found(&findings, "Discovery:Host/PortScan", "web-1")[0];
    let actors: Vec<&str> = scan.actors.iter().map(|actor| actor.value.as_str()).collect();
    assert_eq!(actors, ["/actor", "10.77.0.12", "10.77.0.13"]);
    assert_eq!((scan.count, scan.evidence.len()), (scan.count.clamp(270, 330), 2));
    let shell = found(&findings, "Execution:Host/ReverseShell", "app-1")[0];
    assert_eq!(shell.title, "Reverse shell from bash to 10.77.0.11:4444 on app-1");
    assert_eq!(shell.process.as_ref().unwrap().lineage().count(), 1);
    assert!(shell.severity >= Severity::new(7.0));
    assert_eq!(shell.kind.guardduty.as_deref(), Some("Execution:Runtime/ReverseShell"));
    let listed = found(&findings, "CommandAndControl:Host/ListedAddress", "app-1")[0];
    assert_eq!(listed.title, "actor on app-1 contacted the listed address 203.0.113.66");
    assert_eq!(listed.process.as_ref().unwrap().lineage().count(), 2);
    for finding in findings.iter() {
        assert!(!finding.evidence.is_empty() && finding.policy.file.ends_with(".yml"));
    }
}

#[test]
fn the_order_of_hosts_and_a_second_run_change_nothing() {
    let text = |order: &[&str]| format!("{:#?}", findings(order).iter().collect::<Vec<_>>());
    let once = text(&[WEB, APP, DB]);
    assert_eq!(text(&[WEB, APP, DB]), once);
    assert_eq!(text(&[DB, APP, WEB]), once);
}

/// Lets the detectors work from other policies.
fn reload(detectors: &mut Detectors, policy: &PolicySet) {
    let prepared = Prepared::new(policy, &detectors.made());
    drop(detectors.replace(prepared));
}

/// What each detector found of the attack while `change` turns one set of files into another, and
/// back, before every batch and every record.
fn with_reloads(change: &dyn Fn(&mut Vec<PolicyFile>)) -> FindingSet {
    let files = PolicySet::embedded_files();
    let mut changed = files.clone();
    change(&mut changed);
    let sets = [PolicySet::from_files(files, None), PolicySet::from_files(changed, Some("c0ffee"))];
    let mut detectors = Detectors::new(&sets[0]);
    let (mut findings, mut reloads) = (FindingSet::default(), 0);
    for text in [WEB, APP, DB] {
        let (name, batches) = sample::batches_of(text).unwrap();
        for batch in batches.iter().flat_map(split) {
            reloads += 1;
            reload(&mut detectors, &sets[reloads % 2]);
            for signal in detectors.batch(&batch, &host(&name)) {
                findings.merge(signal);
            }
        }
    }
    println!("{reloads} reloads in the midst of the attack");
    assert!(reloads > 100);
    findings
}

/// Cuts a batch into one for each record, the texts and processes in all of them.
fn split(batch: &Batch) -> Vec<Batch> {
    let mut cut = vec![Batch { flows: vec![], connections: vec![], ..batch.clone() }];
    for flow in &batch.flows {
        let coverage = None;
        let (strings, processes) = (batch.strings.clone(), batch.processes.clone());
        cut.push(Batch { strings, processes, coverage, flows: vec![flow.clone()], ..empty() });
    }
    for connection in &batch.connections {
        let (strings, processes) = (batch.strings.clone(), batch.processes.clone());
        let connections = vec![connection.clone()];
        cut.push(Batch { strings, processes, connections, ..empty() });
    }
    cut
}

#[test]
fn a_reload_of_other_files_loses_no_window_and_doubles_no_finding() {
    let told = |findings: &FindingSet| {
        let one = |f: &Finding| (f.kind.name.clone(), f.host.name.clone(), f.count, f.first_ns);
        findings.iter().map(one).collect::<Vec<_>>()
    };
    let none = told(&with_reloads(&|_| {}));
    let changed = with_reloads(&|files| {
        files.retain(|file| file.name != "sigma/download_to_shell.yml");
        files.push(PolicyFile {
            name: "suppress/more.yml".into(),
            text: "owner: o\nreason: r\nexpires: 2100-01-01\nmatch: {host: elsewhere}\n".into(),
        });
    });
    assert_eq!(told(&changed), none);
    assert_eq!(none.len(), told(&findings(&[WEB, APP, DB])).len());
    let scan = found(&changed, "Discovery:Host/PortScan", "web-1")[0];
    assert!(!scan.policy.revision.is_empty());
    // Without its state, the scan in the midst of which settings change is seen later, or never.
    let begun_anew = with_reloads(&|files| {
        let scan = files.iter_mut().find(|file| file.name == "detectors/port_scan.yml").unwrap();
        scan.text = scan.text.replace("distinct_ports: 20", "distinct_ports: 21");
    });
    assert_ne!(told(&begun_anew), none);
}

fn any_ends() -> impl Strategy<Value = (Address, u16, u16)> {
    let address = prop_oneof![
        any::<[u8; 16]>(),
        (0u8..4).prop_map(|last| {
            let mut bytes = [0; 16];
            (bytes[10], bytes[11], bytes[12], bytes[15]) = (0xff, 0xff, 10, last);
            bytes
        }),
        Just([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 66]),
    ];
    (address.prop_map(Address), any::<u16>(), prop_oneof![Just(443), any::<u16>()])
}

prop_compose! {
    /// A batch of any records over a few processes; only its indexes are in range.
    fn any_batch()(
        strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..6),
        processes in proptest::collection::vec(
            (any::<u32>(), 0u32..6, any::<[u32; 3]>(), any::<u32>()), 0..6),
        execs in proptest::collection::vec((any::<u64>(), any::<u32>(), any_ends(), 0u8..8), 0..8),
        flows in proptest::collection::vec(
            (any::<u64>(), any::<u32>(), any_ends(), any::<[u8; 5]>(), any::<[u64; 2]>()), 0..40),
        connections in proptest::collection::vec(
            (any::<u64>(), any::<u32>(), any_ends(), 0u8..8), 0..20),
        other in proptest::collection::vec((any::<u64>(), any::<u32>(), 0u8..3), 0..8),
    ) -> Batch {
        let mut batch = empty();
        let mut table = StringTableBuilder::default();
        let known = [&b"/bin/bash"[..], b"bash\0-i\0", b"/usr/bin/runc", b"/memfd:x"];
        for string in strings.iter().map(Vec::as_slice).chain(known) {
            table.add(string).unwrap();
        }
        batch.strings = table.finish();
        let count = batch.strings.len() as u32 + 1;
        for (at, (pid, parent, texts, flags)) in processes.into_iter().enumerate() {
            let [exe, args, user] = texts.map(|text| StrId(text % count));
            let parent = ProcessRef(parent % (at as u32 + 1));
            let process = Process { pid, parent, exe, args, user, flags, ..Process::default() };
            batch.processes.push(process);
        }
        let count_of_processes = batch.processes.len() as u32 + 1;
        let process = |number: u32| ProcessRef(number % count_of_processes);
        for (time_ns, number, (remote, local_port, remote_port), kind) in execs {
            let stdio = [Stdio { kind, remote, remote_port, local_port }; 3];
            batch.execs.push(Exec { time_ns, process: process(number), stdio });
        }
        for (first_ns, number, (remote, local_port, remote_port), small, packets) in flows {
            let mut flow = Flow { first_ns, process: process(number), remote, ..Flow::default() };
            (flow.local_port, flow.remote_port) = (local_port, remote_port);
            flow.protocol = [6, 6, 17, 1, 58, small[0]][small[0] as usize % 6];
            (flow.direction, flow.detail) = (small[1] % 4, small[2] & small[3] & 3);
            (flow.ingress.tcp_flags, flow.egress.tcp_flags) = (small[3], small[4]);
            (flow.ingress.packets, flow.egress.packets) = (packets[0] % 3, packets[1]);
            (flow.ingress.bytes, flow.egress.bytes) = (packets[1], packets[0]);
            batch.flows.push(flow);
        }
        for (time_ns, number, (remote, local_port, remote_port), event) in connections {
            let (process, protocol, local) = (process(number), 6, remote);
            batch.connections.push(Connection {
                time_ns, process, event, protocol, local, remote, local_port, remote_port,
            });
        }
        for (time_ns, number, kind) in other {
            let process = process(number);
            match kind {
                0 => batch.exits.push(Exit { time_ns, process, ..Exit::default() }),
                1 => batch.privileges.push(Privilege {
                    time_ns,
                    process,
                    action: kind,
                    name: StrId(number % count),
                    ..Privilege::default()
                }),
                _ => batch.coverage = Some(Coverage { end_ns: time_ns, ..Coverage::default() }),
            }
        }
        batch
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_records_are_looked_at_without_panic_and_always_alike(
        batches in proptest::collection::vec(any_batch(), 1..6),
        now_ns in any::<u64>(),
    ) {
        let set = PolicySet::embedded();
        let run = || {
            let mut detectors = Detectors::new(&set);
            let mut findings = FindingSet::default();
            for batch in &batches {
                batch.check().unwrap();
                for signal in detectors.batch(batch, &host("h")) {
                    findings.merge(signal);
                }
            }
            detectors.tick(now_ns).into_iter().for_each(|signal| drop(findings.merge(signal)));
            assert!(detectors.stats().iter().all(|stats| stats.panics == 0));
            format!("{:?}", findings.iter().collect::<Vec<_>>())
        };
        prop_assert_eq!(run(), run());
    }
}
