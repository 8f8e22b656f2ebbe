//! Messages of sudo and su.
//!
//! Whoever calls sudo chooses the directory and the command, and may name them so that they look
//! like the rest of the message. The fields have a fixed order, so each is read up to the first
//! key behind it; a message with a key twice is marked, and its command is everything behind the
//! first, so that the real one is always part of it.

use super::event::{Action, Event, Marks, Parsed, Service};
use super::scan::{find, split, split_last, word};

/// Reads a message of sudo: `USER : [REASON ; ]TTY=… ; PWD=… ; USER=… ; [KEY=… ; ]COMMAND=…`.
pub fn sudo(message: &[u8]) -> Parsed<'_> {
    let Some((user, rest)) = split(message.trim_ascii_start(), b" : ") else {
        return Parsed::Unknown;
    };
    let mut event = Event { program: b"sudo", user, ..Event::new(Service::Sudo, Action::Command) };
    if let Some(detail) = rest.strip_prefix(b"(command continued) ") {
        let marks = Marks { continued: true, ..Marks::default() };
        return Parsed::Event(Event { detail, marks, ..event });
    }
    let starts = [&b" ; TTY="[..], b" ; PWD="].iter().filter_map(|key| find(rest, key)).min();
    let (reason, fields) = match (rest.starts_with(b"TTY="), starts) {
        (true, _) => (&b""[..], rest),
        (false, Some(at)) => (&rest[..at], &rest[at + b" ; ".len()..]),
        (false, None) => (rest, &b""[..]),
    };
    let Some(action) = action(reason) else { return Parsed::Dull };
    event.action = action;
    // The terminal comes first or not at all: behind it, somebody else may have written one.
    if fields.starts_with(b"TTY=") {
        event.tty = value(fields, b"TTY=");
    }
    (event.directory, event.target) = (value(fields, b"PWD="), value(fields, b"USER="));
    event.detail = match split(fields, b" ; COMMAND=") {
        Some((_, command)) => command,
        None => reason,
    };
    event.marks.ambiguous = twice(fields, b" ; USER=") || twice(fields, b" ; COMMAND=");
    Parsed::Event(event)
}

/// Returns what a reason means; `None` when it is about sudo itself.
fn action(reason: &[u8]) -> Option<Action> {
    const ABOUT_SUDO: &[&[u8]] =
        &[b"problem with defaults entries", b"unable to resolve host", b"unable to "];
    if reason.is_empty() {
        return Some(Action::Command);
    }
    if ABOUT_SUDO.iter().any(|about| reason.starts_with(about)) {
        return None;
    }
    match find(reason, b"incorrect password attempt") {
        Some(_) => Some(Action::Failed),
        None => Some(Action::Refused),
    }
}

/// Returns a field's value, up to the next divider. A directory may hold one, and then goes on to
/// the key that must follow it.
fn value<'a>(fields: &'a [u8], key: &[u8]) -> &'a [u8] {
    let rest = match fields.strip_prefix(key) {
        Some(rest) => rest,
        None => {
            let at =
                fields.windows(key.len() + 3).position(|w| w.starts_with(b" ; ") && &w[3..] == key);
            match at {
                Some(at) => &fields[at + 3 + key.len()..],
                None => return b"",
            }
        }
    };
    let follows: &[u8] = if key == b"PWD=" { b" ; USER=" } else { b" ; " };
    split(rest, follows).map_or(rest, |(value, _)| value)
}

fn twice(text: &[u8], key: &[u8]) -> bool {
    split(text, key).is_some_and(|(_, rest)| find(rest, key).is_some())
}

/// Reads a message of su, as util-linux and shadow write it.
pub fn su(message: &[u8]) -> Parsed<'_> {
    let message = message.trim_ascii();
    let (action, rest) = match message.strip_prefix(b"FAILED SU ") {
        Some(rest) => (Action::Failed, rest),
        None => (Action::Accepted, message),
    };
    let event = Event { program: b"su", ..Event::new(Service::Su, action) };
    // `(to root) alice on pts/0`.
    if let Some((target, rest)) = rest.strip_prefix(b"(to ").and_then(|rest| split(rest, b") ")) {
        let (user, tty) = split_last(rest, b" on ").unwrap_or((rest, b""));
        return Parsed::Event(Event { user, target, tty, ..event });
    }
    for (beginning, action) in
        [(&b"Successful su for "[..], Action::Accepted), (b"FAILED su for ", Action::Failed)]
    {
        if let Some((target, user)) =
            message.strip_prefix(beginning).and_then(|rest| split_last(rest, b" by "))
        {
            return Parsed::Event(Event { action, user, target, ..event });
        }
    }
    // `+ pts/0 alice:root`, and `-` where it failed: shadow's second line about the same.
    match word(message) {
        (b"+" | b"-", rest) if split(rest, b":").is_some() => Parsed::Dull,
        _ if message.starts_with(b"pam_authenticate: ") => Parsed::Dull,
        _ => Parsed::Unknown,
    }
}
