//! Findings: one problem each, merged from every sighting of it.
//!
//! A detector emits a [`Signal`] whenever it sees a problem. [`FindingSet`] merges signals that
//! share a dedup key into one [`Finding`] with a count, the first and last time, and bounded
//! evidence. All of it is pure: ids come from the key and the first time, so a replay gives the
//! same findings.

use std::sync::Arc;

use crate::record::{Host, Process};

mod id;
mod mitre;
mod set;

pub use id::FindingId;
pub use mitre::{Technique, tactic_of_tag, technique};
pub use set::{Change, FindingSet};

/// What a type of finding says, whichever host it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Type name, `Tactic:Host/Name`.
    pub name: String,
    /// Amazon GuardDuty's name for the same problem, where it has one.
    pub guardduty: Option<String>,
    /// What it means, one to three sentences.
    pub description: String,
    /// What to do first.
    pub remediation: String,
    /// ATT&CK techniques.
    pub techniques: Vec<Technique>,
}

/// How bad it is, 1.0 to 10.0, kept in tenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Severity(u8);

impl Severity {
    /// Returns the nearest severity within 1.0 to 10.0.
    pub fn new(value: f64) -> Self {
        // NaN becomes the lowest: `clamp` keeps it and the cast makes it 0.
        Self(((value.clamp(1.0, 10.0) * 10.0).round() as u8).max(10))
    }

    /// Returns the number, with one decimal.
    pub fn value(self) -> f64 {
        f64::from(self.0) / 10.0
    }

    /// Returns the name of the band.
    pub fn label(self) -> &'static str {
        match self.0 {
            ..40 => "low",
            40..70 => "medium",
            70..90 => "high",
            _ => "critical",
        }
    }
}

/// Who a finding is about besides the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Actor {
    /// What kind of name `value` is.
    pub kind: ActorKind,
    /// The name, safe to show.
    pub value: String,
}

/// Kinds of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ActorKind {
    /// An IP address.
    Address,
    /// An executable.
    Process,
    /// A user name.
    User,
    /// A host, where the problem is one of several.
    Host,
}

impl ActorKind {
    /// Returns the kind's name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Process => "process",
            Self::User => "user",
            Self::Host => "host",
        }
    }
}

/// A record, or a count over records, that a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// When.
    pub time_ns: u64,
    /// What kind of record.
    pub kind: EvidenceKind,
    /// One sentence, safe to show.
    pub summary: String,
    /// The numbers and names behind it.
    pub fields: Vec<(&'static str, Value)>,
    /// Evidence with the same slot replaces what is there: a count that grew, not a second record.
    pub slot: Option<String>,
}

/// Kinds of records that evidence comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EvidenceKind {
    /// A program's execution.
    Exec,
    /// Packets.
    Flow,
    /// A TCP connection.
    Connection,
    /// A use of privilege.
    Privilege,
    /// A watched file.
    File,
    /// A DNS message.
    Dns,
    /// A line about a log-in.
    Login,
    /// Memory that was touched.
    Memory,
    /// What was counted of a process.
    Activity,
    /// A TLS greeting.
    Tls,
    /// What a sensor says of itself.
    Coverage,
}

impl EvidenceKind {
    /// Returns the kind's name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Flow => "flow",
            Self::Connection => "connection",
            Self::Privilege => "privilege",
            Self::File => "file",
            Self::Dns => "dns",
            Self::Login => "login",
            Self::Memory => "memory",
            Self::Activity => "activity",
            Self::Tls => "tls",
            Self::Coverage => "coverage",
        }
    }
}

/// A field of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, safe to show.
    Text(String),
    /// A number.
    Number(u64),
    /// Numbers, such as ports.
    Numbers(Vec<u64>),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// How far a finding's numbers can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exactness {
    /// Every record was counted.
    Exact,
    /// A distinct count is estimated by a sketch.
    Sketch,
    /// The records are a sample.
    Sampled,
    /// Records, or parts of them, are missing.
    Gap,
}

impl Exactness {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Sketch => "sketch",
            Self::Sampled => "sampled",
            Self::Gap => "gap",
        }
    }
}

/// How much of the host the sensor saw around the time of a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// The verdict.
    pub state: CoverageState,
    /// One sentence.
    pub detail: String,
}

/// Verdicts on coverage, the better first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CoverageState {
    /// Every hook was attached and nothing was lost.
    Complete,
    /// A hook was missing or records were lost.
    Partial,
    /// The sensor has not said.
    Unknown,
}

impl CoverageState {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Partial => "partial",
            Self::Unknown => "unknown",
        }
    }
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            state: CoverageState::Unknown,
            detail: "The sensor has not reported its coverage yet.".to_owned(),
        }
    }
}

/// The policy that made a signal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PolicyRef {
    /// Its id.
    pub id: String,
    /// Its file, relative to the policy folder.
    pub file: String,
    /// Git commit of the folder, or a hash of the file's content.
    pub revision: String,
    /// Who wrote it.
    pub author: Option<String>,
}

/// One sighting of a problem.
#[derive(Clone, Debug)]
pub struct Signal {
    /// The type of finding.
    pub kind: Arc<Kind>,
    /// How bad this sighting is; a finding keeps the worst.
    pub severity: Severity,
    /// One line, safe to show.
    pub title: String,
    /// Where.
    pub host: Arc<Host>,
    /// When.
    pub time_ns: u64,
    /// Which process, where known.
    pub process: Option<Arc<Process>>,
    /// Who else.
    pub actors: Vec<Actor>,
    /// What was seen.
    pub evidence: Vec<Evidence>,
    /// The policy behind it.
    pub policy: Arc<PolicyRef>,
    /// How far its numbers can be trusted.
    pub exactness: Exactness,
    /// What the sensor saw meanwhile; filled in by [`crate::detect::Detectors`].
    pub coverage: Coverage,
    /// Sightings with the same key are one finding. It names type and host.
    pub dedup_key: String,
    /// How many events this sighting stands for.
    pub count: u64,
}

/// What an analyst or a policy decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing yet.
    Open,
    /// Somebody works on it.
    Acknowledged,
    /// Done; a new sighting opens a new finding.
    Archived,
    /// A policy says that nobody needs to be told.
    Suppressed,
}

impl State {
    /// Returns the name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Archived => "archived",
            Self::Suppressed => "suppressed",
        }
    }

    /// Returns the state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Open, Self::Acknowledged, Self::Archived, Self::Suppressed];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// A decision about a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// When.
    pub time_ns: u64,
    /// Whose.
    pub user: String,
    /// The new state.
    pub state: State,
    /// Why.
    pub note: String,
}

/// One problem, however often it was sighted.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Names it for good; a replay gives the same.
    pub id: FindingId,
    /// The type.
    pub kind: Arc<Kind>,
    /// The worst sighting's severity.
    pub severity: Severity,
    /// The worst sighting's title.
    pub title: String,
    /// Where.
    pub host: Arc<Host>,
    /// What an analyst or a policy decided.
    pub state: State,
    /// Events behind all sightings.
    pub count: u64,
    /// Time of the first sighting.
    pub first_ns: u64,
    /// Time of the last.
    pub last_ns: u64,
    /// Process of the worst sighting, with its ancestors.
    pub process: Option<Arc<Process>>,
    /// All actors, in order of appearance.
    pub actors: Vec<Actor>,
    /// Actors beyond [`Finding::ACTORS_MAX`].
    pub actors_dropped: u64,
    /// Evidence, the oldest first.
    pub evidence: Vec<Evidence>,
    /// Evidence beyond [`Finding::EVIDENCE_MAX`].
    pub evidence_dropped: u64,
    /// The policy behind it.
    pub policy: Arc<PolicyRef>,
    /// How far the numbers can be trusted; the weakest sighting's.
    pub exactness: Exactness,
    /// The weakest sighting's coverage.
    pub coverage: Coverage,
    /// Sightings with this key belong here.
    pub dedup_key: String,
    /// Decisions, the oldest first.
    pub history: Vec<Decision>,
}

impl Finding {
    /// Pieces of evidence kept: enough to understand a problem, whose count tells its size.
    pub const EVIDENCE_MAX: usize = 32;
    /// Actors kept: a scanned /24 fits.
    pub const ACTORS_MAX: usize = 512;
    /// Decisions kept; older ones give way.
    pub const HISTORY_MAX: usize = 128;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_clamped_and_banded() {
        let label = |value| Severity::new(value).label();
        assert_eq!(Severity::new(0.0).value(), 1.0);
        assert_eq!(Severity::new(f64::NAN).value(), 1.0);
        assert_eq!(Severity::new(11.0).value(), 10.0);
        assert_eq!([label(3.9), label(4.0), label(6.9)], ["low", "medium", "medium"]);
        assert_eq!([label(7.0), label(8.9), label(9.0)], ["high", "high", "critical"]);
    }
}
