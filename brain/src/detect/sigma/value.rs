//! Values of a rule: from what YAML has to what is asked of a field.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::glob::{self, Token};
use super::modifier::{Compare, Encoding, Form, Modifiers, Place};
use super::pattern::{FieldRef, Literal, Number, Pattern};
use super::regex::Expression;
use crate::policy::node::Node;

/// Values that one list may have; the longest in public rules has some hundreds.
const VALUES_MAX: usize = 5_000;

/// Patterns that the values of one list may become, once placeholders and encodings are written
/// out.
const PATTERNS_MAX: usize = 20_000;

/// What placeholders stand for: `%name%` and its values.
pub type Placeholders = BTreeMap<String, Vec<String>>;

/// Compiles the values under one key. Each group must match by one of its patterns.
pub(super) fn compile(
    node: &Node,
    modifiers: &Modifiers,
    placeholders: &Placeholders,
) -> Result<Vec<Box<[Pattern]>>, String> {
    let single = std::slice::from_ref(node);
    let values = node.as_list().unwrap_or(single);
    if values.is_empty() {
        return Err("the list is empty; without a value nothing can match".to_owned());
    }
    if values.len() > VALUES_MAX {
        return Err(format!("the list has more than {VALUES_MAX} values; split the rule"));
    }
    if modifiers.all && values.len() < 2 && !modifiers.expand {
        return Err("`all` needs a list of at least two values".to_owned());
    }
    if modifiers.form == Form::Exists && values.len() > 1 {
        return Err("`exists` takes true or false, not a list".to_owned());
    }
    let mut groups = Vec::new();
    let mut count = 0;
    for value in values {
        let patterns = patterns(value, modifiers, placeholders)?;
        count += patterns.len();
        if count > PATTERNS_MAX {
            let message = "the list becomes more than";
            return Err(format!("{message} {PATTERNS_MAX} patterns; split the rule"));
        }
        groups.push(patterns);
    }
    if modifiers.all {
        return Ok(groups.into_iter().map(Vec::into_boxed_slice).collect());
    }
    Ok(vec![groups.into_iter().flatten().collect()])
}

fn patterns(
    value: &Node,
    modifiers: &Modifiers,
    placeholders: &Placeholders,
) -> Result<Vec<Pattern>, String> {
    if let Some(part) = modifiers.time {
        let Form::Number(compare) = modifiers.form else {
            return Ok(vec![Pattern::Time(part, Compare::Equal, number(value)?)]);
        };
        return Ok(vec![Pattern::Time(part, compare, number(value)?)]);
    }
    match &modifiers.form {
        Form::Text => texts(value, modifiers, placeholders),
        Form::Regex(flags) => Ok(vec![regex(value, flags, modifiers.place)?]),
        Form::Cidr => {
            let texts = expanded_texts(value, modifiers, placeholders)?;
            texts.iter().map(|text| cidr(text)).collect()
        }
        Form::Exists => match value {
            Node::Bool(there) => Ok(vec![Pattern::Exists(*there)]),
            other => Err(format!("`exists` takes true or false, not {}", other.what())),
        },
        Form::Number(compare) => Ok(vec![Pattern::Number(*compare, number(value)?)]),
        Form::FieldRef => match value {
            Node::Text(name) if !name.is_empty() => Ok(vec![Pattern::FieldRef(FieldRef {
                name: name.as_str().into(),
                place: modifiers.place,
                cased: modifiers.cased,
            })]),
            other => Err(format!("`fieldref` takes the name of a field, not {}", other.what())),
        },
    }
}

fn number(value: &Node) -> Result<Number, String> {
    let found = match value {
        Node::Int(whole) => Some(Number::Whole(*whole)),
        Node::Float(broken) if broken.is_finite() => Some(Number::Broken(*broken)),
        Node::Text(text) => Number::parse(text.as_bytes()),
        _ => None,
    };
    found.ok_or_else(|| format!("a comparison takes a number, not {}", value.what()))
}

fn cidr(text: &str) -> Result<Pattern, String> {
    let block = text.parse::<ipnet::IpNet>();
    let block = block.map_err(|_| {
        format!(
            "`{}` is not a block of addresses, such as 10.0.0.0/8",
            crate::text::visible_str(text)
        )
    })?;
    Ok(Pattern::Cidr(block.trunc()))
}

fn regex(value: &Node, flags: &[char], place: Place) -> Result<Pattern, String> {
    let text = scalar(value)?;
    if text.is_empty() {
        return Err("an empty regular expression would match everything".to_owned());
    }
    let text = match (place.before, place.behind) {
        (false, true) => format!(r"\A(?:{text})"),
        (true, false) => format!(r"(?:{text})\z"),
        _ => text,
    };
    Ok(Pattern::Regex(Box::new(Expression::new(&text, flags)?)))
}

/// Returns a value as text.
fn scalar(value: &Node) -> Result<String, String> {
    match value {
        Node::Text(text) => Ok(text.clone()),
        Node::Int(number) => Ok(number.to_string()),
        Node::Float(number) => Ok(number.to_string()),
        Node::Bool(word) => Ok(word.to_string()),
        other => Err(format!("a value must be text or a number, not {}", other.what())),
    }
}

fn texts(
    value: &Node,
    modifiers: &Modifiers,
    placeholders: &Placeholders,
) -> Result<Vec<Pattern>, String> {
    let plain = modifiers.place == Place::WHOLE && modifiers.encodings.is_empty();
    if *value == Node::Null {
        return match plain {
            true => Ok(vec![Pattern::Null]),
            false => Err("`null` is no text; it stands without modifiers".to_owned()),
        };
    }
    let mut patterns = Vec::new();
    for mut tokens in expanded(&scalar(value)?, modifiers, placeholders)? {
        if tokens.is_empty() && !plain {
            return Err("an empty value would match everything".to_owned());
        }
        if modifiers.windash {
            glob::any_dash(&mut tokens);
        }
        for tokens in encoded(tokens, &modifiers.encodings)? {
            patterns.push(text(tokens, modifiers.place, modifiers.cased)?);
        }
    }
    Ok(patterns)
}

fn text(tokens: Vec<Token>, place: Place, cased: bool) -> Result<Pattern, String> {
    if !cased && !glob::folds_simply(&tokens) {
        let source = folding_source(&tokens, place);
        return Ok(Pattern::Regex(Box::new(Expression::new(&source, &['i'])?)));
    }
    Ok(match glob::compile(tokens, place, cased) {
        glob::Text::Any => Pattern::Any,
        glob::Text::Fixed { bytes, place } => Pattern::Literal(Literal { bytes, place, cased }),
        glob::Text::Glob(glob) => Pattern::Glob(glob),
    })
}

/// Text whose letters ASCII does not know needs Unicode's rules to ignore case, which the regular
/// expressions have.
fn folding_source(tokens: &[Token], place: Place) -> String {
    let mut source = String::from(if place.before { "" } else { r"\A" });
    for token in tokens {
        match token {
            Token::Character(c) => source += &::regex::escape(&c.to_string()),
            Token::Byte(byte) => source += &format!(r"(?-u:\x{byte:02x})"),
            // Wildcards stand for any byte: a command line need not be UTF-8.
            Token::One => source += "(?s:.)",
            Token::Many => source += "(?s-u:.)*?",
            Token::Dash => source += "[-/\u{2013}\u{2014}\u{2015}]",
        }
    }
    source += if place.behind { "" } else { r"\z" };
    source
}

/// Returns the texts that a value stands for when each placeholder is written out.
fn expanded_texts(
    value: &Node,
    modifiers: &Modifiers,
    placeholders: &Placeholders,
) -> Result<Vec<String>, String> {
    let tokens = expanded(&scalar(value)?, modifiers, placeholders)?;
    let text = |tokens: Vec<Token>| {
        (tokens.into_iter())
            .filter_map(|token| if let Token::Character(c) = token { Some(c) } else { None })
            .collect()
    };
    Ok(tokens.into_iter().map(text).collect())
}

fn expanded(
    text: &str,
    modifiers: &Modifiers,
    placeholders: &Placeholders,
) -> Result<Vec<Vec<Token>>, String> {
    if !modifiers.expand {
        return Ok(vec![glob::tokens(text)]);
    }
    let mut all: Vec<Vec<Token>> = vec![Vec::new()];
    for part in parts(text) {
        let choices: Vec<Vec<Token>> = match part {
            Part::Plain(text) => vec![glob::tokens(&text)],
            Part::Placeholder(name) => match placeholders.get(&name) {
                Some(values) if !values.is_empty() => {
                    values.iter().map(|value| glob::tokens(value)).collect()
                }
                _ => {
                    return Err(format!(
                        "nothing is known for the placeholder %{name}%; give its values under \
                         `placeholders` in the settings of the sigma detector"
                    ));
                }
            },
        };
        if all.len().saturating_mul(choices.len()) > PATTERNS_MAX {
            return Err(format!("placeholders become more than {PATTERNS_MAX} patterns"));
        }
        all = (all.iter())
            .flat_map(|front| choices.iter().map(move |choice| [&front[..], choice].concat()))
            .collect();
    }
    Ok(all)
}

enum Part {
    Plain(String),
    Placeholder(String),
}

/// Divides text at `%name%`; a percent sign behind a backslash is itself.
fn parts(text: &str) -> Vec<Part> {
    let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
    while let Some(character) = rest.chars().next() {
        if let Some(behind) = rest.strip_prefix(r"\%") {
            plain.push('%');
            rest = behind;
            continue;
        }
        let named = rest.strip_prefix('%').and_then(|behind| behind.split_once('%'));
        let is_name = |name: &str| {
            !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c))
        };
        match named.filter(|(name, _)| is_name(name)) {
            Some((name, behind)) => {
                parts.push(Part::Plain(std::mem::take(&mut plain)));
                parts.push(Part::Placeholder(name.to_owned()));
                rest = behind;
            }
            None => {
                plain.push(character);
                rest = &rest[character.len_utf8()..];
            }
        }
    }
    parts.push(Part::Plain(plain));
    parts
}

/// Applies the encodings, in their order.
fn encoded(tokens: Vec<Token>, encodings: &[Encoding]) -> Result<Vec<Vec<Token>>, String> {
    if encodings.is_empty() {
        return Ok(vec![tokens]);
    }
    let mut text = String::new();
    for token in &tokens {
        match token {
            Token::Character(c) => text.push(*c),
            _ => return Err("a value with wildcards cannot be encoded".to_owned()),
        }
    }
    let mut all = vec![text.clone().into_bytes()];
    for encoding in encodings {
        all = match encoding {
            Encoding::Utf16Le => vec![utf16(&text, u16::to_le_bytes)],
            Encoding::Utf16Be => vec![utf16(&text, u16::to_be_bytes)],
            Encoding::Utf16 => {
                vec![[&[0xff, 0xfe][..], &utf16(&text, u16::to_le_bytes)].concat()]
            }
            Encoding::Base64 => {
                all.iter().map(|bytes| STANDARD.encode(bytes).into_bytes()).collect()
            }
            Encoding::Base64Offset => offsets(&all[0])?,
        };
    }
    let tokens = |bytes: Vec<u8>| bytes.into_iter().map(Token::Byte).collect();
    Ok(all.into_iter().map(tokens).collect())
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(bytes).collect()
}

/// What of the encoded text stays the same wherever the text stands in what was encoded: three
/// forms, one for each place within a group of three bytes.
fn offsets(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    for offset in 0..3 {
        let padded = [&b"   "[..offset], bytes].concat();
        let encoded = STANDARD.encode(&padded).into_bytes();
        // Characters that also hold bits of what stands before or behind.
        let start = [0, 2, 3][offset];
        let cut = [0, 3, 2][padded.len() % 3];
        let fixed = encoded.get(start..encoded.len() - cut).unwrap_or(&[]);
        if fixed.is_empty() {
            return Err("the value is too short for base64offset".to_owned());
        }
        all.push(fixed.to_vec());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::node;

    fn compiled(modifiers: &str, value: &str) -> Result<Vec<Box<[Pattern]>>, String> {
        let names = modifiers.split('|').filter(|name| !name.is_empty());
        let node = node::parse(&format!("v: {value}\n")).unwrap();
        let placeholders =
            BTreeMap::from([("admins".to_owned(), vec!["root".to_owned(), "adm_*".to_owned()])]);
        compile(node.get("v").unwrap(), &Modifiers::parse(names)?, &placeholders)
    }

    fn matches(modifiers: &str, value: &str, text: &str) -> bool {
        let groups = compiled(modifiers, value).unwrap();
        let lower = text.to_ascii_lowercase();
        let any =
            |group: &[Pattern]| group.iter().any(|p| p.matches(text.as_bytes(), lower.as_bytes()));
        groups.iter().all(|group| any(group))
    }

    #[test]
    fn each_modifier_does_what_the_specification_says() {
        for (modifiers, value, text, expected) in [
            ("contains", "'b'", "abc", true),
            ("startswith", "'ab'", "ABC", true),
            ("startswith", "'b'", "abc", false),
            ("endswith", "'bc'", "aBC", true),
            ("contains|all", "[a, c]", "abc", true),
            ("contains|all", "[a, d]", "abc", false),
            ("cased", "'Abc'", "abc", false),
            ("cased|contains", "'B'", "aBc", true),
            ("", "4688", "4688", true),
            ("", "true", "true", true),
            ("", "ärger", "ÄRGER", true),
            ("contains", "ä*r", "xÄRGERx", true),
            ("re", "'^a.c$'", "abc", true),
            ("re", "'^a.c$'", "ABC", false),
            ("re|i", "'^a.c$'", "ABC", true),
            ("re|s", "'a.c'", "a\nc", true),
            ("re", "'a.c'", "a\nc", false),
            ("re|m", "'^b$'", "a\nb\nc", true),
            ("re", "'^b$'", "a\nb\nc", false),
            ("lt", "10", "9", true),
            ("lte", "10", "10", true),
            ("gt", "10", "10", false),
            ("gte", "10.5", "11", true),
            ("gte", "10", "x", false),
            ("cidr", "[10.0.0.0/8, 'fe80::/10']", "fe80::1", true),
            ("cidr", "192.168.1.1/24", "192.168.1.77", true),
            ("windash|contains", "' -f'", "rm /f", true),
            ("windash|contains", "' /f'", "rm \u{2013}F", true),
            ("base64", "'whoami'", "d2hvYW1p", true),
            ("base64offset|contains", "'whoami'", "eyB3aG9hbWkgfQ==", true),
            ("base64offset|contains", "'whoami'", "eHdob2FtaXg=", true),
            ("wide|base64offset|contains", "'id'", "aQBkAA==", true),
            ("utf16|base64", "'id'", "//5pAGQA", true),
            ("utf16be|base64", "'id'", "AGkAZA==", true),
            ("utf16le|contains", "'id'", "xi\0d\0x", true),
            ("expand", "'%admins%'", "adm_x", true),
            ("expand", r"'\%a%admins%'", "%aroot", true),
            ("expand", "'x%admins%y'", "xrooty", true),
            ("", "'%admins%'", "%admins%", true),
            ("hour", "3", "2026-11-30 03:47:52", true),
            ("hour|gte", "4", "2026-11-30 03:47:52", false),
            ("year", "[2025, 2026]", "2026-11-30", true),
        ] {
            assert_eq!(matches(modifiers, value, text), expected, "{modifiers} {value} {text}");
        }
    }

    #[test]
    fn encoded_text_is_found_wherever_it_stands() {
        for front in ["", "a", "ab", "abc"] {
            for behind in ["", "x", "xy"] {
                let text = STANDARD.encode(format!("{front}/bin/bash -i{behind}"));
                assert!(matches("base64offset|contains", "'/bin/bash -i'", &text), "{text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (modifiers, value, part) in [
            ("", "[]", "empty"),
            ("contains", "''", "everything"),
            ("contains", "null", "null"),
            ("contains|all", "[a]", "two values"),
            ("exists", "maybe", "true or false"),
            ("lt", "x", "number"),
            ("cidr", "10.0.0.1", "block of addresses"),
            ("expand", "'%nobody%'", "%nobody%"),
            ("base64", "'a*'", "wildcards"),
            ("base64offset", "'a'", "short"),
            ("fieldref", "7", "name of a field"),
            ("re", "'(?<=x)y'", "refused"),
            ("re", "''", "everything"),
            ("", "{a: 1}", "map"),
        ] {
            let error = compiled(modifiers, value).unwrap_err();
            assert!(error.contains(part), "{modifiers} {value}: {error}");
        }
    }
}
