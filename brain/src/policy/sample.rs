//! Samples: small scenarios that a policy must find, or must stay quiet about.
//!
//! A file `NAME.samples.yml` lies beside the policy `NAME.yml`. Its scenarios become batches as a
//! sensor would send them, and go through the real detectors.

use std::sync::Arc;

use serde::Deserialize;

use super::{PolicyFile, PolicySet, Problem, node};
use crate::detect::Detectors;
use crate::finding::{Finding, FindingSet};
use crate::record::{Host, HostId};

mod build;
mod scenario;

pub use scenario::Sample;

use build::{batches, heartbeats};

/// The samples of one policy.
#[derive(Clone, Debug)]
pub struct SampleFile {
    /// Its path, relative to the policy folder.
    pub name: String,
    /// Scenarios in which the policy raises exactly one finding.
    pub fires: Vec<Sample>,
    /// Scenarios in which it raises none.
    pub quiet: Vec<Sample>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    fires: Vec<Sample>,
    #[serde(default)]
    quiet: Vec<Sample>,
}

/// What became of one sample.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The sample file.
    pub file: String,
    /// The sample.
    pub sample: String,
    /// What is wrong; `None` when the sample did as it says.
    pub failure: Option<String>,
}

impl SampleFile {
    /// Reads a file of samples.
    pub(super) fn read(file: &PolicyFile) -> Result<Self, Problem> {
        node::parse(&file.text)?;
        let text: Text = serde_norway::from_str(&file.text).map_err(|e| node::problem(&e))?;
        for sample in text.fires.iter().chain(&text.quiet) {
            batches(sample).map_err(|message| {
                let message = format!("sample `{}`: {message}", sample.name);
                Problem { line: None, message }
            })?;
        }
        Ok(Self { name: file.name.clone(), fires: text.fires, quiet: text.quiet })
    }

    /// Returns the file of the policy that the samples are about.
    pub fn policy_file(&self) -> String {
        self.name.replace(".samples.yml", ".yml")
    }
}

/// Returns the host's name and the batches of a scenario, the time after its end included.
#[cfg(test)]
pub(crate) fn batches_of(text: &str) -> Result<(String, Vec<wire::batch::Batch>), String> {
    let sample: Sample = serde_norway::from_str(text).map_err(|error| error.to_string())?;
    let mut all = batches(&sample)?;
    all.extend(heartbeats(&sample)?);
    Ok((sample.name, all))
}

/// Runs every sample of the set through detectors of its own.
pub fn test(set: &PolicySet) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for file in &set.samples {
        let policy = file.policy_file();
        for (sample, wanted) in
            file.fires.iter().map(|s| (s, 1)).chain(file.quiet.iter().map(|s| (s, 0)))
        {
            let found = findings(set, sample, &policy);
            let failure = match found {
                Ok(found) => judge(sample, &found, wanted),
                Err(message) => Some(message),
            };
            outcomes.push(Outcome {
                file: file.name.clone(),
                sample: sample.name.clone(),
                failure,
            });
        }
    }
    outcomes
}

fn judge(sample: &Sample, found: &[Finding], wanted: usize) -> Option<String> {
    let of_type =
        |finding: &&Finding| sample.raises.as_ref().is_none_or(|kind| *kind == finding.kind.name);
    if found.len() == wanted && found.iter().filter(of_type).count() == wanted {
        return None;
    }
    let titles: Vec<String> =
        found.iter().map(|f| format!("{} ({})", f.kind.name, f.title)).collect();
    Some(format!("wanted {wanted} finding(s), got {}: {}", found.len(), titles.join(", ")))
}

/// Returns the findings that the policy of this file raises over the sample.
fn findings(set: &PolicySet, sample: &Sample, policy: &str) -> Result<Vec<Finding>, String> {
    let mut detectors = Detectors::new(set);
    let mut findings = FindingSet::default();
    let host = Arc::new(Host {
        id: HostId("00000000-0000-4000-8000-000000000001".into()),
        name: "sample".to_owned(),
        role: "sample".to_owned(),
    });
    for batch in batches(sample)?.iter().chain(&heartbeats(sample)?) {
        batch.check().map_err(|error| error.to_string())?;
        for signal in detectors.batch(batch, &host) {
            findings.merge(signal);
        }
    }
    Ok(findings.iter().filter(|finding| finding.policy.file == policy).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_of_our_policies_does_as_it_says() {
        let set = PolicySet::embedded();
        assert_eq!(set.errors, Vec::new());
        let outcomes = test(&set);
        let failed: Vec<_> = outcomes.iter().filter(|outcome| outcome.failure.is_some()).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }

    #[test]
    fn every_policy_has_a_sample_that_fires_and_one_that_stays_quiet() {
        let set = PolicySet::embedded();
        // Rules have their samples beside them, so the detector that runs them has none.
        let is_own = |file: &&str| {
            file.starts_with("detectors/")
                && !file.ends_with(".samples.yml")
                && *file != "detectors/sigma.yml"
        };
        let embedded = super::super::embedded::files();
        let mut files: Vec<&str> =
            embedded.iter().map(|f| f.name.as_str()).filter(is_own).collect();
        files.extend(set.rules.iter().map(|rule| rule.policy.file.as_str()));
        assert!(set.rules.len() >= 3 && set.settings.sigma.is_some());
        for file in files {
            let samples = set.samples.iter().find(|samples| samples.policy_file() == file);
            let samples = samples.unwrap_or_else(|| panic!("{file} has no samples"));
            assert!(!samples.fires.is_empty() && !samples.quiet.is_empty(), "{file}");
        }
    }

    #[test]
    fn every_kind_of_event_becomes_a_record() {
        let text = "name: all
processes: {p: {exe: /bin/x, container: c1, login_uid: 0, env: [A=b]}, q: {parent: p, euid: 0, uid: 5}}
events:
  - {listen: p, local: '10.0.0.1:80'}
  - {dns: p, query: 'a{n}.example', answers: [10.0.0.1, b.example], n: 1-3}
  - {tls: p, local: '10.0.0.1:4000', remote: '10.0.0.9:443', server_name: a.example}
  - {file: p, action: rename, path: /a, target: /b, mode: '0644', open: [truncate]}
  - {memory: p, action: poke, of: q}
  - {privilege: q, action: credentials, before: [5, 5, 0], after: [0, 0, 1]}
  - {uring: p, opcode: 18, count: 9}
  - {activity: p, renames: 7, write_opens: 8}
";
        let (_, batches) = batches_of(text).unwrap();
        let batch = &batches[0];
        batch.check().unwrap();
        assert_eq!((batch.dns.len(), batch.tls.len(), batch.files.len()), (3, 1, 1));
        assert_eq!((batch.memory.len(), batch.privileges.len()), (1, 1));
        assert_eq!((batch.urings.len(), batch.activities[0].renames), (1, 7));
        assert_eq!(batch.memory[0].target, wire::record::ProcessRef(2));
        for wrong in [
            "{file: p, action: burn, path: /a}",
            "{file: p, path: /a}",
            "{exec: p, exit: p}",
            "{memory: p, action: poke, of: nobody}",
            "{dns: p, query: a, query_type: Z}",
            "{}",
        ] {
            let text = format!("name: w\nprocesses: {{p: {{exe: /x}}}}\nevents: [{wrong}]\n");
            assert!(batches_of(&text).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_sample_that_lies_is_told() {
        let mut set = PolicySet::embedded();
        let file = set.samples.iter_mut().find(|file| !file.fires.is_empty()).unwrap();
        std::mem::swap(&mut file.fires, &mut file.quiet);
        assert!(test(&set).iter().any(|outcome| outcome.failure.is_some()));
    }
}
