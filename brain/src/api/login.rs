//! Accounts: the first one, log-in, log-out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::error::{ApiError, Body};
use super::view::SessionView;
use super::{Context, auth, blocking};
use crate::clock;
use crate::identity;
use crate::store::users::{User, UserError};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Setup {
    token: String,
    user: String,
    password: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    user: String,
    password: String,
}

/// Says who is logged in, and whether there is an account at all.
pub(super) async fn session(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
) -> Result<Json<SessionView>, ApiError> {
    let setup_required = context.store.users.is_empty();
    let found = auth::session(&context, &headers)?;
    let user = found.as_ref().and_then(|(_, session)| context.store.users.get(&session.user));
    let csrf = found.map(|(_, session)| session.csrf);
    Ok(Json(SessionView::new(setup_required, user, csrf)))
}

/// Makes the first account, for whoever has the set-up link.
pub(super) async fn setup(
    State(context): State<Arc<Context>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(Setup { token, user, password }): Body<Setup>,
) -> Result<Response, ApiError> {
    let now_ns = clock::now_ns();
    if !context.store.users.is_empty() {
        let message = "The first account has been made already; log in.";
        return Err(ApiError::new(StatusCode::CONFLICT, "already_set_up", message));
    }
    check_rate(&context, from.ip(), now_ns)?;
    let sent = identity::secret_hash(token.as_bytes());
    let fits = context.setup_hash().as_ref().is_some_and(|hash| identity::same_hash(hash, &sent));
    if !fits {
        let _ = context.failed_logins().take(from.ip(), now_ns);
        let message = "The set-up link is not valid; restart the brain to get a new one.";
        return Err(ApiError::forbidden("bad_setup_token", message));
    }
    let shared = Arc::clone(&context);
    let made = blocking(move || shared.store.users.create_first(&user, &password, now_ns)).await?;
    let user = made.map_err(|error| match error {
        UserError::Exists => ApiError::new(
            StatusCode::CONFLICT,
            "already_set_up",
            "The first account has been made already; log in.",
        ),
        UserError::Value(message) => ApiError::bad_request(message),
        other => ApiError::internal(other),
    })?;
    *context.setup_hash() = None;
    begin(context, user, "user.create_first", now_ns).await
}

/// Begins a session.
pub(super) async fn login(
    State(context): State<Arc<Context>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    Body(Login { user, password }): Body<Login>,
) -> Result<Response, ApiError> {
    let now_ns = clock::now_ns();
    check_rate(&context, from.ip(), now_ns)?;
    let shared = Arc::clone(&context);
    let verified = blocking(move || shared.store.users.verify(&user, &password)).await?;
    let Some(user) = verified else {
        let _ = context.failed_logins().take(from.ip(), now_ns);
        let message = "The user name or the password is wrong.";
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "wrong_credentials", message));
    };
    begin(context, user, "user.login", now_ns).await
}

fn check_rate(context: &Context, from: IpAddr, now_ns: u64) -> Result<(), ApiError> {
    let result = context.failed_logins().check(from, now_ns);
    result
        .and_then(|()| context.take_login(now_ns))
        .map_err(|wait_ns| ApiError::too_many("Too many attempts; wait a moment.", wait_ns))
}

async fn begin(
    context: Arc<Context>,
    user: User,
    action: &'static str,
    now_ns: u64,
) -> Result<Response, ApiError> {
    let shared = Arc::clone(&context);
    let name = user.name.clone();
    let (secret, session) = blocking(move || {
        shared.store.audit.record(&name, action, &name, "")?;
        shared.store.sessions.begin(&name, now_ns).map_err(ApiError::from)
    })
    .await??;
    let cookie = auth::set_cookie(context.secure, &secret)?;
    let view = SessionView::new(false, Some(user), Some(session.csrf));
    Ok(([(header::SET_COOKIE, cookie)], Json(view)).into_response())
}

/// Ends the session.
pub(super) async fn logout(
    State(context): State<Arc<Context>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Some((secret, _)) = auth::session(&context, &headers)? {
        let shared = Arc::clone(&context);
        blocking(move || shared.store.sessions.end(&secret)).await??;
    }
    let cookie = auth::clear_cookie(context.secure)?;
    let view = SessionView::new(context.store.users.is_empty(), None, None);
    Ok(([(header::SET_COOKIE, cookie)], Json(view)).into_response())
}
