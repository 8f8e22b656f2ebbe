//! Which files and unix sockets are watched.
//!
//! The kernel programs find candidates by tables that [`compile`] makes; where a pattern needs more
//! than a table can say, [`Watched::confirms`] compares the path that a record has.
//!
//! # Reading order
//! [`rule`] (what a pattern means), [`defaults`] (what is watched, and why), [`compile`] (tables
//! for the kernel), [`identity`] (inodes of what is there now).

use std::borrow::Cow;

use sensor_abi::file::access;
use sensor_abi::record::file::{flag, matched};

pub use self::compile::Tables;
pub use self::rule::{Rule, RuleError};
use crate::drain::FileView;

mod compile;
mod defaults;
mod identity;
mod rule;

/// Rules in one list of the configuration.
pub const RULES_MAX: usize = 512;
/// Stands for the built-in list in a list of the configuration.
const DEFAULT: &str = "default";

/// What is watched: pure data, which the programs' side compiles and the records' side compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    rules: Vec<Rule>,
}

impl Default for Watched {
    fn default() -> Self {
        let none: Option<&[String]> = None;
        // The built-in patterns are right, which a test makes sure of.
        Self::new(none, none, none).unwrap_or_else(|_| Self { rules: Vec::new() })
    }
}

impl Watched {
    /// Takes the lists of the configuration; `None` is the built-in one, which the word `default`
    /// in a list stands for too.
    pub fn new(
        write: Option<&[String]>,
        read: Option<&[String]>,
        sockets: Option<&[String]>,
    ) -> Result<Self, RuleError> {
        let mut rules = Vec::new();
        for (list, accesses) in [
            (write, access::WRITE | access::MOVE),
            (read, access::READ),
            (sockets, access::CONNECT),
        ] {
            extend(&mut rules, list, accesses)?;
        }
        Ok(Self { rules })
    }

    /// Watches nothing.
    pub fn nothing() -> Self {
        Self { rules: Vec::new() }
    }

    /// Makes the tables for the kernel programs, with the inodes of what is there now.
    pub fn tables(&self) -> Tables {
        compile::tables(&self.rules)
    }

    /// Returns whether a record is about something that is watched. Prefixes and inodes were
    /// compared in the kernel; of a pattern's names only the names.
    pub fn confirms(&self, view: &FileView<'_>) -> bool {
        let record = view.fixed;
        if record.matched & (matched::PREFIX | matched::INODE | matched::LAYER) != 0 {
            return true;
        }
        let racy = record.flags & flag::RACY != 0;
        let path = Parts::new(view.path, record.path_root_len, racy);
        let target = Parts::new(view.target, record.target_root_len, racy);
        self.rules.iter().any(|rule| {
            rule.accesses & record.access != 0
                && [&path, &target].iter().any(|parts| parts.fit(rule, record.access))
        })
    }
}

fn extend(rules: &mut Vec<Rule>, list: Option<&[String]>, accesses: u32) -> Result<(), RuleError> {
    let built_in = || defaults::PATTERNS.iter().filter(move |(wanted, _)| wanted & accesses != 0);
    let patterns: Vec<&str> = match list {
        None => built_in().flat_map(|(_, patterns)| patterns.iter().copied()).collect(),
        Some(list) => {
            let each = list.iter().flat_map(|pattern| match pattern.as_str() {
                DEFAULT => built_in().flat_map(|(_, p)| p.iter().copied()).collect(),
                pattern => vec![pattern],
            });
            each.collect()
        }
    };
    if patterns.len() > RULES_MAX {
        return Err(RuleError::TooMany(patterns.len()));
    }
    for pattern in patterns {
        rules.push(Rule::new(pattern, accesses)?);
    }
    Ok(())
}

/// A path, seen from the root of the namespace and from the process's own.
struct Parts<'a> {
    whole: Cow<'a, [u8]>,
    own: Cow<'a, [u8]>,
}

impl<'a> Parts<'a> {
    fn new(path: &'a [u8], root_len: u16, racy: bool) -> Self {
        let own = path.get(usize::from(root_len)..).unwrap_or_default();
        match racy {
            true => Self { whole: Cow::Owned(normal(path)), own: Cow::Owned(normal(own)) },
            false => Self { whole: Cow::Borrowed(path), own: Cow::Borrowed(own) },
        }
    }

    fn fit(&self, rule: &Rule, wanted: u32) -> bool {
        let fits = |path: &[u8]| {
            !path.is_empty()
                && (rule.fits(path) || wanted & access::MOVE != 0 && rule.is_below(path))
        };
        fits(&self.whole) || self.own.len() != self.whole.len() && fits(&self.own)
    }
}

/// Takes `.`, `..` and double slashes out of a path, as far as that can be told from the text.
pub fn normal(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    let mut text = Vec::with_capacity(path.len());
    for name in names {
        text.push(b'/');
        text.extend_from_slice(name);
    }
    text
}

#[cfg(test)]
mod tests;
