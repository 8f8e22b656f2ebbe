//! Records as they travel: cut into batches by the sensor's own code.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use brain::journal::{Past, Payload};
use sensor::batch::{Batcher, Cut};
use sensor::observation::Observation;
use wire::batch::{Batch, Lane};
use wire::codec;

use crate::mix::{Host, Load, Second};

/// Batches of hosts of one kind, and the same records cut by their signals.
#[derive(Debug, Default)]
pub struct Parcels {
    /// As sensors send them.
    pub whole: Vec<Batch>,
    /// What they would send if they had only one signal.
    pub by_signal: BTreeMap<&'static str, Vec<Batch>>,
}

impl Parcels {
    /// Lets hosts live for some seconds.
    pub fn of_hosts(seeds: std::ops::Range<u64>, load: Load, seconds: usize) -> Self {
        let mut parcels = Self::default();
        for seed in seeds {
            let mut host = Host::new(seed, load);
            let mut batcher = Batcher::new(host.start().unix_ns, host.start());
            for _ in 0..seconds {
                let second = host.next_second();
                parcels.split(&host, &second);
                let cuts = cut(&mut batcher, &host, &second);
                parcels.whole.extend(cuts.into_iter().map(|cut| cut.batch));
            }
        }
        parcels
    }

    fn split(&mut self, host: &Host, second: &Second) {
        for act in second.acts.iter().chain([&second.bulk]) {
            let mut by_signal: BTreeMap<&'static str, Vec<&Observation>> = BTreeMap::new();
            for observation in act {
                by_signal.entry(observation.signal.name()).or_default().push(observation);
            }
            for (signal, observations) in by_signal {
                let mut batcher = Batcher::new(host.start().unix_ns, host.start());
                let clock = host.clock();
                let mut cuts: Vec<Cut> =
                    observations.iter().filter_map(|o| batcher.add(o, || clock)).collect();
                cuts.extend(Lane::ALL.into_iter().filter_map(|lane| batcher.cut(lane, clock)));
                let batches = self.by_signal.entry(signal).or_default();
                batches.extend(cuts.into_iter().map(|cut| cut.batch));
            }
        }
        if let Some(coverage) = &second.coverage {
            let mut batcher = Batcher::new(host.start().unix_ns, host.start());
            batcher.add_coverage(coverage, host.clock());
            let cut = batcher.cut(Lane::Bulk, host.clock());
            let batches = self.by_signal.entry("coverage").or_default();
            batches.extend(cut.map(|cut| cut.batch));
        }
    }

    /// Reads the batches of a brain's journal.
    pub fn of_journal(folder: &Path) -> Result<Self> {
        let past = Past::list(folder, 0).context("failed to list the journal")?;
        let mut parcels = Self::default();
        let mut fault = Ok(());
        let take = |entry: brain::journal::Entry| {
            let Payload::Batch { frame, .. } = entry.payload else { return };
            match codec::decode_batch_frame(&frame) {
                Ok(batch) => parcels.whole.push(batch),
                Err(error) => fault = Err(error),
            }
        };
        past.read(0, take, |_| {}).context("failed to read the journal")?;
        fault.context("a batch of the journal cannot be read")?;
        Ok(parcels)
    }
}

/// Cuts a second as a sensor does: what is urgent at once, the rest at the end of the tick.
pub fn cut(batcher: &mut Batcher, host: &Host, second: &Second) -> Vec<Cut> {
    let clock = host.clock();
    let mut cuts = Vec::new();
    for act in &second.acts {
        cuts.extend(act.iter().filter_map(|observation| batcher.add(observation, || clock)));
        cuts.extend(batcher.cut(Lane::Security, clock));
    }
    cuts.extend(second.bulk.iter().filter_map(|observation| batcher.add(observation, || clock)));
    if let Some(coverage) = &second.coverage {
        cuts.extend(batcher.add_coverage(coverage, clock));
    }
    cuts.extend(batcher.cut(Lane::Bulk, clock));
    cuts
}
