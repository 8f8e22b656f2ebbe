//! What the packet programs counted: flows, coarser keys where those had no room, and probes.

use aya::maps::{Array, MapData};
use sensor_abi::{
    flow::{Fill, FlowKey, FlowStats},
    sketch::{SweepKey, SweepStats},
};
use tracing::error;

use super::{
    coarse::Coarse,
    tally,
    twin::{
        pair::Pair,
        turn::{Generation, Turn},
    },
    typed,
};
use crate::{
    clock,
    probe::{Maps, ProbeError},
};

/// The tables of both generations, which are switched together.
pub(super) struct Packets {
    turn: Turn,
    flows: Pair<FlowKey, FlowStats>,
    pairs: Pair<FlowKey, FlowStats>,
    prefixes: Pair<FlowKey, FlowStats>,
    sweeps: Pair<SweepKey, SweepStats>,
    fill: Array<MapData, Fill>,
    coarse: Coarse,
    counted: u64,
    lost_probes: u64,
    evicted: u64,
}

/// What was counted since the tables were read last.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) flows: Vec<(FlowKey, FlowStats)>,
    pub(super) sweeps: Vec<(SweepKey, SweepStats)>,
}

impl Packets {
    pub(super) fn take(
        maps: &mut Maps,
        generation: Generation,
        slot: u32,
    ) -> Result<Self, ProbeError> {
        Ok(Self {
            turn: Turn::new(generation, slot),
            flows: Pair::take(maps, ["FLOWS_EVEN", "FLOWS_ODD"])?,
            pairs: Pair::take(maps, ["PAIRS_EVEN", "PAIRS_ODD"])?,
            prefixes: Pair::take(maps, ["PREFIXES_EVEN", "PREFIXES_ODD"])?,
            sweeps: Pair::take(maps, ["SWEEPS_EVEN", "SWEEPS_ODD"])?,
            fill: typed(maps, "FILL")?,
            coarse: Coarse::new(typed(maps, "FLOWS_COARSE")?),
            counted: 0,
            lost_probes: 0,
            evicted: 0,
        })
    }

    /// Reads and empties the tables that the programs have filled.
    pub(super) fn counted(&mut self) -> Counted {
        let mut counted = Counted::default();
        let Self { turn, flows, pairs, prefixes, sweeps, fill, coarse, .. } = self;
        let (mut lost_probes, mut evicted) = (0, 0);
        turn.over(|half| {
            let offset_ns = clock::suspended_ns();
            let filled = take_fill(fill, half);
            let mut keep = |key, values: &[FlowStats]| {
                counted.flows.push((key, tally::settled(tally::sum(values), offset_ns)));
            };
            flows.read(half, &mut keep);
            // A table that got no entry needs no look, which on an idle host is most of the cost.
            if filled.pairs > 0 {
                pairs.read(half, &mut keep);
            }
            if filled.prefixes > 0 {
                prefixes.read(half, &mut keep);
            }
            if filled.coarse > 0 {
                coarse.take(half, &mut keep);
            }
            if filled.probes > 0 {
                sweeps.read(half, &mut |key, values| {
                    let Some(&stats) = values.first() else { return };
                    let last_ns = tally::last_ns(stats.first_ns, stats.last_ns, offset_ns);
                    counted.sweeps.push((key, SweepStats { last_ns, ..stats }));
                });
                let read: u64 = counted.sweeps.iter().map(|(_, stats)| stats.packets).sum();
                lost_probes = filled.probes.saturating_sub(read);
                evicted = filled.sources.saturating_sub(counted.sweeps.len() as u64);
            }
        });
        let packets = |stats: &FlowStats| stats.ingress.packets + stats.egress.packets;
        self.counted += counted.flows.iter().map(|(_, stats)| packets(stats)).sum::<u64>();
        self.lost_probes += lost_probes;
        self.evicted += evicted;
        counted
    }

    /// Returns the packets handed on since load.
    pub(super) fn packets(&self) -> u64 {
        self.counted
    }

    /// Returns the probes whose sketch was evicted since load, and how many sketches were.
    pub(super) fn evicted(&self) -> (u64, u64) {
        (self.lost_probes, self.evicted)
    }
}

/// Takes how full a generation's tables are, and sets it back. Nobody writes it now.
fn take_fill(fill: &mut Array<MapData, Fill>, half: u32) -> Fill {
    let filled = fill.get(&half, 0).unwrap_or_else(|error| {
        error!(%error, "the fill of the flow tables cannot be read");
        // Then every table is looked at.
        Fill { pairs: 1, prefixes: 1, coarse: 1, probes: 1, ..Fill::default() }
    });
    if filled != Fill::default()
        && let Err(error) = fill.set(half, Fill::default(), 0)
    {
        error!(%error, "the fill of the flow tables cannot be set back");
    }
    filled
}
