//! Who asks: a browser with a cookie, or a command with a bearer token.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Context;
use super::error::ApiError;
use crate::clock;
use crate::identity;
use crate::store::sessions::Session;

/// Header that repeats the session's secret, which other sites cannot read.
const CSRF_HEADER: &str = "x-sakuramori-csrf";

/// Name of the bearer token's user in the audit log.
const CLI_USER: &str = "cli";

/// Who asks.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Name for the audit log and for decisions.
    pub(super) user: String,
}

/// Lets only known callers through; of browsers, only those that prove that they ask on purpose.
pub(super) async fn require(
    State(context): State<Arc<Context>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let headers = request.headers();
    let user = if let Some(token) = bearer(headers) {
        if !context.is_cli(token) {
            return Err(ApiError::unauthorized());
        }
        CLI_USER.to_owned()
    } else {
        let (_, session) = session(&context, headers)?.ok_or_else(ApiError::unauthorized)?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            check_csrf(headers, &session)?;
        }
        session.user
    };
    request.extensions_mut().insert(Caller { user });
    Ok(next.run(request).await)
}

/// Returns the session of a request's cookie, with the cookie.
pub(super) fn session(
    context: &Context,
    headers: &HeaderMap,
) -> Result<Option<(String, Session)>, ApiError> {
    let Some(secret) = cookie(headers, cookie_name(context.secure)) else { return Ok(None) };
    let session = context.store.sessions.find(secret, clock::now_ns())?;
    // An account that is gone takes its sessions with it.
    let session = session.filter(|session| context.store.users.get(&session.user).is_some());
    Ok(session.map(|session| (secret.to_owned(), session)))
}

/// Checks that a request that changes something was made by our own page.
pub(super) fn check_csrf(headers: &HeaderMap, session: &Session) -> Result<(), ApiError> {
    let sent = headers.get(CSRF_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("");
    if identity::same_hash(sent, &session.csrf) {
        return Ok(());
    }
    Err(ApiError::forbidden("csrf", "The request does not carry this session's X-Sakuramori-Csrf."))
}

/// Returns the header that hands a browser its cookie.
pub(super) fn set_cookie(secure: bool, secret: &str) -> Result<HeaderValue, ApiError> {
    cookie_header(secure, secret, "")
}

/// Returns the header that takes the cookie away.
pub(super) fn clear_cookie(secure: bool) -> Result<HeaderValue, ApiError> {
    cookie_header(secure, "", "; Max-Age=0")
}

fn cookie_header(secure: bool, value: &str, rest: &str) -> Result<HeaderValue, ApiError> {
    let name = cookie_name(secure);
    let flag = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{flag}{rest}");
    HeaderValue::from_str(&text).map_err(ApiError::internal)
}

/// Browsers take `__Host-` cookies only over TLS, from exactly this host.
fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-sakuramori" } else { "sakuramori" }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
