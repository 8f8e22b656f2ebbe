//! Numbered reasons why a record is poorer than it should be, counted per CPU.

/// Why a program could not find out something about an event. The event itself is not lost; those
/// that are have a [`crate::loss::Loss`].
///
/// The discriminant is the index into the per-CPU `FAULTS` array. Numbers cross the border; the
/// sensor turns them into names with [`Fault::name`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The packet ended before its headers did.
    PacketTruncated = 0,
    /// The packet is not IPv4 or IPv6; it was counted by its EtherType.
    PacketNotIp = 1,
    /// The exact flow table was full; the packet was counted under a coarser key.
    FlowTableFull = 2,
    /// The arguments could not be read from the task's memory.
    ArgsUnreadable = 3,
    /// The executable's path could not be walked.
    PathUnreadable = 4,
    /// A kernel field that the program needs has no known offset.
    OffsetUnknown = 5,
    /// The table of connecting sockets was full, so a connection has no process.
    SocketTableFull = 6,
    /// The table of timed system calls was full, so a call was counted without its time.
    CallUntimed = 7,
}

impl Fault {
    /// Every fault, in the order of its number.
    pub const ALL: [Self; 8] = [
        Self::PacketTruncated,
        Self::PacketNotIp,
        Self::FlowTableFull,
        Self::ArgsUnreadable,
        Self::PathUnreadable,
        Self::OffsetUnknown,
        Self::SocketTableFull,
        Self::CallUntimed,
    ];

    /// Number of slots in the `FAULTS` array.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the snake-case name used in metrics, ledgers and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketTruncated => "packet_truncated",
            Self::PacketNotIp => "packet_not_ip",
            Self::FlowTableFull => "flow_table_full",
            Self::ArgsUnreadable => "args_unreadable",
            Self::PathUnreadable => "path_unreadable",
            Self::OffsetUnknown => "offset_unknown",
            Self::SocketTableFull => "socket_table_full",
            Self::CallUntimed => "call_untimed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_fault_at_its_own_index() {
        for (index, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(*fault as usize, index, "{}", fault.name());
        }
    }
}
