//! The join token that enrols a sensor.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// What every join token begins with.
const PREFIX: &str = "skm1.";
/// SHA-256 of the CA's certificate.
pub const PIN_LEN: usize = 32;
/// Token id and secret, which go to the brain.
const SECRET_LEN: usize = 24;

/// A join token: which brain to trust, and a secret that it knows.
#[derive(Clone)]
pub struct JoinToken {
    pin: [u8; PIN_LEN],
    secret: String,
}

impl std::fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinToken(…)")
    }
}

/// The text is not a join token. It is not repeated: it may be half of a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a join token; make one with `sakuramori-brain token create`")]
pub struct JoinTokenError;

impl JoinToken {
    /// Parses a token as `sakuramori-brain token create` prints it.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(JoinTokenError)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| JoinTokenError)?;
        let (pin, secret) = bytes.split_first_chunk::<PIN_LEN>().ok_or(JoinTokenError)?;
        if secret.len() != SECRET_LEN {
            return Err(JoinTokenError);
        }
        Ok(Self { pin: *pin, secret: URL_SAFE_NO_PAD.encode(secret) })
    }

    /// Returns SHA-256 of the certificate of the only CA to trust.
    pub fn pin(&self) -> &[u8; PIN_LEN] {
        &self.pin
    }

    /// Returns the part that the brain checks, as it travels.
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_taken_apart() {
        let bytes: Vec<u8> = (0..56).collect();
        let token = JoinToken::parse(&format!(" skm1.{}\n", URL_SAFE_NO_PAD.encode(&bytes)));
        let token = token.unwrap();
        assert_eq!(token.pin()[..], bytes[..32]);
        assert_eq!(token.secret(), URL_SAFE_NO_PAD.encode(&bytes[32..]));
        assert!(!format!("{token:?}").contains(token.secret()));
        let short = URL_SAFE_NO_PAD.encode(&bytes[1..]);
        for text in ["", "skm1.", "skm2.AAAA", "skm1.!!", &format!("skm1.{short}")] {
            assert!(JoinToken::parse(text).is_err(), "{text}");
        }
    }
}
