//! Hosts and their coverage.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::ApiError;
use super::{Context, blocking, view};
use crate::clock;
use crate::finding::State as FindingState;
use crate::fleet::Status;
use crate::store::hosts::HostEntry;

/// Answers all hosts.
pub(super) async fn list(State(context): State<Arc<Context>>) -> Json<Value> {
    let now_ns = clock::now_ns();
    let open = open_findings(&context);
    let hosts = context.store.hosts.all();
    let shown = hosts.iter().map(|entry| {
        let findings = open.get(entry.id.as_str()).copied().unwrap_or(0);
        view::host(entry, &status(&context, entry), findings, now_ns)
    });
    Json(json!({"hosts": shown.collect::<Vec<_>>()}))
}

/// Answers one host.
pub(super) async fn one(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let host = host(&context, &id).ok_or_else(|| ApiError::not_found("host"))?;
    Ok(Json(host))
}

/// Revokes a host: its session is cut and its certificate refused for good.
pub(super) async fn revoke(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let shared = Arc::clone(&context);
    let entry = blocking(move || {
        let Some(entry) = shared.store.hosts.revoke(&id, clock::now_ns())? else { return Ok(None) };
        shared.store.audit.record(&caller.user, "host.revoke", &entry.id, "")?;
        Ok::<_, ApiError>(Some(entry))
    })
    .await??;
    let entry = entry.ok_or_else(|| ApiError::not_found("host"))?;
    if let Ok(sensor) = entry.id.parse() {
        context.sensors.cut(sensor, "revoked_certificate");
        context.board.show_host(sensor);
    }
    let host = host(&context, &entry.id).ok_or_else(|| ApiError::not_found("host"))?;
    Ok(Json(host))
}

/// Returns a host as it is shown.
pub(super) fn host(context: &Context, id: &str) -> Option<Value> {
    some(context, &[id.to_owned()]).pop()
}

/// Returns several hosts as they are shown; going through all findings once is enough for them.
pub(super) fn some(context: &Context, ids: &[String]) -> Vec<Value> {
    let open = open_findings(context);
    let now_ns = clock::now_ns();
    let shown = ids.iter().filter_map(|id| context.store.hosts.get(id)).map(|entry| {
        let findings = open.get(entry.id.as_str()).copied().unwrap_or(0);
        view::host(&entry, &status(context, &entry), findings, now_ns)
    });
    shown.collect()
}

fn status(context: &Context, entry: &HostEntry) -> Status {
    entry.id.parse().map(|id| context.fleet.get(id)).unwrap_or_default()
}

fn open_findings(context: &Context) -> HashMap<String, usize> {
    let mut open = HashMap::new();
    for finding in context.board.all() {
        if finding.state == FindingState::Open {
            *open.entry(finding.host.id.0.to_string()).or_default() += 1;
        }
    }
    open
}
