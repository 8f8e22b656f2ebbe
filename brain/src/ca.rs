//! The brain's own certificate authority. It signs the brain's server certificate, anew at each
//! start, and the certificates of sensors. Nothing outside the fleet trusts it, and the fleet
//! trusts nothing else.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{
    CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer,
};
use thiserror::Error;

use crate::clock::SECOND_NS;
use crate::identity::SensorId;
use crate::store::file::{self, FileError};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long the authority lives. Replacing it means enrolling every sensor again, so it outlives
/// them.
const CA_LIFETIME: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// How long a server certificate lives. It is made at each start and never stored.
const SERVER_LIFETIME: Duration = Duration::from_secs(400 * 24 * 3600);

/// How long a sensor's certificate lives: a host that was away over a long week-end comes back, a
/// stolen key does not stay useful.
pub const SENSOR_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// Certificates begin this much before now, since a sensor's clock may be behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Why the authority cannot do what it was asked to.
#[derive(Debug, Error)]
pub enum CaError {
    /// Its files cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The stored key or certificate is not one.
    #[error("the certificate authority in {path} cannot be read: {source}")]
    Stored {
        /// Where it is kept.
        path: std::path::PathBuf,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// Signing failed.
    #[error("failed to sign a certificate: {0}")]
    Sign(#[source] rcgen::Error),
    /// The request is not a certificate signing request that its own key signed.
    #[error("the certificate signing request is not valid: {0}")]
    Request(#[source] rcgen::Error),
    /// A TLS configuration cannot be built.
    #[error("failed to set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate that was issued to a sensor.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub der: Vec<u8>,
    /// When it ends.
    pub expires_ns: u64,
}

/// The authority: its certificate and the key to sign with.
#[derive(Debug)]
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Ca {
    /// Reads the authority from `dir`, or makes one at the first start.
    pub fn open(dir: &Path, now_ns: u64) -> Result<Self, CaError> {
        file::private_dir(dir)?;
        let key_path = dir.join("ca.key.pem");
        let certificate_path = dir.join("ca.pem");
        let stored = |source| CaError::Stored { path: dir.to_owned(), source };
        let (key, pem) = match (file::read(&key_path)?, file::read(&certificate_path)?) {
            (Some(key), Some(pem)) => {
                let text = |bytes| {
                    String::from_utf8(bytes).map_err(|_| stored(rcgen::Error::CouldNotParseKeyPair))
                };
                (KeyPair::from_pem(&text(key)?).map_err(stored)?, text(pem)?)
            }
            // The key is written first and is useless without the certificate, so a crash between
            // the two writes is repaired by making both again.
            (_, None) => {
                let (key, pem) = generate(now_ns)?;
                file::replace(&key_path, key.serialize_pem().as_bytes())?;
                file::replace(&certificate_path, pem.as_bytes())?;
                (key, pem)
            }
            (None, Some(_)) => return Err(stored(rcgen::Error::CouldNotParseKeyPair)),
        };
        let certificate = pem_to_der(&pem).map_err(stored)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(stored)?;
        Ok(Self { issuer, certificate, pem })
    }

    /// Returns a key for another purpose, the same after each restart.
    pub fn derived(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.issuer.key().serialize_der())
    }

    /// Returns the authority's certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Returns the authority's certificate as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns what a join token pins.
    pub fn sha256(&self) -> [u8; 32] {
        let mut digest = [0; 32];
        // ring is the one provider of this program; its SHA-256 is reached through rustls.
        let hash = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
            .tls13()
            .map(|suite| suite.common.hash_provider.hash(&self.certificate));
        if let Some(hash) = hash {
            digest.copy_from_slice(hash.as_ref());
        }
        digest
    }

    /// Makes a key and a certificate for the brain, for QUIC or for HTTP.
    pub fn server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        now_ns: u64,
    ) -> Result<ServerIdentity, CaError> {
        let key = KeyPair::generate().map_err(CaError::Sign)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(CaError::Sign)?;
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        name_and_span(&mut params, "Sakuramori brain", now_ns, SERVER_LIFETIME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).map_err(CaError::Sign)?;
        Ok(ServerIdentity {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        })
    }

    /// Issues a certificate for the key that signed `request`. Nothing else of the request is used.
    pub fn issue(&self, id: SensorId, request: &[u8], now_ns: u64) -> Result<Issued, CaError> {
        let request = CertificateSigningRequestDer::from(request);
        let request =
            CertificateSigningRequestParams::from_der(&request).map_err(CaError::Request)?;
        let mut params = CertificateParams::default();
        let uri = id.uri().try_into().map_err(CaError::Sign)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        name_and_span(&mut params, &id.to_string(), now_ns, SENSOR_LIFETIME);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let leaf = params.signed_by(&request.public_key, &self.issuer).map_err(CaError::Sign)?;
        let expires_ns = now_ns.saturating_add(SENSOR_LIFETIME.as_nanos() as u64);
        Ok(Issued { der: leaf.der().to_vec(), expires_ns })
    }
}

/// The brain's key and certificate chain of this start.
#[derive(Debug)]
pub struct ServerIdentity {
    /// The leaf, then the authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl ServerIdentity {
    /// Returns a TLS 1.3 configuration for HTTP, where browsers bring no certificate.
    pub fn http_config(self) -> Result<rustls::ServerConfig, CaError> {
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(self.chain, self.key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

/// Returns the one crypto provider of this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn generate(now_ns: u64) -> Result<(KeyPair, String), CaError> {
    let key = KeyPair::generate().map_err(CaError::Sign)?;
    let mut params = CertificateParams::default();
    // Each fleet's authority has its own name, so that a certificate of another fleet is told from
    // a forged one.
    let name = format!("Sakuramori fleet CA {}", crate::identity::hex(&rand::random::<[u8; 4]>()));
    name_and_span(&mut params, &name, now_ns, CA_LIFETIME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(CaError::Sign)?;
    Ok((key, certificate.pem()))
}

fn name_and_span(params: &mut CertificateParams, name: &str, now_ns: u64, lifetime: Duration) {
    params.distinguished_name.push(DnType::CommonName, name);
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let now = Duration::from_secs(now_ns / SECOND_NS).max(DAY);
    params.not_before = epoch + (now - BACKDATE);
    params.not_after = epoch + (now + lifetime);
}

fn pem_to_der(pem: &str) -> Result<CertificateDer<'static>, rcgen::Error> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| rcgen::Error::CouldNotParseCertificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_000 * SECOND_NS;

    #[test]
    fn the_authority_is_the_same_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let first = Ca::open(dir.path(), NOW).unwrap();
        let again = Ca::open(dir.path(), NOW + SECOND_NS).unwrap();
        assert_eq!(first.sha256(), again.sha256());
        assert_ne!(first.sha256(), [0; 32]);
        assert_eq!(first.derived("a"), again.derived("a"));
        assert_ne!(first.derived("a"), first.derived("b"));
    }

    #[test]
    fn a_lost_key_is_an_error_and_not_a_new_authority() {
        let dir = tempfile::tempdir().unwrap();
        Ca::open(dir.path(), NOW).unwrap();
        std::fs::remove_file(dir.path().join("ca.key.pem")).unwrap();
        assert!(matches!(Ca::open(dir.path(), NOW), Err(CaError::Stored { .. })));
    }

    #[test]
    fn the_request_decides_the_key_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::open(dir.path(), NOW).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec![wire::BRAIN_NAME.to_owned()]).unwrap();
        wish.distinguished_name.push(DnType::CommonName, "root");
        let request = wish.serialize_request(&key).unwrap();
        let id = SensorId::random();
        let issued = ca.issue(id, request.der(), NOW).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let names: Vec<String> =
            names.value.general_names.iter().map(|name| name.to_string()).collect();
        assert_eq!(names.len(), 1);
        assert!(names[0].contains(&id.uri()), "{names:?}");
        assert!(!leaf.is_ca());
        assert!(ca.issue(id, &request.der()[..20], NOW).is_err());
    }
}
