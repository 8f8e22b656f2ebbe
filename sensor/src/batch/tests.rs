//! Tests of cutting: every record exactly once, limits never crossed, parents first.

use proptest::prelude::*;
use wire::codec;
use wire::record::{Exec, Exit, Flow};

use super::*;
use crate::ledger::Signal;

const CLOCK: ClockPair = ClockPair { boot_ns: 1, unix_ns: 1_000 };

fn process(pid: u32, parent: Option<u32>, args: usize) -> Rc<Process> {
    Rc::new(Process {
        key: Key::new(pid, 0),
        parent: parent.map(|pid| Key::new(pid, 0)),
        exe: format!("/bin/{pid}").into_bytes().into(),
        args: vec![b'a' + (pid % 26) as u8; args].into(),
        ..Process::default()
    })
}

fn exit(lineage: Vec<Rc<Process>>, code: u32) -> Observation {
    let record = Record::Exit(Exit { code, ..Exit::default() });
    Observation { lineage, target: Vec::new(), signal: Signal::Exit, events: 1, record }
}

fn cut_all(observations: &[Observation]) -> Vec<Cut> {
    let mut batcher = Batcher::new(9, CLOCK);
    let mut cuts: Vec<Cut> =
        observations.iter().filter_map(|observation| batcher.add(observation, || CLOCK)).collect();
    cuts.extend(Lane::ALL.into_iter().filter_map(|lane| batcher.cut(lane, CLOCK)));
    assert_eq!(batcher.pending(), Events::default());
    cuts
}

#[test]
fn lanes_are_numbered_apart_and_carry_their_clock() {
    let exec = Observation {
        lineage: vec![process(2, Some(1), 3), process(1, None, 3)],
        target: Vec::new(),
        signal: Signal::Exec,
        events: 1,
        record: Record::Exec(Exec::default()),
    };
    let mut batcher = Batcher::new(9, CLOCK);
    for seq in 1..=3 {
        assert!(batcher.add(&exec, || CLOCK).is_none());
        let cut = batcher.cut(Lane::Security, CLOCK).unwrap();
        assert_eq!(cut.batch.position, Position { epoch: 9, lane: Lane::Security, seq });
        assert_eq!(cut.batch.clock, Clock { boot_ns: 1, unix_ns: 1_000 });
        assert_eq!(cut.batch.processes[0].start_ns, 999, "start times are calendar times");
        assert_eq!(cut.batch.execs[0].process, ProcessRef(2));
        assert_eq!(cut.batch.processes[1].parent, ProcessRef(1));
    }
    assert!(batcher.cut(Lane::Bulk, CLOCK).is_none());
}

#[test]
fn two_images_of_a_process_are_two_processes() {
    let bash = process(2, None, 1);
    let ls = Rc::new(Process { image: 1, exe: b"/bin/ls"[..].into(), ..(*bash).clone() });
    let cuts = cut_all(&[exit(vec![bash.clone()], 1), exit(vec![ls], 2), exit(vec![bash], 3)]);
    let places: Vec<u32> = cuts[0].batch.exits.iter().map(|exit| exit.process.0).collect();
    assert_eq!(places, [1, 2, 1]);
}

#[test]
fn a_batch_of_the_largest_records_still_encodes() {
    let random: Vec<u8> =
        (0..4096u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let observations: Vec<Observation> = (0..600u32)
        .map(|n| {
            let mut args = random.clone();
            args.rotate_left(n as usize);
            let process = Process { args: args.into(), ..(*process(n, None, 0)).clone() };
            let most = wire::record::Counters {
                packets: u64::MAX / 4,
                bytes: u64::MAX,
                syns: u32::MAX,
                tcp_flags: 255,
                isn: Some(u32::MAX),
            };
            let flow = Flow { ingress: most, egress: most, ..Flow::default() };
            let record = Record::Flow(flow);
            Observation {
                lineage: vec![Rc::new(process)],
                target: Vec::new(),
                signal: Signal::Flow,
                events: 7,
                record,
            }
        })
        .collect();
    let cuts = cut_all(&observations);
    assert!(cuts.len() > 1);
    for cut in &cuts {
        let frame = codec::encode_batch(&cut.batch).unwrap();
        assert_eq!(codec::decode_batch_frame(&frame).unwrap(), cut.batch);
    }
    assert_eq!(cuts.iter().map(|cut| cut.events.of(Signal::Flow)).sum::<u64>(), 7 * 600);
}

#[test]
fn the_record_limit_cuts() {
    let observations: Vec<Observation> =
        (0..limits::RECORDS_MAX as u32 + 1).map(|code| exit(Vec::new(), code)).collect();
    let cuts = cut_all(&observations);
    assert!(cuts.len() >= 2);
    assert!(cuts.iter().all(|cut| cut.batch.check().is_ok()));
}

#[test]
fn coverage_stands_at_most_once_in_a_batch() {
    let text = CoverageText {
        hooks: vec![["exec".into(), "tracepoint".into(), String::new()]],
        ledger: vec![("exec", "seen", 3)],
        ..CoverageText::default()
    };
    let mut batcher = Batcher::new(9, CLOCK);
    assert!(batcher.add_coverage(&text, CLOCK).is_none());
    let first = batcher.add_coverage(&text, CLOCK).unwrap().batch;
    let coverage = first.coverage.as_ref().unwrap();
    assert_eq!(first.strings.bytes(coverage.hooks[0].attached), b"tracepoint");
    assert_eq!(first.strings.bytes(coverage.ledger[0].outcome), b"seen");
    assert_eq!(first.check(), Ok(()));
    assert_eq!(batcher.cut(Lane::Bulk, CLOCK).unwrap().batch.position.seq, 2);
}

/// A tree in which the parent of `n` is `n / 2`, with long arguments that make batches fill up.
fn lineage(mut pid: u32, args: usize) -> Vec<Rc<Process>> {
    let mut lineage = Vec::new();
    while pid > 0 {
        lineage.push(process(pid, (pid > 1).then_some(pid / 2), args));
        pid /= 2;
    }
    lineage
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_record_is_in_exactly_one_batch(
        pids in prop::collection::vec((0u32..5000, prop_oneof![Just(10usize), Just(4096)]), 0..500),
    ) {
        let observations: Vec<Observation> = pids.iter().enumerate()
            .map(|(code, &(pid, args))| exit(lineage(pid, args), code as u32)).collect();
        let cuts = cut_all(&observations);
        let mut codes = Vec::new();
        for (at, cut) in cuts.iter().enumerate() {
            prop_assert_eq!(cut.batch.check(), Ok(()));
            prop_assert_eq!(cut.batch.position.seq, at as u64 + 1);
            prop_assert_eq!(cut.events.of(Signal::Exit), cut.batch.exits.len() as u64);
            prop_assert!(codec::encode_batch(&cut.batch).is_ok());
            for exit in &cut.batch.exits {
                let (pid, _) = pids[exit.code as usize];
                let mut place = exit.process;
                let mut found = Vec::new();
                while let Some(index) = place.index() {
                    found.push(cut.batch.processes[index].pid);
                    place = cut.batch.processes[index].parent;
                }
                let expected: Vec<u32> = lineage(pid, 0).iter().map(|p| p.key.pid).collect();
                prop_assert_eq!(found, expected);
                codes.push(exit.code);
            }
        }
        let all: Vec<u32> = (0..pids.len() as u32).collect();
        prop_assert_eq!(codes, all);
    }
}
