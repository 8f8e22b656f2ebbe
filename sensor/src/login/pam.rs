//! Messages of PAM modules: `MODULE(SERVICE:TYPE): MESSAGE`, whatever program they are written by.

use super::event::{Action, Event, Marks, Parsed, Service};
use super::scan::{between, is_host, number, split, split_last, unquoted, word};

/// Modules whose messages only repeat what others say.
const DULL: &[&[u8]] =
    &[b"pam_systemd", b"pam_env", b"pam_keyinit", b"pam_motd", b"pam_mail", b"pam_lastlog"];

/// PAM services and what they belong to; others are named as they are.
const SERVICES: &[(&[u8], Service)] = &[
    (b"sshd", Service::Sshd),
    (b"sudo", Service::Sudo),
    (b"sudo-i", Service::Sudo),
    (b"su", Service::Su),
    (b"su-l", Service::Su),
    (b"runuser", Service::Su),
    (b"runuser-l", Service::Su),
    (b"login", Service::Login),
    (b"remote", Service::Login),
    (b"cron", Service::Cron),
    (b"crond", Service::Cron),
    (b"passwd", Service::Account),
    (b"chpasswd", Service::Account),
    (b"newusers", Service::Account),
    (b"useradd", Service::Account),
    (b"chsh", Service::Account),
    (b"chfn", Service::Account),
];

/// Reads a message; `None` when it is not a module's. `program` writes it.
pub fn parse<'a>(message: &'a [u8], program: Service) -> Option<Parsed<'a>> {
    let (body, preauth) = match message.trim_ascii_end().strip_suffix(b"[preauth]") {
        Some(rest) => (rest.trim_ascii_end(), true),
        None => (message.trim_ascii_end(), false),
    };
    if let Some(rest) = body.strip_prefix(b"PAM ") {
        return Some(own(rest, program));
    }
    if !body.starts_with(b"pam_") {
        return None;
    }
    let (head, rest) = split(body, b"):")?;
    let (module, place) = split(head, b"(")?;
    let (service, kind) = split_last(place, b":").unwrap_or((place, b""));
    let known = SERVICES.iter().find(|(name, _)| *name == service);
    let event = Event {
        service: known.map_or(Service::Other, |(_, service)| *service),
        program: service,
        method: module,
        marks: Marks { preauth, ..Marks::default() },
        ..Event::default()
    };
    Some(match service {
        // The manager of each user's services opens a session beside the real one.
        b"systemd-user" => Parsed::Dull,
        _ => said(rest.trim_ascii_start(), module, kind, event),
    })
}

/// What a module says.
fn said<'a>(text: &'a [u8], module: &[u8], kind: &[u8], event: Event<'a>) -> Parsed<'a> {
    if let Some(rest) = text.strip_prefix(b"session opened for user ") {
        return Parsed::Event(opened(rest, event));
    }
    if let Some(rest) = text.strip_prefix(b"session closed for user ") {
        let (user, _) = named(rest);
        return Parsed::Event(Event { action: Action::SessionClosed, user, ..event });
    }
    for (beginning, action) in [
        (&b"authentication failure; "[..], Action::Failed),
        (b"authentication success; ", Action::Accepted),
    ] {
        if let Some(rest) = text.strip_prefix(beginning) {
            // sshd says itself whom it let in.
            if action == Action::Accepted && event.service == Service::Sshd {
                return Parsed::Dull;
            }
            return Parsed::Event(fields(rest, Event { action, ..event }));
        }
    }
    if let Some(user) = text.strip_prefix(b"password changed for ") {
        let action = Action::PasswordChanged;
        let service = Service::Account;
        return Parsed::Event(Event { action, service, target: user, ..event });
    }
    if let Some(event) = locked(text, event).or_else(|| denied(text, event)) {
        return Parsed::Event(event);
    }
    let dull = DULL.contains(&module)
        || kind == b"setcred"
        || text.starts_with(b"check pass; user unknown")
        || text.starts_with(b"conversation failed")
        || text.starts_with(b"auth could not identify password for ")
        || text.starts_with(b"requirement ")
        || text.starts_with(b"received for user ")
        || text.starts_with(b"User unknown")
        || text.starts_with(b"bad username [")
        || text.starts_with(b"Cannot create session")
        || text.starts_with(b"error ")
        || text.starts_with(b"unrecognized ")
        || text.starts_with(b"unable to ")
        || text.starts_with(b"Accepted ")
        || text.starts_with(b"getting password ");
    if dull { Parsed::Dull } else { Parsed::Unknown }
}

/// `USER[(uid=N)] by [USER2](uid=N)`.
fn opened<'a>(text: &'a [u8], event: Event<'a>) -> Event<'a> {
    let event = Event { action: Action::SessionOpened, ..event };
    let (who, by) = split_last(text, b" by ").unwrap_or((text, b""));
    let ((user, _), (by, _)) = (named(who), named(by));
    match event.service {
        // Who came from outside has no session before.
        Service::Sudo | Service::Su => Event { user: by, target: user, ..event },
        _ => Event { user, ..event },
    }
}

/// `NAME(uid=N)` or `NAME`.
fn named(text: &[u8]) -> (&[u8], Option<u32>) {
    let text = text.trim_ascii();
    match split_last(text, b"(uid=") {
        Some((name, uid)) => (name, uid.strip_suffix(b")").and_then(number)),
        None => (text, None),
    }
}

/// `logname=… uid=… euid=… tty=… ruser=… rhost=…  user=…`: each value ends where the next key
/// begins, and the user, whom a peer may have named, is the last.
fn fields<'a>(text: &'a [u8], event: Event<'a>) -> Event<'a> {
    let Some((before, rest)) = split(text, b" tty=") else { return event };
    let logname = between(before, b"logname=", b"");
    let logname = logname.and_then(|text| split(text, b" uid=")).map_or(&b""[..], |(name, _)| name);
    let Some((tty, rest)) = split(rest, b" ruser=") else { return event };
    let (ruser, rest) = split(rest, b" rhost=").unwrap_or((rest, b""));
    let (host, user) = split(rest, b" user=").unwrap_or((rest, b""));
    let host = host.trim_ascii();
    let asked = user.trim_ascii_start();
    let by = if ruser.is_empty() { logname } else { ruser };
    let event = Event { tty, ..event };
    let event = if is_host(host) { event.from(host, 0) } else { event };
    match event.service {
        Service::Sudo | Service::Su if !by.is_empty() => Event { user: by, target: asked, ..event },
        _ if asked.is_empty() => Event { user: ruser, ..event },
        _ => Event { user: asked, ..event },
    }
}

/// An account was locked because of failures.
fn locked<'a>(text: &'a [u8], event: Event<'a>) -> Option<Event<'a>> {
    let event = Event { action: Action::TooMany, detail: text, ..event };
    if let Some(rest) = text.strip_prefix(b"Consecutive login failures for user ") {
        let (user, _) = split_last(rest, b" account ")?;
        return Some(Event { user, ..event });
    }
    let rest = text.strip_prefix(b"user ")?;
    let (user, _) = split_last(rest, b" tally ")?;
    Some(Event { user: split_last(user, b" (").map_or(user, |(user, _)| user), ..event })
}

/// A rule of a module keeps somebody out.
fn denied<'a>(text: &'a [u8], event: Event<'a>) -> Option<Event<'a>> {
    let event = Event { action: Action::Refused, detail: text, ..event };
    if let Some(rest) = text.strip_prefix(b"access denied for user ") {
        let (user, host) = split_last(rest, b" from ")?;
        let host = unquoted(host.trim_ascii());
        let event = Event { user: unquoted(user), ..event };
        return Some(if is_host(host) { event.from(host, 0) } else { event });
    }
    if let Some(rest) = text.strip_prefix(b"Access denied for user ") {
        let (user, _) = split_last(rest, b": ")?;
        return Some(Event { user, ..event });
    }
    if let Some(rest) = text.strip_prefix(b"account ") {
        let (user, reason) = split_last(rest, b" has expired")?;
        return (reason.is_empty() || reason.starts_with(b" (")).then_some(Event { user, ..event });
    }
    let rest = text.strip_prefix(b"Refused user ")?;
    let (user, _) = word(rest);
    Some(Event { user, ..event })
}

/// What libpam itself says: `N more authentication failures; …`, `service(x) ignoring …`.
fn own<'a>(text: &'a [u8], program: Service) -> Parsed<'a> {
    if text.starts_with(b"service(")
        || text.starts_with(b"unable to ")
        || text.starts_with(b"adding ")
    {
        return Parsed::Dull;
    }
    let (count, rest) = word(text);
    let keys = (rest.strip_prefix(b"more authentication failures; "))
        .or_else(|| rest.strip_prefix(b"more authentication failure; "));
    let (Some(repeated), Some(keys)) = (number(count), keys) else { return Parsed::Unknown };
    let program_name: &[u8] = if program == Service::Sshd { b"sshd" } else { b"" };
    let event = Event { program: program_name, repeated, ..Event::new(program, Action::Failed) };
    Parsed::Event(fields(keys, event))
}
