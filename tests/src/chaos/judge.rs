//! Holds what is in the brain's journal against what was made: nothing twice, nothing lost in
//! silence, and the books of the sensors add up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use brain::journal::{Past, Payload};
use sensor::ledger::Signal;
use wire::batch::{Batch, Lane};
use wire::codec;
use wire::record::ProcessRef;
use wire::text::StrId;

use super::feed::{self, SIGNALS};

/// Ways in which each trial's journal is spoiled.
pub const CONTROLS: usize = 4;

/// A batch of the journal.
#[derive(Clone, Debug)]
pub struct Arrived {
    sensor: String,
    place: (u64, Lane),
    seq: u64,
    ids: Vec<u64>,
    ledger: Vec<(String, String, u64)>,
}

/// What a trial came to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// What is wrong; nothing in a good trial.
    pub faults: Vec<String>,
    /// Events that were made.
    pub made: u64,
    /// Events that sensors told they had seen, and that the brain had.
    pub seen: u64,
    /// See `seen`.
    pub delivered: u64,
    /// Events in the journal.
    pub present: u64,
    /// Events that sensors gave up, by reason.
    pub lost: BTreeMap<String, u64>,
    /// Events that a sensor counts as lost though the brain has them: it was never told.
    pub doubted: u64,
}

/// Reads the journal of a brain that has ended.
pub fn read(data: &Path) -> Result<Vec<Arrived>> {
    let mut arrived = Vec::new();
    let mut broken = None;
    let past = Past::list(&data.join("journal"), 0)?;
    let read = past.read(
        0,
        |entry| {
            if let Payload::Batch { sensor, frame, .. } = entry.payload {
                match codec::decode_batch_frame(&frame) {
                    Ok(batch) => arrived.push(Arrived::new(sensor.to_string(), &batch)),
                    Err(error) => broken = Some(error),
                }
            }
        },
        |_| {},
    )?;
    if let Some(error) = broken {
        return Err(error).context("the journal holds a batch that cannot be decoded");
    }
    anyhow::ensure!(read.unreadable == 0, "{} bytes of the journal are damaged", read.unreadable);
    Ok(arrived)
}

impl Arrived {
    fn new(sensor: String, batch: &Batch) -> Self {
        let named = |process: ProcessRef| {
            let process = batch.processes.get(process.0.checked_sub(1)? as usize)?;
            str::from_utf8(batch.strings.bytes(process.comm)).ok()?.parse::<u64>().ok()
        };
        let text = |id: StrId| String::from_utf8_lossy(batch.strings.bytes(id)).into_owned();
        let execs = batch.execs.iter().map(|exec| exec.process);
        let exits = batch.exits.iter().map(|exit| exit.process);
        let lines = batch.coverage.iter().flat_map(|coverage| &coverage.ledger);
        Self {
            sensor,
            place: (batch.position.epoch, batch.position.lane),
            seq: batch.position.seq,
            ids: execs.chain(exits).filter_map(named).collect(),
            ledger: lines.map(|line| (text(line.signal), text(line.outcome), line.count)).collect(),
        }
    }
}

/// Judges what arrived; `made` are the events of each sensor's signals.
pub fn judge(arrived: &[Arrived], made: &[[u64; 2]]) -> Verdict {
    let mut verdict = Verdict::default();
    sequences(arrived, &mut verdict.faults);
    for (number, made) in made.iter().enumerate() {
        one_sensor(arrived, number, made, &mut verdict);
    }
    verdict
}

/// Each sequence comes in order, once, and without gaps, and none comes back after another one:
/// a start that does is taken for another machine's.
fn sequences(arrived: &[Arrived], faults: &mut Vec<String>) {
    let mut last: BTreeMap<(&str, (u64, Lane)), u64> = BTreeMap::new();
    let mut speaking: BTreeMap<(&str, Lane), u64> = BTreeMap::new();
    for Arrived { sensor, place, seq, .. } in arrived {
        let before = speaking.insert((sensor, place.1), place.0);
        if before.is_some_and(|before| before != place.0) && last.contains_key(&(&**sensor, *place))
        {
            faults.push(format!("{sensor} {place:?}: {seq} comes after another start"));
        }
        if let Some(before) = last.insert((sensor, *place), *seq)
            && before + 1 != *seq
        {
            faults.push(format!("{sensor} {place:?}: {seq} comes after {before}"));
        }
    }
}

fn one_sensor(arrived: &[Arrived], number: usize, made: &[u64; 2], verdict: &mut Verdict) {
    let is_ours = |id: u64| id >> 32 == number as u64 + 1;
    let owner = arrived.iter().find(|batch| batch.ids.iter().any(|&id| is_ours(id)));
    let Some(owner) = owner.map(|batch| &batch.sensor) else {
        verdict.faults.push(format!("sensor {number}: nothing arrived"));
        return;
    };
    let mut present = [const { BTreeSet::new() }; 2];
    let mut told: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for batch in arrived.iter().filter(|batch| batch.sensor == *owner) {
        for &id in &batch.ids {
            if !is_ours(id) || !present[feed::kind(id)].insert(id) {
                verdict.faults.push(format!("sensor {number}: {id} is there twice or not its own"));
            }
        }
        for (signal, outcome, count) in &batch.ledger {
            *told.entry((signal, outcome)).or_default() += count;
        }
    }
    for (signal, (made, present)) in SIGNALS.into_iter().zip(made.iter().zip(&present)) {
        let told = told.iter().filter(|((of, _), _)| *of == signal.name());
        let told = told.map(|((_, outcome), count)| (*outcome, *count)).collect();
        books(number, signal, [*made, present.len() as u64], &told, verdict);
    }
}

/// What a sensor told of a signal is held against what was made of it and what is there.
fn books(
    number: usize,
    signal: Signal,
    [made, present]: [u64; 2],
    told: &BTreeMap<&str, u64>,
    verdict: &mut Verdict,
) {
    let of = |outcome: &str| told.get(outcome).copied().unwrap_or(0);
    let (seen, delivered) = (of("seen"), of("delivered"));
    let losses = told.iter().filter(|(outcome, _)| !["seen", "delivered"].contains(outcome));
    let lost: u64 = losses.clone().map(|(_, count)| count).sum();
    for (reason, count) in losses {
        *verdict.lost.entry((*reason).to_owned()).or_default() += count;
    }
    verdict.made += made;
    verdict.seen += seen;
    verdict.delivered += delivered;
    verdict.present += present;
    verdict.doubted += (present + lost).saturating_sub(made);
    let name = signal.name();
    let figures = format!("{made} made, {present} there, told: {told:?}");
    let mut fault = |what: &str| verdict.faults.push(format!("{number} {name}: {what}: {figures}"));
    if present + lost < made {
        fault("lost in silence");
    }
    if present < delivered {
        fault("acknowledged and not there");
    }
    if seen != made || seen != delivered + lost {
        fault("the books do not add up");
    }
}

/// Spoils what arrived in ways that must be noticed, and returns what was not.
pub fn unnoticed(arrived: &[Arrived], made: &[[u64; 2]]) -> Vec<&'static str> {
    let doubted = judge(arrived, made).doubted as usize;
    let fullest = arrived.iter().enumerate().max_by_key(|(_, batch)| batch.ids.len());
    let Some((at, batch)) = fullest else { return vec!["no batch to spoil"] };
    let mut doubled = arrived.to_vec();
    doubled.insert(at, batch.clone());
    // One batch less, or as many as the sensors' doubts could hide.
    let (mut removed, mut gone) = (arrived.to_vec(), 0);
    while gone <= doubted && !removed.is_empty() {
        gone += removed.remove(at.min(removed.len() - 1)).ids.len();
    }
    // The numbers are made good, so that only the events are missing.
    removed.iter_mut().for_each(|batch| batch.place = (0, Lane::Bulk));
    removed.iter_mut().zip(1..).for_each(|(batch, seq)| batch.seq = seq);
    // A line short, and a line told twice.
    let (mut untold, mut retold) = (arrived.to_vec(), arrived.to_vec());
    let last = untold.iter().rposition(|batch| !batch.ledger.is_empty());
    let Some(last) = last else { return vec!["no line to spoil"] };
    retold[last].ledger.extend(untold[last].ledger.pop());
    let spoiled: [_; CONTROLS] = [
        ("a batch doubled", doubled),
        ("a batch removed", removed),
        ("a line untold", untold),
        ("a line told twice", retold),
    ];
    let good = |batches: &[Arrived]| judge(batches, made).faults.is_empty();
    spoiled.into_iter().filter(|(_, batches)| good(batches)).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrived(seq: u64, ids: &[u64], ledger: &[(&str, &str, u64)]) -> Arrived {
        let ledger = ledger.iter().map(|&(s, o, n)| (s.to_owned(), o.to_owned(), n)).collect();
        let ids = ids.iter().map(|id| (1 << 32) + id).collect();
        Arrived { sensor: "a".to_owned(), place: (1, Lane::Bulk), seq, ids, ledger }
    }

    #[test]
    fn good_books_pass_and_every_kind_of_fault_is_named() {
        let told = [("exec", "seen", 3), ("exec", "delivered", 2), ("exec", "ring_full", 1)];
        let good = [
            arrived(1, &[0, 1], &told),
            arrived(2, &[2], &[("exit", "seen", 1), ("exit", "delivered", 1)]),
        ];
        let made = [[3, 1]];
        let verdict = judge(&good, &made);
        assert_eq!(verdict.faults, Vec::<String>::new());
        assert_eq!((verdict.made, verdict.present, verdict.lost["ring_full"]), (4, 3, 1));
        assert_eq!(unnoticed(&good, &made), Vec::<&str>::new());
        let named = |batches: &[Arrived]| judge(batches, &made).faults.join("; ");
        assert!(named(&good[..1]).contains("lost in silence"));
        assert!(named(&[good[0].clone(), arrived(3, &[2], &good_end())]).contains("3 comes after"));
        assert!(named(&[good[0].clone(), arrived(2, &[2, 2], &good_end())]).contains("twice"));
        assert!(named(&[]).contains("nothing arrived"));
        let later = Arrived { place: (2, Lane::Bulk), seq: 1, ..arrived(1, &[], &[]) };
        let back = [good[0].clone(), later, good[1].clone()];
        assert!(named(&back).contains("2 comes after another start"));
    }

    fn good_end() -> [(&'static str, &'static str, u64); 2] {
        [("exit", "seen", 1), ("exit", "delivered", 1)]
    }
}
