//! What the other engine is known to do otherwise than the specification says, or than we read it.
//!
//! Rules that meet one of its faults are rewritten for it into others that mean the same, so that
//! their events are compared as well. `tests/README.md` has the table.

use rsigma_parser::{
    Detection, DetectionItem, Modifier, SigmaRule, SigmaString, SigmaValue, SpecialChar, StringPart,
};
use serde_json::Value;

/// Rewrites a rule for the other engine; returns whether it had to.
pub fn rewritten(rule: &SigmaRule) -> (SigmaRule, bool) {
    let (mut rule, mut changed) = (rule.clone(), false);
    let named = rule.detection.named.values_mut();
    named.for_each(|detection| changed |= within(detection));
    (rule, changed)
}

fn within(detection: &mut Detection) -> bool {
    match detection {
        Detection::AllOf(items) => items.iter_mut().fold(false, |all, each| item(each) | all),
        Detection::AnyOf(parts) | Detection::And(parts) => {
            parts.iter_mut().fold(false, |all, part| within(part) | all)
        }
        Detection::Keywords(values) => values.iter_mut().fold(false, |all, each| word(each) | all),
        _ => false,
    }
}

/// A number among keywords is looked for as a number, not as text.
fn word(value: &mut SigmaValue) -> bool {
    let SigmaValue::Integer(number) = value else { return false };
    *value = SigmaValue::String(SigmaString::new(&number.to_string()));
    true
}

fn item(item: &mut DetectionItem) -> bool {
    let modifiers = &mut item.field.modifiers;
    // Keywords of which all must be there are compared with whole values.
    if item.field.name.is_none() && modifiers.contains(&Modifier::All) {
        modifiers.push(Modifier::Contains);
        return true;
    }
    // With a wildcard in it, a beginning is looked for at the end, and an end at the beginning.
    let has_wildcard = item.values.iter().any(|value| match value {
        SigmaValue::String(text) => !text.is_plain(),
        _ => false,
    });
    let is_end =
        |modifier: &Modifier| matches!(modifier, Modifier::StartsWith | Modifier::EndsWith);
    let Some(at) = modifiers.iter().position(is_end).filter(|_| has_wildcard) else { return false };
    let is_start = modifiers.remove(at) == Modifier::StartsWith;
    for value in &mut item.values {
        if let SigmaValue::String(text) = value {
            open(text, is_start);
        }
    }
    true
}

/// Lets a text go on behind it, or begin before it.
fn open(text: &mut SigmaString, behind: bool) {
    let any = StringPart::Special(SpecialChar::WildcardMulti);
    match behind {
        true => text.parts.push(any),
        false => text.parts.insert(0, any),
    }
    text.original = match behind {
        true => format!("{}*", text.original),
        false => format!("*{}", text.original),
    };
}

/// Returns why both are right in their way about an event, if they are.
pub fn reading(rule: &SigmaRule, event: &Value) -> Option<&'static str> {
    let mut items = Vec::new();
    rule.detection.named.values().for_each(|detection| collect(detection, &mut items));
    let is_all = |item: &&&DetectionItem| {
        item.field.name.is_none() && item.field.has_modifier(Modifier::All)
    };
    if items.iter().any(|item| is_all(&item)) && event.as_object().is_some_and(|all| all.len() > 1)
    {
        return Some("keywords that must all be there, in different fields");
    }
    items.into_iter().find_map(|item| {
        let value = event.get(item.field.name.as_ref()?);
        if item.field.has_modifier(Modifier::Exists) && value.is_some_and(Value::is_null) {
            return Some("a field that is null exists");
        }
        if item.field.has_modifier(Modifier::Base64Offset) {
            return Some("encoded text of which the last letter depends on what follows");
        }
        let other = item.values.iter().find_map(|value| match value {
            SigmaValue::String(name) => event.get(&name.original),
            _ => None,
        });
        let is_list = |value: Option<&Value>| value.is_some_and(Value::is_array);
        let refers = item.field.has_modifier(Modifier::FieldRef);
        let lists = is_list(value) || is_list(other);
        (refers && lists).then_some("a field that refers to one with several values")
    })
}

fn collect<'a>(detection: &'a Detection, items: &mut Vec<&'a DetectionItem>) {
    match detection {
        Detection::AllOf(own) => items.extend(own),
        Detection::AnyOf(parts) | Detection::And(parts) => {
            parts.iter().for_each(|part| collect(part, items));
        }
        _ => {}
    }
}
