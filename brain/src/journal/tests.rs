//! Crashes, torn ends and damage, on real files.

use wire::batch::{Clock, Lane};

use super::*;

fn batch(seq: u64) -> Batch {
    let position = Position { epoch: 7, lane: Lane::Security, seq };
    Batch::empty(position, Clock { boot_ns: seq, unix_ns: seq })
}

fn append(sensor: u8, seq: u64) -> Append {
    let batch = batch(seq);
    let frame = wire::codec::encode_batch(&batch).unwrap();
    Append::Batch {
        sensor: SensorId([sensor; 16]),
        batch: Box::new(batch),
        correction_ns: i64::from(sensor) - 1,
        frame,
    }
}

fn settings() -> config::Journal {
    config::Journal { max_bytes: 1 << 30, segment_bytes: 1 << 20 }
}

/// Appends to the journal in `dir` as a brain would, and ends without any farewell to the disk.
fn run(dir: &Path, settings: &config::Journal, appends: Vec<Append>) -> Vec<Appended> {
    let metrics = Arc::new(Metrics::new());
    let opened = Opened::open(dir, &metrics).unwrap();
    let (engine, mut logged) = mpsc::channel(1024);
    let (journal, writer) = opened.start(settings, metrics, engine).unwrap();
    writer.checkpointed().send_replace(u64::MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async move {
        let writing = tokio::spawn(writer.run());
        let draining = tokio::spawn(async move { while logged.recv().await.is_some() {} });
        let mut results = Vec::new();
        for append in appends {
            results.push(journal.append(append).await.await.unwrap());
        }
        drop(journal);
        writing.await.unwrap().unwrap();
        draining.await.unwrap();
        results
    })
}

fn seqs(opened: &Opened) -> Vec<u64> {
    let mut seqs = Vec::new();
    let take = |entry: Entry| {
        if let Payload::Batch { position, frame, .. } = entry.payload {
            assert_eq!(wire::codec::decode_batch_frame(&frame).unwrap(), batch(position.seq));
            seqs.push(position.seq);
        }
    };
    opened.replay(0, 0, take).unwrap();
    seqs
}

fn open(dir: &Path) -> Opened {
    Opened::open(dir, &Metrics::new()).unwrap()
}

fn only_segment(dir: &Path) -> PathBuf {
    let paths = segment::list(dir).unwrap();
    assert_eq!(paths.len(), 1);
    paths[0].clone()
}

#[test]
fn what_was_acknowledged_is_read_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let results = run(dir.path(), &settings(), (1..=5).map(|seq| append(1, seq)).collect());
    assert_eq!(results, (1..=5).map(Appended::Stored).collect::<Vec<_>>());
    let again =
        run(dir.path(), &settings(), vec![append(1, 3), append(1, 6), append(2, 1), append(1, 6)]);
    assert_eq!(
        again,
        [Appended::Duplicate, Appended::Stored(6), Appended::Stored(7), Appended::Duplicate]
    );
    let opened = open(dir.path());
    assert_eq!(seqs(&opened), [1, 2, 3, 4, 5, 6, 1]);
    let place = Place { sensor: SensorId([1; 16]), epoch: 7, lane: Lane::Security };
    assert_eq!(opened.places.get(place), 6);
}

#[test]
fn a_torn_end_is_cut_at_every_length_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &settings(), (1..=3).map(|seq| append(1, seq)).collect());
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let third = {
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let opened = open(dir.path());
        assert_eq!(seqs(&opened), [1, 2]);
        fs::metadata(&path).unwrap().len() as usize
    };
    for length in third..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let opened = open(dir.path());
        assert_eq!(opened.torn_bytes, (length - third) as u64);
        assert_eq!((seqs(&opened), opened.damages.len()), (vec![1, 2], 0));
        assert_eq!(fs::metadata(&path).unwrap().len() as usize, third);
    }
    let results = run(dir.path(), &settings(), vec![append(1, 3)]);
    assert_eq!(results, [Appended::Stored(3)]);
    assert_eq!(seqs(&open(dir.path())), [1, 2, 3]);
}

#[test]
fn a_torn_head_of_a_new_segment_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &settings(), vec![append(1, 1)]);
    fs::write(segment::path(dir.path(), 2), &segment::head(2, 5)[..9]).unwrap();
    let opened = open(dir.path());
    assert_eq!((seqs(&opened), opened.damages.len(), opened.torn_bytes), (vec![1], 0, 9));
    assert_eq!(only_segment(dir.path()), segment::path(dir.path(), 1));
}

#[test]
fn damage_in_the_middle_is_named_exactly_and_never_skipped_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &settings(), (1..=6).map(|seq| append(1, seq)).collect());
    let path = only_segment(dir.path());
    let whole = fs::read(&path).unwrap();
    let record = (whole.len() - segment::HEAD_LEN) / 6;
    let mut bent_bytes = 0;
    for byte in segment::HEAD_LEN + 2 * record..segment::HEAD_LEN + 3 * record {
        let mut bent = whole.clone();
        bent[byte] ^= 0x10;
        fs::write(&path, &bent).unwrap();
        let opened = open(dir.path());
        let damage = Damage {
            path: path.clone(),
            from: (segment::HEAD_LEN + 2 * record) as u64,
            to: (segment::HEAD_LEN + 3 * record) as u64,
            first: 3,
            records: 1,
        };
        assert_eq!(opened.damages, [damage], "byte {byte}");
        assert_eq!((seqs(&opened), opened.torn_bytes), (vec![1, 2, 4, 5, 6], 0));
        assert_eq!(fs::read(&path).unwrap(), bent);
        bent_bytes += 1;
    }
    println!(
        "figure B-05: {bent_bytes} bent bytes, each named by file, range and record; the rest read"
    );
}

#[test]
fn a_record_inside_a_frame_is_never_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &settings(), (1..=2).map(|seq| append(1, seq)).collect());
    let path = only_segment(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    // A copy of a true record, as a sensor could send it back inside a frame, after a broken byte.
    let copy = bytes[segment::HEAD_LEN..].to_vec();
    bytes.push(0xff);
    bytes.extend_from_slice(&copy);
    fs::write(&path, &bytes).unwrap();
    let opened = open(dir.path());
    assert_eq!(seqs(&opened), [1, 2]);
    assert_eq!(opened.torn_bytes, copy.len() as u64 + 1);
}

#[test]
fn segments_roll_are_trimmed_and_marks_survive() {
    let dir = tempfile::tempdir().unwrap();
    let small = config::Journal { max_bytes: 4096, segment_bytes: 1024 };
    run(dir.path(), &small, (1..=200).map(|seq| append(1, seq)).collect());
    let size: u64 =
        segment::list(dir.path()).unwrap().iter().map(|p| fs::metadata(p).unwrap().len()).sum();
    assert!(size <= 4096 + 2048, "{size}");
    let opened = open(dir.path());
    let kept = seqs(&opened);
    assert!(kept.len() < 100 && kept.last() == Some(&200), "{kept:?}");
    assert!(opened.damages.is_empty());
    let results = run(dir.path(), &small, vec![append(1, 1), append(1, 201)]);
    assert_eq!(results[0], Appended::Duplicate);
    assert!(matches!(results[1], Appended::Stored(_)));
}

#[test]
fn what_comes_behind_a_failed_append_of_its_sequence_fails_too() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Arc::new(Metrics::new());
    let mut log = writer::Log::open(
        dir.path().to_owned(),
        Vec::new(),
        1,
        &settings(),
        Arc::default(),
        metrics,
    )
    .unwrap();
    let mut add = |group: &mut group::Group, seq, broken: &Arc<AtomicBool>| {
        let (reply, answer) = oneshot::channel();
        let broken = Some(Arc::clone(broken));
        group.add(&mut log, Command { append: append(1, seq), reply, broken, room: None });
        answer
    };
    let (session, next_session) = (Arc::default(), Arc::default());
    let mut group = group::Group::default();
    let mut failed = add(&mut group, 1, &session);
    group.fail();
    assert_eq!(failed.try_recv(), Ok(Appended::Failed));
    let mut group = group::Group::default();
    let mut behind = add(&mut group, 2, &session);
    let mut again = add(&mut group, 1, &next_session);
    assert_eq!(behind.try_recv(), Ok(Appended::Failed));
    assert_eq!(again.try_recv(), Err(oneshot::error::TryRecvError::Empty));
    assert_eq!(group.logged.len(), 1);
}

#[test]
fn replay_begins_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &settings(), (1..=5).map(|seq| append(1, seq)).collect());
    let opened = open(dir.path());
    let mut indexes = Vec::new();
    opened.replay(u64::MAX, 3, |entry| indexes.push(entry.index)).unwrap();
    assert_eq!(indexes, [4, 5]);
}
