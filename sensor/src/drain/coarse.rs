//! Packets that found no room in the exact flow table.

use aya::maps::{MapData, PerCpuArray};
use sensor_abi::flow::{FlowKey, FlowStats, coarse};
use tracing::error;

use super::tally;

/// The coarse table. Its totals are never reset, so nothing can be lost between read and reset;
/// what is new is the difference from the last read.
pub(super) struct Coarse {
    table: PerCpuArray<MapData, FlowStats>,
    before: Vec<FlowStats>,
}

impl Coarse {
    pub(super) fn new(table: PerCpuArray<MapData, FlowStats>) -> Self {
        let before = vec![FlowStats::ZERO; coarse::SLOTS as usize];
        Self { table, before }
    }

    /// Adds what is new. Reads nothing while `overflowed`, the count of packets that were sent
    /// here, is what was read last: a packet is counted there first, so a difference means that one
    /// was still on its way.
    pub(super) fn changes(&mut self, overflowed: u64, flows: &mut Vec<(FlowKey, FlowStats)>) {
        let read = self.before.iter().map(packets).sum::<u64>();
        if read == overflowed {
            return;
        }
        for (slot, before) in (0..coarse::SLOTS).zip(&mut self.before) {
            let now = match self.table.get(&slot, 0) {
                Ok(values) => tally::sum(&values),
                Err(error) => {
                    error!(%error, "the coarse flow table cannot be read");
                    return;
                }
            };
            if let Some(change) = tally::difference(now, *before) {
                flows.push((coarse::key(slot), change));
                *before = now;
            }
        }
    }
}

fn packets(stats: &FlowStats) -> u64 {
    stats.ingress.packets + stats.egress.packets
}
