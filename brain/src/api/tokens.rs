//! Join tokens.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::error::{ApiError, Body};
use super::{Context, blocking, view};
use crate::clock;
use crate::store::tokens::TokenError;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Create {
    role: String,
    uses: u32,
    ttl_seconds: u64,
}

/// Answers all tokens, without secrets.
pub(super) async fn list(State(context): State<Arc<Context>>) -> Json<Value> {
    let tokens = context.store.tokens.all(clock::now_ns());
    Json(json!({"tokens": tokens.iter().map(view::token).collect::<Vec<_>>()}))
}

/// Makes a token; this answer is the only place where its secret is ever shown.
pub(super) async fn create(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Body(Create { role, uses, ttl_seconds }): Body<Create>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let shared = Arc::clone(&context);
    let (token, secret) = blocking(move || {
        let made = shared.store.tokens.create(&role, uses, ttl_seconds, clock::now_ns());
        let (token, secret) = made.map_err(|error| match error {
            TokenError::Value(message) => ApiError::bad_request(message),
            other => ApiError::internal(other),
        })?;
        shared.store.audit.record(&caller.user, "token.create", &token.id, &token.role)?;
        Ok::<_, ApiError>((token, secret))
    })
    .await??;
    let mut view = view::token(&token);
    view["token"] = json!(secret.join_token(&context.ca.sha256()));
    Ok((StatusCode::OK, Json(view)))
}

/// Ends a token.
pub(super) async fn revoke(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let existed = blocking(move || {
        let existed = context.store.tokens.revoke(&id)?;
        if existed {
            context.store.audit.record(&caller.user, "token.revoke", &id, "")?;
        }
        Ok::<_, ApiError>(existed)
    })
    .await??;
    if existed { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("token")) }
}
