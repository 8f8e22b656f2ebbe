//! Messages of OpenSSH's server, as its releases 5 to 10 write them.
//!
//! The peer chooses the user name, up to 100 bytes of it, and may choose one that looks like the
//! rest of the message. What sshd adds stands behind the name, so everything is read from the end:
//! the last place from which the rest of the line has sshd's form is the real one.

use super::event::{Action, Event, Marks, Parsed, Service};
use super::scan::{
    address, between, find, find_last, is_host, number, port, split, split_last, word,
};

/// Beginnings of messages that tell nothing about anybody who logs in.
const DULL: &[&[u8]] = &[
    b"Server listening on ",
    b"Received signal ",
    b"Received SIGHUP",
    b"Exiting on signal ",
    b"Starting session: ",
    b"Close session: ",
    b"User child is on pid ",
    b"Accepted key ",
    b"Accepted certificate ID ",
    b"Postponed ",
    b"Partial ",
    b"Connection from ",
    b"Found matching ",
    b"subsystem request for ",
    b"Changed root directory to ",
    b"Authorized to ",
    b"Transferred: ",
    b"Closing connection to ",
    b"Set /proc/self/oom_score_adj ",
    b"rexec line ",
    b"syslogin_perform_logout: ",
    b"pam_",
    b"srclimit_",
    b"debug1: ",
    b"debug2: ",
    b"debug3: ",
    b"SSH: Server;",
    b"exited MaxStartups throttling",
    b"Nasty PTR record ",
    b"Address ",
    b"reverse mapping checking ",
    b"Could not load host key",
    b"Deprecated option ",
    b"Unsupported option ",
    b"userauth_pubkey: ",
    b"Authentication refused: ",
    b"Authentication tried for ",
    b"error: Could not ",
    b"error: Bind to ",
    b"Missing privilege separation directory",
    b"Environment variable ",
    b"Attempt to write login records ",
    b"Bad packet length ",
    b"packet_write_",
    b"lastlog_",
    b"rsa_",
];

/// Beginnings of messages about a peer that did not come as far as to log in. Some name it, some
/// do not; the line before then does.
const PROBES: &[&[u8]] = &[
    b"kex_exchange_identification: ",
    b"kex_protocol_error: ",
    b"ssh_dispatch_run_fatal: ",
    b"banner exchange: ",
    b"Bad protocol version identification ",
    b"Did not receive identification string",
    b"Unable to negotiate ",
    b"no matching ",
    b"Protocol major versions differ",
    b"Bad remote protocol version identification",
    b"buffer_get_",
    b"ssh_packet_",
    b"Corrupted MAC on input",
    b"Disconnecting: Corrupted MAC",
    b"Disconnecting: Packet corrupt",
    b"Disconnecting: bad packet",
    b"Packet corrupt",
    b"padding error: ",
    b"Read from socket failed: ",
    b"Read from remote host ",
    b"Read error from remote host ",
    b"Write failed: ",
    b"mm_",
    b"Timeout before authentication",
    b"kex: ",
    b"kex_",
    b"dispatch_protocol_error: ",
    b"sshpkt_",
    b"cipher_",
    b"userauth_finish: ",
    b"send_error: ",
    b"ssh_exchange_identification: ",
    b"Connection corrupted",
    b"scanned from ",
];

/// Beginnings of those behind which the peer's address stands.
const PROBES_FROM: &[&[u8]] = &[
    b"Unable to negotiate with ",
    b"banner exchange: Connection from ",
    b"Timeout before authentication for connection from ",
    b"Timeout before authentication for ",
    b"Read error from remote host ",
    b"Read from remote host ",
    b"Did not receive identification string from ",
    b"scanned from ",
];

/// Places that are tried as the end of a name; sshd cuts names at 100 bytes, which hold fewer.
const CANDIDATES_MAX: usize = 64;

/// Reads a message.
pub fn parse(message: &[u8]) -> Parsed<'_> {
    let trimmed = message.trim_ascii_end();
    let (message, preauth) = match trimmed.strip_suffix(b"[preauth]") {
        Some(rest) => (rest.trim_ascii_end(), true),
        None => (trimmed, false),
    };
    let message = message.strip_prefix(b"error: ").unwrap_or(message);
    let message = message.strip_prefix(b"fatal: ").unwrap_or(message);
    let read = attempt(message)
        .or_else(|| invalid_user(message))
        .or_else(|| refused(message))
        .or_else(|| too_many(message))
        .or_else(|| throttled(message))
        .or_else(|| ended(message))
        .or_else(|| pam(message))
        .or_else(|| probe(message));
    match read {
        Some(mut event) => {
            event.marks.preauth |= preauth;
            Parsed::Event(event)
        }
        None if DULL.iter().any(|dull| message.starts_with(dull)) => Parsed::Dull,
        None => Parsed::Unknown,
    }
}

fn event<'a>(action: Action) -> Event<'a> {
    Event { program: b"sshd", ..Event::new(Service::Sshd, action) }
}

/// `invalid user NAME` or `NAME`; old releases said `illegal user`.
fn user(text: &[u8]) -> (&[u8], Marks) {
    for prefix in [&b"invalid user "[..], b"illegal user "] {
        if let Some(name) = text.strip_prefix(prefix) {
            return (name, Marks { invalid_user: true, ..Marks::default() });
        }
    }
    // The same with an empty name, whose space the end of the message took.
    match text == b"invalid user" || text == b"<invalid username>" {
        true => (b"", Marks { invalid_user: true, ..Marks::default() }),
        false => (text, Marks::default()),
    }
}

/// `Accepted METHOD for USER from HOST port N ssh2: KEY`, and the same with `Failed`.
fn attempt(message: &[u8]) -> Option<Event<'_>> {
    let (action, rest) = match message {
        [b'A', b'c', b'c', b'e', b'p', b't', b'e', b'd', b' ', rest @ ..] => {
            (Action::Accepted, rest)
        }
        [b'F', b'a', b'i', b'l', b'e', b'd', b' ', rest @ ..] => (Action::Failed, rest),
        _ => return None,
    };
    let (method, rest) = split(rest, b" for ")?;
    if method.contains(&b' ') {
        return None;
    }
    let (before, peer) = last_peer(rest, method)?;
    let (user, mut marks) = user(before);
    marks.ambiguous = find(before, b" from ").is_some() && !peer.certain;
    let event = event(action).from(peer.host, peer.port);
    Some(Event { method, user, key: peer.key, marks, ..event })
}

/// The peer's part of a message.
struct Peer<'a> {
    host: &'a [u8],
    port: u16,
    key: &'a [u8],
    /// Nothing that the peer chose stands behind its address.
    certain: bool,
}

/// Divides at the last ` from ` behind which the rest has sshd's form. One with a port wins: every
/// release since 3.0 writes it.
fn last_peer<'a>(text: &'a [u8], method: &[u8]) -> Option<(&'a [u8], Peer<'a>)> {
    const FROM: &[u8] = b" from ";
    let mut bare = None;
    let mut end = text.len();
    for _ in 0..CANDIDATES_MAX {
        let Some(at) = find_last(&text[..end], FROM) else { break };
        match peer(&text[at + FROM.len()..], method) {
            Some(peer) if peer.port != 0 => return Some((&text[..at], peer)),
            Some(peer) if bare.is_none() => bare = Some((&text[..at], peer)),
            _ => {}
        }
        // Two of them may share a space.
        end = at + FROM.len() - 1;
    }
    // An empty name leaves `from` at the beginning.
    match text.strip_prefix(b"from ").and_then(|rest| peer(rest, method)) {
        Some(peer) if bare.is_none() || peer.port != 0 => Some((b"", peer)),
        _ => bare,
    }
}

/// `HOST[ port N[ ssh2]][: INFORMATION]`, to the end.
fn peer<'a>(text: &'a [u8], method: &[u8]) -> Option<Peer<'a>> {
    let (host, rest) = word(text);
    let host = host.strip_suffix(b":").unwrap_or(host);
    if !is_host(host) {
        return None;
    }
    let (keyword, behind) = word(rest);
    if keyword != b"port" {
        return rest.is_empty().then_some(Peer { host, port: 0, key: b"", certain: true });
    }
    let (number, rest) = word(behind);
    let (protocol, information) = word(rest);
    let mut peer = Peer { host, port: port(number)?, key: b"", certain: true };
    match (protocol, information) {
        (b"" | b"ssh2" | b"ssh1", b"") => Some(peer),
        (b"ssh2:" | b"ssh1:", information) => {
            peer.certain = false;
            peer.key = key(information, method)?;
            Some(peer)
        }
        _ => None,
    }
}

/// Key type and fingerprint. What a certificate or the other host adds is text of its owner's
/// choice, so it must end as sshd ends it.
fn key<'a>(information: &'a [u8], method: &[u8]) -> Option<&'a [u8]> {
    let (kind, rest) = word(information);
    let (fingerprint, more) = word(rest);
    let known = kind.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-');
    let fingerprint = fingerprint.strip_suffix(b",").unwrap_or(fingerprint);
    if !method.starts_with(b"publickey") && !method.starts_with(b"hostbased") {
        // Kerberos principals and the like; no key.
        return Some(b"");
    }
    if !known || kind.is_empty() || fingerprint.is_empty() {
        return None;
    }
    let certificate = more.starts_with(b"ID ") && find(more, b" CA ").is_some();
    let host = method.starts_with(b"hostbased") && more.starts_with(b"client user ");
    let length = kind.len() + 1 + fingerprint.len();
    let spaced = information.get(kind.len()..=kind.len()) == Some(b" ");
    (spaced && (more.is_empty() || certificate || host)).then(|| &information[..length])
}

/// `Invalid user NAME from HOST port N`, and the older `input_userauth_request: invalid user NAME`.
fn invalid_user(message: &[u8]) -> Option<Event<'_>> {
    let marks = Marks { invalid_user: true, ..Marks::default() };
    if let Some(user) = message.strip_prefix(b"input_userauth_request: invalid user") {
        let user = user.trim_ascii_start();
        return Some(Event { user, marks, ..event(Action::InvalidUser) });
    }
    let rest = (message.strip_prefix(b"Invalid user "))
        .or_else(|| message.strip_prefix(b"Illegal user "))?;
    let (user, peer) = last_peer(rest, b"")?;
    Some(Event { user, marks, ..event(Action::InvalidUser).from(peer.host, peer.port) })
}

/// A rule kept the user out.
fn refused(message: &[u8]) -> Option<Event<'_>> {
    let upper = b"ROOT LOGIN REFUSED FROM ";
    if let Some(rest) = message.strip_prefix(upper) {
        let peer = peer(rest, b"")?;
        let event = event(Action::Refused).from(peer.host, peer.port);
        return Some(Event { user: &message[..4], detail: &message[..18], ..event });
    }
    if let Some(rest) = message.strip_prefix(b"refused connect from ") {
        let host = split_last(rest, b"(").and_then(|(_, host)| host.strip_suffix(b")"));
        return Some(event(Action::Refused).from(host.unwrap_or(rest), 0));
    }
    let rest = message.strip_prefix(b"User ")?;
    let (who, detail) = split_last(rest, b" not allowed because ")?;
    let event = event(Action::Refused);
    Some(match split_last(who, b" from ").filter(|(_, host)| is_host(host)) {
        Some((user, host)) => Event { user, detail, ..event.from(host, 0) },
        None => Event { user: who, detail, ..event },
    })
}

/// The peer tried as often as it may.
fn too_many(message: &[u8]) -> Option<Event<'_>> {
    let event = event(Action::TooMany);
    if let Some(rest) = message.strip_prefix(b"maximum authentication attempts exceeded for ") {
        let (before, peer) = last_peer(rest, b"")?;
        let (user, marks) = user(before);
        return Some(Event { user, marks, ..event.from(peer.host, peer.port) });
    }
    let reason = b"Too many authentication failures";
    if let Some(rest) = message.strip_prefix(b"Disconnecting: Too many authentication failures") {
        let (user, marks) = user(rest.strip_prefix(b" for ").unwrap_or(b""));
        return Some(Event { user, marks, ..event });
    }
    let (before, rest) = split_last(message, b": ")?;
    if rest != reason {
        return None;
    }
    let (user, marks, host, port) = party(before.strip_prefix(b"Disconnecting ")?)?;
    Some(Event { user, marks, ..event.from(host, port) })
}

/// Connections were dropped before anything was said.
fn throttled(message: &[u8]) -> Option<Event<'_>> {
    let event = event(Action::Throttled);
    if message.starts_with(b"beginning MaxStartups throttling") {
        return Some(Event { detail: message, ..event });
    }
    let rest = message.strip_prefix(b"drop connection ")?;
    let Some((_, rest)) = split(rest, b" from [") else {
        return Some(Event { detail: message, ..event });
    };
    let (host, rest) = split(rest, b"]:")?;
    let (number, detail) = word(rest);
    Some(Event { detail, ..event.from(host, port(number)?) })
}

/// A connection ended.
fn ended(message: &[u8]) -> Option<Event<'_>> {
    let event = event(Action::Disconnected);
    for beginning in [&b"Connection closed by "[..], b"Connection reset by ", b"Disconnected from "]
    {
        if let Some(rest) = message.strip_prefix(beginning) {
            let (user, marks, host, port) = party(rest)?;
            return Some(Event { user, marks, ..event.from(host, port) });
        }
    }
    if let Some(rest) = message.strip_prefix(b"Received disconnect from ") {
        // `HOST port N:11: reason`, before release 7 `HOST: 11: reason`.
        let (host, rest) = word(rest);
        let (port, detail) = match (word(rest), host.strip_suffix(b":")) {
            (_, Some(_)) => (0, rest),
            ((b"port", rest), None) => {
                let (number, detail) = split(rest, b":")?;
                (port(number)?, detail)
            }
            _ => return None,
        };
        let host = host.strip_suffix(b":").unwrap_or(host);
        return is_host(host).then(|| Event { detail, ..event.from(host, port) });
    }
    let rest = message.strip_prefix(b"Disconnecting")?;
    if let Some(detail) = rest.strip_prefix(b": ") {
        return Some(Event { detail, ..event });
    }
    disconnecting(rest.strip_prefix(b" ")?, event)
}

/// `[authenticating |invalid ]user NAME HOST port N: reason`. Name and reason may both hold what
/// looks like the middle, but a reason that holds a name holds the same one.
fn disconnecting<'a>(text: &'a [u8], event: Event<'a>) -> Option<Event<'a>> {
    let changed = b"Change of username or service not allowed: (";
    let (mut found, mut candidates, mut end) = (None, 0, text.len());
    for _ in 0..CANDIDATES_MAX {
        let Some(at) = find_last(&text[..end], b": ") else { break };
        end = at + 1;
        let Some((name, marks, host, port)) = party(&text[..at]).filter(|p| p.3 != 0) else {
            continue;
        };
        candidates += 1;
        let detail = &text[at + 2..];
        let fits = match detail.strip_prefix(changed) {
            Some(names) => names.strip_prefix(name).is_some_and(|rest| rest.starts_with(b",")),
            None => true,
        };
        if found.is_none() || fits {
            found = Some((name, marks, host, port, detail));
        }
    }
    let (user, mut marks, host, port, detail) = found?;
    marks.ambiguous = candidates > 1;
    Some(Event { user, marks, detail, ..event.from(host, port) })
}

/// `[authenticating |invalid ]user NAME HOST port N`, or only `HOST[ port N]`.
fn party(text: &[u8]) -> Option<(&[u8], Marks, &[u8], u16)> {
    let (text, port) = match split_last(text, b" port ") {
        Some((before, number)) => (before, port(number)?),
        None => (text, 0),
    };
    // Old releases say `by HOST`, and a name of one's own may stand before it.
    let (before, host) = split_last(text, b" ").unwrap_or((b"", text));
    if !is_host(host) {
        return None;
    }
    let before = before.strip_prefix(b"authenticating ").unwrap_or(before);
    let (name, marks) = match before.strip_prefix(b"user") {
        Some(name) => (name.strip_prefix(b" ").unwrap_or(name), Marks::default()),
        None => user(before),
    };
    Some((name, marks, host, port))
}

/// `PAM: REASON for USER from HOST`, and PAM's own counts that sshd writes.
fn pam(message: &[u8]) -> Option<Event<'_>> {
    let rest = message.strip_prefix(b"PAM: ")?;
    let (reason, rest) = split(rest, b" for ")?;
    // With several addresses of its own the server says which one was connected to.
    let rest = match split_last(rest, b" via ") {
        Some((before, own)) if address(own).is_some() => before,
        _ => rest,
    };
    let (before, peer) = last_peer(rest, b"")?;
    let (user, marks) = user(before);
    let event = event(Action::Failed).from(peer.host, peer.port);
    Some(Event { method: &message[..3], user, detail: reason, marks, ..event })
}

/// A peer that did not come as far as to log in. Its address stands behind the first words, or
/// behind what it sent; elsewhere anything that looks like one is what it sent.
fn probe(message: &[u8]) -> Option<Event<'_>> {
    if !PROBES.iter().any(|probe| message.starts_with(probe)) {
        return None;
    }
    let event = Event { detail: message, ..event(Action::Probe) };
    if let Some(rest) = message.strip_prefix(b"ssh_dispatch_run_fatal: Connection from ") {
        let read = disconnecting(rest, event);
        return Some(read.map_or(event, |read| Event { detail: message, ..read }));
    }
    let rest = match PROBES_FROM.iter().find_map(|probe| message.strip_prefix(*probe)) {
        Some(rest) => rest,
        None if message.starts_with(b"Bad protocol version identification ") => {
            split_last(message, b"' from ").map_or(&b""[..], |(_, rest)| rest)
        }
        None => b"",
    };
    let (host, rest) = word(rest);
    let host = host.strip_suffix(b":").unwrap_or(host);
    if address(host).is_none() {
        return Some(event);
    }
    let (number, _) = word(rest.strip_prefix(b"port ").unwrap_or(b""));
    let number = number.strip_suffix(b":").unwrap_or(number);
    Some(event.from(host, port(number).unwrap_or(0)))
}

/// `message repeated N times: [ MESSAGE]`, which rsyslog writes instead of the same message again.
pub fn repeated(message: &[u8]) -> Option<(u32, &[u8])> {
    let rest = message.strip_prefix(b"message repeated ")?;
    let (count, rest) = split(rest, b" times: ")?;
    let inner = between(rest.trim_ascii(), b"[", b"]")?;
    Some((number(count)?, inner.trim_ascii_start()))
}
