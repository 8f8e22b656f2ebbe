//! Policies: files that say what is looked for, checked before any of them counts.
//!
//! A file is taken whole or not at all. One that is broken is named with its line and what to do,
//! and the rest load: a typing error in one rule must not switch the others off.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::detect::sigma::document::{self, Document};
use crate::detect::sigma::{self, Correlation, Filter, Options, Rule};
use crate::finding::PolicyRef;
use crate::intel::Intel;

pub mod coverage;
mod detector;
mod embedded;
pub mod exception;
#[cfg(test)]
mod hostile;
pub mod loader;
pub mod node;
pub mod review;
mod revision;
mod rules;
pub mod sample;
pub mod sensor;
mod settings;
mod source;

pub use exception::Exceptions;
pub use loader::Loader;
pub use rules::YaraRules;
pub use sensor::{SensorPolicies, SensorPolicy};
pub use settings::*;
pub use source::{Folders, PolicyFile};

use source::Sourced;

/// Everything that the detectors work from.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Settings of each built-in detector; a detector without a file is off.
    pub settings: Settings,
    /// Compiled Sigma rules, by file name.
    pub rules: Vec<Arc<Rule>>,
    /// Sigma correlations whose rules are all known.
    pub correlations: Vec<Arc<Correlation>>,
    /// For how long what happened counts in any correlation.
    pub correlated_ns: u64,
    /// Listed addresses of all feeds.
    pub intel: Arc<Intel>,
    /// What is wanted of sensors, by the role of their host.
    pub sensors: Arc<SensorPolicies>,
    /// What is not told, or told as more or less severe than its policy says.
    pub exceptions: Arc<Exceptions>,
    /// Samples that lie beside the policies.
    pub samples: Vec<sample::SampleFile>,
    /// The policies that findings can name, ordered by file.
    pub refs: Vec<Arc<PolicyRef>>,
    /// Names the state of all rules together, whatever their commit.
    pub rules_state: String,
    /// Names the state of all feeds together, whatever their commit.
    pub feeds_state: String,
    /// What could not be used, by file and line.
    pub errors: Vec<PolicyError>,
    /// Files that are broken, and of which the version of before goes on.
    pub kept: Vec<String>,
    /// Names the state of the whole folder.
    pub revision: String,
}

/// What is wrong with a policy file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub struct PolicyError {
    /// The file, relative to the policy folder.
    pub file: String,
    /// The line, where one can be named.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl PolicyError {
    /// Returns whether the file is one of the public rules, which others write.
    pub fn is_public(&self) -> bool {
        self.file.starts_with(source::EXTRA)
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

/// Why no policies can be loaded at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A folder cannot be read.
    #[error("{0}")]
    Unreadable(PolicyError),
    /// Somebody writes to a folder all the time.
    #[error(
        "{folder}: changed each of the {reads} times that it was read; \
        let whatever writes there end first"
    )]
    Unsteady {
        /// Which.
        folder: String,
        /// How often it was read.
        reads: usize,
    },
}

/// What is wrong in a file whose name the caller knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The line, where one can be named.
    pub line: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    /// Returns a problem on a line.
    pub fn at(line: usize, message: impl Into<String>) -> Self {
        Self { line: Some(line), message: message.into() }
    }

    /// Returns the problem as that of a file.
    pub fn in_file(self, file: &str) -> PolicyError {
        PolicyError { file: file.to_owned(), line: self.line, message: self.message }
    }
}

impl PolicySet {
    /// Returns the policies that this build carries.
    pub fn embedded() -> Self {
        Self::from_files(embedded::files(), None)
    }

    /// Returns the files that this build carries.
    #[cfg(test)]
    pub(crate) fn embedded_files() -> Vec<PolicyFile> {
        embedded::files()
    }

    /// Reads a policy folder. Fails only when the folder itself cannot be read; files that cannot
    /// be used are in [`PolicySet::errors`].
    pub fn load(folder: &Path) -> Result<Self, LoadError> {
        Loader::new(Folders::new(Some(folder.to_owned()), &[])).load()
    }

    /// Builds the set from files in memory; `commit` is the folder's git commit.
    pub fn from_files(files: Vec<PolicyFile>, commit: Option<&str>) -> Self {
        let commit: Option<Arc<str>> = commit.map(Arc::from);
        let sourced = |file| Sourced { file, commit: commit.clone() };
        let mut files: Vec<Sourced> = files.into_iter().map(sourced).collect();
        files.sort_by(|a, b| a.file.cmp(&b.file));
        Self::build(&files)
    }

    /// Builds the set from files in the order of their names.
    fn build(files: &[Sourced]) -> Self {
        let mut set = Self { revision: revision::of_all(files), ..Self::default() };
        set.rules_state = revision::of_content(files, |part| part == Part::Sigma);
        set.feeds_state = revision::of_content(files, |part| part == Part::Intel);
        let (mut feeds, mut refs) = (Vec::new(), RefCell::new(Vec::new()));
        let (mut sensors, mut exceptions) = (SensorPolicies::default(), Exceptions::default());
        let (mut filters, mut options) = (Vec::new(), None);
        for Sourced { file, commit } in files {
            let commit = commit.as_deref();
            let policy = |id: String, author: Option<String>| {
                let revision = revision::of(file, commit);
                let policy = PolicyRef { id, file: file.name.clone(), revision, author };
                let policy = Arc::new(policy);
                refs.borrow_mut().push(Arc::clone(&policy));
                policy
            };
            let taken = match file.part() {
                Part::Detector => detector::read(file, policy, &mut set.settings),
                Part::Sigma => {
                    // Settings stand in front of rules.
                    let options = options.get_or_insert_with(|| set.sigma_options());
                    let read = document::read(&file.text, options, &policy);
                    read.map(|documents| set.take(&file.name, documents, &mut filters))
                }
                Part::Suppression => exceptions.read_suppression(file, &policy),
                Part::Override => exceptions.read_override(file, &policy),
                Part::Intel => {
                    feeds.push(file);
                    Ok(())
                }
                Part::Sensor => sensors.read(file, revision::of(file, commit)),
                Part::Yara => sensors.yara.read(file),
                Part::Samples => sample::SampleFile::read(file).map(|file| set.samples.push(file)),
                Part::Other => Ok(()),
            };
            if let Err(problem) = taken {
                set.errors.push(problem.in_file(&file.name));
            }
        }
        sensors.yara.finish(revision::of_content(files, |part| part == Part::Yara));
        set.sensors = Arc::new(sensors);
        set.exceptions = Arc::new(exceptions);
        set.refs = std::mem::take(refs.get_mut());
        let (intel, errors) = Intel::from_feeds(&feeds);
        set.intel = Arc::new(intel);
        set.errors.extend(errors);
        set.refuse_equal_rule_ids();
        set.apply(&filters);
        set.link();
        set.errors.sort();
        set
    }

    /// Takes addresses out of the feeds that must never be indicators, such as the brain's own.
    /// Returns how many indicators that cost.
    pub fn protect(&mut self, addresses: &[std::net::IpAddr]) -> usize {
        Arc::make_mut(&mut self.intel).protect(addresses)
    }

    /// What rules are compiled with.
    fn sigma_options(&self) -> Options {
        let active = self.settings.sigma.as_ref();
        Options {
            placeholders: active.map(|a| a.settings.placeholders.clone()).unwrap_or_default(),
        }
    }

    fn take(&mut self, file: &str, documents: Vec<Document>, filters: &mut Vec<(String, Filter)>) {
        for document in documents {
            match document {
                Document::Rule(rule) => self.rules.push(rule),
                Document::Correlation(correlation) => self.correlations.push(correlation),
                Document::Filter(filter) => filters.push((file.to_owned(), filter)),
            }
        }
    }

    /// Takes out of the rules what filters describe.
    fn apply(&mut self, filters: &[(String, Filter)]) {
        for (file, filter) in filters {
            if let Err(problem) = filter.check(self.rules.iter().map(|rule| &**rule)) {
                self.errors.push(problem.in_file(file));
            }
            for rule in self.rules.iter_mut().filter(|rule| filter.is_for(rule)) {
                *rule = Arc::new(filter.applied(rule));
            }
        }
    }

    /// Finds the rules that correlations name; one that cannot be honoured in full is refused.
    fn link(&mut self) {
        let correlations = std::mem::take(&mut self.correlations);
        let linked = sigma::linked(correlations, &self.rules);
        (self.correlations, self.correlated_ns) = (linked.correlations, linked.memory_ns);
        for (correlation, message) in linked.refused {
            let problem = Problem::at(correlation.line, message);
            self.errors.push(problem.in_file(&correlation.policy.file));
        }
    }

    /// Findings name their rule by its id; of rules that share one only the first stays.
    fn refuse_equal_rule_ids(&mut self) {
        let mut known = std::collections::HashMap::new();
        let errors = &mut self.errors;
        self.rules.retain(|rule| {
            let (file, line) = (rule.policy.file.clone(), rule.line);
            let first = known.entry(rule.policy.id.clone()).or_insert((file.clone(), line));
            let unique = *first == (file, line);
            if !unique {
                let first = &first.0;
                let message = format!("id {} is taken by {first}; give it its own", rule.policy.id);
                errors.push(Problem { line: None, message }.in_file(&rule.policy.file));
            }
            unique
        });
    }
}

/// What a file of the policy folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Detector,
    Sigma,
    Suppression,
    Override,
    Intel,
    Sensor,
    Yara,
    Samples,
    Other,
}
