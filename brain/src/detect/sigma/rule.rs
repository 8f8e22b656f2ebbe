//! A rule: its words, its logic, and the type of finding that it raises.

use std::sync::Arc;

use super::condition::Condition;
use super::document::{self, Document, Options, Source};
use super::logsource::LogSource;
use super::selection::Selection;
use crate::finding::{Kind, PolicyRef, Severity, Technique, tactic_of_tag, technique};
use crate::policy::Problem;
use crate::policy::node::Node;
use crate::text;

/// Bytes of a title or a type's name.
pub(super) const TITLE_MAX: usize = 256;

/// Selections of one rule.
const SELECTIONS_MAX: usize = 500;

/// Severity by Sigma's level.
const LEVELS: [(&str, f64); 5] =
    [("informational", 1.0), ("low", 3.0), ("medium", 5.0), ("high", 7.5), ("critical", 9.0)];

/// What to do about a rule that does not say so itself.
const REMEDIATION: &str = "Read the command line and the ancestors of the process. If the command \
    is not expected on this host, isolate the host and look at what the same user and process did \
    around that time. If it is, switch the rule off or narrow it.";

/// A compiled rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its title, safe to show.
    pub title: String,
    /// The name by which correlations and filters may call it.
    pub name: Option<String>,
    /// Sigma's level.
    pub level: &'static str,
    /// How bad a match is.
    pub severity: Severity,
    /// The type of finding that it raises.
    pub kind: Arc<Kind>,
    /// Where it comes from.
    pub policy: Arc<PolicyRef>,
    /// Which events it looks at.
    pub log: LogSource,
    /// The line on which its document begins.
    pub line: usize,
    pub(super) selections: Vec<Selection>,
    pub(super) condition: Condition,
}

impl Rule {
    /// Compiles a file that has one rule and nothing else.
    pub fn compile(
        source: &str,
        policy: impl Fn(String, Option<String>) -> Arc<PolicyRef>,
    ) -> Result<Arc<Self>, Problem> {
        let mut documents = document::read(source, &Options::default(), &policy)?;
        match (documents.pop(), documents.len()) {
            (Some(Document::Rule(rule)), 0) => Ok(rule),
            _ => Err(Problem::at(1, "the file must have one rule and nothing else")),
        }
    }

    /// Returns the fields that the rule names, each once.
    pub fn fields(&self) -> Vec<&str> {
        let items = self.selections.iter().flat_map(|s| s.alternatives.iter().flatten());
        let mut fields: Vec<&str> = items.filter_map(|item| item.field.as_deref()).collect();
        fields.sort_unstable();
        fields.dedup();
        fields
    }
}

/// Compiles a document that is a rule.
pub(super) fn compile(
    source: &Source,
    options: &Options,
    policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
) -> Result<Rule, Problem> {
    let log = log(source)?;
    let Some(parts) = source.node.get("detection").and_then(Node::as_map) else {
        return Err(source.problem(&["detection"], "`detection` is missing or not a map"));
    };
    let (selections, condition, _) = detection(source, "detection", parts.iter(), options)?;
    let Words { title, name, level, severity, kind, policy } = words(source, policy)?;
    let line = source.line;
    Ok(Rule { title, name, level, severity, kind, policy, log, line, selections, condition })
}

/// What a document says of itself, whatever it looks for.
pub(super) struct Words {
    pub(super) title: String,
    pub(super) name: Option<String>,
    pub(super) level: &'static str,
    pub(super) severity: Severity,
    pub(super) kind: Arc<Kind>,
    pub(super) policy: Arc<PolicyRef>,
}

/// Reads what a document says of itself.
pub(super) fn words(
    source: &Source,
    policy: &dyn Fn(String, Option<String>) -> Arc<PolicyRef>,
) -> Result<Words, Problem> {
    let title = text::visible_cut(source.required("title")?.as_bytes(), TITLE_MAX);
    let author = source.optional("author")?.map(text::visible_str);
    let id = source.optional("id")?.map_or_else(|| title.clone(), text::visible_str);
    let name = source.optional("name")?.map(str::to_owned);
    let reader = Reader { source };
    let (level, severity) = reader.severity()?;
    let kind = Arc::new(reader.kind(&title)?);
    Ok(Words { title, name, level, severity, kind, policy: policy(id, author) })
}

/// Reads a document's log source.
pub(super) fn log(source: &Source) -> Result<LogSource, Problem> {
    let Some(node) = source.node.get("logsource") else {
        return Err(source.problem(&[], "`logsource` is missing"));
    };
    LogSource::read(node).map_err(|(key, message)| {
        let path: Vec<&str> = ["logsource"].into_iter().chain(key).collect();
        source.problem(&path, message)
    })
}

type Detection = (Vec<Selection>, Condition, bool);

/// Compiles selections and condition below `key`. Also returns whether the condition stands
/// upright: whether it is not of the form `not …`.
pub(super) fn detection<'a>(
    source: &Source,
    key: &str,
    parts: impl Iterator<Item = &'a (String, Node)>,
    options: &Options,
) -> Result<Detection, Problem> {
    let (mut names, mut selections, mut condition) = (Vec::new(), Vec::new(), None);
    for (name, node) in parts {
        match name.as_str() {
            "condition" => {
                condition = Some(node);
                continue;
            }
            "timeframe" => {
                let message = "`timeframe` left the specification; write a correlation";
                return Err(source.problem(&[key, name], message));
            }
            _ => {}
        }
        let compiled = Selection::compile(name, node, &options.placeholders);
        selections.push(compiled.map_err(|refused| {
            let path = [key, name].into_iter();
            let path: Vec<&str> = path.chain(refused.path.iter().map(String::as_str)).collect();
            source.problem(&path, refused.message)
        })?);
        names.push(name.as_str());
    }
    if selections.len() > SELECTIONS_MAX {
        let message = format!("more than {SELECTIONS_MAX} selections; split the rule");
        return Err(source.problem(&[key], message));
    }
    let condition = condition.ok_or_else(|| source.problem(&[key], "`condition` is missing"))?;
    let condition = conditions(source, key, condition, &names)?;
    let upright = !is_negative(&condition);
    Ok((selections, condition, upright))
}

/// Returns whether a condition says only what must not be.
fn is_negative(condition: &Condition) -> bool {
    match condition {
        Condition::Selection(_) => false,
        Condition::Not(_) => true,
        Condition::All(parts) | Condition::Any(parts) => parts.iter().all(is_negative),
    }
}

/// Several conditions are several rules in one, of which each may match.
fn conditions(
    source: &Source,
    key: &str,
    node: &Node,
    names: &[&str],
) -> Result<Condition, Problem> {
    let path = [key, "condition"];
    let single = std::slice::from_ref(node);
    let mut parts = Vec::new();
    for part in node.as_list().unwrap_or(single) {
        let Some(text) = part.as_text() else {
            let message = format!("`condition` must be text, not {}", part.what());
            return Err(source.problem(&path, message));
        };
        parts.push(Condition::parse(text, names).map_err(|m| source.problem(&path, m))?);
    }
    match parts.len() {
        0 => Err(source.problem(&path, "`condition` is empty")),
        1 => Ok(parts.remove(0)),
        _ => Ok(Condition::Any(parts)),
    }
}

struct Reader<'a> {
    source: &'a Source,
}

impl<'a> Reader<'a> {
    fn severity(&self) -> Result<(&'static str, Severity), Problem> {
        let path = ["sakuramori", "severity"];
        // The specification leaves `level` optional; what nobody rated is of medium interest.
        let level = self.source.optional("level")?.unwrap_or("medium");
        let Some((level, severity)) = LEVELS.iter().find(|(name, _)| *name == level) else {
            let message = format!("level `{}` is not one of Sigma's", text::visible_str(level));
            return Err(self.source.problem(&["level"], message));
        };
        match self.source.node.get(path[0]).and_then(|own| own.get(path[1])) {
            None => {}
            Some(Node::Float(value)) if (1.0..=10.0).contains(value) => {
                return Ok((level, Severity::new(*value)));
            }
            Some(Node::Int(value)) if (1..=10).contains(value) => {
                return Ok((level, Severity::new(*value as f64)));
            }
            Some(_) => return Err(self.source.problem(&path, "`severity` must be 1.0 to 10.0")),
        }
        Ok((level, Severity::new(*severity)))
    }

    fn kind(&self, title: &str) -> Result<Kind, Problem> {
        let tags = self.tags()?;
        let techniques: Vec<Technique> = (tags.iter())
            .filter_map(|tag| tag.strip_prefix("attack."))
            .filter(|id| id.starts_with('t') && id[1..].starts_with(|c: char| c.is_ascii_digit()))
            .map(technique)
            .collect();
        let tactic = tags.iter().find_map(|tag| tactic_of_tag(tag)).unwrap_or("Execution");
        let derived = format!("{}:Host/Sigma.{}", camel(tactic), camel(title));
        let name = self.own("type")?.unwrap_or(derived);
        if !is_type_name(&name) {
            let message = format!("`{name}` is not of the form Tactic:Host/Name");
            return Err(self.source.problem(&["sakuramori", "type"], message));
        }
        let description = self.source.optional("description")?.unwrap_or(title);
        Ok(Kind {
            name,
            guardduty: self.own("guardduty_type")?,
            description: text::visible_str(
                description.split_whitespace().collect::<Vec<_>>().join(" ").as_str(),
            ),
            remediation: self.own("remediation")?.unwrap_or_else(|| REMEDIATION.to_owned()),
            techniques,
        })
    }

    fn tags(&self) -> Result<Vec<&'a str>, Problem> {
        let Some(tags) = self.source.node.get("tags") else { return Ok(Vec::new()) };
        let tags = tags.as_list().and_then(|tags| tags.iter().map(Node::as_text).collect());
        tags.ok_or_else(|| self.source.problem(&["tags"], "`tags` must be a list of text"))
    }

    /// Reads a key of the `sakuramori` map, the one part of a rule that other engines ignore.
    fn own(&self, key: &str) -> Result<Option<String>, Problem> {
        const KEYS: [&str; 4] = ["type", "guardduty_type", "severity", "remediation"];
        let Some(own) = self.source.node.get("sakuramori") else { return Ok(None) };
        let Some(entries) = own.as_map() else {
            return Err(self.source.problem(&["sakuramori"], "`sakuramori` must be a map"));
        };
        if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
            let message = format!("`{key}` is not known; keys are {}", KEYS.join(", "));
            return Err(self.source.problem(&["sakuramori", key], message));
        }
        match own.get(key) {
            None => Ok(None),
            Some(Node::Text(text)) => Ok(Some(text::visible_cut(text.as_bytes(), 4 * TITLE_MAX))),
            Some(_) => {
                Err(self.source.problem(&["sakuramori", key], format!("`{key}` must be text")))
            }
        }
    }
}

/// Joins the words of `text`, each with a capital first.
fn camel(text: &str) -> String {
    (text.split(|c: char| !c.is_ascii_alphanumeric()))
        .filter(|word| !word.is_empty())
        .flat_map(|word| {
            let (first, rest) = word.split_at(1);
            [first.to_ascii_uppercase(), rest.to_owned()]
        })
        .collect()
}

fn is_type_name(name: &str) -> bool {
    let Some((tactic, rest)) = name.split_once(':') else { return false };
    let Some((scope, own)) = rest.split_once('/') else { return false };
    let word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(&c))
    };
    name.len() <= TITLE_MAX && word(tactic, &[]) && word(scope, &[]) && word(own, &['.', '&', '!'])
}

#[cfg(test)]
mod tests {
    use super::super::fields::Fields;
    use super::super::{evaluate, view};
    use super::*;
    use crate::detect::scenario;
    use crate::record::{Event, EventKind, events};

    const HEAD: &str = "title: A title, shown\nid: r1\nlevel: high\ntags:\n    \
        - attack.stealth\n    - attack.t1070.003\n\
        logsource:\n    product: linux\n    category: process_creation\n";

    fn compile(rest: &str) -> Result<Arc<Rule>, Problem> {
        let policy = |id, author| {
            Arc::new(PolicyRef { id, file: "sigma/r.yml".into(), revision: String::new(), author })
        };
        Rule::compile(&format!("{HEAD}{rest}"), policy)
    }

    fn executed(exe: &str, command: &str) -> Event {
        let batch = scenario::exec_batch(exe, command);
        events(&batch, &scenario::host("h")).remove(0)
    }

    fn matching(rule: &Rule, event: &Event) -> bool {
        let mut matched = false;
        view::of(event, |view| {
            matched |= evaluate::matches(rule, &Fields::of_event(view, event));
        });
        matched
    }

    fn matches(detection: &str, exe: &str, command: &str) -> bool {
        let rule = compile(&format!("detection:\n{detection}")).unwrap();
        matching(&rule, &executed(exe, command))
    }

    #[test]
    fn fields_lists_and_modifiers_combine_as_specified() {
        let detection = "    a:\n        Image|endswith: [/bash, /sh]\n        \
            CommandLine|contains|all: [one, two]\n    \
            b:\n        - CommandLine|startswith: 'zed '\n        - CommandLine|re: '^x+$'\n    \
            condition: a or b\n";
        assert!(matches(detection, "/bin/BASH", "ONE and two"));
        assert!(!matches(detection, "/bin/bash", "one"));
        assert!(!matches(detection, "/bin/zsh", "one two"));
        assert!(matches(detection, "/bin/x", "zed 1"));
        assert!(matches(detection, "/bin/x", "xxx"));
        assert!(!matches(detection, "/bin/x", "XXX"));
    }

    #[test]
    fn absent_fields_are_null() {
        let detection = "    a:\n        ParentImage: null\n        User: ''\n    condition: a\n";
        assert!(matches(detection, "/bin/x", "x"));
        assert!(!matches("    a:\n        ParentImage: '*'\n    condition: a\n", "/bin/x", "x"));
        assert!(matches("    a:\n        ProcessId|gte: 1\n    condition: a\n", "/bin/x", "x"));
        assert!(matches(
            "    a:\n        ParentImage|exists: false\n    condition: a\n",
            "/a",
            "x"
        ));
    }

    #[test]
    fn what_is_not_supported_is_refused_by_line() {
        for (rest, line, part) in [
            ("detection:\n    k:\n        - ''\n    condition: k\n", 11, "keyword"),
            (
                "detection:\n    a:\n        Image|base64offset: x\n    condition: a\n",
                12,
                "base64offset",
            ),
            ("detection:\n    a:\n        Image|expand: '%x%'\n    condition: a\n", 12, "%x%"),
            ("detection:\n    a:\n        Image: x\n    condition: a or b\n", 13, "`b`"),
            ("detection:\n    a:\n        Image|re: '(?=x)'\n    condition: a\n", 12, "refused"),
            (
                "detection:\n    a:\n        Image: x\n    timeframe: 5m\n    condition: a\n",
                13,
                "timeframe",
            ),
            (
                "detection:\n    a:\n        Image|contains: ''\n    condition: a\n",
                12,
                "everything",
            ),
            ("detection:\n    a:\n        Image: []\n    condition: a\n", 12, "empty"),
            ("detection: []\n", 10, "not a map"),
            ("action: repeat\n", 10, "collections"),
        ] {
            let problem = compile(rest).unwrap_err();
            assert_eq!(problem.line, Some(line), "{rest}: {problem:?}");
            assert!(problem.message.contains(part), "{problem:?}");
        }
    }

    #[test]
    fn a_rule_sees_only_its_own_log() {
        use wire::record::{Dns, File, Login, file_action, login_action};
        let mut batch = scenario::exec_batch("/bin/x", "x");
        let mut strings = wire::text::StringTableBuilder::default();
        let mut text = |s: &str| strings.add(s.as_bytes()).unwrap();
        batch.processes[0] = wire::record::Process {
            exe: text("/bin/x"),
            cwd: text("/tmp"),
            session: 8,
            sha256: text("\u{1}\u{2}"),
            ..batch.processes[0].clone()
        };
        let process = wire::record::ProcessRef(1);
        let action = file_action::RENAME;
        let (path, target) = (text("/tmp/x"), text("/etc/cron.d/x"));
        batch.files.push(File { process, action, path, target, ..File::default() });
        batch.dns.push(Dns { process, name: text("evil.example"), ..Dns::default() });
        let action = login_action::FAILED;
        let (service, message) = (text("sshd"), text("Corrupted MAC on input"));
        batch.logins.push(Login { action, service, message, ..Login::default() });
        batch.strings = strings.finish();
        let events = events(&batch, &scenario::host("h"));
        for (source, detection, wanted) in [
            ("category: file_event", "a:\n        TargetFilename|startswith: /etc/cron.d/", "file"),
            ("category: dns_query", "a:\n        QueryName|endswith: .example", "dns"),
            ("service: sshd", "a:\n        - corrupted mac\n        - other", "login"),
            ("service: auth", "a:\n        Message|contains: MAC", "login"),
            ("service: sudo", "a:\n        - corrupted mac", ""),
            ("category: process_creation", "a:\n        CurrentDirectory: /tmp", "exec"),
            ("category: process_creation", "a:\n        Hashes|contains: SHA256=0102", "exec"),
            ("category: process_creation", "a:\n        LogonId: 7", "exec"),
        ] {
            let text = HEAD.replace("category: process_creation", source)
                + &format!("detection:\n    {detection}\n    condition: a\n");
            let policy = |id, author| {
                let file = "sigma/r.yml".into();
                Arc::new(PolicyRef { id, file, revision: String::new(), author })
            };
            let rule = Rule::compile(&text, policy).unwrap();
            let matched: Vec<&str> = (events.iter().filter(|event| matching(&rule, event)))
                .map(|event| match event.kind {
                    EventKind::Exec(_) => "exec",
                    EventKind::File(_) => "file",
                    EventKind::Dns(_) => "dns",
                    EventKind::Login(_) => "login",
                    _ => "another",
                })
                .collect();
            assert_eq!(matched.join(","), wanted, "{source} {detection}");
        }
    }

    #[test]
    fn type_and_severity_come_from_the_rule_or_its_tags() {
        let detection = "detection:\n    a:\n        Image: x\n    condition: a\n";
        let rule = compile(detection).unwrap();
        assert_eq!(rule.kind.name, "DefenseEvasion:Host/Sigma.ATitleShown");
        assert_eq!(
            (rule.severity.value(), rule.kind.techniques[0].id.as_str()),
            (7.5, "T1070.003")
        );
        let own = "sakuramori:\n    type: Impact:Host/X\n    \
            guardduty_type: Impact:Runtime/X\n    severity: 8.5\n";
        let rule = compile(&format!("{detection}{own}")).unwrap();
        assert_eq!((rule.kind.name.as_str(), rule.severity.value()), ("Impact:Host/X", 8.5));
        assert!(compile(&format!("{detection}sakuramori:\n    typo: x\n")).is_err());
        assert!(compile(&format!("{detection}sakuramori:\n    type: no\n")).is_err());
    }
}
