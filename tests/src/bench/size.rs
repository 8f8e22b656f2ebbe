//! Bytes of a record on the wire, beside the same record as JSON and as compressed JSON.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use sensor::batch::Batcher;
use sensor::clock::ClockPair;
use sensor::collect::Collector;
use sensor::ledger::Ledger;
use sensor::observation::Observation;
use sensor::probe::{Scope, Settings};
use sensor::watch;
use serde_json::{Value, json};
use wire::batch::Lane;
use wire::codec;

use super::watcher::Stand;
use super::workload::{WORKLOADS, Workload};

/// Part of the usual storms: enough ticks to fill batches.
const SCALE: f64 = 0.1;

/// One signal's records.
#[derive(Debug, Default)]
pub struct Size {
    signal: &'static str,
    records: usize,
    wire: usize,
    json: usize,
    gzip: usize,
}

/// Records real storms with a collector of our own, tick by tick, and measures each signal.
pub fn measure(stand: &Stand) -> Result<Vec<Size>> {
    let mut sizes: BTreeMap<&'static str, Size> = BTreeMap::new();
    for tick in record(stand)? {
        let mut by_signal: BTreeMap<&'static str, Vec<Observation>> = BTreeMap::new();
        for observation in tick {
            by_signal.entry(observation.signal.name()).or_default().push(observation);
        }
        for (signal, observations) in by_signal {
            let size = sizes.entry(signal).or_insert(Size { signal, ..Size::default() });
            size.records += observations.len();
            size.wire += on_the_wire(&observations)?;
            let start = ClockPair::default();
            let text: String = observations.iter().map(|o| json(o, start)).collect();
            size.json += text.len();
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text.as_bytes())?;
            size.gzip += encoder.finish()?.len();
        }
    }
    Ok(sizes.into_values().collect())
}

/// A record as others would send it: with its process, but without the process's ancestors.
fn json(observation: &Observation, start: ClockPair) -> String {
    let mut observation = observation.clone();
    observation.lineage.truncate(1);
    watch::json_line(&observation, start)
}

/// What a host of the stand does under all storms, one list per tick.
fn record(stand: &Stand) -> Result<Vec<Vec<Observation>>> {
    let place = stand.hosts.place(stand.client);
    let settings = Settings {
        scope: Scope { cgroup: Some(place.cgroup), netns: place.netns },
        interfaces: vec!["eth0".to_owned()],
        ..Settings::default()
    };
    let ledger = RefCell::new(Ledger::default());
    let mut collector = Collector::start(&settings, Vec::new()).context("no programs")?;
    let mut ticks = Vec::new();
    for workload in WORKLOADS {
        // Bare system calls and files that nobody watches make no records.
        if matches!(workload, Workload::Syscall | Workload::Open) {
            continue;
        }
        let operations = workload.operations(SCALE);
        for _ in 0..2 {
            workload.run(stand, operations)?;
            let mut tick = Vec::new();
            collector.tick(&ledger, &mut |observation| tick.push(observation));
            ticks.push(tick);
        }
    }
    Ok(ticks)
}

fn on_the_wire(observations: &[Observation]) -> Result<usize> {
    let clock = ClockPair::now();
    let mut batcher = Batcher::new(1, clock);
    let mut cuts: Vec<_> = observations.iter().filter_map(|o| batcher.add(o, || clock)).collect();
    cuts.extend(Lane::ALL.into_iter().filter_map(|lane| batcher.cut(lane, clock)));
    let frames = cuts.iter().map(|cut| codec::encode_batch(&cut.batch));
    frames.map(|frame| Ok(frame?.len())).sum()
}

impl Size {
    fn per_record(&self, bytes: usize) -> f64 {
        bytes as f64 / self.records.max(1) as f64
    }

    /// As JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "workload": "size", "signal": self.signal, "records": self.records,
            "wire_bytes": self.per_record(self.wire), "json_bytes": self.per_record(self.json),
            "gzip_json_bytes": self.per_record(self.gzip),
        })
    }

    /// For people.
    pub fn to_line(&self) -> String {
        format!(
            "size     {:<10} {:>7} records: {:>6.1} bytes each, as JSON {:>7.1} (1/{:.0}), as gzip \
             of JSON {:>6.1} (1/{:.1})",
            self.signal,
            self.records,
            self.per_record(self.wire),
            self.per_record(self.json),
            self.json as f64 / self.wire.max(1) as f64,
            self.per_record(self.gzip),
            self.gzip as f64 / self.wire.max(1) as f64,
        )
    }
}
