//! A rule's selections: which values of which fields belong together.

use super::field::{Field, Fields, Log};
use super::pattern::{self, Pattern, Place};
use crate::policy::node::Node;

/// Values that one selection may list; the longest in public rules has some hundreds.
const VALUES_MAX: usize = 5_000;

/// What stands under one name in `detection`: alternatives, of each of which all items must match.
#[derive(Clone, Debug)]
pub(super) struct Selection(Vec<Vec<Item>>);

#[derive(Clone, Debug)]
struct Item {
    field: Field,
    patterns: Vec<Pattern>,
    /// Whether all patterns must match, or one.
    all: bool,
}

/// What is wrong, and under which keys.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) path: Vec<String>,
    pub(super) message: String,
}

impl Refused {
    fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&key| key.to_owned()).collect(), message: message.into() }
    }
}

impl Selection {
    pub(super) fn compile(node: &Node, log: Log) -> Result<Self, Refused> {
        let has_lines = Field::parse("Message", log).is_ok();
        let alternatives = match node {
            Node::Map(_) => vec![items(node, log)?],
            Node::List(list) if list.is_empty() => {
                return Err(Refused::new(&[], "the selection is empty"));
            }
            Node::List(list) if has_lines && list.iter().all(|node| node.as_map().is_none()) => {
                let item = item("Message|contains", node, log);
                vec![vec![item.map_err(|message| Refused::new(&[], message))?]]
            }
            Node::List(list) => {
                list.iter().map(|node| items(node, log)).collect::<Result<_, _>>()?
            }
            _ => return Err(keywords()),
        };
        Ok(Self(alternatives))
    }

    pub(super) fn matches(&self, fields: &Fields<'_>) -> bool {
        self.0.iter().any(|items| items.iter().all(|item| item.matches(fields)))
    }
}

impl Item {
    fn matches(&self, fields: &Fields<'_>) -> bool {
        let value = fields.get(self.field);
        if self.all {
            self.patterns.iter().all(|pattern| pattern.matches(value))
        } else {
            self.patterns.iter().any(|pattern| pattern.matches(value))
        }
    }
}

fn keywords() -> Refused {
    Refused::new(
        &[],
        "keywords (text without a field) search whole log lines, which this log has not; name a \
         field, such as `CommandLine|contains:`",
    )
}

fn items(node: &Node, log: Log) -> Result<Vec<Item>, Refused> {
    let Some(entries) = node.as_map() else { return Err(keywords()) };
    if entries.is_empty() {
        return Err(Refused::new(&[], "the selection is empty"));
    }
    (entries.iter())
        .map(|(key, value)| item(key, value, log).map_err(|message| Refused::new(&[key], message)))
        .collect()
}

/// The modifiers behind a field's name.
#[derive(Default)]
struct Modifiers {
    place: Place,
    all: bool,
    cased: bool,
    exists: bool,
    regex: Option<Vec<char>>,
    compare: Option<Compare>,
}

#[derive(Clone, Copy)]
enum Compare {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Modifiers {
    fn parse<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut modifiers = Self::default();
        let mut kinds = 0;
        for name in names {
            let mut kind = || kinds += 1;
            match name {
                "contains" => {
                    kind();
                    modifiers.place = Place { before: true, behind: true };
                }
                "startswith" => {
                    kind();
                    modifiers.place.behind = true;
                }
                "endswith" => {
                    kind();
                    modifiers.place.before = true;
                }
                "re" => {
                    kind();
                    modifiers.regex = Some(Vec::new());
                }
                "exists" => {
                    kind();
                    modifiers.exists = true;
                }
                "lt" => {
                    kind();
                    modifiers.compare = Some(Compare::Less);
                }
                "lte" => {
                    kind();
                    modifiers.compare = Some(Compare::LessOrEqual);
                }
                "gt" => {
                    kind();
                    modifiers.compare = Some(Compare::Greater);
                }
                "gte" => {
                    kind();
                    modifiers.compare = Some(Compare::GreaterOrEqual);
                }
                "all" => modifiers.all = true,
                "cased" => modifiers.cased = true,
                "i" | "m" | "s" => match &mut modifiers.regex {
                    Some(flags) => flags.extend(name.chars()),
                    None => return Err(format!("modifier `{name}` must stand behind `re`")),
                },
                other => {
                    return Err(format!(
                        "modifier `{other}` is not supported; supported are contains, startswith, \
                         endswith, all, cased, re (with i, m, s), exists, lt, lte, gt, gte"
                    ));
                }
            }
        }
        if kinds > 1 {
            return Err("these modifiers contradict each other; keep one of them".to_owned());
        }
        if modifiers.cased && (modifiers.regex.is_some() || modifiers.compare.is_some()) {
            return Err("`cased` has no meaning beside `re` or a comparison".to_owned());
        }
        Ok(modifiers)
    }
}

fn item(key: &str, value: &Node, log: Log) -> Result<Item, String> {
    let mut parts = key.split('|');
    let field = Field::parse(parts.next().unwrap_or(""), log)?;
    let modifiers = Modifiers::parse(parts)?;
    let single = std::slice::from_ref(value);
    let values = value.as_list().unwrap_or(single);
    if values.is_empty() {
        return Err("the list is empty; without a value nothing can match".to_owned());
    }
    if values.len() > VALUES_MAX {
        return Err(format!("the list has more than {VALUES_MAX} values; split the rule"));
    }
    if modifiers.all && values.len() < 2 {
        return Err("`all` needs a list of at least two values".to_owned());
    }
    let patterns = if modifiers.exists {
        exists(values)?
    } else if let Some(compare) = modifiers.compare {
        values.iter().map(|value| number(value, compare)).collect::<Result<_, _>>()?
    } else if let Some(flags) = &modifiers.regex {
        let regex = |value: &Node| pattern::regex(&text(value)?, flags);
        values.iter().map(regex).collect::<Result<_, _>>()?
    } else {
        strings(values, &modifiers)?
    };
    Ok(Item { field, patterns, all: modifiers.all })
}

fn exists(values: &[Node]) -> Result<Vec<Pattern>, String> {
    match values {
        [Node::Bool(true)] => Ok(vec![Pattern::Any]),
        // Absent and empty are one here: records do not tell them apart.
        [Node::Bool(false)] => Ok(vec![Pattern::Empty]),
        _ => Err("`exists` takes true or false".to_owned()),
    }
}

fn number(value: &Node, compare: Compare) -> Result<Pattern, String> {
    let Node::Int(number) = *value else {
        return Err(format!("a comparison takes a whole number, not {}", value.what()));
    };
    let (min, max) = match compare {
        Compare::Less => (i64::MIN, number.saturating_sub(1)),
        Compare::LessOrEqual => (i64::MIN, number),
        Compare::Greater => (number.saturating_add(1), i64::MAX),
        Compare::GreaterOrEqual => (number, i64::MAX),
    };
    Ok(Pattern::Number { min, max })
}

fn strings(values: &[Node], modifiers: &Modifiers) -> Result<Vec<Pattern>, String> {
    let mut patterns = Vec::new();
    let mut texts = Vec::new();
    for value in values {
        if *value == Node::Null && modifiers.place == Place::default() {
            patterns.push(Pattern::Empty);
        } else {
            let text = text(value)?;
            if text.is_empty() && modifiers.place != Place::default() {
                return Err("an empty value would match everything".to_owned());
            }
            texts.push(text);
        }
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Joined fragments mean "any of them", so with `all` each stands alone.
    let at_once = if modifiers.all { 1 } else { texts.len().max(1) };
    for texts in texts.chunks(at_once) {
        patterns.extend(pattern::any_of(texts, modifiers.place, modifiers.cased)?);
    }
    Ok(patterns)
}

fn text(value: &Node) -> Result<String, String> {
    match value {
        Node::Text(text) => Ok(text.clone()),
        Node::Int(number) => Ok(number.to_string()),
        other => Err(format!("a value must be text or a whole number, not {}", other.what())),
    }
}
