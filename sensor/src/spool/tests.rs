//! Tests of the spool: nothing vanishes without being counted, whatever is killed, full or damaged.

use proptest::prelude::*;
use wire::codec::decode_batch_frame;

use super::*;
use crate::ledger::Signal;

const CLOCK: ClockPair = ClockPair { boot_ns: 1, unix_ns: 2 };

fn events(exits: u64) -> Events {
    let mut events = Events::default();
    events.count(Signal::Exit, exits);
    events
}

fn frame(epoch: u64, lane: Lane, seq: u64, padding: usize) -> Vec<u8> {
    let mut frame = untold::stand_in(Position { epoch, lane, seq }, CLOCK, &[]);
    frame.resize(frame.len() + padding, 0);
    frame
}

fn push(spool: &mut Spool, lane: Lane, seq: u64, padding: usize) -> Vec<Loss> {
    let frame = frame(spool.epoch(), lane, seq, padding);
    let losses = spool.push(lane, seq, &events(1), &frame);
    spool.delete_given_up();
    losses
}

/// Sends all that waits in a lane and returns the positions, as the brain would see them.
fn send_all(spool: &mut Spool, lane: Lane) -> Vec<(u64, u64)> {
    let mut sent = Vec::new();
    while let (Some(frame), _) = spool.next_unsent(lane, CLOCK) {
        let length = wire::codec::Header::parse(frame.first_chunk().unwrap()).unwrap().body_len();
        let batch = decode_batch_frame(&frame[..wire::codec::HEADER_LEN + length]).unwrap();
        sent.push((batch.position.epoch, batch.position.seq));
    }
    sent
}

fn files(directory: &Path) -> usize {
    directory.read_dir().unwrap().count()
}

#[test]
fn frames_wait_until_they_are_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, carried) = Spool::open(dir.path(), BYTES_MIN, 5);
    assert_eq!((spool.epoch(), carried.total()), (5, 0));
    for seq in 1..=3 {
        assert!(push(&mut spool, Lane::Bulk, seq, 0).is_empty());
    }
    assert_eq!(send_all(&mut spool, Lane::Bulk), [(5, 1), (5, 2), (5, 3)]);
    assert_eq!(send_all(&mut spool, Lane::Bulk), []);
    let position = |seq| Position { epoch: 5, lane: Lane::Bulk, seq };
    assert_eq!(spool.acknowledge(position(2)), events(2));
    assert_eq!(spool.acknowledge(position(2)), events(0));
    spool.rewind();
    assert_eq!(send_all(&mut spool, Lane::Bulk), [(5, 3)]);
    assert!(!spool.is_empty());
    assert_eq!(spool.acknowledge(position(9)), events(1));
    assert!(spool.is_empty());
    assert!(push(&mut spool, Lane::Bulk, 4, 0).is_empty());
    assert_eq!(send_all(&mut spool, Lane::Bulk), [(5, 4)]);
    assert_eq!((files(dir.path()), spool.stats().disk_errors), (1, 0));
}

#[test]
fn a_killed_sensor_finds_its_frames_again_under_their_own_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    push(&mut spool, Lane::Security, 1, 0);
    push(&mut spool, Lane::Security, 2, 0);
    drop(spool);
    let (mut spool, carried) = Spool::open(dir.path(), BYTES_MIN, 3);
    assert_eq!((spool.epoch(), carried), (6, events(2)), "a clock that was set back");
    push(&mut spool, Lane::Security, 1, 0);
    assert_eq!(send_all(&mut spool, Lane::Security), [(5, 1), (5, 2), (6, 1)]);
    let delivered = spool.acknowledge(Position { epoch: 5, lane: Lane::Security, seq: 2 });
    assert_eq!(delivered, events(2));
    spool.acknowledge(Position { epoch: 6, lane: Lane::Security, seq: 1 });
    spool.close();
    assert_eq!(files(dir.path()), 0);
}

#[test]
fn a_brain_that_has_some_of_this_start_has_all_of_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    push(&mut spool, Lane::Bulk, 1, 0);
    push(&mut spool, Lane::Security, 1, 0);
    drop(spool);
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 6);
    push(&mut spool, Lane::Bulk, 1, 0);
    let ours = |seq| Position { epoch: 6, lane: Lane::Bulk, seq };
    assert_eq!(spool.acknowledge(ours(0)), events(0));
    assert_eq!(spool.acknowledge(ours(1)), events(2));
    assert_eq!(send_all(&mut spool, Lane::Security), [(5, 1)]);
}

#[test]
fn a_gap_stands_in_for_what_only_memory_had() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    push(&mut spool, Lane::Bulk, 7, 0);
    drop(spool);
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 9);
    let known = |seq| Position { epoch: 5, lane: Lane::Bulk, seq };
    assert_eq!(spool.resume(&[known(4)], &[], Vec::new()), events(0));
    assert_eq!(send_all(&mut spool, Lane::Bulk), [(5, 5), (5, 6), (5, 7)]);
    spool.resume(&[Position { epoch: 4, ..known(1) }], &[], Vec::new());
    spool.rewind();
    assert_eq!(send_all(&mut spool, Lane::Bulk), [(5, 5), (5, 6), (5, 7)]);
}

#[test]
fn a_torn_tail_is_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    push(&mut spool, Lane::Bulk, 1, 0);
    push(&mut spool, Lane::Bulk, 2, 0);
    drop(spool);
    let path = dir.path().join(recover::segment_name(5, Lane::Bulk, 1));
    let whole = std::fs::read(&path).unwrap();
    let entry = whole.len() / 2;
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let (mut spool, carried) = Spool::open(dir.path(), BYTES_MIN, 9);
        assert_eq!(carried.total(), (cut / entry) as u64);
        assert_eq!(spool.stats().torn_bytes, (cut % entry) as u64);
        assert_eq!(send_all(&mut spool, Lane::Bulk).len(), cut / entry);
    }
    let mut damaged = whole.clone();
    damaged[segment::ENTRY_HEADER + 25] ^= 1;
    std::fs::write(&path, &damaged).unwrap();
    let (spool, carried) = Spool::open(dir.path(), BYTES_MIN, 9);
    assert_eq!((carried.total(), spool.stats().torn_bytes), (0, whole.len() as u64));
}

#[test]
fn a_full_spool_gives_up_oldest_bulk_first_and_leaves_no_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    push(&mut spool, Lane::Security, 1, 400_000);
    let mut lost = Events::default();
    for seq in 1..=40 {
        for (reason, events) in push(&mut spool, Lane::Bulk, seq, 400_000) {
            assert_eq!(reason, REASON_FULL);
            lost.add(&events);
        }
        assert!(spool.stats().bytes <= BYTES_MIN);
    }
    assert!(lost.total() > 20 && lost.total() < 40);
    drop(spool);
    // The gap is remembered over a restart.
    let (mut spool, carried) = Spool::open(dir.path(), BYTES_MIN, 9);
    assert_eq!(carried.total() + lost.total(), 41);
    let expected: Vec<_> = (1..=40).map(|seq| (5, seq)).collect();
    assert_eq!(send_all(&mut spool, Lane::Bulk), expected);
    assert_eq!(send_all(&mut spool, Lane::Security), [(5, 1)]);
}

#[test]
fn security_goes_last_when_nothing_else_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    let losses: Vec<Loss> =
        (1..=20).flat_map(|seq| push(&mut spool, Lane::Security, seq, 400_000)).collect();
    assert!(!losses.is_empty() && spool.stats().bytes <= BYTES_MIN);
    assert_eq!(send_all(&mut spool, Lane::Security).len(), 20);
}

#[test]
fn memory_stands_in_for_a_broken_disk_within_its_limit() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("spool");
    let (mut spool, _) = Spool::open(&directory, 64 * BYTES_MIN, 5);
    std::fs::remove_dir_all(&directory).unwrap();
    let mut lost = Events::default();
    for seq in 1..=30 {
        push(&mut spool, Lane::Bulk, seq, 400_000).iter().for_each(|(_, e)| lost.add(e));
        assert!(spool.stats().bytes <= MEMORY_MAX);
    }
    assert!(lost.total() > 0 && spool.stats().disk_errors > 0);
    assert_eq!(spool.stats().memory_bytes, spool.stats().bytes);
    assert_eq!(send_all(&mut spool, Lane::Bulk).len(), 30);
    let all = Position { epoch: 5, lane: Lane::Bulk, seq: 30 };
    assert_eq!(spool.acknowledge(all).total() + lost.total(), 30);
    // The disk is back, and is used again.
    std::fs::create_dir(&directory).unwrap();
    push(&mut spool, Lane::Bulk, 31, 400_000);
    push(&mut spool, Lane::Bulk, 32, 400_000);
    assert!(files(&directory) > 0);
}

#[test]
fn a_disk_that_failed_once_is_used_for_the_next_batch() {
    let dir = tempfile::tempdir().unwrap();
    let directory = dir.path().join("spool");
    let (mut spool, _) = Spool::open(&directory, BYTES_MIN, 5);
    std::fs::remove_dir_all(&directory).unwrap();
    push(&mut spool, Lane::Bulk, 1, 100);
    assert!(spool.is_in_memory(Lane::Bulk));
    std::fs::create_dir(&directory).unwrap();
    send_all(&mut spool, Lane::Bulk);
    spool.acknowledge(Position { epoch: 5, lane: Lane::Bulk, seq: 1 });
    push(&mut spool, Lane::Bulk, 2, 100);
    assert!(!spool.is_in_memory(Lane::Bulk));
    assert_eq!((files(&directory), send_all(&mut spool, Lane::Bulk).len()), (1, 1));
}

#[test]
fn coverage_that_is_given_up_is_to_be_said_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    let position = |seq| Position { epoch: 5, lane: Lane::Bulk, seq };
    let line = |seq| ("exec".to_owned(), "seen".to_owned(), 7 * seq);
    for seq in 1..=2 {
        let frame = untold::stand_in(position(seq), CLOCK, &[line(seq)]);
        assert_eq!(spool.push(Lane::Bulk, seq, &events(1), &frame), []);
    }
    // The brain has the first one, and the other goes when the spool is full.
    spool.next_unsent(Lane::Bulk, CLOCK);
    assert_eq!(spool.acknowledge(position(1)), events(1));
    assert_eq!(spool.take_untold(), []);
    for seq in 3..=20 {
        push(&mut spool, Lane::Bulk, seq, 400_000);
    }
    assert_eq!(spool.take_untold(), [(position(2), vec![line(2)])]);
    assert_eq!(spool.take_untold(), []);
}

#[test]
fn what_a_killed_process_held_goes_out_between_what_the_disk_has() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    for seq in 4..=5 {
        push(&mut spool, Lane::Bulk, seq, 0);
    }
    drop(spool);
    let at = |epoch, seq| Position { epoch, lane: Lane::Bulk, seq };
    let held = [at(5, 3), at(5, 7), at(3, 2)];
    let held = held.map(|at| (at, vec![("exec".to_owned(), "seen".to_owned(), at.seq)]));
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 9);
    assert_eq!(spool.resume(&[at(5, 1)], &[at(5, 4)], held.to_vec()), events(0));
    assert!(spool.was_sent(at(5, 4)) && !spool.was_sent(at(5, 5)) && spool.was_sent(at(3, 9)));
    let mut sent = Vec::new();
    while let (Some(frame), _) = spool.next_unsent(Lane::Bulk, CLOCK) {
        let batch = decode_batch_frame(&frame).unwrap();
        sent.push((batch.position, untold::of(&batch).len()));
    }
    let numbers = [(3, 1), (3, 2), (5, 2), (5, 3), (5, 4), (5, 5), (5, 6), (5, 7)];
    let expected: Vec<_> = numbers
        .map(|(epoch, seq)| {
            (at(epoch, seq), usize::from(held.iter().any(|h| h.0 == at(epoch, seq))))
        })
        .into();
    assert_eq!(sent, expected);
}

#[test]
fn a_frame_damaged_on_disk_is_given_up_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 5);
    push(&mut spool, Lane::Bulk, 1, 0);
    let path = dir.path().join(recover::segment_name(5, Lane::Bulk, 1));
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (frame, losses) = spool.next_unsent(Lane::Bulk, CLOCK);
    assert_eq!(losses, [(REASON_DAMAGED, events(1))]);
    let batch = decode_batch_frame(&frame.unwrap()).unwrap();
    assert_eq!(batch.position.seq, 1, "an empty batch keeps the sequence whole");
}

#[derive(Clone, Debug)]
enum Step {
    Push(Lane, usize),
    Send(Lane, usize),
    AckSent(Lane),
    Reconnect,
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    let lane = || prop_oneof![Just(Lane::Security), Just(Lane::Bulk)];
    let size = prop_oneof![Just(10usize), Just(300_000)];
    prop_oneof![
        6 => (lane(), size).prop_map(|(l, n)| Step::Push(l, n)),
        3 => (lane(), 1usize..6).prop_map(|(l, n)| Step::Send(l, n)),
        2 => lane().prop_map(Step::AckSent),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Kill),
    ]
}

/// What the brain has seen of each epoch and lane: the highest number, without gaps.
type Brain = std::collections::BTreeMap<(u64, Lane), u64>;

fn send(spool: &mut Spool, lane: Lane, brain: &mut Brain) -> Option<(u64, u64)> {
    let (frame, _) = spool.next_unsent(lane, CLOCK);
    let frame = frame?;
    let length = wire::codec::Header::parse(frame.first_chunk().unwrap()).unwrap().body_len();
    let batch = decode_batch_frame(&frame[..wire::codec::HEADER_LEN + length]).unwrap();
    let Position { epoch, seq, .. } = batch.position;
    let highest = brain.entry((epoch, lane)).or_insert(seq - 1);
    assert!(seq <= *highest + 1, "a gap before {seq} of {epoch}, the brain has {highest}");
    *highest = seq.max(*highest);
    Some((epoch, seq))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_event_is_delivered_lost_or_waiting(steps in prop::collection::vec(step(), 1..80)) {
        let dir = tempfile::tempdir().unwrap();
        let (mut spool, _) = Spool::open(dir.path(), BYTES_MIN, 1);
        let mut next = [1u64; 2];
        let (mut pushed, mut delivered, mut lost) = (0, 0, 0);
        let mut brain = Brain::new();
        let mut sent = [None; 2];
        for step in steps {
            match step {
                Step::Push(lane, padding) => {
                    let seq = next[lane as usize];
                    next[lane as usize] += 1;
                    pushed += 1;
                    let losses = push(&mut spool, lane, seq, padding);
                    lost += losses.iter().map(|(_, e)| e.total()).sum::<u64>();
                }
                Step::Send(lane, count) => for _ in 0..count {
                    let now = send(&mut spool, lane, &mut brain);
                    sent[lane as usize] = now.or(sent[lane as usize]);
                },
                Step::AckSent(lane) => if let Some((epoch, seq)) = sent[lane as usize] {
                    delivered += spool.acknowledge(Position { epoch, lane, seq }).total();
                },
                Step::Reconnect => spool.rewind(),
                Step::Kill => {
                    let waiting = pushed - delivered - lost;
                    drop(spool);
                    let carried;
                    (spool, carried) = Spool::open(dir.path(), BYTES_MIN, 1);
                    // What was acknowledged inside a part may come again; nothing may be missing.
                    prop_assert!(carried.total() >= waiting);
                    delivered -= carried.total() - waiting;
                    next = [1; 2];
                    sent = [None; 2];
                }
            }
            prop_assert!(spool.stats().bytes <= BYTES_MIN);
        }
        for lane in Lane::ALL {
            while let Some((epoch, seq)) = send(&mut spool, lane, &mut brain) {
                delivered += spool.acknowledge(Position { epoch, lane, seq }).total();
            }
            for (&(epoch, of), &seq) in &brain {
                if of == lane {
                    delivered += spool.acknowledge(Position { epoch, lane, seq }).total();
                }
            }
        }
        prop_assert_eq!(delivered + lost, pushed);
        prop_assert!(spool.is_empty());
    }
}
