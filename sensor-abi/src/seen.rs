//! Signals whose events the kernel programs count before anything else can go wrong.

/// A signal with its own `SEEN` counter: every event that its hook saw inside the scope.
///
/// Together with the fault counters it closes the ledger: `seen = delivered + lost(reason)`.
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
}

impl Signal {
    /// Every signal, in the order of its number.
    pub const ALL: [Self; 7] =
        [Self::Exec, Self::Fork, Self::Exit, Self::Socket, Self::Module, Self::Flow, Self::Syscall];

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
