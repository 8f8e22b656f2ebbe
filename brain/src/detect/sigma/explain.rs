//! Why a rule matches an event, or does not: part by part, with the values that decided.

use super::condition::Condition;
use super::evaluate;
use super::fields::Fields;
use super::modifier::Place;
use super::object::Object;
use super::pattern::Pattern;
use super::rule::Rule;
use super::selection::Item;
use super::values::{Presence, Slot, Values};
use super::view;
use crate::record::Event;
use crate::text;

/// Bytes that are shown of one value.
const SHOWN_MAX: usize = 500;

/// Values and patterns that are shown of one item.
const LISTED_MAX: usize = 20;

/// An event to explain.
#[derive(Clone, Copy, Debug)]
pub enum Asked<'a> {
    /// One of our records.
    Event(&'a Event),
    /// One that others wrote.
    Object(&'a Object),
}

/// What a rule says of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether it matches.
    pub matched: bool,
    /// The log that the event is from, as it was looked at.
    pub log: String,
    /// The rule's parts. For an event of another log there are none.
    pub step: Option<Step>,
}

/// One part of a rule. All text is safe to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What the part is.
    pub kind: StepKind,
    /// The part in the rule's words.
    pub text: String,
    /// Whether it holds.
    pub holds: bool,
    /// Of an item: what the event has in the field.
    pub values: Vec<String>,
    /// Of an item: why the values do not count, where there is more to say than that they differ.
    pub note: Option<&'static str>,
    /// The parts of which it is made.
    pub parts: Vec<Step>,
}

/// What a part of a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// All parts must hold.
    All,
    /// One part must hold.
    Any,
    /// The part must not hold.
    Not,
    /// A selection by its name.
    Selection,
    /// A field and what is asked of it.
    Item,
}

impl StepKind {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
            Self::Not => "not",
            Self::Selection => "selection",
            Self::Item => "item",
        }
    }
}

/// Explains what a rule says of an event. A record that several logs tell is explained as the
/// first that matches, or else the first that the rule looks at.
pub fn explain(rule: &Rule, asked: Asked<'_>) -> Explanation {
    let seen = match asked {
        Asked::Object(object) => vec![(Fields::of_object(object), object.log.to_string())],
        Asked::Event(event) => views(event),
    };
    let of_rule = || seen.iter().filter(|(fields, _)| fields.is_of(&rule.log));
    let matching = of_rule().find(|(fields, _)| evaluate::matches(rule, fields));
    let Some((fields, log)) = matching.or_else(|| of_rule().next()) else {
        let log = seen.first().map_or_else(|| "none".to_owned(), |(_, log)| log.clone());
        return Explanation { matched: false, log, step: None };
    };
    let step = condition(rule, &rule.condition, fields, true);
    Explanation { matched: step.holds, log: log.clone(), step: Some(step) }
}

fn views(event: &Event) -> Vec<(Fields<'_>, String)> {
    let mut all = Vec::new();
    view::of(event, |view| {
        let named = |(product, category, service): &(&str, &str, &str)| {
            super::logsource::LogSource::new(product, category, service).to_string()
        };
        let log = view.log_sources().first().map(named).unwrap_or_default();
        all.push((Fields::of_event(view, event), log));
    });
    all
}

fn condition(rule: &Rule, asked: &Condition, fields: &Fields<'_>, upright: bool) -> Step {
    let (kind, parts) = match asked {
        Condition::Selection(index) => return selection(rule, *index, fields, upright),
        Condition::Not(inner) => (StepKind::Not, vec![condition(rule, inner, fields, !upright)]),
        Condition::All(parts) => (StepKind::All, each(rule, parts, fields, upright)),
        Condition::Any(parts) => (StepKind::Any, each(rule, parts, fields, upright)),
    };
    let names: Vec<&str> = rule.selections.iter().map(|selection| &*selection.name).collect();
    let text = text::visible_str(&asked.words(&names));
    step(kind, text, parts)
}

fn each(rule: &Rule, parts: &[Condition], fields: &Fields<'_>, upright: bool) -> Vec<Step> {
    parts.iter().map(|part| condition(rule, part, fields, upright)).collect()
}

fn step(kind: StepKind, text: String, parts: Vec<Step>) -> Step {
    let holds = match kind {
        StepKind::Not => parts.iter().all(|part| !part.holds),
        StepKind::Any => parts.iter().any(|part| part.holds),
        _ => parts.iter().all(|part| part.holds),
    };
    Step { kind, text, holds, values: Vec::new(), note: None, parts }
}

fn selection(rule: &Rule, index: usize, fields: &Fields<'_>, upright: bool) -> Step {
    let selection = &rule.selections[index];
    let all = |items: &Vec<Item>| -> Vec<Step> {
        items.iter().map(|one| item(one, fields, upright)).collect()
    };
    let parts = match selection.alternatives.as_slice() {
        [items] => all(items),
        several => {
            let one = |items| step(StepKind::All, "all of these fields".to_owned(), all(items));
            let parts = several.iter().map(one).collect();
            vec![step(StepKind::Any, "one of these alternatives".to_owned(), parts)]
        }
    };
    step(StepKind::Selection, text::visible_str(&selection.name), parts)
}

fn item(item: &Item, fields: &Fields<'_>, upright: bool) -> Step {
    let (mut values, mut slot) = (Values::default(), Slot::EMPTY);
    match &item.field {
        Some(name) => fields.read(name, &mut values, &mut slot),
        None => fields.read_all(&mut values, &mut slot),
    }
    let shown = values.of(slot).take(LISTED_MAX);
    let shown = shown.map(|(plain, _)| text::visible_cut(plain, SHOWN_MAX)).collect();
    let note = match (evaluate::is_told(item, fields), slot.presence) {
        (false, _) => {
            Some("this log can not have the field here, so the rule does not match by it")
        }
        (true, Presence::Missing | Presence::Blank) => Some("the event does not have the field"),
        (true, Presence::Null) => Some("the event has the field without a value"),
        _ => None,
    };
    Step {
        kind: StepKind::Item,
        text: describe(item),
        holds: evaluate::item(item, fields, upright),
        values: shown,
        note,
        parts: Vec::new(),
    }
}

/// Returns an item in words that are close to the rule's.
fn describe(item: &Item) -> String {
    let key = if item.key.is_empty() { "keywords" } else { &item.key };
    let patterns: Vec<&Pattern> = item.groups.iter().flat_map(|group| group.iter()).collect();
    let mut words: Vec<String> =
        patterns.iter().take(LISTED_MAX).map(|pattern| self::pattern(pattern)).collect();
    if patterns.len() > LISTED_MAX {
        words.push(format!("and {} more", patterns.len() - LISTED_MAX));
    }
    format!("{}: {}", text::visible_str(key), words.join(" | "))
}

fn pattern(pattern: &Pattern) -> String {
    let star = |there: bool| if there { "*" } else { "" };
    match pattern {
        Pattern::Any => "*".to_owned(),
        Pattern::Literal(literal) => {
            let Place { before, behind } = literal.place;
            let shown = text::visible_cut(&literal.bytes, SHOWN_MAX);
            format!("{}{shown}{}", star(before), star(behind))
        }
        Pattern::Glob(glob) => text::visible_cut(glob.to_string().as_bytes(), SHOWN_MAX),
        Pattern::Regex(expression) => {
            format!("/{}/", text::visible_cut(expression.source().as_bytes(), SHOWN_MAX))
        }
        Pattern::Number(compare, number) => format!("{} {number}", compare.sign()),
        Pattern::Time(part, compare, number) => format!("{part:?} {} {number}", compare.sign()),
        Pattern::Cidr(block) => block.to_string(),
        Pattern::Null => "null".to_owned(),
        Pattern::Exists(there) => there.to_string(),
        Pattern::FieldRef(other) => format!("the field {}", text::visible_str(&other.name)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::LogSource;
    use super::*;
    use crate::detect::scenario;
    use crate::policy::node;
    use crate::record::events;

    const RULE: &str = "title: T\nlogsource:\n  category: process_creation\ndetection:\n  \
        selection:\n    Image|endswith: [/curl, /wget]\n    CommandLine|re: 'x+'\n  filter:\n    \
        IntegrityLevel: High\n  condition: selection and not filter\n";

    fn rule(text: &str) -> std::sync::Arc<Rule> {
        let policy = |id, author| {
            let (file, revision) = (String::new(), String::new());
            std::sync::Arc::new(crate::finding::PolicyRef { id, file, revision, author })
        };
        Rule::compile(text, policy).unwrap()
    }

    fn object(text: &str, log: &str) -> Object {
        Object { log: LogSource::parse(log).unwrap(), root: node::parse(text).unwrap() }
    }

    #[test]
    fn each_part_says_whether_it_holds_and_by_what_value() {
        let event = object("{Image: /bin/wget, CommandLine: abc}", "category=process_creation");
        let explained = explain(&rule(RULE), Asked::Object(&event));
        let step = explained.step.unwrap();
        assert!(!explained.matched && !step.holds && step.kind == StepKind::All);
        assert_eq!(step.text, "(selection and not filter)");
        let items = &step.parts[0].parts;
        assert_eq!(items[0].text, "Image|endswith: */curl | */wget");
        assert_eq!((items[0].holds, &items[0].values[..]), (true, &["/bin/wget".to_owned()][..]));
        assert_eq!((items[1].holds, items[1].text.as_str()), (false, "CommandLine|re: /x+/"));
        let filter = &step.parts[1];
        assert!(filter.kind == StepKind::Not && filter.holds && !filter.parts[0].holds);
        assert_eq!(filter.parts[0].parts[0].note, Some("the event does not have the field"));
    }

    #[test]
    fn what_a_log_cannot_have_and_other_logs_are_told() {
        let event = events(&scenario::exec_batch("/bin/curl", "curl x"), &scenario::host("h"));
        let explained = explain(&rule(RULE), Asked::Event(&event[0]));
        let step = explained.step.unwrap();
        let filter = &step.parts[1].parts[0].parts[0];
        assert!(!explained.matched && filter.holds && filter.note.is_some());
        assert_eq!(explained.log, "product=linux,category=process_creation");
        let other = object("{Image: /bin/curl, CommandLine: x}", "category=file_event");
        let explained = explain(&rule(RULE), Asked::Object(&other));
        assert_eq!((explained.matched, explained.step), (false, None));
    }
}
