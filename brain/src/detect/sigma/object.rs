//! Events that others wrote: trees of names and values, from whatever log.

use super::logsource::LogSource;
use super::values::{Presence, Slot, Values};
use crate::policy::node::Node;

mod shape;

pub use shape::recognise;

/// What shippers put around the fields of the log itself.
const WRAPPINGS: &[&str] = &[
    "Event.EventData.",
    "Event.UserData.",
    "Event.System.",
    "EventData.",
    "winlog.event_data.",
    "auditd.data.",
];

/// An event and the log that it is from.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it is from.
    pub log: LogSource,
    /// What it says.
    pub root: Node,
}

/// A value at the end of a path.
pub(super) enum Leaf<'a> {
    Value(&'a Node),
    /// The path leads on; its own name is a field that is there.
    Inner,
}

/// Calls `see` with the path of each value, names joined by dots. Items of a list have the list's
/// path.
pub(super) fn walk(node: &Node, path: &mut String, see: &mut impl FnMut(&str, Leaf<'_>)) {
    match node {
        Node::Map(entries) => {
            if !path.is_empty() {
                see(path, Leaf::Inner);
            }
            for (name, inner) in entries {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(name);
                walk(inner, path, see);
                path.truncate(length);
            }
        }
        Node::List(items) => {
            see(path, Leaf::Inner);
            items.iter().for_each(|item| walk(item, path, see));
        }
        leaf => see(path, Leaf::Value(leaf)),
    }
}

/// Returns the name that the log itself gives the field at `path`.
pub(super) fn own_name(path: &str) -> &str {
    let inner = |wrapping: &&str| path.strip_prefix(*wrapping);
    WRAPPINGS.iter().find_map(inner).unwrap_or(path)
}

/// Returns whether the event itself says what stands at `path`: where it is from is said of it.
pub(super) fn is_said(path: &str) -> bool {
    !path.starts_with("logsource")
}

/// Adds a leaf to the field that it is a value of.
pub(super) fn add(leaf: &Leaf<'_>, values: &mut Values, slot: &mut Slot) {
    match leaf {
        Leaf::Inner => slot.presence = Presence::There,
        Leaf::Value(Node::Null) => slot.presence = slot.presence.max(Presence::Null),
        Leaf::Value(Node::Text(text)) => values.push(slot, text.as_bytes()),
        Leaf::Value(Node::Int(number)) => values.push_shown(slot, number),
        Leaf::Value(Node::Float(number)) => values.push_shown(slot, number),
        Leaf::Value(Node::Bool(word)) => values.push_shown(slot, word),
        Leaf::Value(Node::List(_) | Node::Map(_)) => {}
    }
}
