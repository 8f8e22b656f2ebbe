//! The system's journal, read through `journalctl`.
//!
//! The journal's files have a format of their own, with compression and a dozen variants over the
//! years; the program that belongs to them reads all of them, follows rotation, and knows where to
//! go on (its cursor). It selects by the journal's indexes, so it does no work for other programs'
//! messages. While nobody reads, it waits: what is not read yet lies in the journal.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::Deserialize;
use serde_json::Value;

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
/// Fields that are asked for.
const FIELDS: &str = "--output-fields=MESSAGE,SYSLOG_IDENTIFIER,SYSLOG_PID,_PID,_UID,_EXE,\
    _SOURCE_REALTIME_TIMESTAMP";
/// Messages of the facilities `auth` and `authpriv`, and of sshd whatever facility it is set to.
const MATCHES: &[&str] = &[
    "SYSLOG_FACILITY=4",
    "SYSLOG_FACILITY=10",
    "+",
    "SYSLOG_IDENTIFIER=sshd",
    "SYSLOG_IDENTIFIER=sshd-session",
    "SYSLOG_IDENTIFIER=sshd-auth",
    "SYSLOG_IDENTIFIER=sudo",
    "SYSLOG_IDENTIFIER=su",
];

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
    program: String,
    arguments: Vec<String>,
    cursor: Option<String>,
    running: Option<(Child, ChildStdout)>,
    /// Read, without the end of an entry yet.
    rest: Vec<u8>,
    /// The rest of an entry that is too long comes next.
    skipping: bool,
    started_ns: u64,
    failures: u32,
}

impl Journal {
    /// Follows the journal from where an earlier start stopped, else from its present end.
    /// `program` is `journalctl`, `more` are arguments such as `--directory`.
    pub fn new(program: &str, more: &[String], cursor: Option<String>) -> Self {
        Self {
            program: program.to_owned(),
            arguments: more.to_vec(),
            cursor,
            running: None,
            rest: Vec::new(),
            skipping: false,
            started_ns: 0,
            failures: 0,
        }
    }

    /// Returns where reading is.
    pub fn cursor(&self) -> Option<&str> {
        self.cursor.as_deref()
    }

    /// Hands on entries, at most `budget` bytes of them.
    pub fn poll(&mut self, now_ns: u64, budget: usize, on: &mut dyn FnMut(Entry)) -> Outcome {
        let mut outcome = Outcome::default();
        if self.running.is_none() && !self.start(now_ns) {
            outcome.given_up = self.failures >= FAILURES_MAX;
            return outcome;
        }
        let mut left = budget;
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let Some((_, output)) = &mut self.running else { break };
            match output.read(&mut chunk) {
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
    fn start(&mut self, now_ns: u64) -> bool {
        let early = now_ns < self.started_ns.saturating_add(RESTART_NS) && self.started_ns > 0;
        if early || self.failures >= FAILURES_MAX {
            return false;
        }
        self.started_ns = now_ns;
        match self.spawn() {
            Ok(running) => self.running = Some(running),
            Err(_) => self.failures += 1,
        }
        (self.rest, self.skipping) = (Vec::new(), false);
        self.running.is_some()
    }

    fn spawn(&self) -> io::Result<(Child, ChildStdout)> {
        let mut command = Command::new(&self.program);
        command.args(["--follow", "--quiet", "--all", "--output=json", FIELDS]);
        match &self.cursor {
            Some(cursor) => command.arg("--no-tail").arg(format!("--after-cursor={cursor}")),
            None => command.arg("--lines=0"),
        };
        command.args(&self.arguments).args(MATCHES);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
        let flags = OFlag::from_bits_retain(fcntl(output.as_fd(), FcntlArg::F_GETFL)?);
        fcntl(output.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok((child, output))
    }

    /// Ends the program, or takes note that it ended.
    fn stop(&mut self, now_ns: u64) {
        if let Some((mut child, output)) = self.running.take() {
            drop(output);
            // It may have ended already; waiting for it then returns at once.
            let _ = child.kill();
            let _ = child.wait();
        }
        let lasted = now_ns.saturating_sub(self.started_ns) >= LASTED_NS;
        self.failures = if lasted { 1 } else { self.failures + 1 };
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
                    Some((cursor, entry)) => {
                        (self.cursor, self.failures) = (Some(cursor), 0);
                        on(entry);
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

impl Drop for Journal {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop(0);
        }
    }
}

#[derive(Deserialize)]
struct Fields {
    #[serde(rename = "__CURSOR")]
    cursor: String,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    written: Option<String>,
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

fn parse(line: &[u8]) -> Option<(String, Entry)> {
    let fields: Fields = serde_json::from_slice(line).ok()?;
    let number = |value: &Value| String::from_utf8(bytes(value)).ok()?.parse::<u64>().ok();
    let micros = number(&fields.sent).or_else(|| fields.written?.parse().ok()).unwrap_or(0);
    let pid = number(&fields.pid).or_else(|| number(&fields.own_pid));
    let entry = Entry {
        time_ns: micros.saturating_mul(1_000),
        program: bytes(&fields.program),
        pid: pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        uid: number(&fields.uid).and_then(|uid| u32::try_from(uid).ok()),
        exe: bytes(&fields.exe),
        message: bytes(&fields.message),
    };
    Some((fields.cursor, entry))
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
        Journal::new("/nonexistent/journalctl", &[], None)
    }

    #[test]
    fn entries_come_in_any_pieces() {
        let text = format!("{LINE}\n{LINE}\n");
        for size in [1, 7, 64, 1000] {
            let (mut journal, mut entries) = (journal(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                assert_eq!(journal.take(piece, &mut |entry| entries.push(entry)), 0);
            }
            assert_eq!(entries.len(), 2);
            assert_eq!(entries[0].time_ns, 1_709_632_800_000_001_000);
            assert_eq!((entries[1].pid, entries[1].uid), (71, Some(0)));
            assert_eq!(journal.cursor(), Some("s=1;i=2"));
        }
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
        broken += journal.take(format!("\n{LINE}\n").as_bytes(), &mut |_| entries += 1);
        assert_eq!((broken, entries), (1, 1));
    }

    #[test]
    fn a_program_that_is_not_there_is_given_up() {
        let mut journal = journal();
        let outcomes: Vec<bool> =
            (1..=4).map(|n| journal.poll(n * 10 * RESTART_NS, 1, &mut |_| {}).given_up).collect();
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
