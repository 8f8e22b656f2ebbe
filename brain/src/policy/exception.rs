//! Exceptions: what is known and need not be told, and what matters more or less here than a
//! policy's author could know.
//!
//! A suppression and an override are files like rules: somebody owns them, they say why, and a
//! suppression says until when. They change what people are told, never what is detected: a
//! suppressed finding is kept, counted, and correlated with others.

use std::sync::Arc;

use super::node::{self, Node, line_of};
use super::{PolicyFile, Problem};
use crate::finding::{Decision, PolicyRef, Severity, Signal, State};
use crate::text;

mod date;
mod matching;

pub use matching::Match;

/// Files of each kind. Every sighting is compared with all of them.
const EXCEPTIONS_MAX: usize = 1_000;

/// Bytes of an owner or a reason.
const WORDS_MAX: usize = 1_000;

/// An exception that ends so soon is worth a word.
const ENDS_SOON_NS: u64 = 14 * 24 * 3_600 * 1_000_000_000;

/// What both kinds say.
#[derive(Clone, Debug)]
pub struct Exception {
    /// Its file.
    pub policy: Arc<PolicyRef>,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// When it ends; an override need not.
    pub expires_ns: Option<u64>,
    /// What it is about.
    pub matching: Match,
    /// What it does.
    pub effect: Effect,
    /// Line of `expires`, for messages.
    line: usize,
}

/// What an exception does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The finding is kept, and nobody is told.
    Suppress,
    /// It has this severity.
    Severity(Severity),
}

impl Exception {
    fn is_over(&self, now_ns: u64) -> bool {
        self.expires_ns.is_some_and(|end| end <= now_ns)
    }

    fn decision(&self, time_ns: u64, state: State, what: &str) -> Decision {
        let Self { owner, reason, policy, .. } = self;
        let until = self
            .expires_ns
            .map_or(String::new(), |end| format!("; ends {}", &date::shown(end)[..10]));
        let note = format!("{what}{reason} (owner {owner}{until})");
        Decision { time_ns, user: format!("policy {}", policy.file), state, note }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    suppressions: Vec<Exception>,
    overrides: Vec<Exception>,
}

/// What exceptions make of a sighting: what its finding's history begins with.
#[derive(Clone, Debug, Default)]
pub struct Treatment {
    /// Whether nobody is told, and by which file.
    pub suppressed: Option<Arc<PolicyRef>>,
    /// Overrides that changed its severity.
    pub overridden: Vec<Arc<PolicyRef>>,
    /// The same in words.
    pub history: Vec<Decision>,
}

impl Exceptions {
    /// Changes a sighting, seen at `now_ns` by the brain's clock, as the overrides say, and returns
    /// what is to be done with it. Of overrides that contradict each other, the last by file name
    /// holds; of suppressions, the first.
    pub fn apply(&self, signal: &mut Signal, now_ns: u64) -> Treatment {
        let mut treatment = Treatment::default();
        let fits =
            |one: &Exception, signal: &Signal| !one.is_over(now_ns) && one.matching.fits(signal);
        for one in &self.overrides {
            let Effect::Severity(severity) = one.effect else { continue };
            if !fits(one, signal) {
                continue;
            }
            let (before, after) = (signal.severity.value(), severity.value());
            let what = format!("severity {before:.1} becomes {after:.1}: ");
            treatment.history.push(one.decision(signal.time_ns, State::Open, &what));
            treatment.overridden.push(Arc::clone(&one.policy));
            signal.severity = severity;
        }
        if let Some(one) = self.suppressions.iter().find(|one| fits(one, signal)) {
            treatment.history.push(one.decision(signal.time_ns, State::Suppressed, ""));
            // What is suppressed and what is not are two findings: the second is told even while
            // the first goes on, and what comes after the end is news.
            signal.dedup_key.push_str("|suppressed by ");
            signal.dedup_key.push_str(&one.policy.file);
            treatment.suppressed = Some(Arc::clone(&one.policy));
        }
        treatment
    }

    /// Returns what is over or soon will be, by file and line.
    pub fn ended(&self, now_ns: u64) -> Vec<Ended> {
        let mut ended = Vec::new();
        for one in self.suppressions.iter().chain(&self.overrides) {
            let Some(end) = one.expires_ns else { continue };
            if end > now_ns.saturating_add(ENDS_SOON_NS) {
                continue;
            }
            let day = date::shown(end);
            let (file, line, is_over) = (one.policy.file.clone(), one.line, end <= now_ns);
            let message = if is_over {
                format!("ended on {day} UTC and does nothing; remove it, or ask {}", one.owner)
            } else {
                format!("ends on {day} UTC; owner {}", one.owner)
            };
            ended.push(Ended { file, line, is_over, message });
        }
        ended
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = &Exception> {
        self.suppressions.iter().chain(&self.overrides)
    }

    /// Takes in a file of `suppress/`.
    pub(super) fn read_suppression(
        &mut self,
        file: &PolicyFile,
        policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
    ) -> Result<(), Problem> {
        let read = read(file, policy, None)?;
        push(&mut self.suppressions, read)
    }

    /// Takes in a file of `overrides/`.
    pub(super) fn read_override(
        &mut self,
        file: &PolicyFile,
        policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
    ) -> Result<(), Problem> {
        let read = read(file, policy, Some("severity"))?;
        push(&mut self.overrides, read)
    }
}

/// An exception that is over, or soon will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its file.
    pub file: String,
    /// Line of `expires`.
    pub line: usize,
    /// Whether it is over already.
    pub is_over: bool,
    /// In words.
    pub message: String,
}

fn push(all: &mut Vec<Exception>, one: Exception) -> Result<(), Problem> {
    if all.len() == EXCEPTIONS_MAX {
        let message = format!("more than {EXCEPTIONS_MAX} files of this kind; merge some");
        return Err(Problem { line: None, message });
    }
    all.push(one);
    Ok(())
}

fn read(
    file: &PolicyFile,
    policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
    effect: Option<&str>,
) -> Result<Exception, Problem> {
    let node = node::parse(&file.text)?;
    let at = |key: &str, message: String| Problem::at(line_of(&file.text, &[key]), message);
    let Some(entries) = node.as_map() else {
        return Err(Problem::at(1, "the file must be a map with owner, reason and match"));
    };
    let known =
        |key: &str| ["owner", "reason", "expires", "match"].contains(&key) || effect == Some(key);
    if let Some((key, _)) = entries.iter().find(|(key, _)| !known(key)) {
        let keys = effect.map_or(String::new(), |key| format!(", {key}"));
        let message = format!("`{key}` is not known; keys are owner, reason, expires, match{keys}");
        return Err(at(key, message));
    }
    let words = |key: &str| match node.get(key) {
        Some(Node::Text(text)) if !text.trim().is_empty() => {
            Ok(text::visible_cut(text.trim().as_bytes(), WORDS_MAX))
        }
        Some(_) => Err(at(key, format!("`{key}` must be text that is not empty"))),
        None => Err(Problem::at(1, format!("`{key}` is missing; say {}", what_is(key)))),
    };
    let (owner, reason) = (words("owner")?, words("reason")?);
    let expires_ns = match node.get("expires") {
        Some(Node::Text(text)) => {
            let message =
                || format!("`{text}` is no time; write 2027-01-31 or 2027-01-31T18:00:00Z");
            Some(date::end_ns(text).ok_or_else(|| at("expires", message()))?)
        }
        Some(_) => return Err(at("expires", "`expires` must be a date".to_owned())),
        None if effect.is_some() => None,
        None => {
            let message = "`expires` is missing; what is suppressed for good is forgotten";
            return Err(Problem::at(1, message));
        }
    };
    let Some(matching) = node.get("match") else {
        return Err(Problem::at(1, "`match` is missing; say what it is about"));
    };
    let matching = Match::read(matching)
        .map_err(|(key, message)| Problem::at(line_of(&file.text, &["match", &key]), message))?;
    let effect = match effect {
        None => Effect::Suppress,
        Some(key) => Effect::Severity(severity(node.get(key)).map_err(|m| at(key, m))?),
    };
    let leaf = file.name.rsplit('/').next().unwrap_or_default();
    let id = leaf.trim_end_matches(".yaml").trim_end_matches(".yml").to_owned();
    let policy = policy(id, Some(owner.clone()));
    let line = line_of(&file.text, &["expires"]);
    Ok(Exception { policy, owner, reason, expires_ns, matching, effect, line })
}

fn what_is(key: &str) -> &'static str {
    if key == "owner" { "who answers for it" } else { "why it is there" }
}

fn severity(node: Option<&Node>) -> Result<Severity, String> {
    let value = match node {
        Some(Node::Int(value)) => *value as f64,
        Some(Node::Float(value)) => *value,
        _ => return Err("`severity` is missing, or no number of 1.0 to 10.0".to_owned()),
    };
    if !(1.0..=10.0).contains(&value) {
        return Err(format!("`severity` is {value}; write a number of 1.0 to 10.0"));
    }
    Ok(Severity::new(value))
}

#[cfg(test)]
mod tests;
