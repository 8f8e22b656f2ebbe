//! Enrolment: a join token, or a certificate that is about to expire, against a new certificate.

use std::path::Path;
use std::sync::{Arc, Mutex};

use quinn::Endpoint;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use thiserror::Error as ThisError;
use wire::control::{Control, EnrolReply, EnrolRequest};

use crate::frame::{self, FrameIoError};
use crate::identity::{self, Identity, IdentityError, NewKey};
use crate::join::{JoinToken, PIN_LEN};
use crate::uplink::{self, ConnectError};

/// Why a sensor could not be enrolled.
#[derive(Debug, ThisError)]
pub enum EnrolError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The exchange broke off.
    #[error("enrolment broke off: {0}")]
    Exchange(#[from] FrameIoError),
    /// The brain said no.
    #[error("the brain refused to enrol this host: {message}")]
    Refused {
        /// Its reason.
        message: String,
    },
    /// The brain answered something else.
    #[error("the brain gave an answer that is not one to an enrolment")]
    Unexpected,
    /// Key or files.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Enrols with a join token and stores key, certificate and CA.
pub async fn join(
    endpoint: &Endpoint,
    address: &str,
    hostname: &str,
    token: &JoinToken,
    state_dir: &Path,
) -> Result<String, EnrolError> {
    let verifier = Arc::new(PinnedCa::new(*token.pin()));
    let tls = ClientConfig::builder_with_provider(identity::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(ConnectError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier.clone())
        .with_no_client_auth();
    let tls = identity::hardened(tls, wire::ALPN_ENROL);
    let key = NewKey::generate()?;
    let reply = exchange(endpoint, address, tls, hostname, token.secret(), &key).await?;
    let ca = verifier.ca().ok_or(EnrolError::Unexpected)?;
    key.store(state_dir, &reply.certificate_der, &ca)?;
    Ok(reply.sensor_id)
}

/// Asks for a new certificate for the same key, with the old certificate as proof.
pub async fn renew(
    endpoint: &Endpoint,
    address: &str,
    hostname: &str,
    identity: &Identity,
    state_dir: &Path,
) -> Result<(), EnrolError> {
    let tls = identity.tls(wire::ALPN_ENROL).map_err(ConnectError::Tls)?;
    let key = NewKey::load(state_dir)?;
    let reply = exchange(endpoint, address, tls, hostname, "", &key).await?;
    key.store(state_dir, &reply.certificate_der, identity.ca())?;
    Ok(())
}

async fn exchange(
    endpoint: &Endpoint,
    address: &str,
    tls: ClientConfig,
    hostname: &str,
    secret: &str,
    key: &NewKey,
) -> Result<EnrolReply, EnrolError> {
    let connection = uplink::connect(endpoint, address, tls).await?;
    let request = EnrolRequest {
        token: secret.to_owned(),
        hostname: hostname.to_owned(),
        csr_der: key.request()?,
    };
    let answer = frame::ask(&connection, &Control::EnrolRequest(request)).await;
    connection.close(0u32.into(), b"");
    match answer? {
        Control::EnrolReply(reply) => Ok(reply),
        Control::Refusal(refusal) => Err(EnrolError::Refused { message: refusal.message }),
        _ => Err(EnrolError::Unexpected),
    }
}

/// Trusts the chain whose CA has the fingerprint that the join token tells, and remembers that CA.
#[derive(Debug)]
struct PinnedCa {
    pin: [u8; PIN_LEN],
    found: Mutex<Option<Vec<u8>>>,
}

impl PinnedCa {
    fn new(pin: [u8; PIN_LEN]) -> Self {
        Self { pin, found: Mutex::new(None) }
    }

    fn ca(&self) -> Option<Vec<u8>> {
        self.found.lock().ok()?.clone()
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let pinned = intermediates.iter().find(|ca| sha256(ca).is_some_and(|sum| sum == self.pin));
        let ca = pinned.ok_or(unknown)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), identity::provider())
                .build()
                .map_err(|error| Error::General(error.to_string()))?;
        let verified = verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        if let Ok(mut found) = self.found.lock() {
            *found = Some(ca.to_vec());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = identity::provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        identity::provider().signature_verification_algorithms.supported_schemes()
    }
}

/// SHA-256 from the provider that does all other cryptography.
fn sha256(bytes: &[u8]) -> Option<[u8; PIN_LEN]> {
    let suite = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13()?;
    suite.common.hash_provider.hash(bytes).as_ref().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_is_the_known_function() {
        // FIPS 180-4's example for "abc".
        let sum = sha256(b"abc").unwrap();
        assert_eq!(sum[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
