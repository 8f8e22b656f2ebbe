//! Signals whose events the kernel programs count before anything else can go wrong.

/// A signal with its own `SEEN` counter: every event that its hook saw inside the scope.
///
/// Together with [`crate::loss::Loss`] it closes the ledger: `seen = delivered + lost(reason)`.
/// The discriminant is the index into the per-CPU `SEEN` array.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Programs executed ([`crate::record::Exec`]).
    Exec = 0,
    /// Processes created ([`crate::record::Fork`]).
    Fork = 1,
    /// Processes ended ([`crate::record::Exit`]).
    Exit = 2,
    /// TCP sockets that changed their state ([`crate::record::Socket`]).
    Socket = 3,
    /// Kernel modules loaded ([`crate::record::Module`]).
    Module = 4,
    /// Packets seen by XDP and tc.
    Flow = 5,
    /// System calls seen in counting windows.
    Syscall = 6,
    /// Calls that sent or received through a socket.
    Use = 7,
    /// One-packet probes that were counted in sketches.
    Sweep = 8,
    /// DNS messages.
    Dns = 9,
    /// TLS greetings.
    Tls = 10,
    /// Watched files that were touched.
    File = 11,
    /// Acts on any file, and forks, that are only counted.
    Activity = 12,
    /// Memory that was touched ([`crate::record`]).
    Memory = 13,
    /// Privileges that were used or gained.
    Privilege = 14,
    /// Requests to io_uring.
    Uring = 15,
    /// Lines of the authentication log.
    Login = 16,
    /// What the host has; the sensor itself sees it.
    Inventory = 17,
    /// Files to be scanned; the sensor itself sees them.
    Scan = 18,
}

impl Signal {
    /// Every signal, in the order of its number.
    pub const ALL: [Self; 19] = [
        Self::Exec,
        Self::Fork,
        Self::Exit,
        Self::Socket,
        Self::Module,
        Self::Flow,
        Self::Syscall,
        Self::Use,
        Self::Sweep,
        Self::Dns,
        Self::Tls,
        Self::File,
        Self::Activity,
        Self::Memory,
        Self::Privilege,
        Self::Uring,
        Self::Login,
        Self::Inventory,
        Self::Scan,
    ];

    /// Number of slots in the `SEEN` array.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the name used in ledgers and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Fork => "fork",
            Self::Exit => "exit",
            Self::Socket => "socket",
            Self::Module => "module",
            Self::Flow => "flow",
            Self::Syscall => "syscall",
            Self::Use => "use",
            Self::Sweep => "sweep",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::File => "file",
            Self::Activity => "activity",
            Self::Memory => "memory",
            Self::Privilege => "privilege",
            Self::Uring => "uring",
            Self::Login => "login",
            Self::Inventory => "inventory",
            Self::Scan => "scan",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_signal_at_its_own_index() {
        for (index, signal) in Signal::ALL.iter().enumerate() {
            assert_eq!(*signal as usize, index, "{}", signal.name());
        }
    }
}
