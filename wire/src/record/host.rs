//! What the sensor knows of itself and of its host.

use serde::{Deserialize, Serialize};

use super::with_texts;
use crate::text::StrId;

/// What the sensor saw, delivered and lost since the last such record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    /// Begin of the span.
    pub start_ns: u64,
    /// End of the span.
    pub end_ns: u64,
    /// Every hook of the probe table.
    pub hooks: Vec<Hook>,
    /// One line per signal and outcome.
    pub ledger: Vec<LedgerLine>,
    /// Longest time that a record waited in a ring before the sensor read it.
    pub drain_lag_ns: u64,
    /// Processor time of the sensor in the span.
    pub cpu_ns: u64,
    /// Resident memory of the sensor.
    pub memory_bytes: u64,
    /// Every kernel map.
    pub maps: Vec<MapFill>,
    /// When an act that the sensor performs on purpose was last seen through the whole path; 0
    /// before the first.
    pub canary_ns: u64,
}

/// One hook of the probe table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Name in the probe table, such as `flow-ingress`.
    pub name: StrId,
    /// How it is attached, such as `xdp native` or `tracepoint`; empty when it is not.
    pub attached: StrId,
    /// Why not, or what stands in; empty when the preferred way is attached.
    pub reason: StrId,
}

/// How many records of a signal met an outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// Signal, such as `exec`.
    pub signal: StrId,
    /// `seen`, `delivered`, or the reason of a loss.
    pub outcome: StrId,
    /// Records.
    pub count: u64,
}

/// How full a kernel map is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// The map's name.
    pub name: StrId,
    /// Entries in use; for a ring, bytes.
    pub used: u64,
    /// Entries that there is room for; for a ring, bytes.
    pub capacity: u64,
    /// Kernel memory that it takes.
    pub bytes: u64,
}

with_texts! {
    /// Something that the host has: reported at start and when it changes.
    pub struct Inventory {
        /// When it was looked at.
        time_ns: u64,
        /// See [`inventory_kind`].
        kind: u8,
        /// See [`inventory_change`].
        change: u8,
    }
    texts {
        /// Its name.
        name,
        /// Its version.
        version,
        /// What else there is to say: architecture, home and shell, address and owner.
        detail,
    }
}

/// Values of [`Inventory::kind`].
pub mod inventory_kind {
    /// An installed package.
    pub const PACKAGE: u8 = 1;
    /// A user account.
    pub const USER: u8 = 2;
    /// A group.
    pub const GROUP: u8 = 3;
    /// A listening socket.
    pub const LISTENER: u8 = 4;
    /// The running kernel.
    pub const KERNEL: u8 = 5;
    /// The operating system's release.
    pub const SYSTEM: u8 = 6;
}

/// Values of [`Inventory::change`].
pub mod inventory_change {
    /// It was there when the sensor started.
    pub const PRESENT: u8 = 1;
    /// It is new.
    pub const ADDED: u8 = 2;
    /// It is gone.
    pub const REMOVED: u8 = 3;
    /// It is another version, or has other details.
    pub const CHANGED: u8 = 4;
}
