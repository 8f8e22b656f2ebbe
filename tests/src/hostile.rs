//! A peer that the brain must refuse: it speaks QUIC, but holds no rights.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, ReadToEndError};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::time::timeout;

/// Longest wait for the brain to answer or to hang up.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest answer that is read.
const ANSWER_MAX: usize = wire::limits::CONTROL_MAX + wire::codec::HEADER_LEN;

/// Which certificate the peer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// None at all.
    Nothing,
    /// One that it signed itself.
    SelfSigned,
}

/// Connects, sends bytes on a stream and returns what the brain answers until it hangs up.
///
/// A refused handshake and a closed connection both come back as an error, which is what these
/// tests want to see; the brain's counters tell them apart.
pub fn knock(brain: SocketAddr, alpn: &[u8], shown: Shown, bytes: &[u8]) -> Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        endpoint.set_default_client_config(client(alpn, shown)?);
        let connecting = endpoint.connect(brain, wire::BRAIN_NAME)?;
        let connection = timeout(LIMIT, connecting).await.context("no handshake")??;
        let answer = timeout(LIMIT, talk(&connection, bytes)).await.context("no answer")?;
        connection.close(0_u8.into(), b"");
        endpoint.wait_idle().await;
        answer
    })
}

async fn talk(connection: &Connection, bytes: &[u8]) -> Result<Vec<u8>> {
    let (mut sender, mut receiver) = connection.open_bi().await?;
    sender.write_all(bytes).await?;
    // Finishing fails when the brain has already hung up, which reading will say as well.
    let _ = sender.finish();
    match receiver.read_to_end(ANSWER_MAX).await {
        Ok(answer) => Ok(answer),
        Err(ReadToEndError::Read(error)) => Err(error).context("the brain hung up"),
        Err(error) => Err(error).context("the brain said too much"),
    }
}

fn client(alpn: &[u8], shown: Shown) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)));
    let mut config = match shown {
        Shown::Nothing => trusting.with_no_client_auth(),
        Shown::SelfSigned => {
            let key = KeyPair::generate()?;
            let certificate = CertificateParams::new(Vec::new())?.self_signed(&key)?;
            let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
            trusting.with_client_auth_cert(vec![certificate.der().clone()], key)?
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?)))
}

/// Believes every brain: an attacker would not check either.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, schemes)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let schemes = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, schemes)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
