//! A process touched memory in a way that injection and fileless execution need.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Header, Stdio};

/// Room for the name of a memory file, with NUL; more is cut and flagged.
pub const MEMORY_NAME_LEN: usize = 64;

/// Memory was touched, on the security ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Memory {
    /// Who did it.
    pub header: Header,
    /// Start of the process whose memory it is, nanoseconds since boot; 0 when not known.
    pub target_start_ns: u64,
    /// Address in the target.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// `ptrace`'s request, `memfd_create`'s flags, or the descriptor.
    pub argument: u64,
    /// What the call returned: a small negative number is an error.
    pub result: i64,
    /// Thread group id of the process whose memory it is; 0 when it is the own one or not known.
    pub target_tgid: u32,
    /// See [`crate::act::memory`].
    pub action: u32,
    /// Bits of [`crate::act::flag`].
    pub flags: u32,
    /// Keeps the size a multiple of eight without padding.
    pub reserved: u32,
    /// The socket that became a standard stream.
    pub stream: Stdio,
    /// The memory file's name, ended by NUL, with `memfd:` before it where the kernel puts that.
    pub name: [u8; MEMORY_NAME_LEN],
}

const _: () = assert!(size_of::<Memory>() == 40 + 5 * 8 + 4 * 4 + 24 + MEMORY_NAME_LEN);
