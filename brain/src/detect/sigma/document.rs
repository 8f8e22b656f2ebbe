//! The documents of a rule file: rules, correlations and filters.

use std::sync::Arc;

use super::correlation::Correlation;
use super::filter::Filter;
use super::rule::{self, Rule};
use super::value::Placeholders;
use crate::finding::PolicyRef;
use crate::policy::Problem;
use crate::policy::node::{self, Node, line_of};

/// Documents of one file. A collection of more is several files.
const DOCUMENTS_MAX: usize = 1_000;

/// One document of a file.
#[derive(Clone, Debug)]
pub enum Document {
    /// What a single event must look like.
    Rule(Arc<Rule>),
    /// What several events must look like together.
    Correlation(Arc<Correlation>),
    /// What rules shall not match.
    Filter(Filter),
}

/// A document as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its tree.
    pub node: Node,
    /// Its text.
    pub text: Arc<str>,
    /// The line of the file on which it begins, from 1.
    pub line: usize,
}

impl Source {
    /// Returns a problem at the last key of `path`, on its line of the file.
    pub fn problem(&self, path: &[&str], message: impl Into<String>) -> Problem {
        Problem::at(self.line - 1 + line_of(&self.text, path), message)
    }

    /// Returns the text at `key`, or none when it is left out.
    pub fn optional(&self, key: &str) -> Result<Option<&str>, Problem> {
        match self.node.get(key) {
            None | Some(Node::Null) => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text)),
            Some(other) => {
                Err(self.problem(&[key], format!("`{key}` must be text, not {}", other.what())))
            }
        }
    }

    /// Returns the text at `key`.
    pub fn required(&self, key: &str) -> Result<&str, Problem> {
        self.optional(key)?.ok_or_else(|| self.problem(&[], format!("`{key}` is missing")))
    }
}

/// What the rules of a folder are compiled with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What placeholders stand for.
    pub placeholders: Placeholders,
}

/// Reads a file's documents. `policy` makes the reference from a document's id and author.
pub fn read(
    text: &str,
    options: &Options,
    policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
) -> Result<Vec<Document>, Problem> {
    let mut documents = Vec::new();
    let mut global: Option<Node> = None;
    let parts = node::parse_all(text)?;
    if parts.len() > DOCUMENTS_MAX {
        let message = format!("the file has more than {DOCUMENTS_MAX} documents; split it");
        return Err(Problem { line: None, message });
    }
    for (line, text, node) in parts {
        let mut source = Source { node, text: text.into(), line };
        match source.node.get("action").map(Node::as_text) {
            None => {}
            Some(Some("global")) => {
                global = Some(without_action(source.node));
                continue;
            }
            Some(Some("reset")) => {
                global = None;
                continue;
            }
            Some(_) => {
                let message = "`action` is `global` or `reset`; other collections left the \
                    specification: write one document per rule";
                return Err(source.problem(&["action"], message));
            }
        }
        if let Some(global) = &global {
            source.node = merged(global, &source.node);
        }
        documents.push(one(source, options, policy)?);
    }
    if documents.is_empty() {
        return Err(Problem::at(1, "the file has no rule"));
    }
    Ok(documents)
}

fn one(
    source: Source,
    options: &Options,
    policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
) -> Result<Document, Problem> {
    if source.node.as_map().is_none() {
        let message = format!("a rule is a map, not {}", source.node.what());
        return Err(source.problem(&[], message));
    }
    if source.node.get("correlation").is_some() {
        let correlation = Correlation::compile(&source, policy)?;
        return Ok(Document::Correlation(Arc::new(correlation)));
    }
    if source.node.get("filter").is_some() {
        return Filter::compile(&source, options).map(Document::Filter);
    }
    rule::compile(&source, options, policy).map(|rule| Document::Rule(Arc::new(rule)))
}

fn without_action(node: Node) -> Node {
    match node {
        Node::Map(entries) => {
            Node::Map(entries.into_iter().filter(|(key, _)| key != "action").collect())
        }
        other => other,
    }
}

/// Returns `own` with what it lacks taken from `global`, map by map.
fn merged(global: &Node, own: &Node) -> Node {
    let (Node::Map(global), Node::Map(entries)) = (global, own) else { return own.clone() };
    let mut all = entries.clone();
    for (key, value) in global {
        match all.iter_mut().find(|(own, _)| own == key) {
            Some((_, own)) => *own = merged(value, own),
            None => all.push((key.clone(), value.clone())),
        }
    }
    Node::Map(all)
}

#[cfg(test)]
mod tests {
    use super::super::{Fields, LogSource, Object, evaluate};
    use super::*;

    const RULE: &str = "title: One\nid: r-1\nname: one\nlogsource:\n  category: process_creation\n\
        detection:\n  s:\n    Image: /bin/x\n  condition: s\n";

    fn documents(text: &str) -> Result<Vec<Document>, Problem> {
        let policy = |id, author| {
            let (file, revision) = (String::new(), String::new());
            Arc::new(PolicyRef { id, file, revision, author })
        };
        read(text, &Options::default(), &policy)
    }

    fn rule(text: &str) -> Arc<Rule> {
        match documents(text).unwrap().remove(0) {
            Document::Rule(rule) => rule,
            other => panic!("{other:?}"),
        }
    }

    fn filter(text: &str) -> Result<Filter, Problem> {
        documents(text).map(|mut all| match all.remove(0) {
            Document::Filter(filter) => filter,
            other => panic!("{other:?}"),
        })
    }

    fn matches(rule: &Rule, event: &str) -> bool {
        let root = node::parse(event).unwrap();
        let object = Object { log: LogSource::new("linux", "process_creation", ""), root };
        evaluate::matches(rule, &Fields::of_object(&object))
    }

    #[test]
    fn a_file_may_have_several_documents_with_their_own_lines() {
        let counted = "title: c\ncorrelation:\n  type: event_count\n  rules: [r]\n  timespan: 1m\n  \
                       condition: {gte: 2}\n";
        let text = format!("# first\n---\n{RULE}---\n{RULE}--- # third\n{counted}");
        let all = documents(&text).unwrap();
        assert!(
            matches!(&all[..], [Document::Rule(_), Document::Rule(b), Document::Correlation(c)]
            if b.line == 13 && c.line == 23)
        );
        let broken = format!("{RULE}---\n{}", RULE.replace("condition: s", "condition: t"));
        let problem = documents(&broken).unwrap_err();
        assert_eq!(problem.line, Some(19), "{problem:?}");
        let unread = documents(&format!("{RULE}---\na: [\n")).unwrap_err();
        assert!(matches!(unread.line, Some(11..=13)), "{unread:?}");
    }

    #[test]
    fn collections_share_what_is_global() {
        let text = "action: global\nlogsource: {category: process_creation}\ntitle: T\ndetection:\n  \
            condition: s\n---\nid: a\ndetection: {s: {Image: /a}}\n---\nid: b\ntitle: B\n\
            detection: {s: {Image: /b}}\n---\naction: reset\n---\ntitle: c\n";
        assert!(documents(text).unwrap_err().message.contains("logsource"));
        let all = documents(&text[..text.find("---\naction: reset").unwrap()]).unwrap();
        let titles: Vec<&str> = (all.iter())
            .map(|d| if let Document::Rule(rule) = d { &*rule.title } else { "" })
            .collect();
        assert_eq!(titles, ["T", "B"]);
    }

    #[test]
    fn filters_take_out_what_they_describe() {
        let rule = rule(RULE);
        let head = "title: F\nlogsource:\n  category: process_creation\nfilter:\n  rules: ";
        let body = "  f:\n    User|startswith: adm_\n  condition: ";
        for (rules, condition, is_for, left) in [
            ("[r-1]", "f", true, false),
            ("[one]", "not f", true, false),
            ("any", "1 of f*", true, false),
            ("[One]", "not 1 of f*", true, false),
            ("[other]", "f", false, true),
        ] {
            let filter = filter(&format!("{head}{rules}\n{body}{condition}\n")).unwrap();
            assert_eq!(filter.is_for(&rule), is_for, "{rules}");
            let checked = filter.check([&*rule].into_iter());
            assert_eq!(checked.is_ok(), is_for);
            assert_eq!(checked.err().and_then(|problem| problem.line), (!is_for).then_some(5));
            let rule = if is_for { filter.applied(&rule) } else { Rule::clone(&rule) };
            assert!(matches(&rule, "{Image: /bin/x, User: root}"), "{condition}");
            assert_eq!(matches(&rule, "{Image: /bin/x, User: adm_1}"), left, "{condition}");
        }
        let of_files = head.replace("process_creation", "file_event");
        let other = filter(&format!("{of_files}any\n{body}f\n")).unwrap();
        assert!(!other.is_for(&rule), "a filter is for rules of its log source");
        assert!(filter(&format!("{head}[]\n{body}f\n")).is_err());
    }
}
