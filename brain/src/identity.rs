//! Who is who: ids of sensors, and the join tokens by which they become known.
//!
//! A join token is `skm1.` and the base64url form of the CA certificate's SHA-256, the token's id
//! and its secret. The brain keeps only a hash of the secret, so a stolen data directory does not
//! let anyone enrol.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

/// Prefix of join tokens; the number is the format's version.
const JOIN_PREFIX: &str = "skm1.";

/// Bytes of a token's id: enough that ids never meet, short enough to be typed.
const TOKEN_ID_LEN: usize = 8;

/// Bytes of a token's secret: 128 bits cannot be guessed.
const TOKEN_SECRET_LEN: usize = 16;

/// Id of an enrolled sensor, as its certificate binds it: a random UUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SensorId(pub [u8; 16]);

/// A text is not a sensor id.
#[derive(Debug, Error)]
#[error("a sensor id is a lower-case UUID")]
pub struct NotASensorId;

impl SensorId {
    /// Returns a new random id (UUID version 4).
    pub fn random() -> Self {
        let mut bytes: [u8; 16] = rand::random();
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }

    /// Returns the id that a certificate's URI names.
    pub fn from_uri(uri: &str) -> Option<Self> {
        uri.strip_prefix(wire::SENSOR_URI)?.parse().ok()
    }

    /// Returns the URI for the certificate's subject alternative name.
    pub fn uri(self) -> String {
        format!("{}{self}", wire::SENSOR_URI)
    }
}

impl fmt::Display for SensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SensorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SensorId {
    type Err = NotASensorId;

    /// Accepts only the form that [`fmt::Display`] writes, so that one sensor has one name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        let id = Self(from_hex(&digits).ok_or(NotASensorId)?);
        if id.to_string() == text { Ok(id) } else { Err(NotASensorId) }
    }
}

/// Secret part of a join token, as the sensor sends it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenSecret {
    /// Which token it is.
    pub id: [u8; TOKEN_ID_LEN],
    secret: [u8; TOKEN_SECRET_LEN],
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSecret").field("id", &hex(&self.id)).finish_non_exhaustive()
    }
}

impl TokenSecret {
    /// Returns a new random token.
    pub fn random() -> Self {
        Self { id: rand::random(), secret: rand::random() }
    }

    /// Parses what an enrolment request carries.
    pub fn from_wire(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (id, secret) = bytes.split_first_chunk()?;
        Some(Self { id: *id, secret: secret.try_into().ok()? })
    }

    /// Returns the form that an enrolment request carries.
    pub fn to_wire(&self) -> String {
        URL_SAFE_NO_PAD.encode([self.id.as_slice(), &self.secret].concat())
    }

    /// Returns the token as an operator hands it to a sensor.
    pub fn join_token(&self, ca_sha256: &[u8; 32]) -> String {
        let bytes = [ca_sha256.as_slice(), &self.id, &self.secret].concat();
        format!("{JOIN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Returns the hash that is kept in place of the secret.
    pub fn hash(&self) -> String {
        secret_hash(&self.secret)
    }
}

/// Returns the hash of a random secret. The secrets hashed here have 128 bits or more, so a fast
/// hash is enough; passwords go through argon2id.
pub fn secret_hash(secret: &[u8]) -> String {
    blake3::hash(secret).to_hex().to_string()
}

/// Compares two hashes without telling by its duration where they differ.
pub fn same_hash(a: &str, b: &str) -> bool {
    let digest = |text: &str| blake3::hash(text.as_bytes());
    // `blake3::Hash` compares in constant time, and hashing again makes both sides equally long.
    digest(a) == digest(b)
}

/// Returns a random secret of 256 bits as text, such as a session cookie.
pub fn random_secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads hexadecimal digits of exactly `N` bytes.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |c: u8| char::from(c).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_uri_and_has_one_spelling() {
        let id = SensorId::random();
        assert_eq!(SensorId::from_uri(&id.uri()), Some(id));
        let text = id.to_string();
        assert!(text.to_uppercase() == text || text.to_uppercase().parse::<SensorId>().is_err());
        assert!(text.replace('-', "").parse::<SensorId>().is_err());
        assert!(SensorId::from_uri("spiffe://sakuramori/brain/x").is_none());
    }

    #[test]
    fn a_token_survives_the_wire_and_shows_no_secret() {
        let token = TokenSecret::random();
        assert_eq!(TokenSecret::from_wire(&token.to_wire()).as_ref(), Some(&token));
        assert!(!format!("{token:?}").contains(&hex(&token.secret)));
        for bad in ["", "x", "AAAA", &"A".repeat(500)] {
            assert!(TokenSecret::from_wire(bad).is_none());
        }
        let joined = token.join_token(&[7; 32]);
        let bytes = URL_SAFE_NO_PAD.decode(joined.strip_prefix("skm1.").unwrap()).unwrap();
        assert_eq!((bytes.len(), &bytes[..32]), (56, &[7u8; 32][..]));
    }

    #[test]
    fn hex_is_read_back_and_bad_hex_is_refused() {
        assert_eq!(from_hex::<3>(&hex(&[0, 171, 255])), Some([0, 171, 255]));
        assert_eq!(from_hex::<1>("+1"), None);
        assert_eq!(from_hex::<1>("é"), None);
        assert_eq!(from_hex::<2>("00"), None);
    }

    #[test]
    fn equal_hashes_are_equal_and_others_are_not() {
        assert!(same_hash(&secret_hash(b"a"), &secret_hash(b"a")));
        assert!(!same_hash(&secret_hash(b"a"), &secret_hash(b"b")));
    }
}
