//! The system's journal, read through `journalctl`.
//!
//! The journal's files have a format of their own, with compression and a dozen variants over the
//! years; the program that belongs to them reads all of them and follows rotation. It selects by
//! the journal's indexes, so it does no work for other programs' messages. While nobody reads, it
//! waits: what is not read yet lies in the journal. It is told the second from which to go on;
//! what was read of that second already is left out here.

use std::io::{self, ErrorKind};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::privileged::program::{self, Program, Running};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Longest entry; a longer one is dropped and counted. No message of a log-in comes near.
const ENTRY_MAX: usize = 256 * 1024;
/// Time before a program that ended is started again.
const RESTART_NS: u64 = 5_000_000_000;
/// Starts in a row without a single entry before it is given up.
const FAILURES_MAX: u32 = 3;
/// A start that lasted so long did not fail.
const LASTED_NS: u64 = 60_000_000_000;
/// Microseconds per second.
const SECOND_US: u64 = 1_000_000;

/// Where reading stopped, kept across restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// When the last entry was written, microseconds since the Unix epoch.
    pub written_us: u64,
    /// Its name; empty before the first.
    pub cursor: String,
}

/// An entry of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When, nanoseconds since the Unix epoch; 0 when not told.
    pub time_ns: u64,
    /// Who wrote it, by its own word.
    pub program: Vec<u8>,
    /// Process id.
    pub pid: u32,
    /// User id of the writer, as the kernel told the journal.
    pub uid: Option<u32>,
    /// Path of the writer, as the journal found it.
    pub exe: Vec<u8>,
    /// What it says.
    pub message: Vec<u8>,
}

/// What came of one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Entries that were too long or not what they should be.
    pub broken: u64,
    /// The program cannot be used here.
    pub given_up: bool,
}

/// The journal that is followed.
#[derive(Debug)]
pub struct Journal {
    /// Starts the program at a second.
    begin: fn(u32) -> io::Result<Running>,
    position: Option<Position>,
    /// Whether the entry that the position names has come by since the program was started.
    passed: bool,
    running: Option<Running>,
    /// Read, without the end of an entry yet.
    rest: Vec<u8>,
    /// The rest of an entry that is too long comes next.
    skipping: bool,
    started_ns: u64,
    failures: u32,
}

impl Journal {
    /// Follows the journal from where an earlier start stopped, else from now on.
    pub fn new(position: Option<Position>) -> Self {
        Self::through(|second| program::start(Program::Journal, second), position)
    }

    fn through(begin: fn(u32) -> io::Result<Running>, position: Option<Position>) -> Self {
        Self {
            begin,
            position,
            passed: false,
            running: None,
            rest: Vec::new(),
            skipping: false,
            started_ns: 0,
            failures: 0,
        }
    }

    /// Returns where reading is.
    pub fn position(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Hands on entries, at most `budget` bytes of them.
    pub fn poll(
        &mut self,
        now_ns: u64,
        unix_ns: u64,
        budget: usize,
        on: &mut dyn FnMut(Entry),
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if self.running.is_none() && !self.start(now_ns, unix_ns) {
            outcome.given_up = self.failures >= FAILURES_MAX;
            return outcome;
        }
        let mut left = budget;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let Some(running) = &mut self.running else { break };
            match running.read(&mut chunk) {
                Ok(0) => {
                    self.stop(now_ns);
                    break;
                }
                Ok(read) => {
                    left = left.saturating_sub(read);
                    outcome.broken += self.take(&chunk[..read], on);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.stop(now_ns);
                    break;
                }
            }
        }
        outcome.given_up = self.running.is_none() && self.failures >= FAILURES_MAX;
        outcome
    }

    /// Starts the program, unless the last start is too fresh.
    fn start(&mut self, now_ns: u64, unix_ns: u64) -> bool {
        let early = now_ns < self.started_ns.saturating_add(RESTART_NS) && self.started_ns > 0;
        if early || self.failures >= FAILURES_MAX {
            return false;
        }
        self.started_ns = now_ns;
        let now = || Position { written_us: unix_ns / 1_000, cursor: String::new() };
        let position = self.position.get_or_insert_with(now);
        self.passed = position.cursor.is_empty();
        let second = u32::try_from(position.written_us / SECOND_US).unwrap_or(u32::MAX);
        match (self.begin)(second) {
            Ok(running) => self.running = Some(running),
            Err(error) => {
                tracing::debug!(%error, "cannot start the journal's reader");
                self.failures += 1;
            }
        }
        (self.rest, self.skipping) = (Vec::new(), false);
        self.running.is_some()
    }

    /// Takes note that the program ended.
    fn stop(&mut self, now_ns: u64) {
        self.running = None;
        let lasted = now_ns.saturating_sub(self.started_ns) >= LASTED_NS;
        self.failures = if lasted { 1 } else { self.failures + 1 };
    }

    /// Returns whether an entry was not there before, and goes on behind it.
    fn is_new(&mut self, position: Position) -> bool {
        let last = self.position.get_or_insert_default();
        if !self.passed && position.written_us <= last.written_us {
            self.passed = position.cursor == last.cursor;
            return false;
        }
        if position.written_us < last.written_us && last.cursor.is_empty() {
            return false;
        }
        (self.passed, *last) = (true, position);
        true
    }

    /// Takes bytes in and hands on the entries that are complete; returns how many were broken.
    fn take(&mut self, bytes: &[u8], on: &mut dyn FnMut(Entry)) -> u64 {
        let mut broken = 0;
        let mut rest = bytes;
        while let Some(end) = rest.iter().position(|&b| b == b'\n') {
            let skipped = std::mem::take(&mut self.skipping);
            if !skipped {
                self.rest.extend_from_slice(&rest[..end]);
                match parse(&self.rest) {
                    Some((position, entry)) => {
                        self.failures = 0;
                        if self.is_new(position) {
                            on(entry);
                        }
                    }
                    None => broken += 1,
                }
            }
            self.rest.clear();
            rest = &rest[end + 1..];
        }
        if !self.skipping {
            self.rest.extend_from_slice(rest);
        }
        if self.rest.len() > ENTRY_MAX {
            (self.rest, self.skipping) = (Vec::new(), true);
            broken += 1;
        }
        self.rest.shrink_to(CHUNK);
        broken
    }
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    written: String,
    #[serde(rename = "_SOURCE_REALTIME_TIMESTAMP", default)]
    sent: Value,
    #[serde(rename = "MESSAGE", default)]
    message: Value,
    #[serde(rename = "SYSLOG_IDENTIFIER", default)]
    program: Value,
    #[serde(rename = "SYSLOG_PID", default)]
    own_pid: Value,
    #[serde(rename = "_PID", default)]
    pid: Value,
    #[serde(rename = "_UID", default)]
    uid: Value,
    #[serde(rename = "_EXE", default)]
    exe: Value,
}

/// Reads one line of what `journalctl -o json` prints.
pub fn parse(line: &[u8]) -> Option<(Position, Entry)> {
    let fields: Fields = serde_json::from_slice(line).ok()?;
    let number = |value: &Value| String::from_utf8(bytes(value)).ok()?.parse::<u64>().ok();
    let written_us = fields.written.parse().ok()?;
    let micros = number(&fields.sent).unwrap_or(written_us);
    let pid = number(&fields.pid).or_else(|| number(&fields.own_pid));
    let entry = Entry {
        time_ns: micros.saturating_mul(1_000),
        program: bytes(&fields.program),
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        uid: number(&fields.uid).and_then(|uid| u32::try_from(uid).ok()),
        exe: bytes(&fields.exe),
        message: bytes(&fields.message),
    };
    Some((Position { written_us, cursor: fields.cursor }, entry))
}

/// A field's first value: text, or a list of numbers when it is not UTF-8, or a list of values
/// when there are several.
fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Array(list) => match list.first() {
            Some(Value::Number(_)) => {
                let byte = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok());
                list.iter().filter_map(byte).collect()
            }
            Some(first) if !first.is_array() => bytes(first),
            Some(Value::Array(inner)) => {
                bytes(&Value::Array(inner.iter().filter(|v| v.is_number()).cloned().collect()))
            }
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1709632800000001","MESSAGE":"Accepted password for a from 192.0.2.7 port 5 ssh2","SYSLOG_IDENTIFIER":"sshd","_PID":"71","_UID":"0","_EXE":"/usr/sbin/sshd"}"#;

    fn journal() -> Journal {
        Journal::through(|_| Err(ErrorKind::NotFound.into()), None)
    }

    fn entry(cursor: &str, written_us: u64) -> String {
        LINE.replace("s=1;i=2", cursor).replace("1709632800000001", &written_us.to_string()) + "\n"
    }

    #[test]
    fn entries_come_in_any_pieces() {
        let text = [entry("a", 1_000), entry("b", 1_000)].concat();
        for size in [1, 7, 64, 1000] {
            let (mut journal, mut entries) = (journal(), Vec::new());
            journal.passed = true;
            for piece in text.as_bytes().chunks(size) {
                assert_eq!(journal.take(piece, &mut |entry| entries.push(entry)), 0);
            }
            assert_eq!(entries.len(), 2);
            assert_eq!(entries[0].time_ns, 1_000_000);
            assert_eq!((entries[1].pid, entries[1].uid), (71, Some(0)));
            assert_eq!(journal.position().unwrap().cursor, "b");
        }
    }

    #[test]
    fn a_restart_leaves_out_what_was_read() {
        let kept = Position { written_us: 2_000, cursor: "b".to_owned() };
        let mut journal = Journal::through(|_| Err(ErrorKind::NotFound.into()), Some(kept));
        let text = [entry("z", 1_999), entry("a", 2_000), entry("b", 2_000), entry("c", 2_000)];
        let mut seen = 0;
        journal.take(text.concat().as_bytes(), &mut |_| seen += 1);
        assert_eq!((seen, journal.position().unwrap().cursor.as_str()), (1, "c"));
        // The clock may be set back while the program runs.
        journal.take(entry("d", 5).as_bytes(), &mut |_| seen += 1);
        assert_eq!(seen, 2);
    }

    #[test]
    fn a_real_program_is_read_until_it_ends_and_started_again() {
        let begin = |_| {
            let mut shell = std::process::Command::new("/bin/sh");
            let entry = LINE.replace("1709632800000001", "9999999999999999");
            shell.args(["-c", "echo \"$0\"", &entry]);
            Running::start(shell)
        };
        let (mut journal, mut entries) = (Journal::through(begin, None), Vec::new());
        let mut now_ns = RESTART_NS;
        for _ in 0..200 {
            now_ns += RESTART_NS / 50;
            let outcome = journal.poll(now_ns, 1, 1_000_000, &mut |entry| entries.push(entry));
            assert_eq!((outcome.broken, outcome.given_up), (0, false));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        // Each start prints the same entry, which is new only once.
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].exe, b"/usr/sbin/sshd");
    }

    #[test]
    fn values_that_are_no_text_are_read() {
        assert_eq!(bytes(&serde_json::json!([255, 104, 105])), b"\xffhi");
        assert_eq!(bytes(&serde_json::json!(["one", "two"])), b"one");
        assert_eq!(bytes(&Value::Null), b"");
    }

    #[test]
    fn an_entry_without_end_does_not_grow_memory() {
        let (mut journal, mut entries, mut broken) = (journal(), 0, 0);
        for _ in 0..100 {
            broken += journal.take(&[b'x'; CHUNK], &mut |_| entries += 1);
            assert!(journal.rest.capacity() <= ENTRY_MAX + 2 * CHUNK);
        }
        journal.passed = true;
        broken += journal.take(format!("\n{LINE}\n").as_bytes(), &mut |_| entries += 1);
        assert_eq!((broken, entries), (1, 1));
    }

    #[test]
    fn a_program_that_is_not_there_is_given_up() {
        let mut journal = journal();
        let outcomes: Vec<bool> = (1..=4)
            .map(|n| journal.poll(n * 10 * RESTART_NS, 1, 1, &mut |_| {}).given_up)
            .collect();
        assert_eq!(outcomes, [false, false, true, true]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut journal = journal();
            let _ = journal.take(&text, &mut |_| {});
            let _ = journal.take(b"\n", &mut |_| {});
        }
    }
}
