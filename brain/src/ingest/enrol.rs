//! Enrolment: a join token, or a certificate that is still valid, against a new certificate.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, SendStream};
use wire::codec;
use wire::control::{Control, EnrolReply, EnrolRequest, Refusal};
use wire::limits::ENROL_TIME;

use super::frame;
use super::refusal::Refused;
use super::{Shared, tls};
use crate::ca::CaError;
use crate::clock;
use crate::identity::{SensorId, TokenSecret};
use crate::metrics;
use crate::store::file::FileError;
use crate::store::hosts::HOSTS_MAX;
use crate::store::tokens::TokenError;

/// The answer gets so long to arrive before the connection is closed.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Serves one enrolment.
pub(super) async fn run(shared: &Arc<Shared>, connection: &Connection) -> Result<(), Refused> {
    match tokio::time::timeout(ENROL_TIME, exchange(shared, connection)).await {
        Ok(result) => result,
        Err(_) => Err(Refused::new("slow_enrolment", "the enrolment took too long")),
    }
}

async fn exchange(shared: &Arc<Shared>, connection: &Connection) -> Result<(), Refused> {
    let Ok((mut send, mut receive)) = connection.accept_bi().await else { return Ok(()) };
    let from = connection.remote_address().ip();
    let renewing = tls::sensor_id(connection);
    let request = match frame::read(&mut receive).await {
        Ok(Some(frame)) => request(&frame),
        Ok(None) => return Ok(()),
        Err(refused) => Err(refused),
    };
    let result = match request {
        Ok(request) => decide(shared, from, renewing, request).await,
        Err(refused) => Err(refused),
    };
    match result {
        Ok(reply) => {
            answer(&mut send, &Control::EnrolReply(reply)).await;
            Ok(())
        }
        Err(refused) => {
            let (reason, message) = (refused.reason.to_owned(), refused.message.clone());
            answer(&mut send, &Control::Refusal(Refusal { reason, message })).await;
            Err(refused)
        }
    }
}

fn request(frame: &frame::Frame) -> Result<EnrolRequest, Refused> {
    match codec::decode_control(&frame.header, frame.body())? {
        Control::EnrolRequest(request) => Ok(request),
        _ => Err(Refused::new("unexpected_message", "an enrolment begins with a request")),
    }
}

async fn decide(
    shared: &Arc<Shared>,
    from: IpAddr,
    renewing: Option<SensorId>,
    request: EnrolRequest,
) -> Result<EnrolReply, Refused> {
    let now_ns = clock::now_ns();
    if shared.failed_enrolments().check(from, now_ns).is_err() {
        return Err(Refused::new(
            "too_many_failed_enrolments",
            "too many enrolments from this address failed; wait a minute",
        ));
    }
    let shared_too = Arc::clone(shared);
    // Signing computes and the store waits for the disk: neither belongs on the network's threads.
    let enrolled = tokio::task::spawn_blocking(move || match renewing {
        Some(id) if request.token.is_empty() => renew(&shared_too, id, &request, now_ns),
        _ => join(&shared_too, &request, now_ns),
    });
    let result = enrolled.await.unwrap_or_else(|_| Err(Refused::internal()));
    if result.is_err() {
        let _ = shared.failed_enrolments().take(from, now_ns);
    }
    result
}

fn join(shared: &Shared, request: &EnrolRequest, now_ns: u64) -> Result<EnrolReply, Refused> {
    let secret = TokenSecret::from_wire(&request.token).ok_or(TokenError::Wrong)?;
    shared.store.tokens.check(&secret, now_ns)?;
    if shared.store.hosts.count() >= HOSTS_MAX {
        return Err(Refused::new("too_many_hosts", "as many hosts as may have enrolled"));
    }
    let id = SensorId::random();
    // The request is checked by signing it, before the token is spent on it.
    let issued = shared.ca.issue(id, &request.csr_der, now_ns)?;
    let role = shared.store.tokens.redeem(&secret, now_ns)?;
    shared.store.hosts.add(id, &request.hostname, role, now_ns, issued.expires_ns)?;
    metrics::count(&shared.metrics.enrolled, "joined");
    let detail = crate::text::visible_str(&request.hostname);
    let token = crate::identity::hex(&secret.id);
    if let Err(error) =
        shared.store.audit.record(&format!("token {token}"), "host.enrol", &id.to_string(), &detail)
    {
        tracing::error!(%error, "an enrolment is missing in the audit log");
    }
    shared.board.show_host(id);
    Ok(EnrolReply { sensor_id: id.to_string(), certificate_der: issued.der })
}

fn renew(
    shared: &Shared,
    id: SensorId,
    request: &EnrolRequest,
    now_ns: u64,
) -> Result<EnrolReply, Refused> {
    if !shared.store.hosts.is_welcome(id) {
        return Err(Refused::new("revoked_certificate", "the host has been revoked"));
    }
    let issued = shared.ca.issue(id, &request.csr_der, now_ns)?;
    shared.store.hosts.renewed(id, issued.expires_ns)?;
    metrics::count(&shared.metrics.enrolled, "renewed");
    Ok(EnrolReply { sensor_id: id.to_string(), certificate_der: issued.der })
}

async fn answer(send: &mut SendStream, message: &Control) {
    if matches!(frame::write(send, message).await, Ok(true)) && send.finish().is_ok() {
        let _ = tokio::time::timeout(ANSWER_TIME, send.stopped()).await;
    }
}

impl From<TokenError> for Refused {
    fn from(error: TokenError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

impl From<CaError> for Refused {
    fn from(error: CaError) -> Self {
        let reason = match error {
            CaError::Request(_) => "bad_signing_request",
            _ => "internal",
        };
        Self::new(reason, error.to_string())
    }
}

impl From<FileError> for Refused {
    fn from(error: FileError) -> Self {
        tracing::error!(%error, "an enrolment could not be stored");
        Self::new("store_failed", "the brain cannot write its data directory")
    }
}
