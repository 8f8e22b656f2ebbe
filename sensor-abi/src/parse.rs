//! Packet parsing shared by the kernel programs and the capture replayer.
//!
//! Pure and bounded: no allocation, no recursion, loops with constant limits. The packet is reached
//! only through [`cursor::Packet`], so that the kernel's bounds checks live in one place per
//! program type and everything else is the same code that is property-tested on the host.

pub mod cursor;
pub mod dns;
pub mod headers;
pub mod payload;
pub mod tls;
