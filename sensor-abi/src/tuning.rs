//! Settings that the sensor changes while the programs run.

use crate::{call, parse::payload::DNS_PORTS};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the programs read anew for every event. Unlike [`crate::config::Config`] it is not frozen,
/// so the verifier takes each value for anything.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tuning {
    /// First bytes of the environment variables that exec records carry, see [`Variable`].
    pub variables: [Variable; VARIABLES_MAX],
    /// One bit for each number of a system call, by any convention, whose end a program waits for:
    /// all other calls are let go at once.
    pub calls: [u64; CALL_WORDS],
    /// Ports on which DNS is spoken; 0 stands for none.
    pub dns_ports: [u16; DNS_PORTS],
    /// Whether greetings of TLS clients are recorded: 1 or 0.
    pub tls: u64,
}

/// Words of [`Tuning::calls`].
pub const CALL_WORDS: usize = call::NUMBERS as usize / 64;

/// Environment variables that can be asked for. Each costs a comparison per variable of every
/// executed program.
pub const VARIABLES_MAX: usize = 8;

/// The begin of an environment variable, `NAME=` cut to eight bytes: enough to leave out nearly all
/// others in the kernel; the sensor compares the whole name.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Variable {
    /// The bytes, in the order of memory; zero behind the end.
    pub begin: [u8; 8],
    /// Ones where `begin` counts.
    pub mask: [u8; 8],
}

impl Variable {
    /// Fits no variable, since none begins with NUL.
    pub const NONE: Self = Self { begin: [0; 8], mask: [0xff; 8] };

    /// Builds it for a variable's name.
    pub fn named(name: &[u8]) -> Self {
        let mut variable = Self { begin: [0; 8], mask: [0; 8] };
        for (at, byte) in name.iter().chain(b"=").take(8).enumerate() {
            (variable.begin[at], variable.mask[at]) = (*byte, 0xff);
        }
        variable
    }
}

const _: () = assert!(size_of::<Tuning>() == 16 * VARIABLES_MAX + 8 * CALL_WORDS + 8 + 8);

#[cfg(feature = "user")]
// SAFETY: `Tuning` is `repr(C)`, without padding (zerocopy's `IntoBytes` proves it), and `Copy`.
unsafe impl aya::Pod for Tuning {}
