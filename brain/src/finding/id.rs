//! Ids that a replay reproduces.

use std::fmt;

/// Names a finding for good: `f-` and 26 characters that sort by the time of the first sighting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FindingId(pub String);

/// Crockford's Base32 alphabet: no letters that look like digits.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl FindingId {
    /// Returns the id of the finding with this key that was first sighted at `first_ns`: 48 bits of
    /// time in milliseconds, then 80 bits of a hash over both.
    pub fn new(dedup_key: &str, first_ns: u64) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&first_ns.to_le_bytes());
        hasher.update(dedup_key.as_bytes());
        let mut bits = [0u8; 16];
        bits[..6].copy_from_slice(&(first_ns / 1_000_000).to_be_bytes()[2..]);
        bits[6..].copy_from_slice(&hasher.finalize().as_bytes()[..10]);
        let bits = u128::from_be_bytes(bits);
        let characters = (0..26).rev().map(|at| ALPHABET[(bits >> (at * 5)) as usize & 31] as char);
        Self("f-".chars().chain(characters).collect())
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_key_and_time_only_and_sort_by_time() {
        let id = FindingId::new("a", 1_700_000_000_000_000_000);
        assert_eq!(id, FindingId::new("a", 1_700_000_000_000_000_000));
        assert_eq!(id.0.len(), 28);
        assert_ne!(id, FindingId::new("b", 1_700_000_000_000_000_000));
        assert_ne!(id, FindingId::new("a", 1_700_000_000_000_000_001));
        assert!(id < FindingId::new("a", 1_700_000_000_001_000_000));
    }
}
