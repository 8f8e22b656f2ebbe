//! The UDP socket, with a look at each datagram: quinn drops what is not QUIC without a word, and
//! an operator wants to know that somebody throws things at the port.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use nix::sys::socket::{GetSockOpt, SetSockOpt, sockopt};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, Runtime,
    ServerConfig, TokioRuntime, UdpPoller,
};
use quinn_proto::HashedConnectionIdGenerator;
use quinn_proto::crypto::{CryptoError, HmacKey};

use crate::ca::Ca;
use crate::metrics::Metrics;

/// Bytes of the connection ids that we hand out.
const CONNECTION_ID_LEN: usize = 8;

/// Bytes that the kernel keeps for us, its own accounting included: some two thousand datagrams,
/// which are two from each of a thousand sensors.
const RECEIVE_BUFFER: usize = 4 << 20;

/// QUIC version 1 (RFC 9000, section 15), the only one that is spoken here.
const QUIC_V1: u32 = 1;

/// A client's first datagram is at least this long (RFC 9000, section 14.1).
const INITIAL_MIN: usize = 1200;

/// What the keys below are for; another purpose gets other keys from the same secret.
const IDS: &str = "sakuramori brain 2026-11-30 connection ids";
const RESETS: &str = "sakuramori brain 2026-11-30 stateless resets";

/// Binds the address and counts what is not QUIC.
///
/// The keys are the same after a restart. A brain that was killed has said goodbye to nobody; so it
/// knows its old connections' ids, and tells their sensors by a stateless reset (RFC 9000, section
/// 10.3) that they are gone. Otherwise these would wait until the connection's idle time is over.
pub(super) fn endpoint(
    listen: SocketAddr,
    server: ServerConfig,
    metrics: Arc<Metrics>,
    ca: &Ca,
) -> io::Result<Endpoint> {
    let [a, b, c, d, e, f, g, h, ..] = ca.derived(IDS);
    let key = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let mut config = EndpointConfig::new(Arc::new(ResetKey(ca.derived(RESETS))));
    config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(key)));
    let runtime = Arc::new(TokioRuntime);
    let inner = runtime.wrap_udp_socket(socket(listen)?)?;
    let ids = HashedConnectionIdGenerator::from_key(key);
    let gate = Arc::new(Gate { inner, ids, metrics });
    Endpoint::new_with_abstract_socket(config, Some(server), gate, runtime)
}

/// Binds the address with room for what comes while no thread reads; without it a fleet that sends
/// in the same moment loses datagrams, and waits for them to be sent again.
fn socket(listen: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(listen)?;
    sockopt::RcvBuf.set(&socket, &RECEIVE_BUFFER)?;
    let given = sockopt::RcvBuf.get(&socket)?;
    if given < RECEIVE_BUFFER {
        let wanted = RECEIVE_BUFFER;
        tracing::warn!(wanted, given, "net.core.rmem_max is too small for thousands of sensors");
    }
    Ok(socket)
}

/// Signs stateless resets.
struct ResetKey([u8; blake3::KEY_LEN]);

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], out: &mut [u8]) {
        out.copy_from_slice(blake3::keyed_hash(&self.0, data).as_bytes());
    }

    fn signature_len(&self) -> usize {
        blake3::OUT_LEN
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Hashes are compared in constant time.
        let signature = blake3::Hash::from_slice(signature).map_err(|_| CryptoError)?;
        if blake3::keyed_hash(&self.0, data) == signature { Ok(()) } else { Err(CryptoError) }
    }
}

struct Gate {
    inner: Arc<dyn AsyncUdpSocket>,
    ids: HashedConnectionIdGenerator,
    metrics: Arc<Metrics>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Gate {
    fn look(&self, datagram: &[u8]) {
        if let Some(reason) =
            fault(datagram, |id| self.ids.validate(&ConnectionId::new(id)).is_ok())
        {
            self.metrics.refuse(reason);
        }
    }
}

/// Returns why a datagram cannot belong to a connection, from its first bytes (RFC 8999 and RFC
/// 9000, section 17). What passes here may still be refused by its cryptography.
fn fault(datagram: &[u8], is_ours: impl Fn(&[u8]) -> bool) -> Option<&'static str> {
    let (&first, rest) = datagram.split_first()?;
    let is_long = first & 0x80 != 0;
    if !is_long {
        // The next bit used to tell QUIC from the rest, and is random now (RFC 9287).
        let id = rest.get(..CONNECTION_ID_LEN);
        return if id.is_some_and(is_ours) { None } else { Some("not_quic") };
    }
    let Some(version) = rest.first_chunk() else { return Some("not_quic") };
    if u32::from_be_bytes(*version) != QUIC_V1 {
        return Some("unknown_quic_version");
    }
    // Packet type 0 is Initial, the only one that opens a connection.
    let is_initial = first & 0x30 == 0;
    if is_initial && datagram.len() < INITIAL_MIN {
        return Some("not_quic");
    }
    None
}

impl AsyncUdpSocket for Gate {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let result = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = &result {
            for (buf, meta) in bufs.iter().zip(meta.iter()).take(*count) {
                let bytes = buf.get(..meta.len).unwrap_or_default();
                // The kernel may have put several datagrams of one sender together.
                bytes.chunks(meta.stride.max(1)).for_each(|datagram| self.look(datagram));
            }
        }
        result
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_quic_is_told_from_what_may_be() {
        let long = |first: u8, version: u32, len: usize| {
            let mut datagram = vec![first];
            datagram.extend_from_slice(&version.to_be_bytes());
            datagram.resize(len, 0);
            datagram
        };
        let fault = |datagram: &[u8]| fault(datagram, |id| id == [7; 8]);
        assert_eq!(fault(b"GET / HTTP/1.1\r\n\r\n"), Some("not_quic"));
        assert_eq!(fault(&[0x41]), Some("not_quic"));
        assert_eq!(fault(&[0x41, 7, 7, 7, 7, 7, 7, 7, 7, 0]), None);
        assert_eq!(fault(&[0x41, 8, 7, 7, 7, 7, 7, 7, 7, 0]), Some("not_quic"));
        assert_eq!(fault(&[0x01, 7, 7, 7, 7, 7, 7, 7, 7, 0]), None);
        assert_eq!(fault(&long(0xc0, 1, 1200)), None);
        assert_eq!(fault(&long(0xc0, 1, 1199)), Some("not_quic"));
        assert_eq!(fault(&long(0xe0, 1, 60)), None);
        assert_eq!(fault(&long(0xc0, 0x6b3343cf, 1200)), Some("unknown_quic_version"));
        assert_eq!(fault(&[]), None);
    }
}
