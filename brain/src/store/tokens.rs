//! Join tokens: how often each may still be used, and a hash of its secret.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::file::{Document, FileError};
use crate::clock::SECOND_NS;
use crate::identity::{self, TokenSecret};

/// Tokens at once: one per host of a large fleet that is being set up.
const TOKENS_MAX: usize = 10_000;

/// Uses of one token, such as one that is baked into an image.
const USES_MAX: u32 = 100_000;

/// A token may live for so long: ninety days.
const TTL_MAX_SECONDS: u64 = 90 * 24 * 3600;

/// Characters of a role.
const ROLE_MAX: usize = 32;

/// A join token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Names it.
    pub id: String,
    hash: String,
    /// Role of the hosts that enrol with it.
    pub role: String,
    /// Enrolments left.
    pub uses_left: u32,
    /// When it ends.
    pub expires_ns: u64,
    /// When it was made.
    pub created_ns: u64,
}

/// Why a token cannot be made or used.
#[derive(Debug, Error)]
pub enum TokenError {
    /// No such token, or the secret is not its.
    #[error("the join token is not known; make a new one with `sakuramori-brain token create`")]
    Wrong,
    /// Its time is over.
    #[error("the join token has expired; make a new one with `sakuramori-brain token create`")]
    Expired,
    /// It was used as often as it may be.
    #[error("the join token has been used up; make a new one with `sakuramori-brain token create`")]
    Used,
    /// A value is out of range.
    #[error("{0}")]
    Value(&'static str),
    /// The disk fails.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TokenError {
    /// Returns the stable name that metrics use as a label.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Wrong => "wrong_token",
            Self::Expired => "expired_token",
            Self::Used => "used_token",
            Self::Value(_) => "bad_request",
            Self::File(_) => "store_failed",
        }
    }
}

/// All join tokens.
#[derive(Debug)]
pub struct Tokens {
    list: Document<Vec<JoinToken>>,
}

impl Tokens {
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        Ok(Self { list: Document::open(path)? })
    }

    /// Makes a token. Its secret is returned here and never again.
    pub fn create(
        &self,
        role: &str,
        uses: u32,
        ttl_seconds: u64,
        now_ns: u64,
    ) -> Result<(JoinToken, TokenSecret), TokenError> {
        if !is_role(role) {
            return Err(TokenError::Value("a role is 1 to 32 of the characters a-z, 0-9, - and _"));
        }
        if !(1..=USES_MAX).contains(&uses) {
            return Err(TokenError::Value("uses must be between 1 and 100000"));
        }
        if !(1..=TTL_MAX_SECONDS).contains(&ttl_seconds) {
            return Err(TokenError::Value("the time to live must be between 1 second and 90 days"));
        }
        let secret = TokenSecret::random();
        let token = JoinToken {
            id: identity::hex(&secret.id),
            hash: secret.hash(),
            role: role.to_owned(),
            uses_left: uses,
            expires_ns: now_ns.saturating_add(ttl_seconds * SECOND_NS),
            created_ns: now_ns,
        };
        self.list.update(|list| {
            list.retain(|token| token.expires_ns > now_ns);
            if list.len() >= TOKENS_MAX {
                return Err(TokenError::Value("there are too many tokens; revoke some first"));
            }
            list.push(token.clone());
            Ok(())
        })?;
        Ok((token, secret))
    }

    /// Says whether the token could be used, without using it.
    pub fn check(&self, secret: &TokenSecret, now_ns: u64) -> Result<(), TokenError> {
        self.list.read(|list| find(list, secret, now_ns).map(|_| ()))
    }

    /// Uses the token once; returns its role. That it was used is on disk by then.
    pub fn redeem(&self, secret: &TokenSecret, now_ns: u64) -> Result<String, TokenError> {
        self.list.update(|list| {
            let at = find(list, secret, now_ns)?;
            list[at].uses_left -= 1;
            Ok(list[at].role.clone())
        })
    }

    /// Returns all tokens that have not ended.
    pub fn all(&self, now_ns: u64) -> Vec<JoinToken> {
        self.list.read(|list| list.iter().filter(|t| t.expires_ns > now_ns).cloned().collect())
    }

    /// Ends a token; returns whether there was one.
    pub fn revoke(&self, id: &str) -> Result<bool, FileError> {
        self.list.update(|list| {
            let before = list.len();
            list.retain(|token| token.id != id);
            Ok(list.len() < before)
        })
    }
}

fn find(list: &[JoinToken], secret: &TokenSecret, now_ns: u64) -> Result<usize, TokenError> {
    let id = identity::hex(&secret.id);
    let at = list.iter().position(|token| token.id == id).ok_or(TokenError::Wrong)?;
    let token = &list[at];
    if !identity::same_hash(&token.hash, &secret.hash()) {
        return Err(TokenError::Wrong);
    }
    if token.expires_ns <= now_ns {
        return Err(TokenError::Expired);
    }
    if token.uses_left == 0 {
        return Err(TokenError::Used);
    }
    Ok(at)
}

fn is_role(role: &str) -> bool {
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    (1..=ROLE_MAX).contains(&role.len()) && role.chars().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_works_as_often_and_as_long_as_it_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let tokens = Tokens::open(path.clone()).unwrap();
        let (token, secret) = tokens.create("web", 2, 60, SECOND_NS).unwrap();
        assert_eq!(tokens.redeem(&secret, SECOND_NS).unwrap(), "web");
        let again = Tokens::open(path).unwrap();
        assert_eq!(again.redeem(&secret, SECOND_NS).unwrap(), "web");
        assert!(matches!(again.redeem(&secret, SECOND_NS), Err(TokenError::Used)));
        assert!(matches!(again.redeem(&secret, 61 * SECOND_NS), Err(TokenError::Expired)));
        assert!(again.revoke(&token.id).unwrap());
        assert!(matches!(again.redeem(&secret, SECOND_NS), Err(TokenError::Wrong)));
        assert!(matches!(again.check(&TokenSecret::random(), 0), Err(TokenError::Wrong)));
    }

    #[test]
    fn the_secret_is_not_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens.json");
        let (_, secret) = Tokens::open(path.clone()).unwrap().create("web", 1, 60, 0).unwrap();
        let bytes = std::fs::read_to_string(path).unwrap();
        assert!(!bytes.contains(&secret.to_wire()) && bytes.contains(&secret.hash()));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path().join("tokens.json")).unwrap();
        for (role, uses, ttl) in [
            ("", 1, 60),
            ("Web", 1, 60),
            ("w w", 1, 60),
            ("web", 0, 60),
            ("web", 1, 0),
            ("web", 1, u64::MAX),
        ] {
            assert!(
                matches!(tokens.create(role, uses, ttl, 0), Err(TokenError::Value(_))),
                "{role} {uses} {ttl}"
            );
        }
    }
}
