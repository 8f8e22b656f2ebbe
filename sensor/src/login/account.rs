//! Messages of the programs that change accounts and groups (shadow's tools and passwd).

use super::event::{Action, Event, Parsed, Service};
use super::scan::{split, split_last, unquoted, word};

/// Programs whose messages are read here.
pub const PROGRAMS: &[&[u8]] = &[
    b"useradd",
    b"usermod",
    b"userdel",
    b"groupadd",
    b"groupmod",
    b"groupdel",
    b"groupmems",
    b"gpasswd",
    b"passwd",
    b"chpasswd",
    b"chgpasswd",
    b"newusers",
    b"chage",
    b"chfn",
    b"chsh",
    b"vipw",
    b"adduser",
    b"deluser",
];

/// Reads a message of one of [`PROGRAMS`].
pub fn parse<'a>(program: &'a [u8], message: &'a [u8]) -> Parsed<'a> {
    let message = message.trim_ascii();
    let event = |action, target| Event { program, target, ..Event::new(Service::Account, action) };
    if message.starts_with(b"failed ") || message.starts_with(b"cannot ") {
        return Parsed::Dull;
    }
    let read = made(message).or_else(|| changed(message)).or_else(|| removed(message));
    if let Some((action, target, detail)) = read {
        return Parsed::Event(Event { detail, ..event(action, target) });
    }
    // `add 'bob' to group 'sudo'`, `user bob added by root to group sudo`.
    if let Some((member, by, group)) = member(message) {
        let event = event(Action::GroupChanged, unquoted(member));
        return Parsed::Event(Event { user: unquoted(by), detail: unquoted(group), ..event });
    }
    match secret(message) {
        Some((target, user)) => {
            Parsed::Event(Event { user, ..event(Action::PasswordChanged, target) })
        }
        None => Parsed::Unknown,
    }
}

/// What was done, to whom or what, and the details.
type Change<'a> = (Action, &'a [u8], &'a [u8]);

/// `new user: name=bob, UID=…`, `new group: name=…`, `group added to /etc/group: name=…`.
fn made(message: &[u8]) -> Option<Change<'_>> {
    for (beginning, action) in [
        (&b"new user: name="[..], Action::AccountAdded),
        (b"new group: name=", Action::GroupAdded),
        (b"group added to /etc/group: name=", Action::GroupAdded),
        (b"group added to /etc/gshadow: name=", Action::GroupAdded),
    ] {
        if let Some(rest) = message.strip_prefix(beginning) {
            let (name, detail) = split(rest, b", ").unwrap_or((rest, b""));
            return Some((action, name.strip_suffix(b",").unwrap_or(name), detail));
        }
    }
    None
}

/// `change user 'bob' UID from '1' to '0'`, `change user name 'a' to 'b'`,
/// `changed user 'bob' shell to …`, `group changed in /etc/group (group dev/1002, …)`.
fn changed(message: &[u8]) -> Option<Change<'_>> {
    for (beginning, action) in [
        (&b"lock user "[..], Action::PasswordChanged),
        (b"unlock user ", Action::PasswordChanged),
        (b"change user name ", Action::AccountChanged),
        (b"changed password expiry for ", Action::AccountChanged),
        (b"changed user ", Action::AccountChanged),
        (b"change user ", Action::AccountChanged),
    ] {
        if let Some(rest) = message.strip_prefix(beginning) {
            let (name, what) = word(rest);
            let password = action == Action::AccountChanged && what == b"password";
            let action = if password { Action::PasswordChanged } else { action };
            return Some((action, unquoted(name), what));
        }
    }
    let rest = message.strip_prefix(b"group changed in ")?;
    let (_, rest) = split(rest, b"(group ")?;
    let name = rest.split(|b| b"/,)".contains(b)).next()?;
    Some((Action::GroupChanged, name, message))
}

/// `delete user 'bob'`, `removed group 'bob' owned by 'bob'`, `group 'dev' removed[ from FILE]`,
/// `delete 'bob' from group 'sudo'` is not one of them.
fn removed(message: &[u8]) -> Option<Change<'_>> {
    for (beginning, action) in [
        (&b"delete user "[..], Action::AccountRemoved),
        (b"removed group ", Action::GroupRemoved),
        (b"removed shadow group ", Action::GroupRemoved),
    ] {
        if let Some(rest) = message.strip_prefix(beginning) {
            return Some((action, unquoted(word(rest).0), b""));
        }
    }
    let rest = message.strip_prefix(b"group ")?;
    let (name, rest) = word(rest);
    rest.starts_with(b"removed").then(|| (Action::GroupRemoved, unquoted(name), rest))
}

/// Returns who became or ceased to be a member, by whom, of which group.
fn member(message: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    for (beginning, middle) in [
        (&b"add "[..], &b" to group "[..]),
        (b"add ", b" to shadow group "),
        (b"delete ", b" from group "),
        (b"delete ", b" from shadow group "),
    ] {
        if let Some((name, group)) =
            message.strip_prefix(beginning).and_then(|rest| split(rest, middle))
        {
            return Some((name, b"", group));
        }
    }
    if let Some(rest) = message.strip_prefix(b"members of group ") {
        let (group, rest) = split(rest, b" set by ")?;
        let (by, members) = split(rest, b" to ")?;
        return Some((members, by, group));
    }
    let rest = message.strip_prefix(b"user ")?;
    let added = split(rest, b" added by ").zip(Some(&b" to group "[..]));
    let removed = split(rest, b" removed by ").zip(Some(&b" from group "[..]));
    let ((name, rest), middle) = added.or(removed)?;
    let (by, group) = split_last(rest, middle)?;
    Some((name, by, group))
}

/// `password for 'bob' changed by 'root'`, `change user password`, `password of group dev changed
/// by root`.
fn secret(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = (message.strip_prefix(b"password for "))
        .or_else(|| message.strip_prefix(b"password of group "))?;
    let (name, by) = split(rest, b" changed by ")?;
    Some((unquoted(name), unquoted(by)))
}
