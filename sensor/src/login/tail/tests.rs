//! Real files that are written, rotated, cut and flooded; every line is counted.

use std::fs::OpenOptions;
use std::io::Write;

use super::*;

/// Plenty for one look.
const ALL: usize = usize::MAX;

struct Log {
    dir: tempfile::TempDir,
    files: HostFiles,
    tail: Tail,
    seen: Vec<String>,
    now_ns: u64,
}

impl Log {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("auth.log");
        let files = HostFiles::new(vec![path.clone()]);
        let tail = Tail::new(path, Vec::new());
        Self { dir, files, tail, seen: Vec::new(), now_ns: 1 }
    }

    fn append(&self, text: &str) {
        let mut options = OpenOptions::new();
        let mut file = options.append(true).create(true).open(self.tail.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rotate(&self, name: &str) {
        std::fs::rename(self.tail.path(), self.dir.path().join(name)).unwrap();
    }

    fn look(&mut self, mut budget: usize) -> usize {
        let seen = &mut self.seen;
        let before = seen.len();
        self.now_ns += 1_000_000_000;
        self.tail
            .poll(&self.files, self.now_ns, &mut budget, &mut |line, _| {
                seen.push(String::from_utf8_lossy(line).into_owned());
            })
            .unwrap();
        self.seen.len() - before
    }

    fn restart(&mut self) {
        let positions = self.tail.positions();
        self.tail = Tail::new(self.tail.path().to_owned(), positions);
    }
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

#[test]
fn only_what_is_added_is_handed_on_and_only_whole() {
    let mut log = Log::new();
    log.append("old\n");
    assert_eq!(log.look(ALL), 0);
    log.append("one\r\ntw");
    assert_eq!(log.look(ALL), 1);
    assert_eq!(log.look(ALL), 0);
    log.append("o\n\nthree\n");
    assert_eq!(log.look(ALL), 3);
    assert_eq!(log.seen, ["one", "two", "", "three"]);
    assert_eq!(log.tail.take_gaps(), 0);
}

#[test]
fn a_log_that_appears_later_is_read_from_its_beginning() {
    let mut log = Log::new();
    assert_eq!(log.look(ALL), 0);
    log.append("first\n");
    assert_eq!(log.look(ALL), 1);
}

#[test]
fn nothing_is_lost_over_rotations_whenever_the_writer_learns_of_them() {
    let mut log = Log::new();
    log.append("");
    log.look(ALL);
    let mut written = 0;
    for round in 0..5 {
        log.append(&numbers(written..written + 10));
        written += 10;
        if round % 2 == 0 {
            log.look(ALL);
        }
        let mut old = OpenOptions::new().append(true).open(log.tail.path()).unwrap();
        log.rotate(&format!("auth.log.{round}"));
        log.append(&numbers(written + 2..written + 5));
        log.look(35);
        // The writer has not learnt of the rotation yet.
        old.write_all(numbers(written..written + 2).as_bytes()).unwrap();
        written += 5;
        log.look(ALL);
    }
    for _ in 0..20 {
        log.look(ALL);
    }
    let mut seen = log.seen.clone();
    seen.sort_by_key(|line| line[5..].parse::<u32>().unwrap());
    assert_eq!(seen, numbers(0..written).lines().collect::<Vec<_>>());
    assert_eq!((log.tail.take_gaps(), log.tail.old.len()), (0, 0));
}

#[test]
fn a_file_that_is_emptied_in_place_is_begun_anew_and_the_gap_counted() {
    let mut log = Log::new();
    log.append("");
    log.look(ALL);
    log.append(&numbers(0..100));
    assert_eq!(log.look(ALL), 100);
    std::fs::write(log.tail.path(), "line a\n").unwrap();
    assert_eq!((log.look(ALL), log.tail.take_gaps()), (1, 1));
    // It may have grown beyond its old length before anybody looks.
    std::fs::write(log.tail.path(), numbers(500..900)).unwrap();
    assert_eq!((log.look(ALL), log.tail.take_gaps()), (400, 1));
}

#[test]
fn a_restart_goes_on_where_the_last_one_stopped() {
    let mut log = Log::new();
    log.append("");
    log.look(ALL);
    log.append(&numbers(0..10));
    log.look(35);
    log.restart();
    log.append(&numbers(10..20));
    log.look(ALL);
    // Rotated while nobody looked, twice read in part.
    log.append(&numbers(20..30));
    log.restart();
    log.rotate("auth.log.1");
    log.append(&numbers(30..40));
    log.look(ALL);
    log.look(ALL);
    log.append(&numbers(40..50));
    log.restart();
    log.look(ALL);
    assert_eq!(log.seen, numbers(0..50).lines().collect::<Vec<_>>());
    assert_eq!(log.tail.take_gaps(), 0);
    // Now the rotated file is gone before it was read.
    log.append("lost\n");
    log.restart();
    std::fs::remove_file(log.tail.path()).unwrap();
    log.append("kept\n");
    log.look(ALL);
    assert_eq!((log.seen.last().unwrap().as_str(), log.tail.take_gaps()), ("kept", 1));
}

#[test]
fn a_line_without_end_is_cut_once_and_its_rest_is_no_line() {
    let mut log = Log::new();
    log.append("");
    log.look(ALL);
    log.append(&"x".repeat(3 * CHUNK + 5));
    log.append(" sshd[1]: fake");
    log.look(ALL);
    log.restart();
    log.append("\nnext\n");
    log.look(ALL);
    assert_eq!(log.seen.iter().map(String::len).collect::<Vec<_>>(), [LINE_MAX, 4]);
}

#[test]
fn a_flood_is_read_in_bounded_steps_and_completely() {
    let mut log = Log::new();
    log.append("");
    log.look(ALL);
    log.append(&numbers(0..100_000));
    let budget = 256 * 1024;
    let mut looks = 0;
    while log.seen.len() < 100_000 {
        let lines = log.look(budget);
        assert!(lines > 0 && lines * 7 <= budget + CHUNK, "{lines}");
        looks += 1;
    }
    assert!(looks >= 4);
    assert_eq!(log.seen, numbers(0..100_000).lines().collect::<Vec<_>>());
}
