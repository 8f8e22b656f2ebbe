//! Who the sensor is: key, certificate and the brain's CA, on disk and as TLS settings.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error;
use x509_parser::prelude::FromDer;

use crate::atomic_file;

const KEY_FILE: &str = "key.pem";
const CERTIFICATE_FILE: &str = "cert.pem";
const CA_FILE: &str = "ca.pem";
/// Only the sensor's user may read the key.
const KEY_MODE: u32 = 0o600;
const PUBLIC_MODE: u32 = 0o644;

/// Why there is no usable identity.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file is missing or cannot be read.
    #[error("cannot read {path}: {reason}; enrol again with `sakuramori-sensor run --join TOKEN`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file cannot be written.
    #[error("cannot write {path}: {source}; the state directory must be writable")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Key, certificate and CA do not fit together.
    #[error("key and certificate in {path} are not usable: {reason}; enrol again")]
    Unusable {
        /// The state directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The key or the request for a certificate cannot be made.
    #[error("cannot make a key: {0}")]
    Make(#[from] rcgen::Error),
}

/// A key that has no certificate yet.
#[derive(Debug)]
pub struct NewKey {
    pair: KeyPair,
}

/// Key, certificate and CA.
#[derive(Debug)]
pub struct Identity {
    key: PrivateKeyDer<'static>,
    certificate: CertificateDer<'static>,
    ca: CertificateDer<'static>,
    /// Validity in seconds since the Unix epoch.
    validity: (i64, i64),
}

impl NewKey {
    /// Makes a key. It leaves this process only into the state directory.
    pub fn generate() -> Result<Self, IdentityError> {
        Ok(Self { pair: KeyPair::generate()? })
    }

    /// Reads the key of an enrolled sensor, to ask for a new certificate for it.
    pub fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let path = state_dir.join(KEY_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
        Ok(Self { pair: KeyPair::from_pem(&text)? })
    }

    /// Returns a request for a certificate, DER. The brain decides what the certificate says.
    pub fn request(&self) -> Result<Vec<u8>, IdentityError> {
        Ok(CertificateParams::default().serialize_request(&self.pair)?.der().to_vec())
    }

    /// Stores key, CA and certificate. The certificate comes last: with it, the sensor is enrolled.
    pub fn store(
        &self,
        state_dir: &Path,
        certificate: &[u8],
        ca: &[u8],
    ) -> Result<(), IdentityError> {
        let key = self.pair.serialize_pem();
        write(state_dir, KEY_FILE, key.as_bytes(), KEY_MODE)?;
        write(state_dir, CA_FILE, pem(ca).as_bytes(), PUBLIC_MODE)?;
        write(state_dir, CERTIFICATE_FILE, pem(certificate).as_bytes(), PUBLIC_MODE)
    }
}

impl Identity {
    /// Returns whether the state directory holds a certificate.
    pub fn exists(state_dir: &Path) -> bool {
        state_dir.join(CERTIFICATE_FILE).exists()
    }

    /// Reads key, certificate and CA.
    pub fn load(state_dir: &Path) -> Result<Self, IdentityError> {
        let certificate = read_certificate(state_dir, CERTIFICATE_FILE)?;
        let ca = read_certificate(state_dir, CA_FILE)?;
        let path = state_dir.join(KEY_FILE);
        let key = PrivateKeyDer::from_pem_file(&path).map_err(|error| unreadable(&path, &error))?;
        let validity = validity(&certificate).ok_or_else(|| IdentityError::Unusable {
            path: state_dir.to_owned(),
            reason: "the certificate cannot be parsed".to_owned(),
        })?;
        let identity = Self { key, certificate, ca, validity };
        let unusable = |error: rustls::Error| IdentityError::Unusable {
            path: state_dir.to_owned(),
            reason: error.to_string(),
        };
        identity.tls(wire::ALPN_SESSION).map_err(unusable)?;
        Ok(identity)
    }

    /// Returns TLS settings that trust only the brain's CA and show the sensor's certificate.
    pub fn tls(&self, alpn: &[u8]) -> Result<ClientConfig, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(self.ca.clone())?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.certificate.clone()], self.key.clone_key())?;
        Ok(hardened(config, alpn))
    }

    /// Returns the CA's certificate, DER.
    pub fn ca(&self) -> &[u8] {
        &self.ca
    }

    /// Returns whether two thirds of the certificate's life are over: time to ask for a new one,
    /// with a third left in which the brain may be away.
    pub fn is_due(&self, unix_s: i64) -> bool {
        let (begin, end) = self.validity;
        unix_s >= begin + (end - begin) / 3 * 2
    }
}

/// Returns the one crypto provider that is used.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Sets what every connection to the brain has in common: no resumption, nothing sent early.
pub fn hardened(mut config: ClientConfig, alpn: &[u8]) -> ClientConfig {
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    config.enable_early_data = false;
    config
}

fn validity(certificate: &[u8]) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn read_certificate(
    state_dir: &Path,
    name: &str,
) -> Result<CertificateDer<'static>, IdentityError> {
    let path = state_dir.join(name);
    CertificateDer::from_pem_file(&path).map_err(|error| unreadable(&path, &error))
}

fn write(state_dir: &Path, name: &str, content: &[u8], mode: u32) -> Result<(), IdentityError> {
    let path = state_dir.join(name);
    atomic_file::write(&path, content, mode)
        .map_err(|source| IdentityError::Unwritable { path, source })
}

fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> IdentityError {
    IdentityError::Unreadable { path: path.to_owned(), reason: error.to_string() }
}

/// Writes a certificate as RFC 7468 has it.
fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.extend(line.iter().map(|&b| char::from(b)));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_the_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Identity::exists(dir.path()));
        let key = NewKey::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key.pair).unwrap();
        key.store(dir.path(), certificate.der(), certificate.der()).unwrap();
        let identity = Identity::load(dir.path()).unwrap();
        assert_eq!(identity.ca(), &certificate.der()[..]);
        let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, KEY_MODE);
        let again = NewKey::load(dir.path()).unwrap();
        assert_eq!(again.pair.public_key_raw(), key.pair.public_key_raw());
    }

    #[test]
    fn a_key_that_does_not_fit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (key, other) = (NewKey::generate().unwrap(), NewKey::generate().unwrap());
        let certificate = CertificateParams::default().self_signed(&other.pair).unwrap();
        key.store(dir.path(), certificate.der(), certificate.der()).unwrap();
        let error = Identity::load(dir.path()).unwrap_err().to_string();
        assert!(error.contains("enrol again"), "{error}");
    }

    #[test]
    fn a_certificate_is_due_after_two_thirds_of_its_life() {
        let identity = Identity {
            key: PrivateKeyDer::Pkcs8(vec![].into()),
            certificate: vec![].into(),
            ca: vec![].into(),
            validity: (1_000, 1_900),
        };
        assert!(!identity.is_due(1_599) && identity.is_due(1_600));
    }
}
