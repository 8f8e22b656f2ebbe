//! Events made from a rule: what it asks for, put together from some of its selections, and often
//! with one thing changed.

use regex_syntax::hir::{Class, Hir, HirKind};
use rsigma_parser::{
    Detection, DetectionItem, Modifier, SigmaRule, SigmaString, SigmaValue, SpecialChar, StringPart,
};
use serde_json::{Map, Value, json};

/// Numbers that look random and are the same each time (xorshift64*).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize) % bound.max(1)
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn word(&mut self) -> String {
        const LETTERS: &[u8] = b"abcXYZ019 -/.\\*?_=\"'\t";
        (0..self.below(6)).map(|_| char::from(LETTERS[self.below(LETTERS.len())])).collect()
    }
}

/// Fields of an event.
type Fields = Map<String, Value>;

/// Returns an event that has what some of the rule's selections ask for; every other one has
/// something changed.
pub fn event(rule: &SigmaRule, random: &mut Random) -> Value {
    let mut names: Vec<&String> = rule.detection.named.keys().collect();
    names.sort();
    let mut fields = Fields::new();
    // Filters must mostly be left out, or nothing ever matches.
    let all_but_filters = random.one_in(2);
    for name in names {
        let is_filter = name.starts_with("filter");
        let taken = if all_but_filters { !is_filter } else { !random.one_in(3) };
        if taken {
            detection(&rule.detection.named[name], &mut fields, random);
        }
    }
    if random.one_in(2) {
        change(&mut fields, random);
    }
    Value::Object(fields)
}

fn detection(detection: &Detection, fields: &mut Fields, random: &mut Random) {
    match detection {
        Detection::AllOf(items) => items.iter().for_each(|each| item(each, fields, random)),
        Detection::AnyOf(parts) => {
            if let Some(part) = parts.get(random.below(parts.len())) {
                self::detection(part, fields, random);
            }
        }
        Detection::And(parts) => {
            parts.iter().for_each(|part| self::detection(part, fields, random));
        }
        Detection::Keywords(values) => {
            let mut said = String::new();
            for value in pick(values, random.one_in(3), random) {
                said += &format!(" {} ", text(value, random));
            }
            say(&said, fields);
        }
        // Not Sigma's, but an extension of that parser.
        Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {}
    }
}

/// Adds a text to the line that the event is.
fn say(said: &str, fields: &mut Fields) {
    let other = fields.get("message").and_then(Value::as_str).unwrap_or_default();
    let line = format!("{other}{said}");
    fields.insert("message".to_owned(), line.into());
}

fn pick<'a>(values: &'a [SigmaValue], all: bool, random: &mut Random) -> Vec<&'a SigmaValue> {
    match all {
        true => values.iter().collect(),
        false => values.get(random.below(values.len())).into_iter().collect(),
    }
}

fn item(item: &DetectionItem, fields: &mut Fields, random: &mut Random) {
    let Some(name) = &item.field.name else {
        let said = pick(&item.values, item.field.has_modifier(Modifier::All), random);
        let said: Vec<String> = said.into_iter().map(|value| text(value, random)).collect();
        say(&said.join(" "), fields);
        return;
    };
    let has = |modifier| item.field.has_modifier(modifier);
    let chosen = pick(&item.values, has(Modifier::All), random);
    let Some(first) = chosen.first() else { return };
    let value = if has(Modifier::Exists) {
        match first {
            SigmaValue::Bool(false) => return,
            _ => Value::String(random.word()),
        }
    } else if has(Modifier::FieldRef) {
        let SigmaValue::String(other) = first else { return };
        let value = Value::String(random.word());
        fields.insert(other.original.clone(), value.clone());
        value
    } else if has(Modifier::Cidr) {
        let SigmaValue::String(block) = first else { return };
        Value::String(address(&block.original, random))
    } else if has(Modifier::Re) {
        let other = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut said = other.to_owned();
        for value in &chosen {
            said += &matching(value, random);
        }
        Value::String(said)
    } else if let Some(value) = number(item, first, random) {
        value
    } else {
        let (before, after) = (
            has(Modifier::Contains) || has(Modifier::EndsWith),
            has(Modifier::Contains) || has(Modifier::StartsWith),
        );
        let mut said = String::new();
        for value in &chosen {
            if before {
                said += &random.word();
            }
            said += &encoded(item, value, random);
            if after {
                said += &random.word();
            }
        }
        // A selection may ask for several things within one field.
        let other = fields.get(name).and_then(Value::as_str).unwrap_or_default();
        match (before, after) {
            (true, true) if random.one_in(2) => said = format!("{said}{other}"),
            (true, _) => said = format!("{other}{said}"),
            (false, true) => said += other,
            (false, false) => {}
        }
        match (before || after, first) {
            (false, SigmaValue::Null) => Value::Null,
            (false, SigmaValue::Bool(word)) => Value::Bool(*word),
            (false, SigmaValue::Integer(number)) if random.one_in(2) => json!(number),
            _ => Value::String(said),
        }
    };
    fields.insert(name.clone(), value);
}

/// Returns what is looked for, encoded if the item says so.
fn encoded(item: &DetectionItem, value: &SigmaValue, random: &mut Random) -> String {
    let plain = match value {
        SigmaValue::String(text) => text.original.clone(),
        _ => return text(value, random),
    };
    if item.field.has_modifier(Modifier::Base64Offset) {
        let before = ["", "x", "yz"][random.below(3)];
        return base64(format!("{before}{plain} and more").as_bytes());
    }
    match item.field.has_modifier(Modifier::Base64) {
        true => base64(plain.as_bytes()),
        false => text(value, random),
    }
}

/// Encodes bytes as RFC 4648 says.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut said = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = char::from(ALPHABET[(bits >> (18 - 6 * at) & 63) as usize]);
            said.push(if at > three.len() { '=' } else { letter });
        }
    }
    said
}

/// Returns a number around the one that is compared with.
fn number(item: &DetectionItem, value: &SigmaValue, random: &mut Random) -> Option<Value> {
    use Modifier::{Gt, Gte, Lt, Lte};
    let compares = [Gt, Gte, Lt, Lte].iter().any(|modifier| item.field.has_modifier(*modifier));
    let at = match value {
        SigmaValue::Integer(number) => *number,
        SigmaValue::Float(number) => *number as i64,
        _ => return None,
    };
    compares.then(|| json!(at + random.below(3) as i64 - 1))
}

/// Returns a text that a value matches: as it is written, or in capitals, with something for each
/// wildcard.
fn text(value: &SigmaValue, random: &mut Random) -> String {
    let said = match value {
        SigmaValue::String(string) => filled(string, random),
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(word) => word.to_string(),
        SigmaValue::Null => String::new(),
    };
    if random.one_in(4) { said.to_ascii_uppercase() } else { said }
}

fn filled(string: &SigmaString, random: &mut Random) -> String {
    let part = |part: &StringPart| match part {
        StringPart::Plain(text) => text.clone(),
        StringPart::Special(SpecialChar::WildcardMulti) => random.word(),
        StringPart::Special(SpecialChar::WildcardSingle) => "q".to_owned(),
    };
    string.parts.iter().map(part).collect()
}

/// Returns an address in a block, or just outside of it.
fn address(block: &str, random: &mut Random) -> String {
    let base = block.split('/').next().unwrap_or(block);
    match base.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(base)) => {
            let by = random.below(3) as u32;
            std::net::Ipv4Addr::from(u32::from(base).wrapping_add(by).wrapping_sub(1)).to_string()
        }
        Ok(std::net::IpAddr::V6(base)) => {
            let by = random.below(3) as u128;
            std::net::Ipv6Addr::from(u128::from(base).wrapping_add(by).wrapping_sub(1)).to_string()
        }
        Err(_) => base.to_owned(),
    }
}

/// Returns a text that a regular expression matches.
fn matching(value: &SigmaValue, random: &mut Random) -> String {
    let SigmaValue::String(pattern) = value else { return text(value, random) };
    let mut said = String::new();
    if let Ok(hir) = regex_syntax::parse(&pattern.original) {
        spell(&hir, &mut said, random);
    }
    said
}

fn spell(hir: &Hir, said: &mut String, random: &mut Random) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => *said += &String::from_utf8_lossy(&literal.0),
        HirKind::Class(Class::Unicode(class)) => {
            let ranges = class.ranges();
            said.extend(ranges.get(random.below(ranges.len())).map(|range| range.start()));
        }
        HirKind::Class(Class::Bytes(class)) => {
            said.extend(class.ranges().first().map(|range| char::from(range.start())));
        }
        HirKind::Repetition(repetition) => {
            let more = random.below(2) as u32;
            let most = repetition.max.unwrap_or(u32::MAX);
            for _ in 0..(repetition.min + more).min(most) {
                spell(&repetition.sub, said, random);
            }
        }
        HirKind::Capture(capture) => spell(&capture.sub, said, random),
        HirKind::Concat(parts) => parts.iter().for_each(|part| spell(part, said, random)),
        HirKind::Alternation(parts) => spell(&parts[random.below(parts.len())], said, random),
    }
}

/// Changes one field, so that what asked for it is mostly no longer there.
fn change(fields: &mut Fields, random: &mut Random) {
    let names: Vec<String> = fields.keys().cloned().collect();
    let Some(name) = names.get(random.below(names.len())) else { return };
    let said = fields[name].as_str().map(str::to_owned);
    let middle = |text: &str| {
        let mut at = text.len() / 2;
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let changed = match (random.below(10), said) {
        (0, _) => {
            fields.remove(name);
            return;
        }
        (1, _) => Value::Null,
        (2, _) => Value::String(String::new()),
        (3, _) => json!(random.below(3)),
        (4, Some(text)) => Value::String(text + "x"),
        (5, Some(text)) => Value::String(format!("x{text}")),
        (6, Some(text)) => {
            let at = middle(&text);
            Value::String(format!("{}~{}", &text[..at], &text[at..]))
        }
        (7, Some(text)) => json!([random.word(), text]),
        (8, Some(mut text)) => {
            text.pop();
            Value::String(text)
        }
        (_, Some(text)) => Value::String(text.to_ascii_uppercase()),
        (_, None) => Value::String(random.word()),
    };
    fields.insert(name.clone(), changed);
}
