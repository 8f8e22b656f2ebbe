//! What a pattern means. Pure.
//!
//! A pattern begins with a slash. One that ends with a slash means everything below a directory.
//! `*` stands for anything inside one name, `**` for any number of names. `**/.ssh/id_*` means
//! private keys wherever they are.

use sensor_abi::file::PREFIX_MAX;
use thiserror::Error;

/// Why a pattern cannot be watched.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RuleError {
    /// It does not begin at the root.
    #[error("`{0}` does not begin with `/` or `**/`")]
    Relative(String),
    /// It has no name that the programs could look for.
    #[error("`{0}` has no name without `*`; write at least one, such as `/home/*/.netrc`")]
    NoName(String),
    /// It is longer than the kernel's tables take.
    #[error("`{0}` is longer than {max} bytes", max = PREFIX_MAX - 2)]
    TooLong(String),
    /// It has parts that a resolved path never has.
    #[error("`{0}` has an empty name, `.` or `..`; write the path that they lead to")]
    Unresolved(String),
    /// The list is longer than it may be.
    #[error("{0} patterns; write at most {max}", max = super::RULES_MAX)]
    TooMany(usize),
}

/// One pattern, and the accesses that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Bits of [`sensor_abi::file::access`].
    pub accesses: u32,
    /// The names, without slashes.
    pub names: Vec<Vec<u8>>,
    /// Whether what is below is meant, not the file itself.
    pub below: bool,
}

impl Rule {
    /// Parses a pattern.
    pub fn new(pattern: &str, accesses: u32) -> Result<Self, RuleError> {
        let owned = || pattern.to_owned();
        let rest = match pattern.strip_prefix('/') {
            Some(rest) => rest,
            None if pattern.starts_with("**/") => pattern,
            None => return Err(RuleError::Relative(owned())),
        };
        if pattern.len() > PREFIX_MAX - 2 {
            return Err(RuleError::TooLong(owned()));
        }
        let (rest, below) = match rest.strip_suffix('/') {
            Some(rest) => (rest, true),
            None => (rest, false),
        };
        let names: Vec<Vec<u8>> = rest.split('/').map(|name| name.as_bytes().to_vec()).collect();
        if names.iter().any(|name| matches!(&name[..], b"" | b"." | b"..")) {
            return Err(RuleError::Unresolved(owned()));
        }
        if names.iter().all(|name| is_pattern(name)) {
            return Err(RuleError::NoName(owned()));
        }
        Ok(Self { accesses, names, below })
    }

    /// Returns the path when nothing in it is a pattern, without a slash at its end.
    pub fn literal(&self) -> Option<Vec<u8>> {
        (!self.names.iter().any(|name| is_pattern(name))).then(|| {
            let mut path = Vec::new();
            for name in &self.names {
                path.push(b'/');
                path.extend_from_slice(name);
            }
            path
        })
    }

    /// Returns whether a resolved path is meant. A directory whose content is watched is meant too.
    pub fn fits(&self, path: &[u8]) -> bool {
        let names: Vec<&[u8]> = split(path);
        fits(&self.names, &names, self.below)
    }

    /// Returns whether the path is a directory that the pattern's files are in.
    pub fn is_below(&self, path: &[u8]) -> bool {
        let names = split(path);
        let above = self.names.get(..names.len());
        above.is_some_and(|above| above.iter().zip(&names).all(|(a, b)| a == b))
    }
}

fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect()
}

/// Returns whether a name is a pattern.
pub fn is_pattern(name: &[u8]) -> bool {
    name.contains(&b'*')
}

/// The depth of the recursion is bounded by the pattern's length, of which each `**` tries every
/// remaining name of a path that is bounded itself.
fn fits(pattern: &[Vec<u8>], names: &[&[u8]], below: bool) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return names.is_empty() || below;
    };
    if first == b"**" {
        return (0..=names.len()).any(|skipped| fits(rest, &names[skipped..], below));
    }
    let Some((name, behind)) = names.split_first() else {
        return false;
    };
    fits_name(first, name) && fits(rest, behind, below)
}

/// `*` stands for any bytes. Backtracks to the last star only, so the time is bounded by the
/// product of both lengths.
pub fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, n));
            p += 1;
        } else if pattern.get(p) == Some(&name[n]) {
            (p, n) = (p + 1, n + 1);
        } else if let Some((at, from)) = star {
            star = Some((at, from + 1));
            (p, n) = (at + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}
