//! Log-ins, and what the host has.

use std::net::IpAddr;

use bytes::Bytes;
use wire::record as wired;

closed! {
    /// What a log says about a log-in or an account.
    pub enum LoginAction in login_action {
        /// Authentication succeeded.
        Accepted = ACCEPTED,
        /// Authentication failed.
        Failed = FAILED,
        /// The user does not exist.
        InvalidUser = INVALID_USER,
        /// A session was opened.
        SessionOpened = SESSION_OPENED,
        /// A session was closed.
        SessionClosed = SESSION_CLOSED,
        /// The peer left before it was authenticated.
        LeftEarly = LEFT_EARLY,
        /// The peer left.
        Disconnected = DISCONNECTED,
        /// Too many attempts.
        TooMany = TOO_MANY,
        /// A command was run as another user.
        Command = COMMAND,
        /// A rule refused a command or a log-in.
        Refused = REFUSED,
        /// An account or group was created.
        AccountCreated = ACCOUNT_CREATED,
        /// An account or group was changed.
        AccountChanged = ACCOUNT_CHANGED,
        /// An account or group was deleted.
        AccountDeleted = ACCOUNT_DELETED,
        /// A password was changed.
        PasswordChanged = PASSWORD_CHANGED,
        /// A line of a known service that says none of these.
        Other = OTHER,
        /// A peer connected that did not go on to log in.
        Probe = PROBE,
        /// Connections were dropped because there were too many.
        Throttled = THROTTLED,
    }
}

/// A line of an authentication log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// What it says.
    pub action: LoginAction,
    /// Bits of [`wired::login_flag`].
    pub flags: u8,
    /// How often.
    pub count: u32,
    /// Process id in the line; 0 without one.
    pub pid: u32,
    /// Where from, when the line has an address.
    pub remote: Option<IpAddr>,
    /// Port there; 0 when not known.
    pub remote_port: u16,
    /// Who wrote it.
    pub service: Bytes,
    /// Who logs in, or who acts.
    pub user: Bytes,
    /// As whom a command runs, or whose account changes.
    pub target_user: Bytes,
    /// How.
    pub method: Bytes,
    /// Type and fingerprint of the key.
    pub key: Bytes,
    /// Terminal.
    pub tty: Bytes,
    /// Command that was run.
    pub command: Bytes,
    /// Working directory of the command.
    pub cwd: Bytes,
    /// Where from, as the line has it.
    pub remote_name: Bytes,
    /// The reason, the group, or what was changed.
    pub detail: Bytes,
    /// The whole message.
    pub message: Bytes,
}

pub(super) fn login(r: wired::Login<Bytes>) -> Login {
    Login {
        action: LoginAction::of(r.action),
        flags: r.flags,
        count: r.count,
        pid: r.pid,
        remote: (r.remote != wired::Address::default()).then(|| r.remote.to_ip()),
        remote_port: r.remote_port,
        service: r.service,
        user: r.user,
        target_user: r.target_user,
        method: r.method,
        key: r.key,
        tty: r.tty,
        command: r.command,
        cwd: r.cwd,
        remote_name: r.remote_name,
        detail: r.detail,
        message: r.message,
    }
}

closed! {
    /// What kind of thing a host has.
    pub enum InventoryKind in inventory_kind {
        /// An installed package.
        Package = PACKAGE,
        /// A user account.
        User = USER,
        /// A group.
        Group = GROUP,
        /// A listening socket.
        Listener = LISTENER,
        /// The running kernel.
        Kernel = KERNEL,
        /// The operating system's release.
        System = SYSTEM,
    }
}

closed! {
    /// How what a host has changed.
    pub enum InventoryChange in inventory_change {
        /// It was there when the sensor started.
        Present = PRESENT,
        /// It is new.
        Added = ADDED,
        /// It is gone.
        Removed = REMOVED,
        /// It is another version, or has other details.
        Changed = CHANGED,
    }
}

/// Something that the host has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// What kind of thing it is.
    pub kind: InventoryKind,
    /// What changed.
    pub change: InventoryChange,
    /// Its name.
    pub name: Bytes,
    /// Its version.
    pub version: Bytes,
    /// What else there is to say.
    pub detail: Bytes,
}

pub(super) fn inventory(r: wired::Inventory<Bytes>) -> Inventory {
    Inventory {
        kind: InventoryKind::of(r.kind),
        change: InventoryChange::of(r.change),
        name: r.name,
        version: r.version,
        detail: r.detail,
    }
}
