//! Payloads of packets, on the payload ring.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::Header;
use crate::parse::payload::TLS_MAX;

/// A message that a packet carried: the fixed part below, then [`Payload::captured`] bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Payload {
    /// Kind and time; who sent or gets it is not known here.
    pub header: Header,
    /// The host's address (v4-mapped for IPv4).
    pub local_addr: [u8; 16],
    /// The peer's address, likewise.
    pub remote_addr: [u8; 16],
    /// A number that equal DNS messages share, see [`crate::parse::payload::fingerprint`].
    pub fingerprint: u64,
    /// Interface that saw the packet.
    pub ifindex: u32,
    /// Bytes of the payload in the packet.
    pub length: u32,
    /// The host's port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// Bytes that follow.
    pub captured: u16,
    /// See [`crate::parse::payload::form`].
    pub form: u8,
    /// 1 when the packet left the host, 0 when it arrived.
    pub egress: u8,
}

/// Longest record.
pub const RECORD_MAX: usize = size_of::<Payload>() + TLS_MAX;

const _: () = assert!(size_of::<Payload>() == 40 + 32 + 8 + 8 + 8);

/// How often a DNS message came again in one drain interval.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Repeats {
    /// Times after the first.
    pub count: u64,
    /// The last time, nanoseconds since boot.
    pub last_ns: u64,
}

impl Repeats {
    /// Not yet.
    pub const ZERO: Self = Self { count: 0, last_ns: 0 };
}

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for Payload {}
#[cfg(feature = "user")]
// SAFETY: as above.
unsafe impl aya::Pod for Repeats {}
