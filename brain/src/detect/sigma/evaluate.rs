//! Evaluates one rule by its words. Slow and plain: what [`super::program`] decides for all rules
//! at once must be the same, and [`super::explain`] tells its steps.

use super::fields::Fields;
use super::pattern::{FieldRef, Pattern, lies};
use super::rule::Rule;
use super::selection::{Item, Selection};
use super::values::{Presence, Slot, Values};

/// Returns whether the rule matches the event.
pub(super) fn matches(rule: &Rule, fields: &Fields<'_>) -> bool {
    if !fields.is_of(&rule.log) {
        return false;
    }
    let mut selected = |index: usize, upright| selection(&rule.selections[index], fields, upright);
    rule.condition.holds(&mut selected)
}

/// Returns whether a selection matches, where it stands upright or under a `not`.
pub(super) fn selection(selection: &Selection, fields: &Fields<'_>, upright: bool) -> bool {
    let all = |items: &Vec<Item>| items.iter().all(|one| item(one, fields, upright));
    selection.alternatives.iter().any(all)
}

/// Returns whether an item matches. What a log can never tell is taken for whatever keeps the rule
/// from matching: read as absent, it would turn a `not` around and widen the rule.
pub(super) fn item(item: &Item, fields: &Fields<'_>, upright: bool) -> bool {
    if !is_told(item, fields) {
        return !upright;
    }
    let (mut values, mut slot) = (Values::default(), Slot::EMPTY);
    match &item.field {
        Some(name) => fields.read(name, &mut values, &mut slot),
        None => fields.read_all(&mut values, &mut slot),
    }
    let any = |patterns: &[Pattern]| patterns.iter().any(|p| pattern(p, &values, slot, fields));
    item.groups.iter().all(|patterns| any(patterns)) != item.negated
}

/// Returns whether the event's log can have the fields that the item names.
pub(super) fn is_told(item: &Item, fields: &Fields<'_>) -> bool {
    item.names().all(|name| fields.knows(name))
}

/// Returns whether a field has what one pattern asks.
pub(super) fn pattern(pattern: &Pattern, values: &Values, slot: Slot, fields: &Fields<'_>) -> bool {
    match pattern {
        Pattern::Null => slot.presence <= Presence::Null,
        Pattern::Exists(there) => (slot.presence >= Presence::Null) == *there,
        Pattern::FieldRef(other) => like(other, values, slot, fields),
        Pattern::Literal(literal)
            if slot.presence == Presence::Blank && literal.bytes.is_empty() =>
        {
            true
        }
        other => values.of(slot).any(|(plain, lower)| other.matches(plain, lower)),
    }
}

fn like(other: &FieldRef, values: &Values, slot: Slot, fields: &Fields<'_>) -> bool {
    let (mut theirs, mut their_slot) = (Values::default(), Slot::EMPTY);
    fields.read(&other.name, &mut theirs, &mut their_slot);
    values.of(slot).any(|own| theirs.of(their_slot).any(|their| alike(other, own, their)))
}

/// Returns whether two fields' values compare as asked.
pub(super) fn alike(asked: &FieldRef, own: (&[u8], &[u8]), their: (&[u8], &[u8])) -> bool {
    match asked.cased {
        true => lies(asked.place, own.0, their.0),
        false => lies(asked.place, own.1, their.1),
    }
}
