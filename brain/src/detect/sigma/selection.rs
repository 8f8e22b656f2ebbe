//! A rule's selections: which values of which fields belong together.

use std::sync::Arc;

use super::modifier::{Form, Modifiers, Place};
use super::pattern::Pattern;
use super::value::{self, Placeholders};
use crate::policy::node::Node;

/// Items of one selection; the longest in public rules has dozens.
const ITEMS_MAX: usize = 2_000;

/// What stands under one name in `detection`: alternatives, of each of which all items must match.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) name: Box<str>,
    pub(super) alternatives: Vec<Vec<Item>>,
}

/// One field and what is asked of it.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// The field; without one, the whole event is searched.
    pub(super) field: Option<Box<str>>,
    /// Field and modifiers, as the rule has them.
    pub(super) key: Box<str>,
    /// Each group must match, by one of its patterns.
    pub(super) groups: Arc<[Box<[Pattern]>]>,
    /// Whether all this must not be.
    pub(super) negated: bool,
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
    pub(super) fn compile(
        name: &str,
        node: &Node,
        placeholders: &Placeholders,
    ) -> Result<Self, Refused> {
        let alternatives = match node {
            Node::Map(_) => vec![items(node, placeholders)?],
            Node::List(list) if list.is_empty() => {
                return Err(Refused::new(&[], "the selection is empty"));
            }
            Node::List(list) if list.iter().all(|node| node.as_map().is_none()) => {
                vec![vec![keywords(node, placeholders)?]]
            }
            Node::List(list) => (list.iter())
                .map(|node| match node {
                    Node::Map(_) => items(node, placeholders),
                    other => Ok(vec![keywords(other, placeholders)?]),
                })
                .collect::<Result<_, _>>()?,
            Node::Null => return Err(Refused::new(&[], "the selection is empty")),
            other => vec![vec![keywords(other, placeholders)?]],
        };
        let count: usize = alternatives.iter().map(Vec::len).sum();
        if count > ITEMS_MAX {
            let message = format!("the selection has more than {ITEMS_MAX} fields; split the rule");
            return Err(Refused::new(&[], message));
        }
        Ok(Self { name: name.into(), alternatives })
    }
}

fn keywords(node: &Node, placeholders: &Placeholders) -> Result<Item, Refused> {
    item("", node, placeholders).map_err(|message| Refused::new(&[], message))
}

fn items(node: &Node, placeholders: &Placeholders) -> Result<Vec<Item>, Refused> {
    let entries = node.as_map().unwrap_or(&[]);
    if entries.is_empty() {
        return Err(Refused::new(&[], "the selection is empty"));
    }
    (entries.iter())
        .map(|(key, value)| {
            item(key, value, placeholders).map_err(|message| Refused::new(&[key], message))
        })
        .collect()
}

fn item(key: &str, value: &Node, placeholders: &Placeholders) -> Result<Item, String> {
    let mut parts = key.split('|');
    let field = parts.next().unwrap_or("");
    let mut modifiers = Modifiers::parse(parts)?;
    if field.is_empty() {
        as_keywords(&mut modifiers, value)?;
    }
    let groups = value::compile(value, &modifiers, placeholders)?;
    let negated = modifiers.negated;
    let field = (!field.is_empty()).then(|| field.into());
    Ok(Item { field, key: key.into(), groups: groups.into(), negated })
}

/// Keywords are looked for anywhere in an event.
fn as_keywords(modifiers: &mut Modifiers, value: &Node) -> Result<(), String> {
    let there = modifiers.place == Place::WHOLE || modifiers.place == Place::WITHIN;
    let kind = matches!(modifiers.form, Form::Text | Form::Regex(_)) && modifiers.time.is_none();
    if !there || !kind {
        return Err(
            "keywords are text or `re`, looked for anywhere in the event; name a field in \
                    front of these modifiers"
                .to_owned(),
        );
    }
    if modifiers.form == Form::Text {
        modifiers.place = Place::WITHIN;
    }
    let empty = |node: &Node| matches!(node, Node::Null) || node.as_text() == Some("");
    let single = std::slice::from_ref(value);
    if value.as_list().unwrap_or(single).iter().any(empty) {
        return Err("an empty keyword would match every event".to_owned());
    }
    Ok(())
}

impl Item {
    /// Returns the names of the fields that the item asks, its own and those it compares with.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let others = self.groups.iter().flat_map(|group| group.iter()).filter_map(|pattern| {
            if let Pattern::FieldRef(other) = pattern { Some(&*other.name) } else { None }
        });
        self.field.as_deref().into_iter().chain(others)
    }
}
