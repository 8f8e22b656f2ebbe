//! Everything that `/metrics` shows. Labels come from closed sets; a name from a host never is one.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hdrhistogram::Histogram;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// Label of counters that are split by a cause.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: &'static str,
}

/// Label of counters that are split by what became of something.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    outcome: &'static str,
}

/// Label of latency gauges.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Quantile {
    quantile: &'static str,
}

/// Labels of losses that sensors report; both names are checked by [`crate::fleet`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Loss {
    signal: String,
    reason: String,
}

type Reasons = Family<Reason, Counter>;
type Outcomes = Family<Outcome, Counter>;

/// Distinct (signal, reason) pairs that are shown; further ones are counted as `other`.
const LOSS_LABELS_MAX: usize = 128;

/// Highest latency that is told apart, in microseconds: an hour, since a spool may hold batches
/// back.
const LATENCY_MAX_US: u64 = 3_600_000_000;

/// Counts and gauges of the whole brain. Cheap to update from anywhere.
pub struct Metrics {
    registry: Registry,
    /// Connections, requests and frames that were refused.
    pub refused: Reasons,
    /// Handshakes that had to prove their address first, because many were under way.
    pub retried: Counter,
    /// Live QUIC sessions.
    pub sessions: Gauge,
    /// Sessions cut because the same identity connected again.
    pub superseded: Counter,
    /// Certificates issued, by how they were asked for.
    pub enrolled: Outcomes,
    /// Batches, by what became of them.
    pub batches: Outcomes,
    /// Bytes of batch frames.
    pub bytes: Counter,
    /// Records in new batches.
    pub records: Counter,
    /// Frames after which a sensor was made to wait.
    pub paced: Counter,
    /// Sequence numbers that a sensor skipped.
    pub sequence_gaps: Counter,
    /// Bytes of the journal on disk.
    pub journal_bytes: Gauge,
    /// Group commits.
    pub journal_commits: Counter,
    /// Commits that failed.
    pub journal_failed: Counter,
    /// Bytes of a torn end that were cut off at start.
    pub journal_torn_bytes: Counter,
    /// Bytes that are damaged and stay on disk.
    pub journal_damaged_bytes: Counter,
    /// Records that are missing where bytes are damaged.
    pub journal_damaged_records: Counter,
    /// Segments removed to stay below the size limit.
    pub journal_trimmed: Counter,
    /// Time of a group commit.
    pub commit_time: Latency,
    /// Findings, by kind of change.
    pub findings: Outcomes,
    /// From the last event of a finding to the finding.
    pub finding_delay: Latency,
    /// Times that policies were loaded, by what became of it.
    pub policy_loads: Outcomes,
    /// Problems in the policies that are in use.
    pub policy_errors: Gauge,
    /// Broken files of which the version of before goes on.
    pub policy_kept: Gauge,
    /// Rules that are in use.
    pub policy_rules: Gauge,
    /// Detector panics that were contained.
    pub detector_panics: Gauge,
    /// Detector state given up because a table was full.
    pub detector_evictions: Gauge,
    /// Findings given up because the set was full.
    pub findings_evicted: Gauge,
    /// Hosts' clocks that were set.
    pub clock_steps: Counter,
    /// Checkpoints that could not be written for want of room.
    pub checkpoints_failed: Counter,
    /// Journal position of the last checkpoint.
    pub checkpoint: Gauge,
    /// Times that the state store was found corrupt and built anew.
    pub store_rebuilt: Counter,
    /// Notifications, by what became of them.
    pub notifications: Outcomes,
    /// HTTP answers by class.
    pub http: Outcomes,
    lost: Family<Loss, Counter>,
    lost_known: Mutex<HashSet<Loss>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("sakuramori"),
            refused: Family::default(),
            retried: Counter::default(),
            sessions: Gauge::default(),
            superseded: Counter::default(),
            enrolled: Family::default(),
            batches: Family::default(),
            bytes: Counter::default(),
            records: Counter::default(),
            paced: Counter::default(),
            sequence_gaps: Counter::default(),
            journal_bytes: Gauge::default(),
            journal_commits: Counter::default(),
            journal_failed: Counter::default(),
            journal_torn_bytes: Counter::default(),
            journal_damaged_bytes: Counter::default(),
            journal_damaged_records: Counter::default(),
            journal_trimmed: Counter::default(),
            commit_time: Latency::default(),
            findings: Family::default(),
            finding_delay: Latency::default(),
            policy_loads: Family::default(),
            policy_errors: Gauge::default(),
            policy_kept: Gauge::default(),
            policy_rules: Gauge::default(),
            detector_panics: Gauge::default(),
            detector_evictions: Gauge::default(),
            findings_evicted: Gauge::default(),
            clock_steps: Counter::default(),
            checkpoints_failed: Counter::default(),
            checkpoint: Gauge::default(),
            store_rebuilt: Counter::default(),
            notifications: Family::default(),
            http: Family::default(),
            lost: Family::default(),
            lost_known: Mutex::default(),
        };
        metrics.register_ingest();
        metrics.register_journal();
        metrics.register_rest();
        metrics
    }

    fn register_ingest(&mut self) {
        let r = &mut self.registry;
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        r.register("build", "Version of this program", build);
        r.register("ingest_refused", "Refused by ingest, by reason", self.refused.clone());
        let retried = self.retried.clone();
        r.register("ingest_retried", "Handshakes that had to prove their address", retried);
        r.register("ingest_sessions", "Live sessions", self.sessions.clone());
        r.register(
            "ingest_superseded",
            "Sessions cut because the same identity connected again",
            self.superseded.clone(),
        );
        r.register("enrolments", "Certificates issued to sensors", self.enrolled.clone());
        r.register("ingest_batches", "Batches from sensors", self.batches.clone());
        r.register_with_unit("ingest", "Batch frames", Unit::Bytes, self.bytes.clone());
        r.register("ingest_records", "Records in new batches", self.records.clone());
        r.register("ingest_paced", "Frames that made a sensor wait", self.paced.clone());
        r.register("ingest_sequence_gaps", "Skipped sequence numbers", self.sequence_gaps.clone());
        let steps = self.clock_steps.clone();
        r.register("sensor_clock_steps", "Hosts' clocks that were set", steps);
        r.register("sensor_records_lost", "Losses that sensors report", self.lost.clone());
    }

    fn register_journal(&mut self) {
        let r = &mut self.registry;
        let bytes = self.journal_bytes.clone();
        r.register_with_unit("journal_size", "Journal on disk", Unit::Bytes, bytes);
        r.register("journal_commits", "Group commits", self.journal_commits.clone());
        r.register("journal_failed", "Failed group commits", self.journal_failed.clone());
        let torn = self.journal_torn_bytes.clone();
        r.register_with_unit("journal_torn", "Torn end cut off at start", Unit::Bytes, torn);
        let damaged = self.journal_damaged_bytes.clone();
        r.register_with_unit("journal_damaged", "Damaged parts found", Unit::Bytes, damaged);
        let records = self.journal_damaged_records.clone();
        r.register("journal_damaged_records", "Records missing in damaged parts", records);
        let trimmed = self.journal_trimmed.clone();
        r.register("journal_segments_trimmed", "Segments removed by the size limit", trimmed);
        self.commit_time.register(r, "journal_commit", "Time of a group commit");
    }

    fn register_rest(&mut self) {
        let r = &mut self.registry;
        r.register("findings", "Changes of findings", self.findings.clone());
        self.finding_delay.register(r, "finding_delay", "From an event on a host to its finding");
        r.register("policy_loads", "Loads of the policies by outcome", self.policy_loads.clone());
        r.register("policy_errors", "Problems in the policies", self.policy_errors.clone());
        let kept = self.policy_kept.clone();
        r.register("policy_kept", "Broken policies whose version of before goes on", kept);
        r.register("policy_rules", "Rules in use", self.policy_rules.clone());
        let panics = self.detector_panics.clone();
        r.register("detector_panics", "Contained panics of detectors", panics);
        let evictions = self.detector_evictions.clone();
        r.register("detector_evictions", "Detector state given up at a limit", evictions);
        r.register(
            "findings_evicted",
            "Findings given up at a limit",
            self.findings_evicted.clone(),
        );
        let failed = self.checkpoints_failed.clone();
        r.register("checkpoints_failed", "Checkpoints without room on the disk", failed);
        r.register(
            "checkpoint_index",
            "Journal index of the last checkpoint",
            self.checkpoint.clone(),
        );
        r.register("store_rebuilt", "Corrupt state stores built anew", self.store_rebuilt.clone());
        r.register("notifications", "Notifications by outcome", self.notifications.clone());
        r.register("http_responses", "HTTP answers by class", self.http.clone());
    }

    /// Counts a refusal.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&Reason { reason }).inc();
    }

    /// Returns how many refusals a reason has had.
    pub fn refusals(&self, reason: &'static str) -> u64 {
        self.refused.get_or_create(&Reason { reason }).get()
    }

    /// Counts records that a sensor reports as lost.
    pub fn lose(&self, signal: &str, reason: &str, count: u64) {
        let mut loss = Loss { signal: signal.to_owned(), reason: reason.to_owned() };
        let mut known = self.lost_known.lock().unwrap_or_else(|e| e.into_inner());
        if known.len() < LOSS_LABELS_MAX {
            known.insert(loss.clone());
        } else if !known.contains(&loss) {
            loss = Loss { signal: "other".to_owned(), reason: "other".to_owned() };
        }
        drop(known);
        self.lost.get_or_create(&loss).inc_by(count);
    }

    /// Returns everything in the OpenMetrics text form.
    pub fn render(&self) -> Result<String, fmt::Error> {
        self.commit_time.publish();
        self.finding_delay.publish();
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Counts one more of an outcome.
pub fn count(family: &Outcomes, outcome: &'static str) {
    count_by(family, outcome, 1);
}

/// Counts several more of an outcome.
pub fn count_by(family: &Outcomes, outcome: &'static str, by: u64) {
    family.get_or_create(&Outcome { outcome }).inc_by(by);
}

/// Returns the count of an outcome.
pub fn counted(family: &Outcomes, outcome: &'static str) -> u64 {
    family.get_or_create(&Outcome { outcome }).get()
}

/// A latency with its quantiles since the start.
#[derive(Debug)]
pub struct Latency {
    histogram: Mutex<Histogram<u64>>,
    quantiles: Family<Quantile, Gauge<f64, AtomicU64>>,
}

impl Default for Latency {
    fn default() -> Self {
        // A fixed range keeps the array small; values beyond it are recorded as its end.
        let histogram = Histogram::new_with_max(LATENCY_MAX_US, 2)
            .unwrap_or_else(|_| unreachable!("an hour and 2 digits are valid"));
        Self { histogram: Mutex::new(histogram), quantiles: Family::default() }
    }
}

impl Latency {
    fn register(&self, registry: &mut Registry, name: &str, help: &str) {
        registry.register_with_unit(name, help, Unit::Seconds, self.quantiles.clone());
    }

    /// Takes in one duration.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(LATENCY_MAX_US);
        let mut histogram = self.histogram.lock().unwrap_or_else(|e| e.into_inner());
        histogram.saturating_record(us);
    }

    fn publish(&self) {
        let histogram = self.histogram.lock().unwrap_or_else(|e| e.into_inner());
        if histogram.is_empty() {
            return;
        }
        let points = [("0.5", 0.5), ("0.99", 0.99), ("0.999", 0.999), ("1", 1.0)];
        for (quantile, at) in points {
            let seconds = histogram.value_at_quantile(at) as f64 / 1e6;
            self.quantiles.get_or_create(&Quantile { quantile }).set(seconds);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_convention() {
        let metrics = Metrics::new();
        metrics.refuse("checksum");
        metrics.lose("exec", "ring_full", 3);
        metrics.finding_delay.record(Duration::from_millis(20));
        let text = metrics.render().unwrap();
        for line in [
            "sakuramori_ingest_refused_total{reason=\"checksum\"} 1",
            "sakuramori_sensor_records_lost_total{signal=\"exec\",reason=\"ring_full\"} 3",
            "sakuramori_build_info{version=",
            "sakuramori_finding_delay_seconds{quantile=\"0.5\"} 0.02",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn labels_from_sensors_are_bounded() {
        let metrics = Metrics::new();
        for n in 0..1000 {
            metrics.lose(&format!("s{n}"), "x", 1);
        }
        let text = metrics.render().unwrap();
        let lines =
            text.lines().filter(|l| l.starts_with("sakuramori_sensor_records_lost")).count();
        assert_eq!(lines, LOSS_LABELS_MAX + 1);
        assert!(text.contains("{signal=\"other\",reason=\"other\"} 872"));
    }
}
