//! The section `[rings]`: kilobytes of each ring of records.

use serde::Deserialize;

use crate::probe::Rings;

/// What a size may be, in words.
pub(super) const ADVICE: &str = "write a power of two from 64 to 65536";

#[derive(Debug, Default, Deserialize)]
pub(super) struct RingsSection {
    security_kib: Option<u32>,
    process_kib: Option<u32>,
    file_kib: Option<u32>,
    payload_kib: Option<u32>,
}

impl RingsSection {
    /// Returns the sizes in bytes, or the key and value that cannot be.
    pub(super) fn rings(&self) -> Result<Rings, (&'static str, u32)> {
        Ok(Rings {
            security: bytes("rings.security_kib", self.security_kib)?,
            process: bytes("rings.process_kib", self.process_kib)?,
            file: bytes("rings.file_kib", self.file_kib)?,
            payload: bytes("rings.payload_kib", self.payload_kib)?,
        })
    }
}

fn bytes(key: &'static str, kib: Option<u32>) -> Result<Option<u32>, (&'static str, u32)> {
    let Some(kib) = kib else { return Ok(None) };
    let bytes = kib.checked_mul(1024).filter(|bytes| {
        bytes.is_power_of_two() && (Rings::BYTES_MIN..=Rings::BYTES_MAX).contains(bytes)
    });
    bytes.map(Some).ok_or((key, kib))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_a_power_of_two_within_its_limits() {
        for (kib, expected) in [
            (None, Ok(None)),
            (Some(64), Ok(Some(64 << 10))),
            (Some(65_536), Ok(Some(64 << 20))),
            (Some(100), Err(("k", 100))),
            (Some(32), Err(("k", 32))),
            (Some(131_072), Err(("k", 131_072))),
            (Some(1 << 30), Err(("k", 1 << 30))),
        ] {
            assert_eq!(bytes("k", kib), expected, "{kib:?}");
        }
    }
}
