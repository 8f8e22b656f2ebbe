//! A line's head: when, which host, which program; the message stays as it is.

use super::scan::{number, split, word};
use super::time::{self, Stamp};

/// A line of a log, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// When, as the line says.
    pub stamp: Option<Stamp>,
    /// The host that wrote it; empty when the line has none.
    pub host: &'a [u8],
    /// The program, without the folder it is in.
    pub program: &'a [u8],
    /// Its process id, 0 when not told.
    pub pid: u32,
    /// The rest.
    pub message: &'a [u8],
}

/// Takes a line apart, in the traditional form, with an ISO time, or as RFC 5424 says. `None` when
/// it names no program.
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let (numbered, line) = priority(line);
    if numbered && let Some(rest) = line.strip_prefix(b"1 ") {
        return protocol(rest);
    }
    let (stamp, rest) = time::read(line)?;
    let rest = rest.trim_ascii_start();
    let (stamp, line) = (Some(stamp), rest);
    if let Some((program, pid, message)) = tag(line) {
        return Some(Line { stamp, host: b"", program, pid, message });
    }
    let (host, rest) = word(line);
    let (program, pid, message) = tag(rest)?;
    Some(Line { stamp, host, program, pid, message })
}

/// `<38>` before the line.
fn priority(line: &[u8]) -> (bool, &[u8]) {
    let inner = line.strip_prefix(b"<").and_then(|rest| split(rest, b">"));
    match inner {
        Some((digits, rest)) if digits.len() <= 3 && number(digits).is_some() => (true, rest),
        _ => (false, line),
    }
}

/// `NAME[PID]: `, `NAME: `, `NAME[PID] ` or `[NAME] `.
fn tag(text: &[u8]) -> Option<(&[u8], u32, &[u8])> {
    let (first, message) = word(text);
    let name = match first.strip_suffix(b":") {
        Some(name) => name,
        None if first.ends_with(b"]") => first,
        None => return None,
    };
    let (name, pid) = match split(name, b"[") {
        Some((b"", inner)) => (inner.strip_suffix(b"]").unwrap_or(inner), b"".as_slice()),
        Some((name, pid)) => (name, pid.strip_suffix(b"]").unwrap_or(pid)),
        None => (name, b"".as_slice()),
    };
    let message = without_id(message);
    Some((base(name), number(pid).unwrap_or(0), message))
}

/// Solaris and its kin put `[ID 800047 auth.info] ` before each message.
fn without_id(message: &[u8]) -> &[u8] {
    let inner = message.strip_prefix(b"[ID ").and_then(|rest| split(rest, b"] "));
    inner.map_or(message, |(_, rest)| rest)
}

/// A program's name without its folder, and without the module that speaks for it.
fn base(name: &[u8]) -> &[u8] {
    let name = name.rsplit(|&b| b == b'/').next().unwrap_or(name);
    split(name, b"(").map_or(name, |(before, _)| if before.is_empty() { name } else { before })
}

/// `TIME HOST PROGRAM PID MSGID DATA MESSAGE` of RFC 5424.
fn protocol(text: &[u8]) -> Option<Line<'_>> {
    let (time, rest) = word(text);
    let stamp = time::read(time).map(|(stamp, _)| stamp);
    let (host, rest) = word(rest);
    let (program, rest) = word(rest);
    let (pid, rest) = word(rest);
    let (_, rest) = word(rest);
    let message = after_data(rest)?;
    let message = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message);
    let pid = number(pid).unwrap_or(0);
    Some(Line { stamp, host, program: base(program), pid, message })
}

/// Returns what follows the structured data: `-`, or elements in brackets whose quoted values may
/// hold escaped quotes and brackets.
fn after_data(text: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = text.strip_prefix(b"-") {
        return Some(rest.strip_prefix(b" ").unwrap_or(rest));
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted && text.get(at + 1) != Some(&b'[') => {
                let rest = &text[at + 1..];
                return Some(rest.strip_prefix(b" ").unwrap_or(rest));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(line: &str) -> (String, String, u32, String) {
        let line = parse(line.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(line.host), text(line.program), line.pid, text(line.message))
    }

    #[test]
    fn every_head_is_taken_off() {
        let full = ("web-1".to_owned(), "sshd".to_owned(), 71, "hello: there".to_owned());
        for line in [
            "Mar  5 09:00:00 web-1 sshd[71]: hello: there",
            "<38>Mar  5 09:00:00 web-1 sshd[71]: hello: there",
            "Mar  5 09:00:00 web-1 /usr/sbin/sshd[71]: hello: there",
            "Mar  5 09:00:00 web-1 sshd(pam_unix)[71]: hello: there",
            "Mar  5 09:00:00 web-1 sshd[71]: [ID 800047 auth.info] hello: there",
            "2024-03-05T09:00:00.123456+01:00 web-1 sshd[71]: hello: there",
            "<86>1 2024-03-05T09:00:00.1Z web-1 sshd 71 - - hello: there",
            "<86>1 2024-03-05T09:00:00Z web-1 sshd 71 - [a@1 b=\"\\]\\\" ] \"][c] \u{feff}hello: there",
        ] {
            assert_eq!(parts(line), full, "{line}");
        }
        let bare = (String::new(), "sshd".to_owned(), 0, "hello".to_owned());
        assert_eq!(parts("Mar  3 00:17:22 [sshd]: hello"), bare);
        assert_eq!(parts("Mar  3 00:17:22 [sshd] hello"), bare);
        assert_eq!(parts("Mar  3 00:17:22 h sudo:   a : b").3, "a : b");
    }

    #[test]
    fn a_line_without_a_program_is_none() {
        for line in ["", "no time", "Mar  5 09:00:00 web-1", "<86>1 - - - - - [x", "<999999>"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse(&text);
            let mut line = b"<86>1 2024-03-05T09:00:00Z h p 1 - ".to_vec();
            line.extend_from_slice(&text);
            let _ = parse(&line);
            let mut line = b"Mar  5 09:00:00 ".to_vec();
            line.extend_from_slice(&text);
            let _ = parse(&line);
        }
    }
}
