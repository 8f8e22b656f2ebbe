//! JSON as the API shows it. Every string that a host may have chosen passes through
//! [`text::visible_str`] here, so that no screen has to think of it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::finding::{Evidence, Finding, Value};
use crate::fleet::{Status, is_loss};
use crate::record::Process;
use crate::store::hosts::HostEntry;
use crate::store::tokens::JoinToken;
use crate::store::users::User;
use crate::text::{self, rfc3339};

/// `GET /api/v1/session`
#[derive(Debug, Serialize)]
pub(super) struct SessionView {
    setup_required: bool,
    user: Option<UserView>,
    csrf: Option<String>,
    version: &'static str,
}

#[derive(Debug, Serialize)]
struct UserView {
    name: String,
    role: String,
}

impl SessionView {
    pub(super) fn new(setup_required: bool, user: Option<User>, csrf: Option<String>) -> Self {
        let csrf = csrf.filter(|_| user.is_some());
        let user = user.map(|user| UserView { name: user.name, role: user.role });
        Self { setup_required, user, csrf, version: env!("CARGO_PKG_VERSION") }
    }
}

/// Returns a finding.
pub(super) fn finding(f: &Finding) -> Json {
    let lineage = f.process.iter().flat_map(|process| process.lineage());
    let coverage = &f.coverage;
    json!({
        "id": f.id.0,
        "type": f.kind.name,
        "guardduty_type": f.kind.guardduty,
        "severity": f.severity.value(),
        "severity_label": f.severity.label(),
        "title": text::visible_str(&f.title),
        "description": f.kind.description,
        "remediation": f.kind.remediation,
        "host": {
            "id": f.host.id.0.as_ref(),
            "name": text::visible_str(&f.host.name),
            "role": f.host.role,
        },
        "state": f.state.name(),
        "count": f.count,
        "first_seen": rfc3339(f.first_ns),
        "last_seen": rfc3339(f.last_ns),
        "process": f.process.as_ref().map(|p| process(p)),
        "lineage": lineage.map(|p| process(p)).collect::<Vec<_>>(),
        "actors": f.actors.iter()
            .map(|a| json!({"kind": a.kind.name(), "value": text::visible_str(&a.value)}))
            .collect::<Vec<_>>(),
        "actors_dropped": f.actors_dropped,
        "evidence": f.evidence.iter().map(evidence).collect::<Vec<_>>(),
        "evidence_dropped": f.evidence_dropped,
        "mitre": f.kind.techniques.iter()
            .map(|t| json!({"tactic": t.tactic, "technique": t.id, "name": t.name}))
            .collect::<Vec<_>>(),
        "policy": {
            "id": f.policy.id,
            "file": f.policy.file,
            "revision": f.policy.revision,
            "author": f.policy.author,
        },
        "exactness": f.exactness.name(),
        "coverage": {
            "state": coverage.state.name(),
            "detail": text::visible_str(&coverage.detail),
        },
        "dedup_key": text::visible_str(&f.dedup_key),
        "history": f.history.iter()
            .map(|d| json!({
                "time": rfc3339(d.time_ns),
                "user": text::visible_str(&d.user),
                "state": d.state.name(),
                "note": text::visible_str(&d.note),
            }))
            .collect::<Vec<_>>(),
    })
}

fn process(p: &Process) -> Json {
    let optional = |bytes: &[u8]| (!bytes.is_empty()).then(|| text::visible(bytes));
    json!({
        "pid": p.key.pid,
        "start_time": rfc3339(p.key.start_ns),
        "executable": p.executable(),
        "command_line": p.command_line(),
        "name": p.name(),
        "user": optional(&p.user),
        "uid": p.uid,
        "euid": p.euid,
        "cgroup": optional(&p.cgroup),
        "container": optional(&p.container),
        "flags": p.flag_names(),
    })
}

fn evidence(e: &Evidence) -> Json {
    let fields: Map<String, Json> = (e.fields.iter())
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => json!(text::visible_str(text)),
                Value::Number(number) => json!(number),
                Value::Numbers(numbers) => json!(numbers),
            };
            ((*name).to_owned(), value)
        })
        .collect();
    json!({
        "time": rfc3339(e.time_ns),
        "kind": e.kind.name(),
        "summary": text::visible_str(&e.summary),
        "fields": fields,
    })
}

/// Returns a host.
pub(super) fn host(entry: &HostEntry, status: &Status, findings_open: usize, now_ns: u64) -> Json {
    let state = match (entry.revoked_ns, status.connected_ns) {
        (Some(_), _) => "revoked",
        (None, Some(_)) => "online",
        (None, None) => "offline",
    };
    let last_seen_ns = status.last_seen_ns.max(entry.enrolled_ns);
    let clock = status.clock.offset_ns(now_ns);
    json!({
        "id": entry.id,
        "name": text::visible_str(&entry.name),
        "role": entry.role,
        "state": state,
        "degraded": status.is_degraded(now_ns),
        "connected_since": status.connected_ns.map(rfc3339),
        "last_seen": rfc3339(last_seen_ns),
        "enrolled": rfc3339(entry.enrolled_ns),
        "certificate_expires": rfc3339(entry.certificate_expires_ns),
        "address": status.address.map(|address| address.to_string()),
        "sensor_version": text::visible_str(&status.facts.sensor_version),
        "kernel": text::visible_str(&status.facts.kernel),
        "boot_id": text::visible_str(&status.facts.boot_id),
        "cpus": status.facts.cpus,
        "clock_offset_ms": clock.map(|(offset_ns, _)| round(offset_ns as f64 / 1e6)),
        "clock_error_ms": clock.map(|(_, error_ns)| round(error_ns as f64 / 1e6)),
        "clock_wrong": status.clock.is_wrong(now_ns),
        "clock_steps": status.clock.steps,
        "clock_stepped": (status.clock.steps > 0).then(|| rfc3339(status.clock.stepped_ns)),
        "settings": status.settings.as_ref().map(|settled| json!({
            "revision": settled.revision,
            "problem": (!settled.problem.is_empty()).then_some(&settled.problem),
        })),
        "yara": status.yara.as_ref().map(|tried| json!({
            "revision": tried.revision,
            "rules": tried.rules,
            "problem": (!tried.problem.is_empty()).then_some(&tried.problem),
        })),
        "superseded": status.superseded,
        "coverage": coverage(status),
        "records_per_second": round(status.records_per_second(now_ns)),
        "findings_open": findings_open,
    })
}

fn coverage(status: &Status) -> Option<Json> {
    let coverage = status.coverage.as_ref()?;
    let ledger = coverage.ledger.iter().map(|(signal, outcomes)| ledger_row(signal, outcomes));
    Some(json!({
        "hooks": coverage.hooks.iter()
            .map(|h| json!({"name": h.name, "attached": h.attached, "reason": h.reason}))
            .collect::<Vec<_>>(),
        "ledger": ledger.collect::<Vec<_>>(),
        "drain_lag_ms": round(coverage.drain_lag_ns as f64 / 1e6),
        "cpu_percent": round(coverage.cpu_percent),
        "memory_bytes": coverage.memory_bytes,
        "updated": rfc3339(coverage.updated_ns),
    }))
}

fn ledger_row(signal: &str, outcomes: &BTreeMap<String, u64>) -> Json {
    let count = |name: &str| outcomes.get(name).copied().unwrap_or(0);
    let lost = outcomes
        .iter()
        .filter(|(name, count)| is_loss(name) && **count > 0)
        .map(|(reason, count)| json!({"reason": reason, "count": count}));
    json!({
        "signal": signal,
        "seen": count("seen"),
        "delivered": count("delivered"),
        "lost": lost.collect::<Vec<_>>(),
    })
}

/// Returns a join token without its secret.
pub(super) fn token(token: &JoinToken) -> Json {
    json!({
        "id": token.id,
        "role": token.role,
        "uses_left": token.uses_left,
        "expires": rfc3339(token.expires_ns),
        "created": rfc3339(token.created_ns),
    })
}

/// Two decimals are all that a screen shows.
pub(super) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
