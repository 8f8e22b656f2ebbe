//! Findings: the list, one of them, and what people decide about it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{ApiError, Asked, Body};
use super::{Context, blocking, view};
use crate::engine::Decided;
use crate::finding::{Finding, FindingId, State as FindingState};
use crate::journal::{Append, Appended};
use crate::text;

/// Findings in one answer, when nothing else is asked for and at most.
const PAGE: usize = 100;
const PAGE_MAX: usize = 500;

/// Characters of a note.
const NOTE_MAX: usize = 4000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    state: Option<String>,
    host: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    min_severity: Option<f64>,
    q: Option<String>,
    limit: Option<usize>,
    after: Option<String>,
}

impl Query {
    /// Returns whether the finding is asked for. Empty filters are none.
    fn wants(&self, finding: &Finding) -> bool {
        let is = |filter: &Option<String>, fits: &dyn Fn(&str) -> bool| {
            filter.as_deref().filter(|text| !text.is_empty()).is_none_or(fits)
        };
        is(&self.state, &|state| finding.state.name() == state)
            && is(&self.host, &|host| *finding.host.id.0 == *host || finding.host.name == host)
            && is(&self.kind, &|kind| finding.kind.name.eq_ignore_ascii_case(kind))
            && self.min_severity.is_none_or(|min| finding.severity.value() >= min)
            && is(&self.q, &|q| contains(finding, &q.to_lowercase()))
    }
}

fn contains(finding: &Finding, needle: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(needle);
    has(&finding.title)
        || has(&finding.kind.name)
        || has(&finding.host.name)
        || has(&finding.id.0)
        || finding.process.as_ref().is_some_and(|p| has(&p.executable()) || has(&p.command_line()))
        || finding.actors.iter().any(|actor| has(&actor.value))
}

/// Place in the list: findings are ordered by the last time, then by id, the newest first.
type Cursor = (u64, FindingId);

fn read_cursor(text: &str) -> Result<Cursor, ApiError> {
    let parts = text.split_once('.').and_then(|(time, id)| Some((time.parse().ok()?, id)));
    let (time, id) =
        parts.ok_or_else(|| ApiError::bad_request("`after` is not a cursor of this list."))?;
    Ok((time, FindingId(id.to_owned())))
}

/// Answers a page of the list.
pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Asked(query): Asked<Query>,
) -> Result<Json<Value>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    if let Some(state) = query.state.as_deref().filter(|state| !state.is_empty())
        && FindingState::from_name(state).is_none()
    {
        let message = "`state` is open, acknowledged, archived or suppressed.";
        return Err(ApiError::bad_request(message));
    }
    let after = query.after.as_deref().map(read_cursor).transpose()?;
    // Looking through tens of thousands of findings would hold up other requests.
    blocking(move || Json(page(&context, &query, after.as_ref(), limit))).await
}

fn page(context: &Context, query: &Query, after: Option<&Cursor>, limit: usize) -> Value {
    let mut findings = context.board.all();
    findings.retain(|finding| query.wants(finding));
    let total = findings.len();
    findings.sort_unstable_by(|a, b| (b.last_ns, &b.id).cmp(&(a.last_ns, &a.id)));
    let rest = findings
        .iter()
        .skip_while(|f| after.is_some_and(|(time, id)| (f.last_ns, &f.id) >= (*time, id)));
    let mut shown: Vec<&Arc<Finding>> = rest.take(limit + 1).collect();
    let more = shown.len() > limit;
    shown.truncate(limit);
    let next = shown.last().filter(|_| more).map(|f| format!("{}.{}", f.last_ns, f.id.0));
    json!({
        "findings": shown.iter().map(|f| view::finding(f)).collect::<Vec<_>>(),
        "next": next,
        "total": total,
    })
}

/// Answers one finding.
pub(super) async fn one(
    State(context): State<Arc<Context>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let finding =
        context.board.get(&FindingId(id)).ok_or_else(|| ApiError::not_found("finding"))?;
    Ok(Json(view::finding(&finding)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Decide {
    state: String,
    #[serde(default)]
    note: Option<String>,
}

/// Takes a decision. It goes through the journal, since it changes what later sightings become.
pub(super) async fn decide(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(Decide { state, note }): Body<Decide>,
) -> Result<Json<Value>, ApiError> {
    let note = note.unwrap_or_default();
    match FindingState::from_name(&state) {
        None => return Err(ApiError::bad_request("`state` is open, acknowledged or archived.")),
        Some(FindingState::Suppressed) => {
            let message = "Suppressing is a policy's: write a file in `suppress/`.";
            return Err(ApiError::bad_request(message));
        }
        Some(_) => {}
    }
    if note.chars().count() > NOTE_MAX {
        return Err(ApiError::bad_request("A note has at most 4000 characters."));
    }
    let id = FindingId(id);
    let before = context.board.get(&id).ok_or_else(|| ApiError::not_found("finding"))?;
    let mut changes = context.board.changes();
    let user = caller.user.clone();
    let decided = Decided { finding: id.0.clone(), user, state: state.clone(), note: note.clone() };
    let json = serde_json::to_vec(&decided).map_err(ApiError::internal)?;
    let answer = context.journal.append(Append::Decision(json)).await;
    if !matches!(answer.await, Ok(Appended::Stored(_))) {
        return Err(ApiError::internal("a decision could not be written to the journal"));
    }
    let shared = Arc::clone(&context);
    let target = id.0.clone();
    let detail = text::visible_str(&format!("{state}: {note}"));
    blocking(move || shared.store.audit.record(&caller.user, "finding.decide", &target, &detail))
        .await??;
    // The engine takes it in a moment later; the answer shows what it made of it.
    while let Some(now) = context.board.get(&id) {
        if now.history.last() != before.history.last() {
            return Ok(Json(view::finding(&now)));
        }
        let _ = changes.recv().await;
    }
    Err(ApiError::not_found("finding"))
}
