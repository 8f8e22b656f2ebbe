//! What is known of each host right now: connection, coverage, rates. Counters are checkpointed
//! with the journal, so each batch counts once.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};
use wire::batch::Batch;
use wire::control::{Hello, RuleReply, SettingsReply};
use wire::text::StrId;

use crate::clock::SECOND_NS;
use crate::identity::SensorId;
use crate::metrics::Metrics;
use crate::text;

mod clock;

pub use clock::{HostClock, Reading};

/// Signals and outcomes of one host that are told apart; a sensor of this version names about
/// twenty.
const LEDGER_MAX: usize = 256;

/// Characters of a signal's or outcome's name.
const LEDGER_NAME_MAX: usize = 40;

/// Bytes of a name that a host says of itself.
const FACT_MAX: usize = 256;

/// Bytes of what a host says is wrong with rules: some files with their lines.
const PROBLEM_MAX: usize = 4_096;

/// A rate forgets what is older than about this.
const RATE_SPAN_S: f64 = 10.0;

/// A loss makes a host degraded for this long.
const LOSS_SPAN_NS: u64 = 60 * SECOND_NS;

/// Outcome names with a meaning of their own; every other is a reason of loss.
const SEEN: &str = "seen";
const DELIVERED: &str = "delivered";

/// A hook of the sensor's probe table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// How it is attached, if it is.
    pub attached: Option<String>,
    /// Why not, or what stands in.
    pub reason: Option<String>,
}

/// How full a kernel map is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapFill {
    /// Its name.
    pub name: String,
    /// Entries in use; for a ring, bytes.
    pub used: u64,
    /// Entries that there is room for; for a ring, bytes.
    pub capacity: u64,
    /// Kernel memory that it takes.
    pub bytes: u64,
}

/// Sensor's own account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The hooks, as of the last report.
    pub hooks: Vec<Hook>,
    /// Totals by signal and outcome.
    pub ledger: BTreeMap<String, BTreeMap<String, u64>>,
    /// Longest wait in a ring in the last span.
    pub drain_lag_ns: u64,
    /// Processor time of the last span, in percent of one core.
    pub cpu_percent: f64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// The kernel maps, as of the last report.
    #[serde(default)]
    pub maps: Vec<MapFill>,
    /// When an act that the sensor performs on purpose was last seen through the whole path.
    #[serde(default)]
    pub canary_ns: u64,
    /// When it was reported.
    pub updated_ns: u64,
    lost_ns: u64,
}

/// What a sensor says of its host when it connects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Version of the sensor.
    pub sensor_version: String,
    /// Kernel release.
    pub kernel: String,
    /// Id of the boot.
    pub boot_id: String,
    /// Processors.
    pub cpus: u32,
}

/// What became of the settings that a sensor was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// The state of the policy.
    pub revision: String,
    /// Why they are not applied; empty when they are.
    pub problem: String,
}

/// What became of the YARA rules that a sensor was offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// The state of the rules.
    pub revision: String,
    /// Rules that are used.
    pub rules: u32,
    /// What of them is not used, or why none are; empty when all are.
    pub problem: String,
}

/// What is known of a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// Since when it is connected.
    #[serde(skip)]
    pub connected_ns: Option<u64>,
    /// From where.
    #[serde(skip)]
    pub address: Option<SocketAddr>,
    #[serde(skip)]
    connection: u64,
    #[serde(skip)]
    rate: Rate,
    #[serde(skip)]
    epoch: u64,
    /// What its clocks are worth.
    #[serde(default)]
    pub clock: HostClock,
    /// When its last batch arrived, or it last connected.
    pub last_seen_ns: u64,
    /// What it says of itself.
    pub facts: Facts,
    /// What it sees and loses.
    pub coverage: Option<Coverage>,
    /// What became of the settings that the policies want.
    #[serde(skip)]
    pub settings: Option<Settled>,
    /// What became of the YARA rules.
    #[serde(skip)]
    pub yara: Option<Tried>,
    /// Connections that were cut because the same identity connected again.
    #[serde(default)]
    pub superseded: u64,
}

impl Status {
    /// Returns whether the host is only partly watched.
    pub fn is_degraded(&self, now_ns: u64) -> bool {
        self.coverage.as_ref().is_some_and(|coverage| {
            coverage.hooks.iter().any(|hook| hook.attached.is_none())
                || (coverage.lost_ns > 0 && now_ns.saturating_sub(coverage.lost_ns) < LOSS_SPAN_NS)
        })
    }

    /// Returns records per second over the last seconds.
    pub fn records_per_second(&self, now_ns: u64) -> f64 {
        self.rate.at(now_ns)
    }
}

/// A decaying rate.
#[derive(Clone, Copy, Debug, Default)]
struct Rate {
    per_second: f64,
    at_ns: u64,
}

impl Rate {
    fn at(&self, now_ns: u64) -> f64 {
        let elapsed_s = now_ns.saturating_sub(self.at_ns) as f64 / SECOND_NS as f64;
        let rate = self.per_second * (-elapsed_s / RATE_SPAN_S).exp();
        if rate < 0.01 { 0.0 } else { rate }
    }

    fn add(&mut self, count: usize, now_ns: u64) {
        self.per_second = self.at(now_ns) + count as f64 / RATE_SPAN_S;
        self.at_ns = now_ns;
    }
}

/// All hosts that ever sent something.
#[derive(Debug)]
pub struct Fleet {
    hosts: RwLock<HashMap<SensorId, Status>>,
    /// Hosts whose counters changed since they were last stored.
    changed: Mutex<HashSet<SensorId>>,
    metrics: Arc<Metrics>,
}

impl Fleet {
    /// Begins with what was stored.
    pub fn new(stored: Vec<(String, Vec<u8>)>, metrics: Arc<Metrics>) -> Self {
        let hosts = stored.into_iter().filter_map(|(id, json)| {
            Some((id.parse().ok()?, serde_json::from_slice::<Status>(&json).ok()?))
        });
        Self { hosts: RwLock::new(hosts.collect()), changed: Mutex::default(), metrics }
    }

    /// Notes a connection, and whether it took the place of another.
    pub fn connected(
        &self,
        id: SensorId,
        connection: u64,
        address: SocketAddr,
        hello: &Hello,
        superseded: bool,
        now_ns: u64,
    ) {
        let fact = |text: &str| text::visible_cut(text.as_bytes(), FACT_MAX);
        let mut hosts = self.write();
        let status = hosts.entry(id).or_default();
        status.connected_ns = Some(now_ns);
        status.connection = connection;
        status.epoch = hello.epoch;
        status.address = Some(address);
        status.last_seen_ns = now_ns;
        status.superseded += u64::from(superseded);
        status.facts = Facts {
            sensor_version: fact(&hello.sensor_version),
            kernel: fact(&hello.kernel),
            boot_id: fact(&hello.boot_id),
            cpus: hello.cpus,
        };
        status.clock.booted(&status.facts.boot_id);
    }

    /// Notes what a host's clocks said. Returns how far its calendar clock was set since it was
    /// last asked, if it was.
    pub fn heard_time(&self, id: SensorId, reading: Reading) -> Option<i64> {
        let mut hosts = self.write();
        let status = hosts.entry(id).or_default();
        status.clock.hear(reading)
    }

    /// Returns by how much the times of a batch must be moved to be the brain's.
    pub fn correction_ns(&self, id: SensorId, batch: &Batch, received_ns: u64) -> i64 {
        let hosts = self.read();
        let Some(status) = hosts.get(&id) else { return 0 };
        // A sensor's run is within one boot; what is left of earlier runs may be of another one.
        let same_boot = status.epoch == batch.position.epoch;
        status.clock.correction_ns(batch.clock, same_boot, received_ns)
    }

    /// Notes what a sensor made of the settings that it was sent.
    pub fn settled(&self, id: SensorId, reply: &SettingsReply) {
        let fact = |text: &str| text::visible_cut(text.as_bytes(), FACT_MAX);
        let settled = Settled { revision: fact(&reply.revision), problem: fact(&reply.problem) };
        self.write().entry(id).or_default().settings = Some(settled);
    }

    /// Notes what a sensor made of the rules that it was offered.
    pub fn tried(&self, id: SensorId, reply: &RuleReply) {
        let revision = text::visible_cut(reply.revision.as_bytes(), FACT_MAX);
        let problem = text::visible_cut(reply.problem.as_bytes(), PROBLEM_MAX);
        let tried = Tried { revision, rules: reply.rules, problem };
        self.write().entry(id).or_default().yara = Some(tried);
    }

    /// Notes that a connection has ended, unless a newer one is there.
    pub fn disconnected(&self, id: SensorId, connection: u64) {
        let mut hosts = self.write();
        if let Some(status) = hosts.get_mut(&id)
            && status.connection == connection
        {
            status.connected_ns = None;
        }
    }

    /// Takes in a batch, in the journal's order.
    pub fn observe(&self, id: SensorId, batch: &Batch, received_ns: u64) {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        let mut hosts = self.write();
        let status = hosts.entry(id).or_default();
        status.last_seen_ns = status.last_seen_ns.max(received_ns);
        status.rate.add(batch.record_count(), received_ns);
        if let Some(report) = &batch.coverage {
            let coverage = status.coverage.get_or_insert_default();
            take_report(coverage, batch, report, received_ns, &self.metrics);
        }
    }

    /// Returns what is known of a host.
    pub fn get(&self, id: SensorId) -> Status {
        self.read().get(&id).cloned().unwrap_or_default()
    }

    /// Returns what has changed since it was last asked for, to be stored.
    pub fn take_changed(&self) -> Vec<(String, Vec<u8>)> {
        let changed =
            std::mem::take(&mut *self.changed.lock().unwrap_or_else(PoisonError::into_inner));
        let hosts = self.read();
        let json = |id| serde_json::to_vec(hosts.get(id)?).ok();
        changed.iter().filter_map(|id| Some((id.to_string(), json(id)?))).collect()
    }

    /// Returns records per second of all hosts.
    pub fn records_per_second(&self, now_ns: u64) -> f64 {
        self.read().values().map(|status| status.rate.at(now_ns)).sum()
    }

    /// Returns losses of all hosts, as (signal, reason, count).
    pub fn losses(&self) -> Vec<(String, String, u64)> {
        let mut losses: BTreeMap<(String, String), u64> = BTreeMap::new();
        for coverage in self.read().values().filter_map(|status| status.coverage.as_ref()) {
            for (signal, outcomes) in &coverage.ledger {
                for (reason, count) in outcomes.iter().filter(|(name, _)| is_loss(name)) {
                    *losses.entry((signal.clone(), reason.clone())).or_default() += count;
                }
            }
        }
        let lines = losses.into_iter().filter(|(_, count)| *count > 0);
        lines.map(|((signal, reason), count)| (signal, reason, count)).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<SensorId, Status>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<SensorId, Status>> {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether an outcome of the ledger is a reason of loss.
pub fn is_loss(outcome: &str) -> bool {
    outcome != SEEN && outcome != DELIVERED
}

fn take_report(
    coverage: &mut Coverage,
    batch: &Batch,
    report: &wire::record::Coverage,
    received_ns: u64,
    metrics: &Metrics,
) {
    let shown = |id: StrId| text::visible_cut(batch.strings.bytes(id), FACT_MAX);
    let filled = |id: StrId| Some(shown(id)).filter(|text| !text.is_empty());
    for line in &report.ledger {
        let signal = ledger_name(batch.strings.bytes(line.signal));
        let outcome = ledger_name(batch.strings.bytes(line.outcome));
        if is_loss(&outcome) && line.count > 0 {
            coverage.lost_ns = received_ns;
            metrics.lose(&signal, &outcome, line.count);
        }
        let known = coverage.ledger.get(&signal).is_some_and(|of| of.contains_key(&outcome));
        let lines: usize = coverage.ledger.values().map(BTreeMap::len).sum();
        let (signal, outcome) =
            if known || lines < LEDGER_MAX { (signal, outcome) } else { (other(), other()) };
        let total = coverage.ledger.entry(signal).or_default().entry(outcome).or_default();
        *total = total.saturating_add(line.count);
    }
    // What stands in for a batch that was given up has the ledger's lines and nothing else.
    if report.start_ns == report.end_ns && report.hooks.is_empty() {
        return;
    }
    coverage.hooks = (report.hooks.iter())
        .map(|h| Hook {
            name: shown(h.name),
            attached: filled(h.attached),
            reason: filled(h.reason),
        })
        .collect();
    let span_ns = report.end_ns.saturating_sub(report.start_ns).max(1);
    coverage.cpu_percent = report.cpu_ns as f64 * 100.0 / span_ns as f64;
    coverage.drain_lag_ns = report.drain_lag_ns;
    coverage.memory_bytes = report.memory_bytes;
    coverage.canary_ns = report.canary_ns;
    coverage.maps = (report.maps.iter())
        .map(|m| MapFill {
            name: shown(m.name),
            used: m.used,
            capacity: m.capacity,
            bytes: m.bytes,
        })
        .collect();
    coverage.updated_ns = received_ns;
}

fn other() -> String {
    "other".to_owned()
}

/// Returns the name when it is one, so that no text of a host becomes a label.
fn ledger_name(bytes: &[u8]) -> String {
    let fits = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    match std::str::from_utf8(bytes) {
        Ok(name) if (1..=LEDGER_NAME_MAX).contains(&name.len()) && bytes.iter().all(fits) => {
            name.to_owned()
        }
        _ => other(),
    }
}

#[cfg(test)]
mod tests {
    use wire::batch::{Clock, Lane, Position};
    use wire::record::LedgerLine;
    use wire::text::StringTableBuilder;

    use super::*;

    fn batch(lines: &[(&str, &str, u64)]) -> Batch {
        let position = Position { epoch: 1, lane: Lane::Bulk, seq: 1 };
        let mut batch = Batch::empty(position, Clock { boot_ns: 0, unix_ns: 3 * SECOND_NS });
        let mut strings = StringTableBuilder::default();
        let ledger = lines.iter().map(|(signal, outcome, count)| LedgerLine {
            signal: strings.add(signal.as_bytes()).unwrap(),
            outcome: strings.add(outcome.as_bytes()).unwrap(),
            count: *count,
        });
        let ledger = ledger.collect();
        batch.coverage = Some(wire::record::Coverage {
            start_ns: SECOND_NS,
            end_ns: 2 * SECOND_NS,
            cpu_ns: SECOND_NS / 50,
            ledger,
            ..Default::default()
        });
        batch.strings = strings.finish();
        batch
    }

    #[test]
    fn the_ledger_adds_up_and_is_stored() {
        let metrics = Arc::new(Metrics::new());
        let fleet = Fleet::new(Vec::new(), Arc::clone(&metrics));
        let id = SensorId([1; 16]);
        let report =
            batch(&[("exec", "seen", 5), ("exec", "delivered", 3), ("exec", "ring_full", 2)]);
        fleet.observe(id, &report, 4 * SECOND_NS);
        fleet.observe(id, &report, 5 * SECOND_NS);
        assert_eq!(fleet.losses(), [("exec".to_owned(), "ring_full".to_owned(), 4)]);
        let status = fleet.get(id);
        assert!(status.is_degraded(5 * SECOND_NS) && !status.is_degraded(500 * SECOND_NS));
        assert_eq!(status.coverage.as_ref().unwrap().cpu_percent, 2.0);
        let again = Fleet::new(fleet.take_changed(), metrics).get(id);
        assert_eq!(again.coverage, status.coverage);
    }

    #[test]
    fn what_stands_in_for_a_lost_batch_adds_to_the_ledger_alone() {
        let fleet = Fleet::new(Vec::new(), Arc::new(Metrics::new()));
        let id = SensorId([1; 16]);
        fleet.observe(id, &batch(&[("exec", "seen", 5)]), SECOND_NS);
        let before = fleet.get(id).coverage.unwrap();
        let mut stand_in = batch(&[("exec", "seen", 2)]);
        let (start_ns, end_ns) = (SECOND_NS, SECOND_NS);
        let report = stand_in.coverage.take().unwrap();
        let ledger = report.ledger;
        stand_in.coverage =
            Some(wire::record::Coverage { start_ns, end_ns, ledger, ..Default::default() });
        fleet.observe(id, &stand_in, 2 * SECOND_NS);
        let mut after = fleet.get(id).coverage.unwrap();
        assert_eq!(after.ledger["exec"]["seen"], 7);
        after.ledger = before.ledger.clone();
        assert_eq!(after, before);
    }

    #[test]
    fn names_of_a_hostile_sensor_stay_few_and_plain() {
        let fleet = Fleet::new(Vec::new(), Arc::new(Metrics::new()));
        let id = SensorId([1; 16]);
        let names: Vec<String> = (0..400).map(|n| format!("s{n}")).collect();
        for part in names.chunks(100) {
            let lines: Vec<_> = part.iter().map(|name| (name.as_str(), "x{y=\"z\"}", 1)).collect();
            fleet.observe(id, &batch(&lines), 0);
        }
        let coverage = fleet.get(id).coverage.unwrap();
        assert_eq!(coverage.ledger.values().map(BTreeMap::len).sum::<usize>(), LEDGER_MAX + 1);
        assert!(coverage.ledger.values().all(|of| of.keys().all(|name| name == "other")));
    }

    #[test]
    fn an_older_connection_does_not_end_a_newer_one() {
        let fleet = Fleet::new(Vec::new(), Arc::new(Metrics::new()));
        let id = SensorId([1; 16]);
        let hello = Hello {
            hostname: String::new(),
            sensor_version: "1\x1b[2J".to_owned(),
            kernel: String::new(),
            boot_id: String::new(),
            epoch: 0,
            cpus: 1,
        };
        let address = "127.0.0.1:1".parse().unwrap();
        fleet.connected(id, 1, address, &hello, false, 1);
        fleet.connected(id, 2, address, &hello, true, 2);
        fleet.disconnected(id, 1);
        let status = fleet.get(id);
        assert_eq!((status.connected_ns, status.superseded), (Some(2), 1));
        assert_eq!(status.facts.sensor_version, "1\\x1b[2J");
        fleet.disconnected(id, 2);
        assert_eq!(fleet.get(id).connected_ns, None);
    }
}
