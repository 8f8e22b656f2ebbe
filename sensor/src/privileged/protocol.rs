//! The closed protocol between worker and loader: one bounded request, one bounded answer, in
//! order.
//!
//! Both ends are one socket pair of sequenced packets, so a message is whole or not there. The
//! loader trusts nothing in a request but its length: numbers that mean nothing are refused, and
//! the one path that a request can carry leads to programs only.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use scanner_abi::packet;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Load and attach if that has not happened, then the names and descriptors of all maps.
pub const START: u32 = 1;
/// Every hook as coverage tells it and the loader's own figures, as JSON.
pub const STATUS: u32 = 2;
/// Count system calls from now on (1) or no longer (0).
pub const COUNT_SYSCALLS: u32 = 3;
/// A file of a process.
pub const READ: u32 = 4;
/// Where a link of a process leads.
pub const LINK: u32 = 5;
/// A process's executable, opened.
pub const OPEN_EXE: u32 = 6;
/// The sockets of a process.
pub const SOCKETS: u32 = 7;
/// The worker collects and sends.
pub const READY: u32 = 8;
/// The worker still does.
pub const ALIVE: u32 = 9;
/// The worker has begun to stop.
pub const STOPPING: u32 = 10;
/// A harmless execution that must be seen, with the number in its arguments.
pub const CANARY: u32 = 11;
/// The ids of all processes.
pub const PROCESSES: u32 = 12;
/// A table of the sockets in a process's network namespace, opened.
pub const OPEN_TABLE: u32 = 13;
/// A log that the configuration names, opened.
pub const OPEN_LOG: u32 = 14;
/// A program of the host, started: the end of the pipe that it prints to.
pub const START_PROGRAM: u32 = 15;

/// Read the configuration again, and what the brain's policy wants.
pub const RELOAD: u32 = 16;
/// A program or script that a process sees under a path, opened: the path follows the request.
/// Only a plain file that somebody may execute is, so that secrets stay where they are.
pub const OPEN_PROGRAM: u32 = 17;
/// A connection to the scanner, where the configuration says that it listens.
pub const OPEN_SCANNER: u32 = 18;

/// Longest path that follows a request; the kernel takes no longer ones.
pub const PATH_MAX: usize = 4096;

/// Longest answer: a process's sockets are the longest of them.
pub const ANSWER_MAX: usize = 64 * 1024 + 64;
/// Most descriptors in one answer.
pub const DESCRIPTORS_MAX: usize = packet::DESCRIPTORS_MAX;

/// What is asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    /// Counts up; the answer repeats it.
    pub number: u32,
    /// One of the constants of this module.
    pub kind: u32,
    /// The process, or a number that the kind explains.
    pub subject: u32,
    /// Which of its files or links.
    pub which: u32,
}

impl Request {
    /// Builds a request; [`super::remote::Remote`] numbers it.
    pub const fn of(kind: u32, subject: u32, which: u32) -> Self {
        Self { number: 0, kind, subject, which }
    }
}

/// What every answer begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
struct AnswerHeader {
    number: u32,
    /// Zero, or why not; the bytes that follow then may say it in words.
    errno: i32,
}

/// What comes back.
#[derive(Debug, Default)]
pub struct Answer {
    /// Bytes, cut to [`ANSWER_MAX`].
    pub bytes: Vec<u8>,
    /// Descriptors, at most [`DESCRIPTORS_MAX`].
    pub descriptors: Vec<OwnedFd>,
}

/// A failure that is told in words.
#[derive(Debug)]
pub struct Refusal {
    /// The kernel's number for it.
    pub errno: i32,
    /// What to tell the operator, if there is more to say.
    pub text: String,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(libc::EIO), text: String::new() }
    }
}

/// Returns the two ends.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends a request.
pub fn send_request(socket: BorrowedFd<'_>, request: &Request, path: &[u8]) -> io::Result<()> {
    packet::send(socket, &[request.as_bytes(), path], &[])
}

/// Receives a request; `None` when the other end is gone or what came is no request.
pub fn receive_request(socket: BorrowedFd<'_>) -> Option<(Request, Vec<u8>)> {
    // A path that is longer by one byte is seen to be too long.
    let mut bytes = [0; size_of::<Request>() + PATH_MAX + 1];
    let (length, _) = packet::receive(socket, &mut bytes, 0).ok()?;
    let (request, path) = Request::read_from_prefix(&bytes[..length]).ok()?;
    (path.len() <= PATH_MAX).then(|| (request, path.to_vec()))
}

/// Sends an answer or a refusal.
pub fn send_answer(
    socket: BorrowedFd<'_>,
    number: u32,
    answer: &Result<Answer, Refusal>,
) -> io::Result<()> {
    let (errno, bytes, descriptors) = match answer {
        Ok(answer) => (0, answer.bytes.as_slice(), answer.descriptors.as_slice()),
        Err(refusal) => (refusal.errno.max(1), refusal.text.as_bytes(), &[][..]),
    };
    let header = AnswerHeader { number, errno };
    let bytes = &bytes[..bytes.len().min(ANSWER_MAX)];
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    packet::send(socket, &[header.as_bytes(), bytes], &raw)
}

/// Receives the answer to the request with a number; older ones, which nobody waited for, are
/// dropped.
pub fn receive_answer(socket: BorrowedFd<'_>, number: u32) -> io::Result<Result<Answer, Refusal>> {
    let mut buffer = vec![0; size_of::<AnswerHeader>() + ANSWER_MAX];
    loop {
        let (length, descriptors) = packet::receive(socket, &mut buffer, DESCRIPTORS_MAX)?;
        let Ok((header, bytes)) = AnswerHeader::read_from_prefix(&buffer[..length]) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if header.number != number {
            continue;
        }
        return Ok(match header.errno {
            0 => Ok(Answer { bytes: bytes.to_vec(), descriptors }),
            errno => Err(Refusal { errno, text: String::from_utf8_lossy(bytes).into_owned() }),
        });
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn no_two_questions_have_one_number() {
        let kinds = [
            START,
            STATUS,
            COUNT_SYSCALLS,
            READ,
            LINK,
            OPEN_EXE,
            SOCKETS,
            READY,
            ALIVE,
            STOPPING,
            CANARY,
            PROCESSES,
            OPEN_TABLE,
            OPEN_LOG,
            START_PROGRAM,
            RELOAD,
            OPEN_PROGRAM,
            OPEN_SCANNER,
        ];
        let distinct: std::collections::HashSet<u32> = kinds.into_iter().collect();
        assert_eq!(distinct.len(), kinds.len());
    }

    #[test]
    fn requests_and_answers_cross_with_descriptors() {
        let (near, far) = pair().unwrap();
        let request = Request { number: 7, ..Request::of(READ, 42, 3) };
        send_request(near.as_fd(), &request, b"/x").unwrap();
        assert_eq!(receive_request(far.as_fd()), Some((request, b"/x".to_vec())));
        send_request(near.as_fd(), &request, &[b'/'; PATH_MAX + 1]).unwrap();
        assert!(receive_request(far.as_fd()).is_none(), "a path that is too long");
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, b"x").unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let answer = Answer { bytes: b"abc".to_vec(), descriptors: vec![file.into()] };
        send_answer(far.as_fd(), 6, &Ok(Answer::default())).unwrap();
        send_answer(far.as_fd(), 7, &Ok(answer)).unwrap();
        let mut got = receive_answer(near.as_fd(), 7).unwrap().unwrap();
        assert_eq!((got.bytes.as_slice(), got.descriptors.len()), (&b"abc"[..], 1));
        let mut text = String::new();
        File::from(got.descriptors.remove(0)).read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
    }

    #[test]
    fn refusals_cross_in_words_and_a_gone_end_is_noticed() {
        let (near, far) = pair().unwrap();
        let refusal = Refusal { errno: libc::EPERM, text: "no".to_owned() };
        send_answer(far.as_fd(), 1, &Err(refusal)).unwrap();
        let got = receive_answer(near.as_fd(), 1).unwrap().unwrap_err();
        assert_eq!((got.errno, got.text.as_str()), (libc::EPERM, "no"));
        drop(far);
        assert!(receive_answer(near.as_fd(), 2).is_err());
        assert!(receive_request(near.as_fd()).is_none());
    }

    #[test]
    fn no_two_kinds_share_a_number() {
        let source = include_str!("protocol.rs");
        let kinds = source.lines().filter_map(|line| line.strip_prefix("pub const "));
        let numbers = kinds.filter_map(|line| line.split_once(": u32 = "));
        let mut numbers: Vec<&str> = numbers.map(|(_, number)| number).collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(all >= 16 && numbers.len() == all, "{all} kinds, numbers {numbers:?}");
    }

    #[test]
    fn what_is_no_request_is_none() {
        let (near, far) = pair().unwrap();
        packet::send(near.as_fd(), &[b"short"], &[]).unwrap();
        assert_eq!(receive_request(far.as_fd()), None);
    }
}
