//! What a correlation rule says, read from its document.

use super::condition::Condition;
use super::{Compared, Number, SECOND_NS};
use crate::detect::sigma::document::Source;
use crate::policy::Problem;
use crate::policy::node::Node;

/// Longest window. State that a restart loses is filled again from the journal for as long.
const TIMESPAN_MAX_S: u64 = 7 * 86_400;

/// Rules of one correlation. An attack has fewer steps.
const MEMBERS_MAX: usize = 64;

/// Fields of one group, and fields whose values are counted together.
const FIELDS_MAX: usize = 8;

/// Distinct values that can be asked for at once: as many as are told apart in a sliding window.
const DISTINCT_MAX: f64 = 2_048.0;

const KEYS: [&str; 7] =
    ["type", "rules", "aliases", "group-by", "timespan", "condition", "generate"];

/// A name for fields of different names, with the field of each rule.
type Alias = (String, Vec<(String, String)>);

/// A correlation whose rules are still names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spec {
    /// Names or ids of the rules, in their order.
    pub(super) rules: Vec<String>,
    /// Fields or aliases that make a group.
    pub(super) group_by: Vec<String>,
    /// Field whose values are counted or added up; several are counted as one.
    pub(super) fields: Vec<String>,
    /// By alias and rule, the field that is meant.
    pub(super) aliases: Vec<Alias>,
    /// Whether the rules raise findings of their own as well.
    pub(super) generate: bool,
    /// What is compared.
    pub(super) compared: Compared,
}

/// Reads the `correlation` map of a document.
pub(super) fn read(source: &Source) -> Result<Spec, Problem> {
    let reader = Reader { node: source.node.get("correlation"), source };
    let Some(entries) = reader.node.and_then(Node::as_map) else {
        return Err(reader.problem(&[], "`correlation` must be a map"));
    };
    if let Some((key, _)) = entries.iter().find(|(key, _)| !KEYS.contains(&key.as_str())) {
        let message = format!("`{key}` is not known here; keys are {}", KEYS.join(", "));
        return Err(reader.problem(&[key], message));
    }
    let number = reader.number()?;
    let rules = reader.rules()?;
    let (condition, fields) = reader.condition(number, rules.len())?;
    let span_ns = reader.timespan()?;
    Ok(Spec {
        group_by: reader.texts("group-by")?.unwrap_or_default(),
        fields,
        aliases: reader.aliases(&rules)?,
        generate: reader.generate()?,
        compared: Compared { span_ns, condition, number, members: rules.len() },
        rules,
    })
}

struct Reader<'a> {
    node: Option<&'a Node>,
    source: &'a Source,
}

impl<'a> Reader<'a> {
    fn problem(&self, path: &[&str], message: impl Into<String>) -> Problem {
        let path: Vec<&str> = ["correlation"].iter().chain(path).copied().collect();
        self.source.problem(&path, message)
    }

    fn get(&self, key: &str) -> Option<&'a Node> {
        self.node.and_then(|node| node.get(key))
    }

    fn text(&self, key: &str) -> Result<&'a str, Problem> {
        match self.get(key) {
            Some(Node::Text(text)) => Ok(text),
            Some(other) => {
                Err(self.problem(&[key], format!("`{key}` must be text, not {}", other.what())))
            }
            None => Err(self.problem(&[], format!("`{key}` is missing"))),
        }
    }

    /// Reads one text or a list of some.
    fn texts(&self, key: &str) -> Result<Option<Vec<String>>, Problem> {
        let Some(node) = self.get(key) else { return Ok(None) };
        let texts = texts(node).filter(|texts| texts.len() <= MEMBERS_MAX);
        let texts = texts.ok_or_else(|| {
            let message = format!("`{key}` must be a list of up to {MEMBERS_MAX} texts");
            self.problem(&[key], message)
        })?;
        match (1..texts.len()).find(|&at| texts[..at].contains(&texts[at])) {
            Some(at) => Err(self.problem(&[key], format!("`{}` stands there twice", texts[at]))),
            None => Ok(Some(texts)),
        }
    }

    fn number(&self) -> Result<Number, Problem> {
        Ok(match self.text("type")? {
            "event_count" => Number::Events,
            "value_count" | "temporal" => Number::Distinct,
            "value_sum" => Number::Sum,
            "value_avg" => Number::Mean,
            "value_percentile" => Number::Share,
            "temporal_ordered" => Number::Ordered,
            other => {
                let message = format!(
                    "type `{other}` is not one of event_count, value_count, value_sum, \
                     value_avg, value_percentile, temporal, temporal_ordered"
                );
                return Err(self.problem(&["type"], message));
            }
        })
    }

    fn is_temporal(&self) -> bool {
        self.text("type").is_ok_and(|kind| kind.starts_with("temporal"))
    }

    fn rules(&self) -> Result<Vec<String>, Problem> {
        match self.texts("rules")? {
            Some(rules) if !rules.is_empty() => Ok(rules),
            _ => Err(self.problem(&["rules"], "`rules` must name at least one rule")),
        }
    }

    fn condition(
        &self,
        number: Number,
        members: usize,
    ) -> Result<(Condition, Vec<String>), Problem> {
        let path = ["condition"];
        let all = Condition::at_least(members as f64);
        let temporal = self.is_temporal();
        let entries = match self.get("condition") {
            None if temporal => return Ok((all, Vec::new())),
            None => return Err(self.problem(&[], "`condition` is missing")),
            Some(node) => node.as_map().ok_or_else(|| {
                let message = "`condition` must be a map such as `gte: 10`; the specification \
                               knows no other form";
                self.problem(&path, message)
            })?,
        };
        let condition = Condition::parse(entries)
            .map_err(|(key, message)| self.problem(&["condition", &key], message))?;
        let field = self.get("condition").and_then(|condition| condition.get("field"));
        let fields = field.map(|node| texts(node).filter(|fields| !fields.is_empty()));
        if condition.is_empty() {
            return Err(self.problem(&path, "`condition` compares nothing; say `gte: 10`"));
        }
        let wants = !temporal && number != Number::Events;
        let fields = match (wants, fields) {
            (true, Some(Some(fields))) if fields.len() <= FIELDS_MAX => fields,
            (true, _) => {
                let message = "`field` must name what is counted or added up";
                return Err(self.problem(&path, message));
            }
            (false, None) => Vec::new(),
            (false, Some(_)) => {
                let message = "`field` is for the types that begin with value_";
                return Err(self.problem(&["condition", "field"], message));
            }
        };
        if matches!(number, Number::Sum | Number::Mean) && fields.len() > 1 {
            return Err(self.problem(&["condition", "field"], "only one field can be added up"));
        }
        if number == Number::Ordered && (!condition.grows() || condition.least() != members as f64)
        {
            let message = format!("an order of {members} rules is met by all {members} or not");
            return Err(self.problem(&path, message));
        }
        if number == Number::Distinct && condition.least() > DISTINCT_MAX {
            let message = format!("more than {DISTINCT_MAX} distinct values are not told apart");
            return Err(self.problem(&path, message));
        }
        Ok((condition, fields))
    }

    fn timespan(&self) -> Result<u64, Problem> {
        let text = self.text("timespan")?;
        let (count, unit) = text.split_at(text.len().saturating_sub(1));
        let unit_s = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => 0,
        };
        let is_number = count.bytes().all(|byte| byte.is_ascii_digit());
        let seconds = count.parse::<u64>().ok().filter(|_| is_number);
        match seconds.and_then(|count| count.checked_mul(unit_s)) {
            Some(seconds @ 1..=TIMESPAN_MAX_S) => Ok(seconds * SECOND_NS),
            Some(1..) => {
                let message = format!("longer than {} days", TIMESPAN_MAX_S / 86_400);
                Err(self.problem(&["timespan"], message))
            }
            _ => {
                let message = "`timespan` must be a number and s, m, h or d, such as 90m";
                Err(self.problem(&["timespan"], message))
            }
        }
    }

    fn generate(&self) -> Result<bool, Problem> {
        match self.get("generate") {
            None => Ok(false),
            Some(Node::Bool(generate)) => Ok(*generate),
            Some(_) => Err(self.problem(&["generate"], "`generate` must be true or false")),
        }
    }

    fn aliases(&self, rules: &[String]) -> Result<Vec<Alias>, Problem> {
        let Some(node) = self.get("aliases") else { return Ok(Vec::new()) };
        let entries = node.as_map().filter(|entries| entries.len() <= FIELDS_MAX);
        let entries = entries.ok_or_else(|| {
            let message = format!("`aliases` must be a map of up to {FIELDS_MAX} names");
            self.problem(&["aliases"], message)
        })?;
        let mut aliases = Vec::new();
        for (alias, node) in entries {
            let mut meant = Vec::new();
            for (rule, field) in node.as_map().unwrap_or_default() {
                let path = ["aliases", alias.as_str(), rule.as_str()];
                if !rules.contains(rule) {
                    return Err(self.problem(&path, format!("`{rule}` is not under `rules`")));
                }
                let Some(field) = field.as_text() else {
                    return Err(self.problem(&path, "a field's name must be text"));
                };
                meant.push((rule.clone(), field.to_owned()));
            }
            if let Some(rule) = rules.iter().find(|rule| !meant.iter().any(|(of, _)| of == *rule)) {
                let message = format!("`{alias}` does not say which field of `{rule}` it is");
                return Err(self.problem(&["aliases", alias], message));
            }
            aliases.push((alias.clone(), meant));
        }
        Ok(aliases)
    }
}

impl Spec {
    /// Returns the field that a name means in events of one of the rules.
    pub(super) fn field<'a>(&'a self, name: &'a str, rule: &str) -> &'a str {
        let alias = self.aliases.iter().find(|(alias, _)| alias == name);
        let meant = alias.and_then(|(_, meant)| meant.iter().find(|(of, _)| of == rule));
        meant.map_or(name, |(_, field)| field)
    }
}

/// Reads one text or a list of some.
fn texts(node: &Node) -> Option<Vec<String>> {
    let items = node.as_list().unwrap_or(std::slice::from_ref(node));
    items.iter().map(|item| item.as_text().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::node;

    const GOOD: &str = "correlation:\n  type: value_count\n  rules: [a, b]\n  group-by: [from]\n  \
        timespan: 90m\n  aliases:\n    from:\n      a: SourceIp\n      b: DestinationIp\n  \
        condition:\n    field: User\n    gte: 3\n";

    fn spec(text: &str) -> Result<Spec, Problem> {
        let node = node::parse(text).unwrap();
        read(&Source { node, text: text.into(), line: 1 })
    }

    #[test]
    fn what_is_said_is_read() {
        let spec = spec(GOOD).unwrap();
        assert_eq!((spec.rules.join(","), spec.generate), ("a,b".to_owned(), false));
        assert_eq!(spec.compared.span_ns, 5_400 * SECOND_NS);
        assert_eq!((spec.field("from", "b"), spec.field("User", "b")), ("DestinationIp", "User"));
    }

    #[test]
    fn temporal_means_all_rules_unless_a_number_is_said() {
        let text = GOOD.replace("value_count", "temporal");
        let head = text.split("  condition:").next().unwrap();
        assert_eq!(spec(head).unwrap().compared.condition, Condition::at_least(2.0));
        let one = spec(&format!("{head}  condition: {{gte: 1}}\n")).unwrap();
        assert_eq!(one.compared.condition, Condition::at_least(1.0));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_line() {
        for (from, to, line, part) in [
            ("type: value_count", "type: near", 2, "not one of"),
            ("type: value_count", "type: event_count", 11, "value_"),
            ("type: value_count", "type: temporal_ordered", 11, "value_"),
            ("rules: [a, b]", "rules: []", 3, "at least one"),
            ("rules: [a, b]", "rules: [a, a]", 3, "twice"),
            ("rules: [a, b]", "rules: [a, b, c]", 7, "`c`"),
            ("      b: Dest", "      d: Dest", 9, "not under"),
            ("timespan: 90m", "timespan: 90M", 5, "s, m, h or d"),
            ("timespan: 90m", "timespan: +9m", 5, "s, m, h or d"),
            ("timespan: 90m", "timespan: 0s", 5, "s, m, h or d"),
            ("timespan: 90m", "timespan: 8d", 5, "7 days"),
            ("timespan: 90m", "timespan: m", 5, "s, m, h or d"),
            ("    gte: 3", "    more: 3", 12, "`more`"),
            ("    gte: 3", "    gte: 9999", 10, "told apart"),
            ("    field: User\n    gte: 3", "    field: User", 10, "compares nothing"),
            ("    field: User\n", "", 10, "`field`"),
            ("  condition:\n    field: User\n    gte: 3", "  condition: a and b", 10, "a map"),
            ("  group-by: [from]", "  group-by: {a: b}", 4, "list"),
            ("  group-by", "  group_by", 4, "not known"),
            ("  group-by", "  generate: 1\n  group-by", 4, "true or false"),
        ] {
            let text = GOOD.replace(from, to);
            assert_ne!(text, GOOD, "{from}");
            let problem = spec(&text).unwrap_err();
            assert!(problem.message.contains(part), "{to}: {problem:?}");
            assert_eq!(problem.line, Some(line), "{to}: {problem:?}");
        }
        let ordered =
            GOOD.replace("value_count", "temporal_ordered").replace("    field: User\n", "");
        assert!(spec(&ordered).unwrap_err().message.contains("all 2"));
    }
}
