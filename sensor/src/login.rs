//! Log-ins and changes of accounts, from what sshd, sudo, su, PAM and their like write into logs.
//!
//! # Reading order
//! [`scan`] and [`time`] read small things, [`line`] takes a line's head off, [`sshd`], [`sudo`],
//! [`session`], [`pam`] and [`account`] read messages, [`event`] is what they make of them. All of
//! these are pure, and total over any bytes: users and peers choose parts of every line. [`tail`]
//! and [`journal`] get the lines, [`follow`] chooses between them and makes records.

pub mod account;
pub mod event;
pub mod follow;
pub mod journal;
pub mod line;
pub mod pam;
pub mod scan;
pub mod session;
pub mod show;
pub mod sshd;
pub mod sudo;
pub mod tail;
pub mod time;

use event::{Parsed, Service};

/// Bytes of a line that are read. rsyslog's and journald's own limits for a message are 8 KiB and
/// 48 KiB; nothing that is read here needs as much.
pub const LINE_MAX: usize = 8192;

/// Returns to whom a program's messages belong.
pub fn service(program: &[u8]) -> Option<Service> {
    Some(match program {
        b"sshd" | b"sshd-session" | b"sshd-auth" | b"sshd.pam" => Service::Sshd,
        b"sudo" => Service::Sudo,
        b"su" | b"runuser" => Service::Su,
        b"login" => Service::Login,
        b"CRON" | b"cron" | b"crond" => Service::Cron,
        b"systemd-logind" => Service::Logind,
        program if account::PROGRAMS.contains(&program) => Service::Account,
        _ => return None,
    })
}

/// Reads a program's message.
pub fn parse<'a>(program: &'a [u8], message: &'a [u8]) -> Parsed<'a> {
    let service = service(program);
    let (repeated, message) = sshd::repeated(message).unwrap_or((0, message));
    let parsed = match pam::parse(message, service.unwrap_or_default()) {
        // The module says for whom, unless the program is one of several with the same name there.
        Some(parsed) => parsed,
        None => match service {
            Some(Service::Sshd) => sshd::parse(message),
            Some(Service::Sudo) => sudo::sudo(message),
            Some(Service::Su) => sudo::su(message),
            Some(Service::Login) => session::login(message),
            Some(Service::Logind) => session::logind(message),
            Some(Service::Account) => account::parse(program, message),
            Some(Service::Cron | Service::Other) | None => Parsed::Foreign,
        },
    };
    match parsed {
        Parsed::Event(mut event) => {
            event.repeated = event.repeated.max(repeated);
            Parsed::Event(event)
        }
        // Of other programs' modules nobody promises anything.
        Parsed::Unknown if service.is_none() => Parsed::Foreign,
        other => other,
    }
}

#[cfg(test)]
mod tests;
