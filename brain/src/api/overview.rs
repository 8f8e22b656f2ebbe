//! The numbers on the first page.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Context, view};
use crate::clock;
use crate::finding::State as FindingState;
use crate::metrics::counted;
use crate::text::rfc3339;

/// Answers the overview.
pub(super) async fn overview(State(context): State<Arc<Context>>) -> Json<Value> {
    Json(value(&context))
}

/// Returns the overview.
pub(super) fn value(context: &Context) -> Value {
    let now_ns = clock::now_ns();
    let losses = context.fleet.losses();
    let by_reason = losses
        .iter()
        .map(|(signal, reason, count)| json!({"signal": signal, "reason": reason, "count": count}));
    json!({
        "findings": findings(context),
        "hosts": hosts(context, now_ns),
        "records_per_second": view::round(context.fleet.records_per_second(now_ns)),
        "batches": {
            "received": counted(&context.metrics.batches, "received"),
            "duplicate": counted(&context.metrics.batches, "duplicate"),
        },
        "lost": {
            "total": losses.iter().map(|(_, _, count)| count).sum::<u64>(),
            "by_reason": by_reason.collect::<Vec<_>>(),
        },
        "started": rfc3339(context.started_ns),
    })
}

fn findings(context: &Context) -> Value {
    let mut by_severity = json!({"critical": 0, "high": 0, "medium": 0, "low": 0});
    let mut open = 0u64;
    for finding in context.board.all() {
        if finding.state == FindingState::Open {
            open += 1;
            let count = &mut by_severity[finding.severity.label()];
            *count = json!(count.as_u64().unwrap_or(0) + 1);
        }
    }
    json!({"open": open, "by_severity": by_severity})
}

fn hosts(context: &Context, now_ns: u64) -> Value {
    let (mut total, mut online, mut degraded) = (0, 0, 0);
    for entry in context.store.hosts.all().iter().filter(|entry| entry.revoked_ns.is_none()) {
        let status = entry.id.parse().map(|id| context.fleet.get(id)).unwrap_or_default();
        total += 1;
        online += u64::from(status.connected_ns.is_some());
        degraded += u64::from(status.is_degraded(now_ns));
    }
    json!({"total": total, "online": online, "degraded": degraded})
}
