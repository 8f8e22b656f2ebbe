//! A correlation under a flood of groups, through all that is shipped.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use brain::detect::Detectors;
use brain::finding::FindingSet;
use brain::policy::PolicySet;
use brain::record::{Host, HostId};
use wire::batch::{Batch, Clock, Lane, Position};
use wire::record::{Login, login_action};
use wire::text::StringTableBuilder;

const MS: u64 = 1_000_000;
const START_NS: u64 = 1_700_000_000_000_000_000;

/// Log-ins in one batch.
const BATCH: u32 = 5_000;

/// Returns a batch with a failed log-in as root from each of these addresses, 0.1 ms apart.
fn failures(first: u32, addresses: impl Iterator<Item = Ipv4Addr>) -> Batch {
    let position = Position { epoch: 1, lane: Lane::Bulk, seq: u64::from(first) + 1 };
    let mut batch = Batch::empty(position, Clock { boot_ns: 0, unix_ns: START_NS });
    let mut strings = StringTableBuilder::default();
    let [service, user, message] = ["sshd", "root", "Failed password for root from an address"]
        .map(|text| strings.add(text.as_bytes()).unwrap());
    for (number, address) in (u64::from(first)..).zip(addresses) {
        batch.logins.push(Login {
            time_ns: START_NS + number * MS / 10,
            action: login_action::FAILED,
            count: 1,
            service,
            user,
            message,
            remote_name: strings.add(address.to_string().as_bytes()).unwrap(),
            ..Login::default()
        });
    }
    batch.strings = strings.finish();
    batch.check().unwrap();
    batch
}

/// Returns the address of this number.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number)
}

/// Returns a detector for a hundred log-ins that fail from one address on one host.
fn detectors() -> Detectors {
    let rule = "title: many\nid: many\nlevel: high\ncorrelation:\n  type: event_count\n  \
                rules: [failed]\n  group-by: [Computer, RemoteHost]\n  timespan: 10m\n  \
                condition: {gte: 100}\n---\ntitle: failed\nname: failed\nlogsource:\n  \
                service: sshd\ndetection:\n  a:\n    Message|startswith: Failed\n  condition: a\n";
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("detectors/sigma.yml", "detector: sigma\n"), ("sigma/many.yml", rule)] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        fs::write(folder.path().join(name), text).unwrap();
    }
    let set = PolicySet::load(folder.path()).unwrap();
    assert!(set.errors.is_empty(), "{:?}", set.errors);
    Detectors::new(&set)
}

pub(crate) fn host(name: &str) -> Arc<Host> {
    let (id, name, role) = (HostId(name.into()), name.to_owned(), String::new());
    Arc::new(Host { id, name, role })
}

/// R-04 with its memory: a million addresses fail once each, one of them two hundred times.
#[test]
fn a_million_groups_cost_little_and_hide_nobody() {
    let (mut detectors, mut findings) = (detectors(), FindingSet::default());
    let host = host("h");
    // Somebody works from this one.
    let busy = Ipv4Addr::new(203, 0, 113, 9);
    const GROUPS: u32 = 200 * (BATCH - 1) + 1;
    let before = memory_kib();
    for number in 0..200 {
        let first = number * BATCH;
        let others = (first..first + BATCH - 1).map(address);
        let batch = failures(first, others.chain([busy]));
        for signal in detectors.batch(&batch, &host) {
            findings.merge(signal);
        }
    }
    let grown = memory_kib().saturating_sub(before);
    let found: Vec<(&str, u64)> = findings.iter().map(|f| (f.title.as_str(), f.count)).collect();
    assert_eq!(found, [("many: 203.0.113.9 on h", 200)]);
    let evicted = detectors.stats()[0].evicted;
    println!("figure R-04: {GROUPS} groups, 0 errors, {evicted} evicted, memory +{grown} KiB");
    assert_eq!(evicted, u64::from(GROUPS) - 65_536);
    // Other tests run beside it and are counted, too.
    assert!(grown < 256 * 1024, "{grown} KiB");
}

/// More hosts than are remembered, each with a few groups, after some that had many.
#[test]
fn hosts_that_leave_take_their_groups_along() {
    const REMEMBERED: u64 = 16_384;
    let mut detectors = detectors();
    let mut fail = |name: String, groups: u32| {
        detectors.batch(&failures(0, (0..groups).map(address)), &host(&name));
        detectors.stats()[0].evicted
    };
    for number in 0..48 {
        assert_eq!(fail(format!("busy-{number}"), BATCH), 0);
    }
    // One host more than there is room for pushes out the one that was silent longest, whole.
    let evicted = (0..REMEMBERED).map(|number| fail(format!("calm-{number}"), 1)).max();
    assert_eq!(evicted, Some(48 * u64::from(BATCH)));
    // There is room for their groups again.
    for number in 0..48 {
        let evicted = fail(format!("busy-{number}"), BATCH);
        assert_eq!(evicted, 48 * u64::from(BATCH) + number + 1);
    }
}

/// Memory of this process that is resident and its own.
fn memory_kib() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = |at: usize| text.split(' ').nth(at).and_then(|word| word.parse::<u64>().ok());
    (pages(1).unwrap_or(0) - pages(2).unwrap_or(0)) * 4
}
