//! The fields of an event by the names that rules use.

use std::borrow::Cow;

use super::logsource::LogSource;
use super::object::{self, Object};
use super::rule::Rule;
use super::values::{Slot, Values};
use super::view::{self, View, field};
use crate::record::Event;

/// An event as one log tells it.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a>(Source<'a>);

/// Where fields are read from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source<'a> {
    Event(View, &'a Event),
    Object(&'a Object),
}

impl<'a> Fields<'a> {
    /// Returns the fields of a record, seen so.
    pub fn of_event(view: View, event: &'a Event) -> Self {
        Self(Source::Event(view, event))
    }

    /// Returns the fields of an event that others wrote.
    pub fn of_object(object: &'a Object) -> Self {
        Self(Source::Object(object))
    }

    /// Returns how our record is seen; `None` for events of others.
    pub fn view(&self) -> Option<View> {
        match self.0 {
            Source::Event(view, _) => Some(view),
            Source::Object(_) => None,
        }
    }

    /// Returns a field's first value, if it has any.
    pub fn get(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        let (mut values, mut slot) = (Values::default(), Slot::EMPTY);
        self.read(name, &mut values, &mut slot);
        let value = values.of(slot).next().map(|(plain, _)| plain.to_vec());
        value.map(Cow::Owned)
    }

    /// Returns all values of a field.
    pub fn all(&self, name: &str) -> Vec<Vec<u8>> {
        let (mut values, mut slot) = (Values::default(), Slot::EMPTY);
        self.read(name, &mut values, &mut slot);
        values.of(slot).map(|(plain, _)| plain.to_vec()).collect()
    }

    /// Returns a field's first value as a number, if it is one.
    pub fn number(&self, name: &str) -> Option<f64> {
        let value = self.get(name)?;
        std::str::from_utf8(&value).ok()?.trim().parse().ok().filter(|n: &f64| n.is_finite())
    }

    /// Returns where the fields are read from.
    pub(super) fn source(&self) -> Source<'a> {
        self.0
    }

    /// Returns whether the event is from a log that the rule's source covers.
    pub(super) fn is_of(&self, source: &LogSource) -> bool {
        match self.0 {
            Source::Event(view, _) => view.is_of(source),
            Source::Object(object) => source.covers(&object.log),
        }
    }

    /// Returns whether the log can have the field at all. Events of others can have any.
    pub(super) fn knows(&self, name: &str) -> bool {
        match self.0 {
            Source::Event(view, _) => field::resolve(view, name).is_some(),
            Source::Object(_) => true,
        }
    }

    /// Adds a field's values to `slot`.
    pub(super) fn read(&self, name: &str, values: &mut Values, slot: &mut Slot) {
        match self.0 {
            Source::Event(view, event) => {
                if let Some(code) = field::resolve(view, name) {
                    view::read(view, code, event, values, slot);
                }
            }
            Source::Object(object) => {
                let names = names(name, &object.log);
                object::walk(&object.root, &mut String::new(), &mut |path, leaf| {
                    if names.contains(&path) || names.contains(&object::own_name(path)) {
                        object::add(&leaf, values, slot);
                    }
                });
            }
        }
    }

    /// Adds all values in which keywords are looked for.
    pub(super) fn read_all(&self, values: &mut Values, slot: &mut Slot) {
        match self.0 {
            Source::Event(view, event) => {
                for code in field::searched(view) {
                    view::read(view, *code, event, values, slot);
                }
            }
            Source::Object(object) => {
                object::walk(&object.root, &mut String::new(), &mut |path, leaf| {
                    if object::is_said(path) {
                        object::add(&leaf, values, slot);
                    }
                });
            }
        }
    }
}

/// A field that a rule asks for and that none of our records can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold<'a> {
    /// The selection that names it.
    pub selection: &'a str,
    /// Field and modifiers, as the rule has them.
    pub key: &'a str,
    /// The field.
    pub field: &'a str,
}

/// Returns the fields that a rule names and that its log never has as our sensors tell it. For a
/// log that no sensor delivers there is none to compare with, so nothing is said.
pub fn untold(rule: &Rule) -> Vec<Untold<'_>> {
    let views = View::ALL.iter().filter(|view| view.is_of(&rule.log)).collect::<Vec<_>>();
    if views.is_empty() {
        return Vec::new();
    }
    let mut all = Vec::new();
    for selection in &rule.selections {
        for item in selection.alternatives.iter().flatten() {
            for field in item.names() {
                if views.iter().all(|view| field::resolve(**view, field).is_none()) {
                    all.push(Untold { selection: &selection.name, key: &item.key, field });
                }
            }
        }
    }
    all
}

/// Returns the names under which events of a log may have the field.
pub(super) fn names<'a>(name: &'a str, log: &LogSource) -> Vec<&'a str> {
    let same = |part: &Option<Box<str>>, own: &str| part.as_deref().is_some_and(|part| part == own);
    field::aliases(name, |view| {
        view.log_sources().iter().any(|(product, category, service)| {
            let zeek = same(&log.product, "zeek") == (*product == "zeek");
            zeek && (same(&log.category, category) || same(&log.service, service))
        })
    })
}
