//! Samples: small scenarios that a policy must find, or must stay quiet about.
//!
//! A file `NAME.samples.yml` lies beside the policy `NAME.yml`. Its scenarios become batches as a
//! sensor would send them, and go through the real detectors.

use std::sync::Arc;

use serde::Deserialize;
use wire::batch::Batch;

use super::{PolicyFile, PolicySet, Problem, node};
use crate::detect::Detectors;
use crate::finding::{Finding, FindingSet};
use crate::record::{Event, Host, HostId};

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
    /// What the policy has raised.
    pub raised: Vec<Finding>,
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
            let (raised, failure) = match findings(set, sample, &|batch| batch) {
                Ok(all) => {
                    let raised = of_policy(&all, &policy).into_iter().cloned().collect();
                    (raised, judge(sample, &all, &policy, wanted))
                }
                Err(message) => (Vec::new(), Some(message)),
            };
            outcomes.push(Outcome {
                file: file.name.clone(),
                sample: sample.name.clone(),
                raised,
                failure,
            });
        }
    }
    outcomes
}

/// Returns the findings that a policy has raised, or, if it is an exception, changed.
fn of_policy<'a>(all: &'a [Finding], policy: &str) -> Vec<&'a Finding> {
    let by = format!("policy {policy}");
    let changed = |finding: &Finding| finding.history.iter().any(|decision| decision.user == by);
    all.iter().filter(|finding| finding.policy.file == policy || changed(finding)).collect()
}

fn judge(sample: &Sample, all: &[Finding], policy: &str, wanted: usize) -> Option<String> {
    let found = of_policy(all, policy);
    let of_type =
        |finding: &&&Finding| sample.raises.as_ref().is_none_or(|kind| *kind == finding.kind.name);
    if wanted == 0 && is_exception(policy) && all.is_empty() {
        return Some("nothing is found here, so nothing shows that it is told".to_owned());
    }
    if found.len() == wanted && found.iter().filter(of_type).count() == wanted {
        return None;
    }
    let titles: Vec<String> =
        found.iter().map(|f| format!("{} ({})", f.kind.name, f.title)).collect();
    let got = if titles.is_empty() { "none".to_owned() } else { titles.join(", ") };
    Some(format!("wanted {wanted} finding(s), got {}: {got}", found.len()))
}

fn is_exception(policy: &str) -> bool {
    policy.starts_with("suppress/") || policy.starts_with("overrides/")
}

/// Returns all findings over the sample, each batch as `change` leaves it.
pub(crate) fn findings(
    set: &PolicySet,
    sample: &Sample,
    change: &dyn Fn(Batch) -> Batch,
) -> Result<Vec<Finding>, String> {
    let mut detectors = Detectors::new(set);
    let mut findings = FindingSet::default();
    let host = host_of(sample);
    for batch in batches(sample)?.into_iter().chain(heartbeats(sample)?) {
        let batch = change(batch);
        batch.check().map_err(|error| error.to_string())?;
        let seen = detectors.batch(&batch, &host);
        let later = detectors.tick(batch.clock.unix_ns);
        for mut signal in seen.into_iter().chain(later) {
            // A sample is about what an exception covers, not about when it ends.
            let treatment = set.exceptions.apply(&mut signal, 0);
            findings.merge_with(signal, treatment.history);
        }
    }
    Ok(findings.iter().cloned().collect())
}

fn host_of(sample: &Sample) -> Arc<Host> {
    let named = |name: &Option<String>| name.clone().unwrap_or_else(|| "sample".to_owned());
    let id = HostId("00000000-0000-4000-8000-000000000001".into());
    Arc::new(Host { id, name: named(&sample.host), role: named(&sample.role) })
}

/// Returns the events of all samples, as detectors see them.
pub fn events(set: &PolicySet) -> Vec<Event> {
    let samples = set.samples.iter().flat_map(|file| file.fires.iter().chain(&file.quiet));
    let mut all = Vec::new();
    for sample in samples {
        let host = host_of(sample);
        // What cannot be built was refused when the file was read.
        for batch in batches(sample).unwrap_or_default() {
            all.extend(crate::record::events(&batch, &host));
        }
    }
    all
}

/// Reads a file of samples, or one scenario alone, and returns each event with the scenario that it
/// is of and its number there.
pub fn read_events(text: &str) -> Result<Vec<(String, usize, Event)>, Problem> {
    let root = node::parse(text)?;
    let is_file = root.get("fires").is_some() || root.get("quiet").is_some();
    let scenarios: Vec<Sample> = if is_file {
        let read: Text = serde_norway::from_str(text).map_err(|error| node::problem(&error))?;
        read.fires.into_iter().chain(read.quiet).collect()
    } else {
        vec![serde_norway::from_str(text).map_err(|error| node::problem(&error))?]
    };
    let mut all = Vec::new();
    for sample in &scenarios {
        let batches = batches(sample).map_err(|message| {
            let message = format!("sample `{}`: {message}", sample.name);
            Problem { line: None, message }
        })?;
        let host = host_of(sample);
        let events = batches.iter().flat_map(|batch| crate::record::events(batch, &host));
        let told = |(at, event)| (sample.name.clone(), at + 1, event);
        all.extend(events.enumerate().map(told));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_of_a_file_of_samples_and_of_one_scenario() {
        let one = "name: a\nprocesses: {x: {exe: /x}}\nevents: [{exec: x}, {exit: x}]\n";
        let read = read_events(one).unwrap();
        let told: Vec<_> = read.iter().map(|(name, at, _)| (name.as_str(), *at)).collect();
        assert_eq!(told, [("a", 1), ("a", 2)]);
        let file = "fires:\n  - {name: f, processes: {x: {exe: /x}}, events: [{exec: x}]}\n\
            quiet:\n  - {name: q, processes: {x: {exe: /x}}, events: [{exec: x}]}\n";
        let names: Vec<_> = read_events(file).unwrap().into_iter().map(|one| one.0).collect();
        assert_eq!(names, ["f", "q"]);
        assert!(read_events("fires: 1").is_err() && read_events("name: x").is_err());
    }

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
        files.extend(set.correlations.iter().map(|rule| rule.policy.file.as_str()));
        files.sort_unstable();
        files.dedup();
        for file in &files {
            let samples = set.samples.iter().find(|samples| samples.policy_file() == *file);
            let samples = samples.unwrap_or_else(|| panic!("{file} has no samples"));
            assert!(!samples.fires.is_empty() && !samples.quiet.is_empty(), "{file}");
        }
        println!("figure R-13: {0} of {0} policies have samples of both kinds, 100 %", files.len());
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
  - {login: '-', action: failed, user: 'u{n}', remote: '[2001:db8::9]:4{n}', message: 'no u{n}', n: 1-2}
";
        let (_, batches) = batches_of(text).unwrap();
        let batch = &batches[0];
        batch.check().unwrap();
        assert_eq!((batch.dns.len(), batch.tls.len(), batch.files.len()), (3, 1, 1));
        assert_eq!((batch.memory.len(), batch.privileges.len()), (1, 1));
        assert_eq!((batch.urings.len(), batch.activities[0].renames), (1, 7));
        assert_eq!(batch.memory[0].target, wire::record::ProcessRef(2));
        let said = |id: wire::text::StrId| batch.strings.bytes(id);
        let login = &batch.logins[1];
        let texts = [login.service, login.user, login.remote_name, login.message].map(said);
        assert_eq!(texts, ["sshd", "u2", "2001:db8::9", "no u2"].map(str::as_bytes));
        assert_eq!((batch.logins.len(), login.remote_port), (2, 42));
        for wrong in [
            "{file: p, action: burn, path: /a}",
            "{file: p, path: /a}",
            "{exec: p, exit: p}",
            "{memory: p, action: poke, of: nobody}",
            "{dns: p, query: a, query_type: Z}",
            "{login: '-', action: knocked}",
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
