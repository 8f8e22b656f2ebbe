//! Rule files, compiled by both engines.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use brain::detect::sigma::document::{self, Document};
use brain::detect::sigma::{Matcher, Object, Options, RuleSet};
use brain::finding::PolicyRef;
use brain::policy::node::Node;
use rsigma_eval::{Engine, JsonEvent};
use rsigma_parser::{LogSource, SigmaRule};
use serde_json::Value;

use crate::known;

/// A file of rules.
#[derive(Clone, Debug)]
pub struct RuleFile {
    /// Where it is, for messages.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Returns all rule files below a folder, samples left out.
pub fn read(folder: &Path) -> Result<Vec<RuleFile>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("failed to read {}", folder.display()))? {
            let path = entry?.path();
            let name = path.display().to_string();
            if path.is_dir() {
                folders.push(path);
            } else if name.ends_with(".yml") && !name.ends_with(".samples.yml") {
                files.push(RuleFile { name, text: fs::read_to_string(&path)? });
            }
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Rules that both engines take.
pub struct Both {
    ours: Matcher,
    theirs: Engine,
    /// The rules as the other engine's parser reads them, from which events are made.
    pub rules: Vec<SigmaRule>,
    /// Rules that were rewritten for the other engine.
    pub rewritten: Vec<String>,
    /// Files that we refuse, with the reason.
    pub refused: Vec<String>,
    /// Files that the other engine refuses.
    pub refused_there: Vec<String>,
}

impl fmt::Debug for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Both").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl Both {
    /// Compiles the rules; a file that one of the engines refuses is left out of both.
    pub fn new(files: &[RuleFile]) -> Self {
        let (mut ours, mut rules, mut theirs) = (Vec::new(), Vec::new(), Engine::new());
        let (mut refused, mut refused_there, mut rewritten) = (Vec::new(), Vec::new(), Vec::new());
        for file in files {
            let compiled = match compile(&file.text) {
                Ok(compiled) => compiled,
                Err(message) => {
                    refused.push(format!("{}:{message}", file.name));
                    continue;
                }
            };
            let parsed = rsigma_parser::parse_sigma_yaml(&file.text);
            let parsed = parsed.map_err(|error| error.to_string()).and_then(|parsed| {
                let failed = parsed.rules.iter().find_map(|rule| {
                    let (rule, changed) = known::rewritten(rule);
                    rewritten.extend(changed.then(|| rule.title.clone()));
                    theirs.add_rule(&rule).err()
                });
                failed.map_or(Ok(parsed.rules), |error| Err(error.to_string()))
            });
            match parsed {
                Ok(parsed) => {
                    ours.extend(compiled);
                    rules.extend(parsed);
                }
                Err(error) => refused_there.push(format!("{}: {error}", file.name)),
            }
        }
        let ours = Matcher::new(Arc::new(RuleSet::new(ours)));
        Self { ours, theirs, rules, rewritten, refused, refused_there }
    }

    /// Returns the rules that match according to us, and according to the other engine, by id.
    pub fn verdicts(
        &mut self,
        event: &Value,
        log: &LogSource,
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        let ours = self.ours(&object(event, log));
        let matched = self.theirs.evaluate_with_logsource(&JsonEvent::borrow(event), log);
        let id = |rule: rsigma_eval::EvaluationResult| {
            rule.header.rule_id.unwrap_or(rule.header.rule_title)
        };
        (ours, matched.into_iter().map(id).collect())
    }

    /// Returns the rules that match according to us, by id.
    pub fn ours(&mut self, object: &Object) -> BTreeSet<String> {
        let (mut ours, set) = (BTreeSet::new(), Arc::clone(self.ours.set()));
        self.ours.object(object, |index, _| {
            ours.insert(set.rule(index).policy.id.clone());
        });
        ours
    }
}

/// Returns what a rule is called.
pub fn id(rule: &SigmaRule) -> &str {
    rule.id.as_ref().unwrap_or(&rule.title)
}

/// Returns a log source as we have it.
pub fn log_source(log: &LogSource) -> brain::detect::sigma::LogSource {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (product, category, service) = (&log.product, &log.category, &log.service);
    brain::detect::sigma::LogSource::new(&part(product), &part(category), &part(service))
}

/// Returns an event as we read it.
pub fn object(event: &Value, log: &LogSource) -> Object {
    Object { log: log_source(log), root: node(event) }
}

/// Compiles what rules a file has; what is wrong is said with its line.
pub fn compile(text: &str) -> Result<Vec<Arc<brain::detect::sigma::Rule>>, String> {
    let policy = |id, author| {
        let (file, revision) = (String::new(), String::new());
        Arc::new(PolicyRef { id, file, revision, author })
    };
    let documents = document::read(text, &Options::default(), &policy);
    let documents = documents.map_err(|problem| {
        format!(
            "{}: {}",
            problem.line.map_or_else(|| "-".into(), |n| n.to_string()),
            problem.message
        )
    })?;
    let rules = documents.into_iter().filter_map(|document| match document {
        Document::Rule(rule) => Some(rule),
        Document::Correlation(_) | Document::Filter(_) => None,
    });
    Ok(rules.collect())
}

/// Returns an event as a tree of ours.
pub fn node(value: &Value) -> Node {
    match value {
        Value::Null => Node::Null,
        Value::Bool(word) => Node::Bool(*word),
        Value::Number(number) => match number.as_i64() {
            Some(number) => Node::Int(number),
            None => Node::Float(number.as_f64().unwrap_or(f64::MAX)),
        },
        Value::String(text) => Node::Text(text.clone()),
        Value::Array(items) => Node::List(items.iter().map(node).collect()),
        Value::Object(entries) => {
            Node::Map(entries.iter().map(|(key, value)| (key.clone(), node(value))).collect())
        }
    }
}
