//! How peers connect: as sensors do, or in whatever way a hostile one might.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use tokio::net::UdpSocket;

use crate::sensor::Identity;

/// A peer before it connects.
pub struct Peer {
    /// The address that it connects from; the brain counts handshakes by it.
    pub from: IpAddr,
    pub tls: rustls::ClientConfig,
    pub transport: TransportConfig,
}

impl Peer {
    /// One with a protocol, and a certificate if there is one.
    pub fn new(alpn: &[u8], identity: Option<&Identity>) -> Self {
        let builder = rustls::ClientConfig::builder_with_provider(brain::ca::provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer));
        let mut tls = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
                let chain = vec![identity.certificate.clone().into()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        tls.alpn_protocols = vec![alpn.to_vec()];
        tls.enable_early_data = true;
        Self { from: Ipv4Addr::LOCALHOST.into(), tls, transport: TransportConfig::default() }
    }

    /// One that comes from another address of this machine.
    pub fn from(mut self, last: u8) -> Self {
        self.from = Ipv4Addr::new(127, 0, 0, last).into();
        self
    }

    /// One that offers these protocols, the best first.
    pub fn offering(mut self, protocols: &[&[u8]]) -> Self {
        self.tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        self
    }

    /// Returns a socket, and how it is used.
    pub fn socket(self) -> (Endpoint, ClientConfig) {
        let endpoint = Endpoint::client(SocketAddr::new(self.from, 0)).unwrap();
        let crypto = QuicClientConfig::try_from(self.tls).unwrap();
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(self.transport));
        (endpoint, config)
    }

    pub async fn connect(self, brain: SocketAddr) -> Result<Connection, ConnectionError> {
        let (endpoint, config) = self.socket();
        endpoint.connect_with(config, brain, wire::BRAIN_NAME).unwrap().await
    }
}

/// Connects with a protocol, and a certificate if there is one.
pub async fn connect(
    brain: SocketAddr,
    alpn: &[u8],
    identity: Option<&Identity>,
) -> Result<Connection, ConnectionError> {
    Peer::new(alpn, identity).connect(brain).await
}

/// Stands between a client and the brain, which sees `from`; returns where the client connects to.
/// Of the client's datagrams those go on that `passes` wants.
pub async fn relay(
    brain: SocketAddr,
    from: IpAddr,
    mut passes: impl FnMut(&[u8]) -> bool + Send + 'static,
) -> SocketAddr {
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let outside = UdpSocket::bind((from, 0)).await.unwrap();
    let address = inside.local_addr().unwrap();
    tokio::spawn(async move {
        let mut client = None;
        let (mut up, mut down) = ([0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                received = inside.recv_from(&mut up) => {
                    let Ok((length, from)) = received else { return };
                    client = Some(from);
                    if passes(&up[..length]) {
                        let _ = outside.send_to(&up[..length], brain).await;
                    }
                }
                received = outside.recv_from(&mut down) => {
                    let (Ok((length, _)), Some(client)) = (received, client) else { continue };
                    let _ = inside.send_to(&down[..length], client).await;
                }
            }
        }
    });
    address
}

/// Takes any server; enrolment checks the pin afterwards, and the rest is not what is tested here.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        brain::ca::provider().signature_verification_algorithms.supported_schemes()
    }
}
