//! Log-ins and changes of identity, as the host's own log tells them.

use super::{Address, ProcessRef, with_texts};

with_texts! {
    /// A line of the authentication log that says something.
    pub struct Login {
        /// When, by the log.
        time_ns: u64,
        /// The process that wrote the line, when it is known.
        process: ProcessRef,
        /// See [`login_action`].
        action: u8,
        /// Bits of [`login_flag`].
        flags: u8,
        /// How often, for a line that says it was repeated.
        count: u32,
        /// Process id in the line; 0 without one.
        pid: u32,
        /// Where from.
        remote: Address,
        /// Port there; 0 when not known.
        remote_port: u16,
    }
    texts {
        /// Who wrote it: `sshd`, `sudo`, `su`, `login`, …
        service,
        /// Who logs in, or who acts.
        user,
        /// As whom a command runs, or whose account changes.
        target_user,
        /// How: `password`, `publickey`, …
        method,
        /// Fingerprint of the key.
        key,
        /// Terminal.
        tty,
        /// Command that was run.
        command,
        /// Working directory of the command.
        cwd,
        /// Where from, as the line has it: an address or a name.
        remote_name,
        /// The reason, the group, or what was changed.
        detail,
        /// The whole message.
        message,
    }
}

/// Values of [`Login::action`].
pub mod login_action {
    /// Authentication succeeded.
    pub const ACCEPTED: u8 = 1;
    /// Authentication failed.
    pub const FAILED: u8 = 2;
    /// The user does not exist.
    pub const INVALID_USER: u8 = 3;
    /// A session was opened.
    pub const SESSION_OPENED: u8 = 4;
    /// A session was closed.
    pub const SESSION_CLOSED: u8 = 5;
    /// The peer left before it was authenticated.
    pub const LEFT_EARLY: u8 = 6;
    /// The peer left.
    pub const DISCONNECTED: u8 = 7;
    /// Too many attempts.
    pub const TOO_MANY: u8 = 8;
    /// A command was run as another user.
    pub const COMMAND: u8 = 9;
    /// A rule refused a command or a log-in.
    pub const REFUSED: u8 = 10;
    /// An account or group was created.
    pub const ACCOUNT_CREATED: u8 = 11;
    /// An account or group was changed.
    pub const ACCOUNT_CHANGED: u8 = 12;
    /// An account or group was deleted.
    pub const ACCOUNT_DELETED: u8 = 13;
    /// A password was changed.
    pub const PASSWORD_CHANGED: u8 = 14;
    /// A line of a known service that says none of these.
    pub const OTHER: u8 = 15;
    /// A peer connected that did not go on to log in: no banner, another protocol, no common
    /// cipher.
    pub const PROBE: u8 = 16;
    /// Connections were dropped because there were too many.
    pub const THROTTLED: u8 = 17;
}

/// Bits of [`Login::flags`].
pub mod login_flag {
    /// The user does not exist.
    pub const INVALID_USER: u8 = 1 << 0;
    /// It happened before the log-in was done.
    pub const PREAUTH: u8 = 1 << 1;
    /// The line can be read in two ways, because somebody chose a name that looks like the message.
    pub const AMBIGUOUS: u8 = 1 << 2;
    /// The line goes on where an earlier one ended.
    pub const CONTINUED: u8 = 1 << 3;
    /// The journal says that another program than the named one wrote the line.
    pub const FOREIGN_WRITER: u8 = 1 << 4;
    /// The line is cut.
    pub const CUT: u8 = 1 << 5;
}
