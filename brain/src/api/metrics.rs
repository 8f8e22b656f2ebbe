//! What monitoring asks.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Context;
use super::error::ApiError;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers all metrics.
pub(super) async fn metrics(State(context): State<Arc<Context>>) -> Result<Response, ApiError> {
    let text = context.metrics.render().map_err(ApiError::internal)?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// Answers that the brain serves.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}
