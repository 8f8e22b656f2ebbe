//! TLS of the endpoint: our CA, TLS 1.3 only, client certificates checked and looked up, nothing
//! early.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{HandshakeData, QuicServerConfig};
use quinn::{Connection, ServerConfig, TransportConfig, VarInt};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use wire::limits::LANES_MAX;
use x509_parser::extensions::GeneralName;

use super::{IngestError, Shared};
use crate::ca::{self, CaError};
use crate::identity::SensorId;
use crate::store::Store;

/// Bytes that a connection may have sent without our having read them: the worst case of memory per
/// connection. Frames are read as they come, so they may be larger.
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// The same per stream. Two lanes and the control stream share the connection's window.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Bytes of acknowledgements that may wait for a slow sensor.
const SEND_WINDOW: u64 = 64 * 1024;

/// Streams that a sensor opens: one for control.
const BIDI_STREAMS_MAX: u32 = 1;

/// Bytes of packets that may wait for a handshake to be looked at, each and all together: a
/// handshake is looked at in the moment in which it comes, and brings two packets at most.
const INCOMING_BUFFER: (u64, u64) = (16 * 1024, 4 * 1024 * 1024);

/// A peer that says nothing for so long is gone. Sensors keep alive every few seconds.
const IDLE_TIME: Duration = Duration::from_secs(30);

/// The brain asks whether the peer is still there this often.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

pub(super) fn server_config(shared: &Shared, now_ns: u64) -> Result<ServerConfig, IngestError> {
    let identity = shared.ca.server(&[wire::BRAIN_NAME.to_owned()], &[], now_ns)?;
    let mut roots = RootCertStore::empty();
    roots.add(shared.ca.certificate().clone()).map_err(CaError::from)?;
    // Enrolment comes without a certificate; a session without one is refused by `session`.
    let checked = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), ca::provider())
        .allow_unauthenticated()
        .build()
        .map_err(|_| IngestError::Quic("the CA certificate cannot verify clients"))?;
    let verifier = Arc::new(FleetVerifier { checked, store: Arc::clone(&shared.store) });
    let mut tls = rustls::ServerConfig::builder_with_provider(ca::provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(CaError::from)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain, identity.key)
        .map_err(CaError::from)?;
    // The first that the sensor offers as well is taken.
    let protocols = [wire::ALPN_COLUMNS, wire::ALPN_SESSION, wire::ALPN_ENROL];
    tls.alpn_protocols = protocols.map(<[u8]>::to_vec).to_vec();
    // A resumed session would skip the look-up of revoked hosts, and early data could be replayed.
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    tls.max_early_data_size = 0;
    let quic = QuicServerConfig::try_from(tls)
        .map_err(|_| IngestError::Quic("no cipher suite for initial packets"))?;
    let mut config = ServerConfig::with_crypto(Arc::new(quic));
    config.transport_config(Arc::new(transport()));
    config.migration(true);
    config.incoming_buffer_size(INCOMING_BUFFER.0).incoming_buffer_size_total(INCOMING_BUFFER.1);
    Ok(config)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(BIDI_STREAMS_MAX.into())
        .max_concurrent_uni_streams(VarInt::from_u32(LANES_MAX as u32))
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(VarInt::from_u32(IDLE_TIME.as_millis() as u32).into()));
    transport
}

/// Returns the protocol that the handshake settled on.
pub(super) fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// Returns whose certificate the peer has shown.
pub(super) fn sensor_id(connection: &Connection) -> Option<SensorId> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    certificate_id(chain.first()?)
}

/// Returns the id in a certificate's one URI.
fn certificate_id(certificate: &CertificateDer<'_>) -> Option<SensorId> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let mut ids = names.value.general_names.iter().map(|name| match name {
        GeneralName::URI(uri) => SensorId::from_uri(uri),
        _ => None,
    });
    let id = ids.next()??;
    // A certificate that says more than we sign is none of ours.
    if ids.next().is_none() { Some(id) } else { None }
}

/// Checks the chain as usual, then that the host is known and not revoked.
#[derive(Debug)]
struct FleetVerifier {
    checked: Arc<dyn ClientCertVerifier>,
    store: Arc<Store>,
}

impl ClientCertVerifier for FleetVerifier {
    fn offer_client_auth(&self) -> bool {
        self.checked.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.checked.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.checked.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.checked.verify_client_cert(end_entity, intermediates, now)?;
        let id = certificate_id(end_entity).ok_or(CertificateError::NotValidForName)?;
        if self.store.hosts.is_welcome(id) {
            Ok(verified)
        } else {
            Err(CertificateError::Revoked.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checked.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checked.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checked.supported_verify_schemes()
    }
}
