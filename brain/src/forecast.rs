//! What policies would have found in the past: a replay in memory, which nobody is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::batch::Batch;

use crate::detect::Detectors;
use crate::finding::{FindingSet, Signal, State};
use crate::policy::{Exceptions, PolicySet};
use crate::record::Host;

/// Detectors hear of time in steps of this, as in a running brain.
const TICK_NS: u64 = 1_000_000_000;

/// After so long without a batch nothing is open any more, and time may jump; in what the detectors
/// remember.
const IDLE_MEMORIES: u64 = 2;

/// A set of policies at work on the past.
#[derive(Debug)]
pub struct Trial {
    detectors: Detectors,
    exceptions: Arc<Exceptions>,
    findings: FindingSet,
    received_ns: u64,
    ticked_ns: u64,
}

/// What one policy has found, by type of finding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// Its file; the last one, should it have moved.
    pub file: String,
    /// Findings that people would have been told of.
    pub findings: u64,
    /// Findings that a suppression would have hidden.
    pub suppressed: u64,
    /// Sightings behind all of them.
    pub sightings: u64,
    /// Names of the hosts.
    pub hosts: BTreeSet<String>,
}

/// A policy's id and a type of finding that it raises.
pub type Cause = (String, String);

impl Trial {
    /// Begins with a set of policies and no memory.
    pub fn new(set: &PolicySet) -> Self {
        Self {
            detectors: Detectors::new(set),
            exceptions: Arc::clone(&set.exceptions),
            findings: FindingSet::default(),
            received_ns: 0,
            ticked_ns: 0,
        }
    }

    /// Shows a batch, which [`Batch::check`] has accepted, that was received at `received_ns`.
    pub fn batch(&mut self, received_ns: u64, batch: &Batch, host: &Arc<Host>) {
        self.advance(received_ns);
        self.received_ns = received_ns;
        let signals = self.detectors.batch(batch, host);
        self.merge(signals);
    }

    /// Lets time pass, as a running brain does.
    fn advance(&mut self, now_ns: u64) {
        if self.ticked_ns == 0 {
            self.ticked_ns = now_ns - now_ns % TICK_NS;
        }
        let idle_ns = self.detectors.memory_ns().saturating_mul(IDLE_MEMORIES);
        let end = now_ns.min(self.received_ns.saturating_add(idle_ns));
        while self.ticked_ns + TICK_NS <= end {
            self.ticked_ns += TICK_NS;
            let signals = self.detectors.tick(self.ticked_ns);
            self.merge(signals);
        }
        self.ticked_ns += now_ns.saturating_sub(self.ticked_ns) / TICK_NS * TICK_NS;
    }

    fn merge(&mut self, signals: Vec<Signal>) {
        let now_ns = self.received_ns.max(self.ticked_ns);
        for mut signal in signals {
            let treatment = self.exceptions.apply(&mut signal, now_ns);
            self.findings.merge_with(signal, treatment.history);
        }
    }

    /// Ends the trial at `now_ns`; returns what was found, by its cause, and how many findings were
    /// given up because there were too many.
    pub fn end(mut self, now_ns: u64) -> (BTreeMap<Cause, Fired>, u64) {
        self.advance(now_ns);
        let mut causes: BTreeMap<Cause, Fired> = BTreeMap::new();
        for finding in self.findings.iter() {
            let cause = (finding.policy.id.clone(), finding.kind.name.clone());
            let fired = causes.entry(cause).or_default();
            fired.file.clone_from(&finding.policy.file);
            match finding.state {
                State::Suppressed => fired.suppressed += 1,
                _ => fired.findings += 1,
            }
            fired.sightings += finding.count;
            fired.hosts.insert(finding.host.name.clone());
        }
        (causes, self.findings.evicted())
    }
}

/// How a policy compares with the one that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Only the candidate has found something.
    New,
    /// It would have told more findings.
    More,
    /// It would have told fewer.
    Fewer,
    /// Only the set in use has found something.
    Gone,
    /// Both would have told as much.
    Same,
}

impl Change {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::More => "more",
            Self::Fewer => "fewer",
            Self::Gone => "gone",
            Self::Same => "same",
        }
    }

    /// Compares what was found now with what would be.
    pub fn of(now: &Fired, then: &Fired) -> Self {
        match (now.findings, then.findings) {
            (0, 0) if now.suppressed == then.suppressed => Self::Same,
            (0, 0) if now.suppressed == 0 => Self::New,
            (0, 0) if then.suppressed == 0 => Self::Gone,
            (0, then) if then > 0 => Self::New,
            (now, 0) if now > 0 => Self::Gone,
            (now, then) if then > now => Self::More,
            (now, then) if then < now => Self::Fewer,
            _ => Self::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::scenario;
    use crate::policy::PolicyFile;

    const HOUR_NS: u64 = 3_600 * TICK_NS;

    fn set(more: &[(&str, &str)]) -> PolicySet {
        let mut files = PolicySet::embedded_files();
        files.extend(
            more.iter().map(|&(name, text)| PolicyFile { name: name.into(), text: text.into() }),
        );
        PolicySet::from_files(files, None)
    }

    fn tried(set: &PolicySet) -> BTreeMap<Cause, Fired> {
        let mut trial = Trial::new(set);
        for (at, host) in [(1, "a"), (2, "b"), (3, "a"), (200, "a")] {
            let batch = scenario::exec_batch("/tmp/xmrig", "/tmp/xmrig --coin monero -o pool:3333");
            trial.batch(at * HOUR_NS, &batch, &scenario::host(host));
        }
        trial.end(201 * HOUR_NS).0
    }

    #[test]
    fn findings_hosts_and_sightings_are_counted_and_suppressions_apart() {
        let now = tried(&set(&[]));
        let [(_, fired)] = Vec::from_iter(&now)[..] else { panic!("{now:?}") };
        assert_eq!((fired.findings, fired.sightings, fired.hosts.len()), (2, 4, 2));
        let hidden = "owner: o\nreason: r\nexpires: 2100-01-01\nmatch: {host: a}\n";
        let then = tried(&set(&[("suppress/a.yml", hidden)]));
        let then = then.values().next().unwrap();
        assert_eq!((then.findings, then.suppressed, then.sightings), (1, 1, 4));
        assert_eq!(Change::of(fired, then), Change::Fewer);
        assert_eq!(Change::of(then, then), Change::Same);
        assert_eq!(Change::of(fired, &Fired::default()), Change::Gone);
        assert_eq!(Change::of(&Fired::default(), fired), Change::New);
    }
}
