//! Accounts. Passwords are kept as argon2id hashes.

use std::path::PathBuf;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::file::{Document, FileError};

/// Characters of a password at least; there are no other rules, since they make passwords worse.
const PASSWORD_MIN: usize = 12;

/// Bytes of a password at most: more is no safer and costs time.
const PASSWORD_MAX: usize = 1024;

/// Characters of a user name.
const NAME_MAX: usize = 64;

/// Memory and passes of argon2id: 19 MiB and 2, OWASP's floor, some 30 ms on a server's core.
const ARGON_KIB: u32 = 19 * 1024;
const ARGON_PASSES: u32 = 2;

/// The one role so far.
pub const ROLE_ADMIN: &str = "admin";

/// An account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Name to log in with.
    pub name: String,
    /// What the account may do.
    pub role: String,
    password: String,
    created_ns: u64,
}

/// Why an account cannot be made.
#[derive(Debug, Error)]
pub enum UserError {
    /// There is one already.
    #[error("the first account has been made already; log in")]
    Exists,
    /// A value is not fit.
    #[error("{0}")]
    Value(&'static str),
    /// Hashing fails.
    #[error("failed to hash the password")]
    Hash,
    /// The disk fails.
    #[error(transparent)]
    File(#[from] FileError),
}

/// All accounts.
#[derive(Debug)]
pub struct Users {
    list: Document<Vec<User>>,
    /// Verified against when there is no such user, so that both cases take equally long.
    nobody: String,
}

impl Users {
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        let nobody = hash(&crate::identity::random_secret()).unwrap_or_default();
        Ok(Self { list: Document::open(path)?, nobody })
    }

    /// Returns whether no account exists yet.
    pub fn is_empty(&self) -> bool {
        self.list.read(Vec::is_empty)
    }

    /// Makes the first account. Takes some time by design.
    pub fn create_first(&self, name: &str, password: &str, now_ns: u64) -> Result<User, UserError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control)
        {
            return Err(UserError::Value("a user name has 1 to 64 characters"));
        }
        if password.chars().count() < PASSWORD_MIN {
            return Err(UserError::Value("a password has at least 12 characters"));
        }
        if password.len() > PASSWORD_MAX {
            return Err(UserError::Value("a password has at most 1024 bytes"));
        }
        let user = User {
            name: name.to_owned(),
            role: ROLE_ADMIN.to_owned(),
            password: hash(password).ok_or(UserError::Hash)?,
            created_ns: now_ns,
        };
        self.list.update(|list| {
            if !list.is_empty() {
                return Err(UserError::Exists);
            }
            list.push(user.clone());
            Ok(())
        })?;
        Ok(user)
    }

    /// Returns an account.
    pub fn get(&self, name: &str) -> Option<User> {
        self.list.read(|list| list.iter().find(|user| user.name == name).cloned())
    }

    /// Returns the account when name and password fit. Takes equally long when they do not.
    pub fn verify(&self, name: &str, password: &str) -> Option<User> {
        let user = self.get(name.trim());
        let stored = user.as_ref().map_or(&self.nobody, |user| &user.password);
        let fits = password.len() <= PASSWORD_MAX && verify(password, stored);
        user.filter(|_| fits)
    }
}

fn argon2() -> Option<Argon2<'static>> {
    let params = Params::new(ARGON_KIB, ARGON_PASSES, 1, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Option<String> {
    let hash: PasswordHash = argon2()?.hash_password(password.as_bytes()).ok()?;
    Some(hash.to_string())
}

fn verify(password: &str, stored: &str) -> bool {
    let Ok(hash) = PasswordHash::new(stored) else { return false };
    argon2().is_some_and(|argon2| argon2.verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_account_is_the_only_one_made_here() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("users.json");
        let users = Users::open(path.clone()).unwrap();
        assert!(matches!(users.create_first("a", "short", 0), Err(UserError::Value(_))));
        assert!(matches!(
            users.create_first(" ", "long enough password", 0),
            Err(UserError::Value(_))
        ));
        users.create_first("admin", "long enough password", 0).unwrap();
        assert!(matches!(
            users.create_first("b", "long enough password", 0),
            Err(UserError::Exists)
        ));
        assert!(users.verify("admin", "long enough password").is_some());
        assert!(users.verify("admin", "long enough passwore").is_none());
        assert!(users.verify("nobody", "long enough password").is_none());
        let stored = std::fs::read_to_string(path).unwrap();
        assert!(stored.contains("$argon2id$") && !stored.contains("long enough"));
    }
}
