//! What is asked and answered: a fixed head, then JSON where there is more to say.
//!
//! Neither end trusts the other's numbers: the scanner has parsed files of intruders, and the
//! sensor is asked for by whoever reaches the socket.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::packet;

/// The descriptor is a [`Bundle`] to compile and use from now on.
pub const RULES: u32 = 1;
/// The descriptor is a file to scan.
pub const SCAN: u32 = 2;

/// Bytes of a bundle. The largest public collections for Linux have some 2 MiB.
pub const BUNDLE_MAX: u64 = 8 * 1024 * 1024;
/// Longest answer behind its head.
pub const BODY_MAX: usize = 32 * 1024;
/// Rules told of one file; what matches more is told as a number.
pub const MATCHES_MAX: usize = 8;
/// Entries of a rule's `meta` that are told, and tags.
pub const META_MAX: usize = 16;
/// Bytes told of one name or value.
pub const TEXT_MAX: usize = 128;
/// Files of a bundle that are told as broken; more are told as a number.
pub const PROBLEMS_MAX: usize = 32;
/// Bytes told of what is wrong with a file.
pub const PROBLEM_MAX: usize = 512;

/// What is asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    /// Counts up; the answer repeats it.
    pub number: u32,
    /// [`RULES`] or [`SCAN`].
    pub kind: u32,
    /// How long it may take, milliseconds.
    pub time_ms: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
    /// Bytes of the file that are looked at most; a longer one is not scanned.
    pub size_max: u64,
}

/// What every answer begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct Head {
    number: u32,
    outcome: u32,
    took_us: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; the body says the rest.
    Done,
    /// The file is longer than it may be, or grows.
    TooLarge,
    /// It took too long.
    Timeout,
    /// The descriptor cannot be read, or is none of a file.
    Unreadable,
    /// There are no rules to scan with, or none of them compiles.
    NoRules,
}

impl Outcome {
    const ALL: [Self; 5] =
        [Self::Done, Self::TooLarge, Self::Timeout, Self::Unreadable, Self::NoRules];
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// How it went.
    pub outcome: Outcome,
    /// How long it took, microseconds.
    pub took_us: u64,
    /// JSON: a [`Compiled`] or a [`Scanned`]; empty when it was not done.
    pub body: Vec<u8>,
}

/// Rules, as they lie in files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// Names this state of the rules.
    pub revision: String,
    /// The files.
    pub files: Vec<RuleFile>,
}

/// A file of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleFile {
    /// Its name, which is also the namespace of its rules.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// What became of a bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compiled {
    /// Rules that are used.
    pub rules: u64,
    /// Files of which nothing is used, and why; each begins with the file and the line.
    pub problems: Vec<String>,
    /// Broken files beyond [`PROBLEMS_MAX`].
    pub more: u64,
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// Bytes that were looked at.
    pub size: u64,
    /// SHA-256 of them, as hexadecimal digits.
    pub sha256: String,
    /// Rules that match.
    pub matches: Vec<Match>,
    /// Rules that match beyond [`MATCHES_MAX`].
    pub more: u64,
}

/// A rule that matches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Its name.
    pub rule: String,
    /// The file that it is from.
    pub file: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its `meta` section.
    pub meta: Vec<(String, String)>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum MessageError {
    /// The socket failed, the other end is gone, or it was silent for too long.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// What came is no answer.
    #[error("what came is no answer to what was asked")]
    NoAnswer,
    /// The body is not what it should be.
    #[error("the answer cannot be read: {0}")]
    Body(#[from] serde_json::Error),
}

/// Sends a question about a file.
pub fn ask(socket: BorrowedFd<'_>, request: &Request, file: BorrowedFd<'_>) -> io::Result<()> {
    packet::send(socket, &[request.as_bytes()], &[file.as_raw_fd()])
}

/// Receives a question; `None` when the other end is gone or what came is no question.
pub fn asked(socket: BorrowedFd<'_>) -> Option<(Request, OwnedFd)> {
    let mut bytes = [0; size_of::<Request>()];
    let (length, mut descriptors) = packet::receive(socket, &mut bytes, 1).ok()?;
    let request = Request::read_from_bytes(bytes.get(..length)?).ok()?;
    Some((request, descriptors.pop()?))
}

/// Answers the question with a number.
pub fn answer(socket: BorrowedFd<'_>, number: u32, answer: &Answer) -> io::Result<()> {
    let head = Head { number, outcome: answer.outcome as u32, took_us: answer.took_us };
    let body = answer.body.get(..answer.body.len().min(BODY_MAX)).unwrap_or_default();
    packet::send(socket, &[head.as_bytes(), body], &[])
}

/// Receives the answer to the question with a number.
pub fn answered(socket: BorrowedFd<'_>, number: u32) -> Result<Answer, MessageError> {
    let mut buffer = vec![0; size_of::<Head>() + BODY_MAX];
    let (length, _) = packet::receive(socket, &mut buffer, 0)?;
    if length == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let Ok((head, body)) = Head::read_from_prefix(&buffer[..length]) else {
        return Err(MessageError::NoAnswer);
    };
    let outcome = Outcome::ALL.get(head.outcome as usize).copied();
    match outcome.filter(|_| head.number == number) {
        Some(outcome) => Ok(Answer { outcome, took_us: head.took_us, body: body.to_vec() }),
        None => Err(MessageError::NoAnswer),
    }
}

impl Answer {
    /// Reads the body as what became of a bundle.
    pub fn compiled(&self) -> Result<Compiled, MessageError> {
        let mut compiled: Compiled = serde_json::from_slice(&self.body)?;
        compiled.problems.truncate(PROBLEMS_MAX);
        compiled.problems.iter_mut().for_each(|problem| cut(problem, PROBLEM_MAX));
        Ok(compiled)
    }

    /// Reads the body as what was found in a file.
    pub fn scanned(&self) -> Result<Scanned, MessageError> {
        let mut scanned: Scanned = serde_json::from_slice(&self.body)?;
        cut(&mut scanned.sha256, TEXT_MAX);
        scanned.matches.truncate(MATCHES_MAX);
        scanned.matches.iter_mut().for_each(Match::cut);
        Ok(scanned)
    }
}

impl Match {
    /// Cuts every text and list to what is told.
    pub fn cut(&mut self) {
        cut(&mut self.rule, TEXT_MAX);
        cut(&mut self.file, TEXT_MAX);
        self.tags.truncate(META_MAX);
        self.tags.iter_mut().for_each(|tag| cut(tag, TEXT_MAX));
        self.meta.truncate(META_MAX);
        for (name, value) in &mut self.meta {
            cut(name, TEXT_MAX);
            cut(value, TEXT_MAX);
        }
    }
}

/// Cuts a text at a character's end.
pub fn cut(text: &mut String, max: usize) {
    let end = (0..=max.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
    text.truncate(end.unwrap_or(0));
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    fn request(number: u32) -> Request {
        Request { number, kind: SCAN, time_ms: 5, reserved: 0, size_max: 6 }
    }

    #[test]
    fn a_file_goes_over_and_an_answer_comes_back() {
        let (near, far) = pair();
        let file = File::open("/dev/null").unwrap();
        ask(near.as_fd(), &request(7), file.as_fd()).unwrap();
        let (got, _file) = asked(far.as_fd()).unwrap();
        assert_eq!(got, request(7));
        let scanned = Scanned { size: 3, more: 1, ..Scanned::default() };
        let body = serde_json::to_vec(&scanned).unwrap();
        let told = Answer { outcome: Outcome::Done, took_us: 9, body };
        answer(far.as_fd(), 7, &told).unwrap();
        let heard = answered(near.as_fd(), 7).unwrap();
        assert_eq!((heard.scanned().unwrap(), heard.took_us), (scanned, 9));
        answer(far.as_fd(), 6, &told).unwrap();
        assert!(matches!(answered(near.as_fd(), 7), Err(MessageError::NoAnswer)));
        drop(far);
        assert!(matches!(answered(near.as_fd(), 7), Err(MessageError::Socket(_))));
    }

    #[test]
    fn what_is_no_question_is_none() {
        let (near, far) = pair();
        packet::send(near.as_fd(), &[request(1).as_bytes()], &[]).unwrap();
        assert!(asked(far.as_fd()).is_none(), "without a file");
        let file = File::open("/dev/null").unwrap();
        packet::send(near.as_fd(), &[b"short"], &[file.as_raw_fd()]).unwrap();
        assert!(asked(far.as_fd()).is_none());
    }

    #[test]
    fn what_is_told_is_cut() {
        let long = "ä".repeat(TEXT_MAX);
        let mut found = Match { rule: long.clone(), ..Match::default() };
        found.meta = vec![(long.clone(), long); META_MAX + 1];
        let body = serde_json::json!({
            "size": 1, "sha256": "", "more": 0, "matches": vec![found; MATCHES_MAX + 1],
        });
        let body = serde_json::to_vec(&body).unwrap();
        let scanned = Answer { outcome: Outcome::Done, took_us: 0, body }.scanned().unwrap();
        assert_eq!(scanned.matches.len(), MATCHES_MAX);
        assert_eq!(scanned.matches[0].rule.len(), TEXT_MAX);
        assert_eq!(scanned.matches[0].meta.len(), META_MAX);
    }
}
