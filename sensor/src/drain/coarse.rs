//! Packets that found no room in any table of flows: counts by family and protocol.

use aya::maps::{MapData, PerCpuArray, PerCpuValues};
use sensor_abi::flow::{FlowKey, FlowStats, coarse};
use tracing::error;

use super::tally;

/// The table of both generations. It is only looked at when something was counted there.
pub(super) struct Coarse {
    table: PerCpuArray<MapData, FlowStats>,
}

impl Coarse {
    pub(super) fn new(table: PerCpuArray<MapData, FlowStats>) -> Self {
        Self { table }
    }

    /// Takes what a generation has, which nobody writes now, and sets it back to zero.
    pub(super) fn take(&mut self, half: u32, mut on: impl FnMut(FlowKey, &[FlowStats])) {
        for slot in 0..coarse::SLOTS {
            if let Err(error) =
                self.take_slot(half * coarse::SLOTS + slot, coarse::key(slot), &mut on)
            {
                error!(%error, "the coarse flow table cannot be read");
                return;
            }
        }
    }

    fn take_slot(
        &mut self,
        slot: u32,
        key: FlowKey,
        on: &mut impl FnMut(FlowKey, &[FlowStats]),
    ) -> Result<(), Box<dyn std::error::Error>> {
        let values = self.table.get(&slot, 0)?;
        if tally::sum(&values) == FlowStats::ZERO {
            return Ok(());
        }
        let zeros = PerCpuValues::try_from(vec![FlowStats::ZERO; values.len()])?;
        self.table.set(slot, zeros, 0)?;
        on(key, &values);
        Ok(())
    }
}
