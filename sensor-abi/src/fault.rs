//! Numbered reasons why a kernel program gave up on something, counted per CPU.

/// Why a program could not record something that its hook saw.
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
    /// The exact flow table was full; the packet was counted under the coarse key.
    FlowTableFull = 2,
    /// Neither the exact nor the coarse flow table had room.
    FlowCoarseFull = 3,
    /// The security ring was full.
    SecurityRingFull = 4,
    /// The process ring was full.
    ProcessRingFull = 5,
    /// The arguments could not be read from the task's memory.
    ArgsUnreadable = 6,
    /// The executable's path could not be walked.
    PathUnreadable = 7,
    /// A kernel field that the program needs has no known offset.
    OffsetUnknown = 8,
    /// The table of connecting sockets was full, so a connection has no process.
    SocketTableFull = 9,
    /// The syscall count table was full.
    SyscallTableFull = 10,
    /// A per-CPU scratch buffer was missing.
    ScratchMissing = 11,
}

impl Fault {
    /// Every fault, in the order of its number.
    pub const ALL: [Self; 12] = [
        Self::PacketTruncated,
        Self::PacketNotIp,
        Self::FlowTableFull,
        Self::FlowCoarseFull,
        Self::SecurityRingFull,
        Self::ProcessRingFull,
        Self::ArgsUnreadable,
        Self::PathUnreadable,
        Self::OffsetUnknown,
        Self::SocketTableFull,
        Self::SyscallTableFull,
        Self::ScratchMissing,
    ];

    /// Number of slots in the `FAULTS` array.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the snake-case name used in metrics, ledgers and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PacketTruncated => "packet_truncated",
            Self::PacketNotIp => "packet_not_ip",
            Self::FlowTableFull => "flow_table_full",
            Self::FlowCoarseFull => "flow_coarse_full",
            Self::SecurityRingFull => "security_ring_full",
            Self::ProcessRingFull => "process_ring_full",
            Self::ArgsUnreadable => "args_unreadable",
            Self::PathUnreadable => "path_unreadable",
            Self::OffsetUnknown => "offset_unknown",
            Self::SocketTableFull => "socket_table_full",
            Self::SyscallTableFull => "syscall_table_full",
            Self::ScratchMissing => "scratch_missing",
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
