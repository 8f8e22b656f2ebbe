//! Why a peer is refused: a stable name for metrics, a sentence for its operator.

use quinn::{ConnectionError, TransportErrorCode};
use wire::codec::FrameError;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// From a closed set; the metric's label.
    pub(super) reason: &'static str,
    /// One sentence.
    pub(super) message: String,
}

/// TLS alerts (RFC 8446, section 6) that a handshake fails with, and what they mean here.
const ALERTS: [(u8, &str); 10] = [
    (42, "bad_certificate"),
    (43, "bad_certificate"),
    (44, "revoked_certificate"),
    (45, "expired_certificate"),
    (46, "bad_certificate"),
    (48, "unknown_ca"),
    // A signature that does not fit: of the certificate, or of whoever shows it.
    (51, "bad_certificate"),
    (70, "old_tls"),
    (116, "no_client_certificate"),
    (120, "no_common_protocol"),
];

impl Refused {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A fault of ours.
    pub(super) fn internal() -> Self {
        Self::new("internal", "the brain failed; its log says why")
    }

    pub(super) fn handshake(error: ConnectionError) -> Self {
        let reason = match &error {
            ConnectionError::TransportError(e) => alert(e.code).unwrap_or("handshake_failed"),
            ConnectionError::ConnectionClosed(close) if alert(close.error_code).is_some() => {
                "refused_by_peer"
            }
            ConnectionError::TimedOut => "handshake_timeout",
            ConnectionError::VersionMismatch => "unknown_quic_version",
            _ => "handshake_failed",
        };
        Self::new(reason, error.to_string())
    }

    /// The connection ended; that is no refusal unless the peer broke the protocol.
    pub(super) fn lost(error: &ConnectionError) -> Option<Self> {
        match error {
            ConnectionError::TransportError(e) => Some(Self::new("quic_protocol", e.to_string())),
            _ => None,
        }
    }
}

impl From<FrameError> for Refused {
    fn from(error: FrameError) -> Self {
        Self::new(error.reason(), error.to_string())
    }
}

fn alert(code: TransportErrorCode) -> Option<&'static str> {
    // Codes 0x100 to 0x1ff carry a TLS alert (RFC 9001, section 4.8).
    let alert = u64::from(code).checked_sub(0x100)?;
    ALERTS.iter().find(|(number, _)| u64::from(*number) == alert).map(|(_, reason)| *reason)
}
