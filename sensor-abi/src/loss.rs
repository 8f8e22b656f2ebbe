//! Reasons why a kernel program lost an event, counted per signal.

/// Why an event that was seen will not reach the sensor.
///
/// With the `SEEN` counters it closes each signal's ledger: `seen = delivered + lost(reason)`. The
/// discriminant is the row of the per-CPU `LOST` array.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The record's ring had no room.
    RingFull = 0,
    /// The table that counts it had no room.
    TableFull = 1,
    /// Its cgroup had used up what it may report at once.
    Throttled = 2,
    /// A per-CPU scratch buffer was missing.
    ScratchMissing = 3,
}

impl Loss {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 4] =
        [Self::RingFull, Self::TableFull, Self::Throttled, Self::ScratchMissing];

    /// Number of rows in the `LOST` array.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the snake-case name used in metrics, ledgers and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::TableFull => "table_full",
            Self::Throttled => "throttled",
            Self::ScratchMissing => "scratch_missing",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_at_its_own_index() {
        for (index, loss) in Loss::ALL.iter().enumerate() {
            assert_eq!(*loss as usize, index, "{}", loss.name());
        }
    }
}
