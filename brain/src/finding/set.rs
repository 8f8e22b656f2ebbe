//! Merges signals into findings.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Actor, Decision, Evidence, Finding, FindingId, Signal, State};
use crate::record::Process;

/// What a merge did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new finding.
    New,
    /// A known one was sighted again.
    Updated,
}

/// Findings held at once. Past it the ones sighted longest ago leave; the store still has them.
const FINDINGS_MAX: usize = 50_000;

/// Live findings of one type on one host. A host that makes up names to flood the console gets its
/// further findings of the type merged into one.
const FINDINGS_PER_TYPE_MAX: usize = 200;

/// All findings that can still grow, and those that an analyst can still look at without the store.
#[derive(Debug)]
pub struct FindingSet {
    findings: BTreeMap<FindingId, Finding>,
    /// Findings that a sighting with this key belongs to. Archived ones are not among them.
    live: HashMap<String, FindingId>,
    /// Live findings by type and host.
    live_per_type: HashMap<(String, String), usize>,
    findings_max: usize,
    evicted: u64,
}

impl Default for FindingSet {
    fn default() -> Self {
        Self::with_limit(FINDINGS_MAX)
    }
}

impl FindingSet {
    /// Returns an empty set that holds at most `findings_max` findings.
    pub fn with_limit(findings_max: usize) -> Self {
        Self {
            findings: BTreeMap::new(),
            live: HashMap::new(),
            live_per_type: HashMap::new(),
            findings_max: findings_max.max(1),
            evicted: 0,
        }
    }

    /// Adds a sighting to the finding that it belongs to.
    pub fn merge(&mut self, signal: Signal) -> (FindingId, Change) {
        self.merge_with(signal, Vec::new())
    }

    /// Adds a sighting about which policies have decided something. A new finding begins in the
    /// state of the last decision; one that is known keeps its own.
    pub fn merge_with(
        &mut self,
        mut signal: Signal,
        history: Vec<Decision>,
    ) -> (FindingId, Change) {
        if !self.live.contains_key(&signal.dedup_key)
            && self.live_per_type.get(&type_and_host(&signal)).copied().unwrap_or(0)
                >= FINDINGS_PER_TYPE_MAX
        {
            let (kind, host) = type_and_host(&signal);
            // What nobody is told of must not swallow what somebody should be.
            let state = history.last().map_or(State::Open, |decision| decision.state);
            let rest = if state == State::Suppressed { "suppressed further" } else { "further" };
            signal.dedup_key = format!("{kind}|{host}|{rest}");
        }
        if let Some(id) = self.live.get(&signal.dedup_key)
            && let Some(finding) = self.findings.get_mut(id)
        {
            let id = id.clone();
            absorb(finding, signal);
            note(finding, history);
            return (id, Change::Updated);
        }
        let mut finding = begin(signal);
        finding.state = history.last().map_or(State::Open, |decision| decision.state);
        finding.history = history;
        let id = finding.id.clone();
        self.insert(finding);
        self.evict();
        (id, Change::New)
    }

    /// Returns the finding.
    pub fn get(&self, id: &FindingId) -> Option<&Finding> {
        self.findings.get(id)
    }

    /// Returns all findings, ordered by id, which is by first sighting.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Finding> {
        self.findings.values()
    }

    /// Number of findings held.
    pub fn len(&self) -> usize {
        self.findings.len()
    }

    /// Returns whether there is none.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// Findings that left because the set was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Records a decision. Archiving ends a finding: the next sighting opens a new one. Opening it
    /// again lets it grow again, unless a newer finding has taken its key.
    pub fn decide(&mut self, id: &FindingId, decision: Decision) -> Option<&Finding> {
        let finding = self.findings.get_mut(id)?;
        let was_live = finding.state != State::Archived;
        let live = decision.state != State::Archived;
        finding.state = decision.state;
        if finding.history.len() == Finding::HISTORY_MAX {
            finding.history.remove(0);
        }
        finding.history.push(decision);
        if was_live && !live {
            self.end(id);
        } else if live && !was_live {
            self.begin_again(id);
        }
        self.findings.get(id)
    }

    /// Takes findings back, as they were held or stored before.
    pub fn restore(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.insert(finding);
        }
        self.evict();
    }

    fn insert(&mut self, finding: Finding) {
        let id = finding.id.clone();
        let live = finding.state != State::Archived;
        self.findings.insert(id.clone(), finding);
        if live {
            self.begin_again(&id);
        }
    }

    fn begin_again(&mut self, id: &FindingId) {
        let Some(finding) = self.findings.get(id) else { return };
        if self.live.contains_key(&finding.dedup_key) {
            return;
        }
        self.live.insert(finding.dedup_key.clone(), id.clone());
        *self.live_per_type.entry(kind_and_host(finding)).or_default() += 1;
    }

    fn end(&mut self, id: &FindingId) {
        let Some(finding) = self.findings.get(id) else { return };
        if self.live.get(&finding.dedup_key) != Some(id) {
            return;
        }
        self.live.remove(&finding.dedup_key);
        let key = kind_and_host(finding);
        if let Some(count) = self.live_per_type.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.live_per_type.remove(&key);
            }
        }
    }

    /// Makes room: a tenth at once, so that a flood of findings does not sort them all each time.
    fn evict(&mut self) {
        if self.findings.len() <= self.findings_max {
            return;
        }
        let mut oldest: Vec<(bool, u64, FindingId)> = (self.findings.values())
            .map(|f| (f.state != State::Archived, f.last_ns, f.id.clone()))
            .collect();
        oldest.sort_unstable();
        let excess = self.findings.len() - self.findings_max;
        for (_, _, id) in oldest.into_iter().take(excess + self.findings_max / 10) {
            self.end(&id);
            self.findings.remove(&id);
            self.evicted += 1;
        }
    }
}

fn type_and_host(signal: &Signal) -> (String, String) {
    (signal.kind.name.clone(), signal.host.id.0.to_string())
}

fn kind_and_host(finding: &Finding) -> (String, String) {
    (finding.kind.name.clone(), finding.host.id.0.to_string())
}

fn begin(signal: Signal) -> Finding {
    let mut finding = Finding {
        id: FindingId::new(&signal.dedup_key, signal.time_ns),
        kind: signal.kind,
        severity: signal.severity,
        title: signal.title,
        host: signal.host,
        state: State::Open,
        count: signal.count,
        first_ns: signal.time_ns,
        last_ns: signal.time_ns,
        process: bounded(signal.process),
        actors: Vec::new(),
        actors_dropped: 0,
        evidence: Vec::new(),
        evidence_dropped: 0,
        policy: signal.policy,
        exactness: signal.exactness,
        coverage: signal.coverage,
        dedup_key: signal.dedup_key,
        history: Vec::new(),
    };
    add_all(&mut finding, signal.actors, signal.evidence);
    finding
}

fn absorb(finding: &mut Finding, signal: Signal) {
    finding.count = finding.count.saturating_add(signal.count);
    finding.first_ns = finding.first_ns.min(signal.time_ns);
    finding.last_ns = finding.last_ns.max(signal.time_ns);
    // The worst sighting speaks for the finding; of equals the latest, whose numbers are the
    // newest.
    if signal.severity >= finding.severity {
        finding.severity = signal.severity;
        finding.title = signal.title;
        finding.kind = signal.kind;
        finding.process = bounded(signal.process).or(finding.process.take());
    } else if finding.process.is_none() {
        finding.process = bounded(signal.process);
    }
    finding.policy = signal.policy;
    finding.exactness = finding.exactness.max(signal.exactness);
    if signal.coverage.state > finding.coverage.state {
        finding.coverage = signal.coverage;
    }
    add_all(finding, signal.actors, signal.evidence);
}

/// Adds what policies have decided, each once.
fn note(finding: &mut Finding, history: Vec<Decision>) {
    for decision in history {
        let is_known = finding.history.iter().any(|known| known.user == decision.user);
        if !is_known && finding.history.len() < Finding::HISTORY_MAX {
            finding.history.push(Decision { state: finding.state, ..decision });
        }
    }
}

fn bounded(process: Option<Arc<Process>>) -> Option<Arc<Process>> {
    process.map(|process| Process::bounded(&process))
}

fn add_all(finding: &mut Finding, actors: Vec<Actor>, evidence: Vec<Evidence>) {
    for actor in actors {
        if finding.actors.contains(&actor) {
            continue;
        }
        if finding.actors.len() == Finding::ACTORS_MAX {
            finding.actors_dropped += 1;
            continue;
        }
        finding.actors.push(actor);
    }
    for piece in evidence {
        add_evidence(finding, piece);
    }
}

fn add_evidence(finding: &mut Finding, piece: Evidence) {
    let known = |old: &&mut Evidence| old.slot == piece.slot && old.kind == piece.kind;
    if piece.slot.is_some()
        && let Some(old) = finding.evidence.iter_mut().find(known)
    {
        *old = piece;
    } else if finding.evidence.len() == Finding::EVIDENCE_MAX {
        finding.evidence_dropped += 1;
    } else {
        finding.evidence.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        ActorKind, Coverage, EvidenceKind, Exactness, Kind, PolicyRef, Severity, Value,
    };
    use super::*;
    use crate::record::{Host, HostId};

    fn signal(key: &str, time_ns: u64) -> Signal {
        Signal {
            kind: Arc::new(Kind {
                name: "Test:Host/Test".into(),
                guardduty: None,
                description: String::new(),
                remediation: String::new(),
                techniques: Vec::new(),
            }),
            severity: Severity::new(5.0),
            title: "t".into(),
            host: Arc::new(Host { id: HostId("h".into()), name: "h".into(), role: String::new() }),
            time_ns,
            process: None,
            actors: vec![Actor { kind: ActorKind::Address, value: format!("10.0.0.{time_ns}") }],
            evidence: vec![Evidence {
                time_ns,
                kind: EvidenceKind::Flow,
                summary: String::new(),
                fields: vec![("n", Value::Number(time_ns))],
                slot: None,
            }],
            policy: Arc::new(PolicyRef {
                id: String::new(),
                file: String::new(),
                revision: String::new(),
                author: None,
            }),
            exactness: Exactness::Exact,
            coverage: Coverage::default(),
            dedup_key: key.to_owned(),
            count: 1,
        }
    }

    fn archive(time_ns: u64) -> Decision {
        Decision { time_ns, user: "a".into(), state: State::Archived, note: String::new() }
    }

    #[test]
    fn sightings_with_one_key_are_one_finding_that_keeps_its_id() {
        let mut set = FindingSet::default();
        let (id, change) = set.merge(signal("k", 20));
        assert_eq!(change, Change::New);
        assert_eq!(set.merge(signal("k", 10)), (id.clone(), Change::Updated));
        let finding = set.get(&id).unwrap();
        assert_eq!((finding.count, finding.first_ns, finding.last_ns), (2, 10, 20));
        assert_eq!((finding.actors.len(), finding.evidence.len()), (2, 2));
        assert_ne!(set.merge(signal("other", 10)).0, id);
    }

    #[test]
    fn evidence_and_actors_are_bounded_and_the_rest_is_counted() {
        let mut set = FindingSet::default();
        for time_ns in 0..600 {
            set.merge(signal("k", time_ns));
        }
        let finding = set.iter().next().unwrap();
        assert_eq!(finding.count, 600);
        assert_eq!(finding.evidence.len(), Finding::EVIDENCE_MAX);
        assert_eq!(finding.evidence_dropped, 600 - Finding::EVIDENCE_MAX as u64);
        assert_eq!(finding.actors.len(), Finding::ACTORS_MAX);
        assert_eq!(finding.actors_dropped, 600 - Finding::ACTORS_MAX as u64);
    }

    #[test]
    fn evidence_with_a_slot_is_replaced() {
        let mut set = FindingSet::default();
        for time_ns in [1, 2] {
            let mut signal = signal("k", time_ns);
            signal.evidence[0].slot = Some("x".into());
            set.merge(signal);
        }
        let finding = set.iter().next().unwrap();
        assert_eq!(finding.evidence.len(), 1);
        assert_eq!(finding.evidence[0].fields, vec![("n", Value::Number(2))]);
    }

    #[test]
    fn the_worst_sighting_speaks_for_the_finding() {
        let mut set = FindingSet::default();
        set.merge(signal("k", 1));
        let worse = Signal { severity: Severity::new(9.0), title: "w".into(), ..signal("k", 2) };
        set.merge(worse);
        set.merge(Signal { exactness: Exactness::Gap, ..signal("k", 3) });
        let finding = set.iter().next().unwrap();
        assert_eq!((finding.severity.label(), finding.title.as_str()), ("critical", "w"));
        assert_eq!(finding.exactness, Exactness::Gap);
    }

    #[test]
    fn an_archived_finding_does_not_grow() {
        let mut set = FindingSet::default();
        let (first, _) = set.merge(signal("k", 1));
        set.decide(&first, archive(2)).unwrap();
        let (second, change) = set.merge(signal("k", 3));
        assert_eq!(change, Change::New);
        assert_ne!(first, second);
        let open = Decision { state: State::Open, ..archive(4) };
        set.decide(&first, open).unwrap();
        assert_eq!(set.merge(signal("k", 5)), (second, Change::Updated));
    }

    #[test]
    fn a_full_set_drops_archived_and_old_findings_first_and_counts_them() {
        let mut set = FindingSet::with_limit(10);
        let ids: Vec<_> = (0..10).map(|n| set.merge(signal(&format!("k{n}"), n)).0).collect();
        set.decide(&ids[7], archive(20)).unwrap();
        set.merge(signal("k10", 10));
        assert_eq!((set.len(), set.evicted()), (9, 2));
        assert!(set.get(&ids[7]).is_none() && set.get(&ids[0]).is_none());
        assert!(set.get(&ids[1]).is_some());
    }

    #[test]
    fn a_flood_of_names_on_one_host_is_merged() {
        let mut set = FindingSet::default();
        for n in 0..1000 {
            set.merge(signal(&format!("k{n}"), n));
        }
        assert_eq!(set.len(), FINDINGS_PER_TYPE_MAX + 1);
        assert_eq!(set.iter().map(|f| f.count).sum::<u64>(), 1000);
    }

    #[test]
    fn what_is_suppressed_and_what_is_not_are_two_findings() {
        let mut set = FindingSet::with_limit(2_000);
        let hidden = |n: u64| {
            let by = Decision { state: State::Suppressed, user: "policy".into(), ..archive(n) };
            (signal(&format!("k{n}|suppressed"), n), vec![by])
        };
        let of = |set: &FindingSet, state| {
            let fit = set.iter().filter(|finding| finding.state == state);
            fit.map(|f| (f.count, f.history.len())).collect::<Vec<_>>()
        };
        for n in [0, 0, 0] {
            let (signal, history) = hidden(n);
            set.merge_with(signal, history);
        }
        set.merge(signal("k0", 1));
        assert_eq!(of(&set, State::Suppressed), [(3, 1)]);
        assert_eq!(of(&set, State::Open), [(1, 0)]);
        for n in 0..2 * FINDINGS_PER_TYPE_MAX as u64 {
            let (signal, history) = hidden(n);
            set.merge_with(signal, history);
        }
        set.merge(signal("new", 9));
        let open: u64 = of(&set, State::Open).iter().map(|(count, _)| count).sum();
        assert_eq!(open, 2, "a flood of suppressed findings hides nothing");
    }

    #[test]
    fn restored_findings_go_on() {
        let mut set = FindingSet::default();
        let (id, _) = set.merge(signal("k", 1));
        let stored: Vec<Finding> = set.iter().cloned().collect();
        let mut again = FindingSet::default();
        again.restore(stored);
        assert_eq!(again.merge(signal("k", 2)), (id, Change::Updated));
    }
}
