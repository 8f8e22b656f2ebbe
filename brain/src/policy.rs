//! Policies: files that say what is looked for, checked before any of them counts.
//!
//! A file is taken whole or not at all. One that is broken is named with its line and what to do,
//! and the rest load: a typing error in one rule must not switch the others off.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::detect::sigma::Rule;
use crate::finding::PolicyRef;
use crate::intel::Intel;

mod detector;
mod embedded;
pub mod node;
mod revision;
pub mod sample;
pub mod sensor;
mod settings;
mod source;

pub use sensor::{SensorPolicies, SensorPolicy};
pub use settings::{
    Active, Fileless, KernelModule, ListedAddress, PortScan, ReverseShell, Settings, Sigma,
};
pub use source::PolicyFile;

/// Everything that the detectors work from.
#[derive(Clone, Debug, Default)]
pub struct PolicySet {
    /// Settings of each built-in detector; a detector without a file is off.
    pub settings: Settings,
    /// Compiled Sigma rules, by file name.
    pub rules: Vec<Arc<Rule>>,
    /// Listed addresses of all feeds.
    pub intel: Arc<Intel>,
    /// What is wanted of sensors, by the role of their host.
    pub sensors: Arc<SensorPolicies>,
    /// Samples that lie beside the policies.
    pub samples: Vec<sample::SampleFile>,
    /// What could not be used, by file and line.
    pub errors: Vec<PolicyError>,
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

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
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

    /// Reads a policy folder. Fails only when the folder itself cannot be read; files that cannot
    /// be used are in [`PolicySet::errors`].
    pub fn load(folder: &Path) -> Result<Self, Vec<PolicyError>> {
        let (files, errors) = source::read(folder)?;
        let mut set = Self::from_files(files, revision::git_commit(folder).as_deref());
        set.errors.extend(errors);
        set.errors.sort();
        Ok(set)
    }

    /// Builds the set from files in memory; `commit` is the folder's git commit.
    pub fn from_files(mut files: Vec<PolicyFile>, commit: Option<&str>) -> Self {
        files.sort();
        let mut set = Self { revision: revision::of_all(&files, commit), ..Self::default() };
        let mut feeds = Vec::new();
        let mut sensors = SensorPolicies::default();
        for file in &files {
            let policy = |id: String, author: Option<String>| {
                let revision = revision::of(file, commit);
                Arc::new(PolicyRef { id, file: file.name.clone(), revision, author })
            };
            let taken = match file.part() {
                Part::Detector => detector::read(file, policy, &mut set.settings),
                Part::Sigma => Rule::compile(&file.text, policy).map(|rule| set.rules.push(rule)),
                Part::Intel => {
                    feeds.push(file);
                    Ok(())
                }
                Part::Sensor => sensors.read(file, revision::of(file, commit)),
                Part::Samples => sample::SampleFile::read(file).map(|file| set.samples.push(file)),
                Part::Other => Ok(()),
            };
            if let Err(problem) = taken {
                set.errors.push(problem.in_file(&file.name));
            }
        }
        set.sensors = Arc::new(sensors);
        let (intel, errors) = Intel::from_feeds(&feeds);
        set.intel = Arc::new(intel);
        set.errors.extend(errors);
        set.refuse_equal_rule_ids();
        set.errors.sort();
        set
    }

    /// Takes addresses out of the feeds that must never be indicators, such as the brain's own.
    /// Returns how many indicators that cost.
    pub fn protect(&mut self, addresses: &[std::net::IpAddr]) -> usize {
        Arc::make_mut(&mut self.intel).protect(addresses)
    }

    /// Findings name their rule by its id; of rules that share one only the first stays.
    fn refuse_equal_rule_ids(&mut self) {
        let mut known = std::collections::HashMap::new();
        let errors = &mut self.errors;
        self.rules.retain(|rule| {
            let first = known.entry(rule.policy.id.clone()).or_insert(rule.policy.file.clone());
            let unique = *first == rule.policy.file;
            if !unique {
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
    Intel,
    Sensor,
    Samples,
    Other,
}
