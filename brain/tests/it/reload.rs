//! Rules that change while events stream in.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use brain::detect::Detectors;
use brain::detect::prepared::{Made, Prepared};
use brain::finding::FindingSet;
use brain::policy::PolicySet;
use wire::batch::{Batch, Clock, Lane, Position};
use wire::record::{Login, login_action};
use wire::text::StringTableBuilder;

use crate::correlation::host;

/// Rules that come and go.
const RULES: usize = 2_000;

/// Of these, in one file.
const FILE: usize = 500;

/// Events of one batch, and how many of them are looked for.
const BATCH: u64 = 5_000;
const MARKED: u64 = 50;

/// For how long events stream in.
const SPAN: Duration = Duration::from_secs(4);

/// What the swap may take. It is a move of pointers; the rest is for a machine that is busy.
const SWAP_MAX: Duration = Duration::from_millis(100);

/// Writes the two rules that stay, and as many as wanted that differ from one `turn` to the next.
fn write_rules(folder: &Path, turn: usize) {
    let stays = "title: marked\nid: marked\nname: marked\nlogsource:\n  service: sshd\ndetection:\n  \
                 a:\n    Message|startswith: Failed\n  condition: a\n---\ntitle: many\nid: many\n\
                 correlation:\n  type: event_count\n  rules: [marked]\n  generate: true\n  \
                 group-by: [Computer]\n  timespan: 1h\n  condition: {gte: 2}\n";
    for (name, text) in [("detectors/sigma.yml", "detector: sigma\n"), ("sigma/stays.yml", stays)] {
        fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        fs::write(folder.join(name), text).unwrap();
    }
    for first in (0..RULES).step_by(FILE) {
        let rule = |rule| {
            format!(
                "title: t{turn} {rule}\nid: t{turn}-{rule}\nlogsource:\n  service: sshd\n\
                 detection:\n  a:\n    Message|contains: 'tool-{turn}-{rule}'\n  condition: a\n"
            )
        };
        let rules: Vec<String> = (first..first + FILE).map(rule).collect();
        fs::write(folder.join(format!("sigma/changes-{first}.yml")), rules.join("---\n")).unwrap();
    }
}

fn load(turn: usize) -> PolicySet {
    let folder = tempfile::tempdir().unwrap();
    write_rules(folder.path(), turn);
    let set = PolicySet::load(folder.path()).unwrap();
    assert!(set.errors.is_empty(), "{:?}", &set.errors[..1]);
    assert_eq!(set.rules.len(), RULES + 1);
    set
}

/// Returns a batch of log-ins, of which every hundredth failed.
fn log_ins(seq: u64) -> Batch {
    const START_NS: u64 = 1_700_000_000_000_000_000;
    let position = Position { epoch: 1, lane: Lane::Bulk, seq };
    let mut batch = Batch::empty(position, Clock { boot_ns: 0, unix_ns: START_NS });
    let mut strings = StringTableBuilder::default();
    let [service, user, failed, accepted] =
        ["sshd", "root", "Failed password for root", "Accepted publickey for root from 10.0.0.1"]
            .map(|text| strings.add(text.as_bytes()).unwrap());
    for number in 0..BATCH {
        let is_marked = number % (BATCH / MARKED) == 0;
        batch.logins.push(Login {
            time_ns: START_NS + (seq * BATCH + number) * 10_000,
            action: if is_marked { login_action::FAILED } else { login_action::ACCEPTED },
            count: 1,
            service,
            user,
            message: if is_marked { failed } else { accepted },
            ..Login::default()
        });
    }
    batch.strings = strings.finish();
    batch
}

/// O-08: no event is missed, none is told twice, and none waits for rules that are compiled.
#[test]
fn rules_change_under_load_and_no_event_is_missed() {
    let mut detectors = Detectors::new(&load(0));
    let (ready, changed) = mpsc::sync_channel::<Prepared>(0);
    let (replaced, unneeded) = mpsc::channel();
    let preparing = thread::spawn(move || {
        let mut made = Made::default();
        let mut longest = Duration::ZERO;
        for turn in 1.. {
            let set = load(turn);
            let start = Instant::now();
            let prepared = Prepared::new(&set, &made);
            longest = longest.max(start.elapsed());
            made = prepared.made();
            if ready.send(prepared).is_err() {
                break;
            }
            unneeded.try_iter().for_each(drop);
        }
        longest
    });
    let (start, host) = (Instant::now(), host("h"));
    let (mut findings, mut swap, mut reloads, mut batches) =
        (FindingSet::default(), Duration::ZERO, 0, 0);
    while start.elapsed() < SPAN {
        if let Ok(prepared) = changed.try_recv() {
            let start = Instant::now();
            let old = detectors.replace(prepared);
            swap = swap.max(start.elapsed());
            replaced.send(old).unwrap();
            reloads += 1;
        }
        for signal in detectors.batch(&log_ins(batches), &host) {
            findings.merge(signal);
        }
        batches += 1;
    }
    let rate = (batches * BATCH) as f64 / start.elapsed().as_secs_f64();
    drop(changed);
    let making = preparing.join().unwrap();
    let counts: Vec<u64> = findings.iter().map(|finding| finding.count).collect();
    let missed = 2 * batches * MARKED - counts.iter().sum::<u64>();
    println!(
        "figure O-08: {reloads} reloads of {RULES} rules at {rate:.0} events/s: {missed} events \
         missed, {} findings doubled; made beside in up to {making:.1?}, swapped in up to {swap:.1?}",
        counts.len() - 2
    );
    assert_eq!(counts, [batches * MARKED; 2]);
    assert!(reloads > 2, "{reloads} reloads");
    assert!(swap < SWAP_MAX, "{swap:?}");
}
