//! Reasons why a kernel program lost an event, counted per signal.

use crate::seen::Signal;

/// Why an event that was seen will not reach the sensor.
///
/// With the `SEEN` counters it closes each signal's ledger: `seen = delivered + lost(reason)`.
/// [`Loss::slot`] is the index into the per-CPU `LOST` array.
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
    /// The kernel had no room to watch the return of a function.
    ReturnMissed = 4,
}

impl Loss {
    /// Every reason, in the order of its number.
    pub const ALL: [Self; 5] = [
        Self::RingFull,
        Self::TableFull,
        Self::Throttled,
        Self::ScratchMissing,
        Self::ReturnMissed,
    ];

    /// Number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Number of slots in the `LOST` array: a row of signals for each reason.
    pub const SLOTS: usize = Self::COUNT * Signal::COUNT;

    /// Returns the slot of a signal's events that are lost for this reason.
    #[inline(always)]
    pub const fn slot(self, signal: Signal) -> usize {
        self as usize * Signal::COUNT + signal as usize
    }

    /// Returns the snake-case name used in metrics, ledgers and `doctor`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::TableFull => "table_full",
            Self::Throttled => "throttled",
            Self::ScratchMissing => "scratch_missing",
            Self::ReturnMissed => "return_missed",
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
