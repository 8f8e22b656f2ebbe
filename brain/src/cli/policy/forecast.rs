//! `policy forecast`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Forecast, Loaded};
use crate::cli::{client::print, table};
use crate::clock::{self, SECOND_NS};
use crate::forecast::{Cause, Change, Fired, Trial};
use crate::identity::SensorId;
use crate::journal::{self, Entry, Past, Payload};
use crate::record::{Host, HostId};
use crate::store::hosts;
use crate::text;

/// Long work says how far it is, this often.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);

/// Hosts that one line names.
const HOSTS_SHOWN: usize = 4;

/// Runs the command.
pub(super) fn run(flags: &Forecast) -> Result<bool> {
    let candidate = flags.sources.load()?;
    candidate.tell_errors();
    let current = super::load(flags.current.clone(), &[])?;
    let now_ns = clock::now_ns();
    let from_ns = now_ns.saturating_sub(flags.since.saturating_mul(SECOND_NS));
    let journal = flags.data.join("journal");
    if !journal.is_dir() {
        bail!("there is no journal in {}; name the brain's data directory", flags.data.display());
    }
    let past = Past::list(&journal, from_ns)?;
    let mut replay = Replay::new(&candidate, &current, &flags.data)?;
    let mut progress = Progress::new(past.bytes());
    let read = past.read(from_ns, |entry| replay.take(entry), |read| progress.tell(read.bytes))?;
    let report = replay.end(now_ns);
    let text = match flags.json {
        true => report.lines(&candidate, read.unreadable),
        false => report.table(flags, read.unreadable),
    };
    print(&text)?;
    Ok(true)
}

struct Progress {
    total: u64,
    told: Instant,
}

impl Progress {
    fn new(total: u64) -> Self {
        Self { total, told: Instant::now() }
    }

    fn tell(&mut self, bytes: u64) {
        if self.told.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told = Instant::now();
        let (done, total) = (bytes >> 20, self.total >> 20);
        let share = bytes * 100 / self.total.max(1);
        let _ = writeln!(io::stderr(), "read {done} of {total} MiB ({share} %)");
    }
}

/// Both sets of policies over the same entries.
struct Replay {
    then: Trial,
    now: Trial,
    names: HashMap<String, (String, String)>,
    hosts: HashMap<SensorId, Arc<Host>>,
    batches: u64,
    unreadable: u64,
    first_ns: Option<u64>,
}

impl Replay {
    fn new(candidate: &Loaded, current: &Loaded, data: &Path) -> Result<Self> {
        let list = hosts::read_list(data).context("failed to read the list of hosts")?;
        let names = list.into_iter().map(|host| (host.id, (host.name, host.role)));
        Ok(Self {
            then: Trial::new(&candidate.set),
            now: Trial::new(&current.set),
            names: names.collect(),
            hosts: HashMap::new(),
            batches: 0,
            unreadable: 0,
            first_ns: None,
        })
    }

    fn take(&mut self, entry: Entry) {
        let Payload::Batch { sensor, correction_ns, frame, .. } = entry.payload else { return };
        let batch = match journal::batch_of(&frame, correction_ns) {
            Ok(batch) if batch.check().is_ok() => batch,
            _ => {
                self.unreadable += 1;
                return;
            }
        };
        let host = self.host(sensor);
        self.batches += 1;
        self.first_ns.get_or_insert(entry.received_ns);
        self.then.batch(entry.received_ns, &batch, &host);
        self.now.batch(entry.received_ns, &batch, &host);
    }

    fn host(&mut self, sensor: SensorId) -> Arc<Host> {
        let names = &self.names;
        let host = self.hosts.entry(sensor).or_insert_with(|| {
            let id = sensor.to_string();
            let (name, role) = names.get(&id).cloned().unwrap_or((id.clone(), String::new()));
            Arc::new(Host { id: HostId(id.into()), name, role })
        });
        Arc::clone(host)
    }

    fn end(self, now_ns: u64) -> Report {
        let ((now, given_up), (then, given_up_then)) =
            (self.now.end(now_ns), self.then.end(now_ns));
        let causes: BTreeSet<&Cause> = now.keys().chain(then.keys()).collect();
        let of = |all: &BTreeMap<Cause, Fired>, cause| all.get(cause).cloned().unwrap_or_default();
        let mut rows: Vec<Row> = (causes.into_iter())
            .map(|cause| Row::new(cause.clone(), of(&now, cause), of(&then, cause)))
            .collect();
        rows.sort_by_key(|row| (row.change, u64::MAX - row.then.findings));
        Report {
            rows,
            batches: self.batches,
            unreadable: self.unreadable,
            hosts: self.hosts.len(),
            first_ns: self.first_ns,
            given_up: given_up + given_up_then,
        }
    }
}

struct Row {
    change: Change,
    cause: Cause,
    now: Fired,
    then: Fired,
}

impl Row {
    fn new(cause: Cause, now: Fired, then: Fired) -> Self {
        Self { change: Change::of(&now, &then), cause, now, then }
    }

    fn file(&self) -> &str {
        if self.then.file.is_empty() { &self.now.file } else { &self.then.file }
    }

    fn hosts(&self) -> &BTreeSet<String> {
        if self.then.hosts.is_empty() { &self.now.hosts } else { &self.then.hosts }
    }
}

struct Report {
    rows: Vec<Row>,
    batches: u64,
    unreadable: u64,
    hosts: usize,
    first_ns: Option<u64>,
    given_up: u64,
}

impl Report {
    fn table(&self, flags: &Forecast, damaged: u64) -> String {
        let row = |row: &Row| {
            let shown: Vec<String> =
                row.hosts().iter().take(HOSTS_SHOWN).map(|name| text::visible_str(name)).collect();
            let more = row.hosts().len().saturating_sub(HOSTS_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            vec![
                row.change.name().to_owned(),
                row.now.findings.to_string(),
                row.then.findings.to_string(),
                row.then.suppressed.to_string(),
                row.then.sightings.to_string(),
                row.cause.1.clone(),
                format!("{}{more}", shown.join(", ")),
                row.file().to_owned(),
            ]
        };
        let shown = |row: &&Row| flags.all || row.change != Change::Same;
        let rows: Vec<_> = self.rows.iter().filter(shown).map(row).collect();
        let head = ["CHANGE", "NOW", "THEN", "SUPPRESSED", "SIGHTINGS", "TYPE", "HOSTS", "POLICY"];
        let mut text = String::new();
        if !rows.is_empty() {
            text.push_str(&table::render(&head, &rows));
        }
        let same = self.rows.iter().filter(|row| row.change == Change::Same).count();
        text.push_str(&format!("{}; {same} causes as before\n", self.basis()));
        for (count, what) in [
            (damaged, "bytes of the journal cannot be read (damage, or still being written)"),
            (self.unreadable, "batches are of another version and were left out"),
            (self.given_up, "findings were given up because there were too many"),
        ] {
            if count > 0 {
                text.push_str(&format!("{count} {what}\n"));
            }
        }
        text
    }

    fn basis(&self) -> String {
        let since = self
            .first_ns
            .map_or_else(|| "nothing".to_owned(), |ns| format!("since {}", text::rfc3339(ns)));
        format!("{} batches of {} hosts, {since}", self.batches, self.hosts)
    }

    fn lines(&self, candidate: &Loaded, damaged: u64) -> String {
        let fired = |fired: &Fired| {
            json!({
                "findings": fired.findings,
                "suppressed": fired.suppressed,
                "sightings": fired.sightings,
                "hosts": fired.hosts.iter().map(|name| text::visible_str(name)).collect::<Vec<_>>(),
            })
        };
        let row = |row: &Row| {
            json!({
                "kind": "cause",
                "change": row.change.name(),
                "policy": row.cause.0,
                "type": row.cause.1,
                "file": candidate.path(row.file()),
                "now": fired(&row.now),
                "then": fired(&row.then),
            })
        };
        let summary = json!({
            "kind": "summary",
            "revision": candidate.set.revision,
            "batches": self.batches,
            "batches_unreadable": self.unreadable,
            "bytes_unreadable": damaged,
            "hosts": self.hosts,
            "first": self.first_ns.map(text::rfc3339),
            "findings_given_up": self.given_up,
        });
        let all: Vec<Value> = self.rows.iter().map(row).chain([summary]).collect();
        all.iter().map(|value| format!("{value}\n")).collect()
    }
}
