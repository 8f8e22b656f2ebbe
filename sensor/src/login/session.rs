//! Messages of the terminal's login program and of systemd-logind.

use super::event::{Action, Event, Parsed, Service};
use super::scan::{is_host, number, split, split_last, unquoted, word};

/// Reads a message of login, as util-linux and shadow write it.
pub fn login(message: &[u8]) -> Parsed<'_> {
    let message = message.trim_ascii();
    let event = Event { program: b"login", ..Event::new(Service::Login, Action::Accepted) };
    let read = failed(message, event).or_else(|| accepted(message, event));
    match read {
        Some(event) => Parsed::Event(event),
        None if message.starts_with(b"TOO MANY LOGIN TRIES") => {
            Parsed::Event(Event { action: Action::TooMany, detail: message, ..event })
        }
        None if message.starts_with(b"DIALUP AT ") => Parsed::Dull,
        None => Parsed::Unknown,
    }
}

/// `LOGIN ON tty1 BY alice[ FROM host]`, `ROOT LOGIN ON tty1[ FROM host]`,
/// `ROOT LOGIN  on '/dev/tty1'[ from 'host']`.
fn accepted<'a>(message: &'a [u8], event: Event<'a>) -> Option<Event<'a>> {
    if let Some(rest) = message.strip_prefix(b"LOGIN ON ") {
        let (tty, rest) = split(rest, b" BY ")?;
        let (user, host) = split_last(rest, b" FROM ").unwrap_or((rest, b""));
        return Some(with_host(Event { tty, user, ..event }, host));
    }
    let rest = message.strip_prefix(b"ROOT LOGIN")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"ON ").or_else(|| rest.strip_prefix(b"on "))?;
    let (tty, rest) = word(rest);
    let host = rest.strip_prefix(b"FROM ").or_else(|| rest.strip_prefix(b"from ")).unwrap_or(b"");
    let event = Event { tty: unquoted(tty), user: &message[..4], ..event };
    Some(with_host(event, host))
}

/// `FAILED LOGIN (1) on 'tty1'[ from 'host'] FOR 'root', reason`,
/// `FAILED LOGIN 1 FROM tty1 FOR root, reason`, `FAILED LOGIN SESSION FROM tty1 FOR root, reason`.
fn failed<'a>(message: &'a [u8], event: Event<'a>) -> Option<Event<'a>> {
    let rest = message.strip_prefix(b"FAILED LOGIN ")?;
    let (place, rest) = split(rest, b" FOR ")?;
    // The reason is the program's own words, so the last comma ends the name.
    let (user, detail) = split_last(rest, b", ").unwrap_or((rest, b""));
    let user = unquoted(user);
    let event = Event { action: Action::Failed, user, detail, ..event };
    let (count, place) = word(place);
    let count = count.strip_prefix(b"(").and_then(|c| c.strip_suffix(b")")).unwrap_or(count);
    if number(count).is_none() && count != b"SESSION" {
        return None;
    }
    let (keyword, rest) = word(place);
    let (first, rest) = word(rest);
    let first = unquoted(first);
    match keyword {
        b"on" => {
            let host = unquoted(rest.strip_prefix(b"from ").unwrap_or(b""));
            Some(with_host(Event { tty: first, ..event }, host))
        }
        // A terminal's name and a host's look alike here; only an address is surely a host.
        b"FROM" if super::scan::address(first).is_some() => Some(event.from(first, 0)),
        b"FROM" => Some(Event { tty: first, ..event }),
        _ => None,
    }
}

fn with_host<'a>(event: Event<'a>, host: &'a [u8]) -> Event<'a> {
    let host = unquoted(host);
    if is_host(host) { event.from(host, 0) } else { event }
}

/// Reads a message of systemd-logind: `New session 5 of user alice.`, since release 257
/// `New session '5' of user 'alice' with class 'user' and type 'tty'.`
pub fn logind(message: &[u8]) -> Parsed<'_> {
    let Some(rest) = message.trim_ascii().strip_prefix(b"New session ") else {
        return Parsed::Dull;
    };
    let Some((session, rest)) = split(rest, b" of user ") else { return Parsed::Unknown };
    let rest = rest.strip_suffix(b".").unwrap_or(rest);
    let (user, kind) = split_last(rest, b" with class ").unwrap_or((rest, b""));
    // Sessions of the log-in screen and of services are not somebody's log-in.
    if [&b"'greeter'"[..], b"'manager'", b"'background'"].iter().any(|c| kind.starts_with(c)) {
        return Parsed::Dull;
    }
    Parsed::Event(Event {
        program: b"systemd-logind",
        user: unquoted(user),
        detail: unquoted(session),
        ..Event::new(Service::Logind, Action::SessionOpened)
    })
}
