//! Findings as JSON in the store. The types mirror [`crate::finding`]; a change of either changes
//! the schema number of [`crate::store::state`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::finding::{
    Actor, ActorKind, Coverage, CoverageState, Decision, Evidence, EvidenceKind, Exactness,
    Finding, FindingId, Kind, PolicyRef, Severity, State, Technique, Value,
};
use crate::record::{Host, HostId, Process, ProcessKey};

/// Names of evidence fields that may be read back; this build writes a few dozen.
const FIELD_NAMES_MAX: usize = 1024;

#[derive(Serialize, Deserialize)]
struct StoredFinding {
    id: String,
    kind: StoredKind,
    severity: f64,
    title: String,
    host: (String, String, String),
    state: String,
    count: u64,
    first_ns: u64,
    last_ns: u64,
    /// The process, then its ancestors.
    processes: Vec<StoredProcess>,
    actors: Vec<(String, String)>,
    actors_dropped: u64,
    evidence: Vec<StoredEvidence>,
    evidence_dropped: u64,
    policy: (String, String, String, Option<String>),
    exactness: String,
    coverage: (String, String),
    dedup_key: String,
    history: Vec<(u64, String, String, String)>,
}

#[derive(Serialize, Deserialize)]
struct StoredKind {
    name: String,
    guardduty: Option<String>,
    description: String,
    remediation: String,
    techniques: Vec<(String, String, String)>,
}

#[derive(Serialize, Deserialize)]
struct StoredProcess {
    key: (u32, u64),
    /// Bytes from the host, which need not be UTF-8.
    texts: [Vec<u8>; 6],
    ids: [u32; 3],
    flags: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredEvidence {
    time_ns: u64,
    kind: String,
    summary: String,
    fields: Vec<(String, StoredValue)>,
    slot: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum StoredValue {
    Text(String),
    Number(u64),
    Numbers(Vec<u64>),
}

pub(super) fn write(finding: &Finding) -> Result<Vec<u8>, serde_json::Error> {
    let f = finding;
    let processes = f.process.iter().chain(f.process.iter().flat_map(|p| p.lineage()));
    serde_json::to_vec(&StoredFinding {
        id: f.id.0.clone(),
        kind: kind_to_stored(&f.kind),
        severity: f.severity.value(),
        title: f.title.clone(),
        host: (f.host.id.0.to_string(), f.host.name.clone(), f.host.role.clone()),
        state: f.state.name().to_owned(),
        count: f.count,
        first_ns: f.first_ns,
        last_ns: f.last_ns,
        processes: processes.map(|process| process_to_stored(process)).collect(),
        actors: f.actors.iter().map(|a| (a.kind.name().to_owned(), a.value.clone())).collect(),
        actors_dropped: f.actors_dropped,
        evidence: f.evidence.iter().map(evidence_to_stored).collect(),
        evidence_dropped: f.evidence_dropped,
        policy: {
            let p = f.policy.as_ref();
            (p.id.clone(), p.file.clone(), p.revision.clone(), p.author.clone())
        },
        exactness: f.exactness.name().to_owned(),
        coverage: (f.coverage.state.name().to_owned(), f.coverage.detail.clone()),
        dedup_key: f.dedup_key.clone(),
        history: (f.history.iter())
            .map(|d| (d.time_ns, d.user.clone(), d.state.name().to_owned(), d.note.clone()))
            .collect(),
    })
}

pub(super) fn read(json: &[u8]) -> Result<Finding, serde_json::Error> {
    let f: StoredFinding = serde_json::from_slice(json)?;
    let (id, name, role) = f.host;
    let (policy_id, file, revision, author) = f.policy;
    let state = |name: &str| State::from_name(name).unwrap_or(State::Open);
    Ok(Finding {
        id: FindingId(f.id),
        kind: Arc::new(kind_from_stored(f.kind)),
        severity: Severity::new(f.severity),
        title: f.title,
        host: Arc::new(Host { id: HostId(id.into()), name, role }),
        state: state(&f.state),
        count: f.count,
        first_ns: f.first_ns,
        last_ns: f.last_ns,
        process: process_from_stored(f.processes),
        actors: f.actors.into_iter().filter_map(actor_from_stored).collect(),
        actors_dropped: f.actors_dropped,
        evidence: f.evidence.into_iter().filter_map(evidence_from_stored).collect(),
        evidence_dropped: f.evidence_dropped,
        policy: Arc::new(PolicyRef { id: policy_id, file, revision, author }),
        exactness: named(&EXACTNESS, &f.exactness, Exactness::name).unwrap_or(Exactness::Gap),
        coverage: Coverage {
            state: named(&COVERAGE, &f.coverage.0, CoverageState::name)
                .unwrap_or(CoverageState::Unknown),
            detail: f.coverage.1,
        },
        dedup_key: f.dedup_key,
        history: (f.history.into_iter())
            .map(|(time_ns, user, name, note)| Decision {
                time_ns,
                user,
                state: state(&name),
                note,
            })
            .collect(),
    })
}

const EXACTNESS: [Exactness; 4] =
    [Exactness::Exact, Exactness::Sketch, Exactness::Sampled, Exactness::Gap];
const COVERAGE: [CoverageState; 3] =
    [CoverageState::Complete, CoverageState::Partial, CoverageState::Unknown];
const ACTORS: [ActorKind; 4] =
    [ActorKind::Address, ActorKind::Process, ActorKind::User, ActorKind::Host];
const EVIDENCE: [EvidenceKind; 11] = [
    EvidenceKind::Exec,
    EvidenceKind::Flow,
    EvidenceKind::Connection,
    EvidenceKind::Privilege,
    EvidenceKind::File,
    EvidenceKind::Dns,
    EvidenceKind::Login,
    EvidenceKind::Memory,
    EvidenceKind::Activity,
    EvidenceKind::Tls,
    EvidenceKind::Coverage,
];

fn named<T: Copy>(all: &[T], name: &str, name_of: impl Fn(T) -> &'static str) -> Option<T> {
    all.iter().copied().find(|one| name_of(*one) == name)
}

fn kind_to_stored(kind: &Kind) -> StoredKind {
    let techniques = kind.techniques.iter();
    StoredKind {
        name: kind.name.clone(),
        guardduty: kind.guardduty.clone(),
        description: kind.description.clone(),
        remediation: kind.remediation.clone(),
        techniques: techniques.map(|t| (t.tactic.clone(), t.id.clone(), t.name.clone())).collect(),
    }
}

fn kind_from_stored(kind: StoredKind) -> Kind {
    let techniques = kind.techniques.into_iter();
    Kind {
        name: kind.name,
        guardduty: kind.guardduty,
        description: kind.description,
        remediation: kind.remediation,
        techniques: techniques.map(|(tactic, id, name)| Technique { tactic, id, name }).collect(),
    }
}

fn process_to_stored(p: &Process) -> StoredProcess {
    let texts = [&p.exe, &p.comm, &p.args, &p.user, &p.cgroup, &p.container];
    StoredProcess {
        key: (p.key.pid, p.key.start_ns),
        texts: texts.map(|text| text.to_vec()),
        ids: [p.uid, p.euid, p.gid],
        flags: p.flags,
    }
}

/// Builds the chain from its root side, so that each process gets its parent.
fn process_from_stored(processes: Vec<StoredProcess>) -> Option<Arc<Process>> {
    processes.into_iter().rev().fold(None, |parent, stored| {
        let mut process = Process::default();
        process.key = ProcessKey { pid: stored.key.0, start_ns: stored.key.1 };
        process.parent = parent;
        [
            process.exe,
            process.comm,
            process.args,
            process.user,
            process.cgroup,
            process.container,
        ] = stored.texts.map(Bytes::from);
        [process.uid, process.euid, process.gid] = stored.ids;
        process.flags = stored.flags;
        Some(Arc::new(process))
    })
}

fn actor_from_stored((kind, value): (String, String)) -> Option<Actor> {
    Some(Actor { kind: named(&ACTORS, &kind, ActorKind::name)?, value })
}

fn evidence_to_stored(evidence: &Evidence) -> StoredEvidence {
    let value = |value: &Value| match value {
        Value::Text(text) => StoredValue::Text(text.clone()),
        Value::Number(number) => StoredValue::Number(*number),
        Value::Numbers(numbers) => StoredValue::Numbers(numbers.clone()),
    };
    StoredEvidence {
        time_ns: evidence.time_ns,
        kind: evidence.kind.name().to_owned(),
        summary: evidence.summary.clone(),
        fields: evidence.fields.iter().map(|(name, v)| ((*name).to_owned(), value(v))).collect(),
        slot: evidence.slot.clone(),
    }
}

fn evidence_from_stored(evidence: StoredEvidence) -> Option<Evidence> {
    let value = |value| match value {
        StoredValue::Text(text) => Value::Text(text),
        StoredValue::Number(number) => Value::Number(number),
        StoredValue::Numbers(numbers) => Value::Numbers(numbers),
    };
    let fields = evidence.fields.into_iter();
    Some(Evidence {
        time_ns: evidence.time_ns,
        kind: named(&EVIDENCE, &evidence.kind, EvidenceKind::name)?,
        summary: evidence.summary,
        fields: fields.filter_map(|(name, v)| Some((field_name(name)?, value(v)))).collect(),
        slot: evidence.slot,
    })
}

/// Returns the name as one that lives as long as the program: names of fields are written in the
/// program, so there are few, and each is kept once.
fn field_name(name: String) -> Option<&'static str> {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = names.get(name.as_str()) {
        return Some(known);
    }
    if names.len() >= FIELD_NAMES_MAX {
        return None;
    }
    let kept: &'static str = name.leak();
    names.insert(kept);
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding() -> Finding {
        let mut parent = Process::default();
        parent.key = ProcessKey { pid: 1, start_ns: 1 };
        parent.exe = Bytes::from_static(b"/sbin/\xffinit");
        let mut process = Process::default();
        process.key = ProcessKey { pid: 2, start_ns: 5 };
        process.parent = Some(Arc::new(parent));
        process.args = Bytes::from_static(b"sh\0-c\0");
        process.uid = 7;
        Finding {
            id: FindingId::new("k", 9),
            kind: Arc::new(Kind {
                name: "Execution:Host/Test".into(),
                guardduty: Some("Execution:Runtime/Test".into()),
                description: "d".into(),
                remediation: "r".into(),
                techniques: vec![Technique {
                    tactic: "a".into(),
                    id: "T1".into(),
                    name: "n".into(),
                }],
            }),
            severity: Severity::new(8.1),
            title: "t".into(),
            host: Arc::new(Host {
                id: HostId("h".into()),
                name: "web-1".into(),
                role: "web".into(),
            }),
            state: State::Acknowledged,
            count: 3,
            first_ns: 9,
            last_ns: 10,
            process: Some(Arc::new(process)),
            actors: vec![Actor { kind: ActorKind::User, value: "root".into() }],
            actors_dropped: 1,
            evidence: vec![Evidence {
                time_ns: 9,
                kind: EvidenceKind::Connection,
                summary: "s".into(),
                fields: vec![("port", Value::Number(4)), ("ports", Value::Numbers(vec![1, 2]))],
                slot: Some("x".into()),
            }],
            evidence_dropped: 2,
            policy: Arc::new(PolicyRef {
                id: "p".into(),
                file: "f".into(),
                revision: "r".into(),
                author: None,
            }),
            exactness: Exactness::Sketch,
            coverage: Coverage { state: CoverageState::Partial, detail: "c".into() },
            dedup_key: "k".into(),
            history: vec![Decision {
                time_ns: 1,
                user: "u".into(),
                state: State::Acknowledged,
                note: "n".into(),
            }],
        }
    }

    #[test]
    fn a_finding_survives_the_store() {
        let before = finding();
        let json = write(&before).unwrap();
        let after = read(&json).unwrap();
        // Debug forms leave out nothing but users and groups of processes, which are compared
        // apart.
        assert_eq!(format!("{before:?}"), format!("{after:?}").replace("depth: 0", "depth: 0"));
        assert_eq!(write(&after).unwrap(), json);
        let process = after.process.unwrap();
        assert_eq!(
            (process.uid, process.parent.as_ref().unwrap().exe.as_ref()),
            (7, &b"/sbin/\xffinit"[..])
        );
    }
}
