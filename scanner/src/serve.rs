//! Question and answer, until the sensor is gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use scanner_abi::message::{
    self, Answer, BODY_MAX, BUNDLE_MAX, Bundle, Compiled, Outcome, Request, Scanned,
};

use crate::file;
use crate::rules::{self, Matcher, NoVerdict, Rules};

/// Longest time that is granted for one question, whatever it says.
const TIME_MAX: Duration = Duration::from_secs(120);
/// The engine looks at the clock once a second and not in every loop of its own. If it is still at
/// work so long after its time, the process ends; the sensor starts another.
const GRACE: Duration = Duration::from_secs(3);
/// Most bytes of a file that are looked at, whatever the question says: they lie in memory.
const SIZE_MAX: u64 = 64 * 1024 * 1024;
/// Files after which the buffer that the largest of them took is given back.
const BUFFER_KEPT: usize = 4 * 1024 * 1024;

/// Serves one sensor until it closes its end.
pub fn run(socket: &OwnedFd) -> io::Result<()> {
    let mut waiting = None;
    loop {
        let (request, file) = match waiting.take() {
            Some(question) => question,
            None => match message::asked(socket.as_fd()) {
                Some(question) => question,
                None => return Ok(()),
            },
        };
        if request.kind != message::RULES {
            refuse(socket.as_fd(), &request, Outcome::NoRules)?;
            continue;
        }
        let start = Instant::now();
        let alarm = Alarm::set(time(&request));
        let compiled = bundle(file).map(|bundle| rules::compile(&bundle));
        drop(alarm);
        match compiled {
            Ok((rules, compiled)) => {
                answer(socket.as_fd(), &request, start, told_of_rules(&compiled))?;
                waiting = scan_with(socket, &rules)?;
                if waiting.is_none() {
                    return Ok(());
                }
            }
            Err(outcome) => refuse(socket.as_fd(), &request, outcome)?,
        }
    }
}

/// Scans with these rules until there are others; returns the question that brings them.
fn scan_with(socket: &OwnedFd, rules: &Rules) -> io::Result<Option<(Request, OwnedFd)>> {
    let mut matcher = rules.matcher();
    let mut buffer = Vec::new();
    while let Some((request, file)) = message::asked(socket.as_fd()) {
        match request.kind {
            message::RULES => return Ok(Some((request, file))),
            message::SCAN if !rules.is_empty() => {
                let start = Instant::now();
                let alarm = Alarm::set(time(&request));
                let scanned = scan(&mut matcher, &File::from(file), &request, &mut buffer);
                drop(alarm);
                buffer.shrink_to(BUFFER_KEPT);
                match scanned {
                    Ok(scanned) => answer(socket.as_fd(), &request, start, told(scanned))?,
                    Err(outcome) => refuse(socket.as_fd(), &request, outcome)?,
                }
            }
            _ => refuse(socket.as_fd(), &request, Outcome::NoRules)?,
        }
    }
    Ok(None)
}

fn scan(
    matcher: &mut Matcher<'_>,
    file: &File,
    request: &Request,
    buffer: &mut Vec<u8>,
) -> Result<Scanned, Outcome> {
    file::read(file, request.size_max.min(SIZE_MAX), buffer)?;
    let found = matcher.matches(buffer, time(request));
    let (matches, more) = found.map_err(|why| match why {
        NoVerdict::Timeout => Outcome::Timeout,
        NoVerdict::Failed => Outcome::Unreadable,
    })?;
    let sha256 =
        digest(&SHA256, buffer).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Scanned { size: buffer.len() as u64, sha256, matches, more })
}

fn bundle(file: OwnedFd) -> Result<Bundle, Outcome> {
    let mut text = Vec::new();
    file::read(&File::from(file), BUNDLE_MAX, &mut text)?;
    serde_json::from_slice(&text).map_err(|_| Outcome::Unreadable)
}

fn time(request: &Request) -> Duration {
    Duration::from_millis(request.time_ms.into()).clamp(Duration::from_secs(1), TIME_MAX)
}

fn told_of_rules(compiled: &Compiled) -> Vec<u8> {
    // Its texts are cut, so it fits; it has no map with keys that are no text.
    serde_json::to_vec(compiled).unwrap_or_default()
}

/// Writes what was found. Escapes can make it longer than there is room for; then fewer rules are
/// told.
fn told(mut scanned: Scanned) -> Vec<u8> {
    loop {
        let body = serde_json::to_vec(&scanned).unwrap_or_default();
        if body.len() <= BODY_MAX || scanned.matches.pop().is_none() {
            return body;
        }
        scanned.more += 1;
    }
}

fn answer(
    socket: BorrowedFd<'_>,
    request: &Request,
    start: Instant,
    body: Vec<u8>,
) -> io::Result<()> {
    let took_us = start.elapsed().as_micros() as u64;
    message::answer(socket, request.number, &Answer { outcome: Outcome::Done, took_us, body })
}

fn refuse(socket: BorrowedFd<'_>, request: &Request, outcome: Outcome) -> io::Result<()> {
    message::answer(socket, request.number, &Answer { outcome, took_us: 0, body: Vec::new() })
}

/// Ends this process when it is not dropped in time: the signal's default does that.
struct Alarm;

impl Alarm {
    fn set(time: Duration) -> Self {
        let seconds = (time + GRACE).as_secs() as u32;
        // SAFETY: a plain system call.
        unsafe { libc::alarm(seconds) };
        Self
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: as above; 0 takes the alarm back.
        unsafe { libc::alarm(0) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::thread;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use scanner_abi::message::{Match, RuleFile};

    use super::*;

    fn holding(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        file
    }

    fn ask(socket: &OwnedFd, kind: u32, file: &File) -> Answer {
        let request = Request { number: 3, kind, time_ms: 2_000, reserved: 0, size_max: 1_000 };
        message::ask(socket.as_fd(), &request, file.as_fd()).unwrap();
        message::answered(socket.as_fd(), 3).unwrap()
    }

    fn rules(text: &str) -> File {
        let file = RuleFile { name: "t.yar".to_owned(), text: text.to_owned() };
        let bundle = Bundle { revision: "r".to_owned(), files: vec![file] };
        holding(&serde_json::to_vec(&bundle).unwrap())
    }

    #[test]
    fn rules_come_first_then_files_then_other_rules() {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (near, far) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        let served = thread::spawn(move || run(&far));
        let file = holding(b"there is a needle in it");
        assert_eq!(ask(&near, message::SCAN, &file).outcome, Outcome::NoRules);
        assert_eq!(ask(&near, message::RULES, &holding(b"nonsense")).outcome, Outcome::Unreadable);
        let needle = "rule n { strings: $n = \"needle\" condition: $n }";
        let compiled = ask(&near, message::RULES, &rules(needle)).compiled().unwrap();
        assert_eq!((compiled.rules, compiled.problems.len()), (1, 0));
        let scanned = ask(&near, message::SCAN, &file).scanned().unwrap();
        let found: Vec<&str> = scanned.matches.iter().map(|found| found.rule.as_str()).collect();
        assert_eq!((found, scanned.size), (vec!["n"], 23));

        assert!(scanned.sha256.starts_with("29832ea057b188a6"), "{}", scanned.sha256);
        assert_eq!(ask(&near, message::SCAN, &holding(&[0; 1_001])).outcome, Outcome::TooLarge);
        assert_eq!(ask(&near, 99, &file).outcome, Outcome::NoRules);
        let none = ask(&near, message::RULES, &rules("rule n { condition: false }"));
        assert_eq!(none.compiled().unwrap().rules, 1);
        assert_eq!(ask(&near, message::SCAN, &file).scanned().unwrap().matches, []);
        drop(near);
        served.join().unwrap().unwrap();
    }

    #[test]
    fn what_escapes_make_too_long_loses_rules_not_sense() {
        let worst =
            Match { rule: "\u{1}".repeat(128), meta: vec![], tags: vec![], file: String::new() };
        let worst = Match { tags: vec!["\u{1}".repeat(128); 16], ..worst };
        let scanned = Scanned { matches: vec![worst; 8], ..Scanned::default() };
        let told: Scanned = serde_json::from_slice(&told(scanned)).unwrap();
        assert_eq!(told.matches.len() as u64 + told.more, 8);
        assert!(told.more > 0 && !told.matches.is_empty());
    }
}
