//! How large the rings of records are: what happens between two polls has to fit.

/// Bytes of each ring; nothing means what the programs were built with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// Executions, memory, privileges, modules.
    pub security: Option<u32>,
    /// Forks, exits, sockets.
    pub process: Option<u32>,
    /// Watched files.
    pub file: Option<u32>,
    /// Payloads of packets.
    pub payload: Option<u32>,
}

impl Rings {
    /// Smallest ring: a few of the longest records.
    pub const BYTES_MIN: u32 = 64 << 10;
    /// Largest ring: beyond, a sensor that falls behind so far has other troubles, and each ring is
    /// kernel memory that nothing else can use.
    pub const BYTES_MAX: u32 = 64 << 20;

    /// Returns the maps whose size is set, with their bytes.
    pub(super) fn sizes(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = [
            ("SECURITY", self.security),
            ("PROCESS", self.process),
            ("FILE", self.file),
            ("PAYLOAD", self.payload),
        ];
        all.into_iter().filter_map(|(map, bytes)| Some((map, bytes?)))
    }
}
