//! YAML as a tree, read within bounds.
//!
//! Policy files come from a repository that many people may write to. Aliases that multiply,
//! nesting without end and keys given twice are refused before anything looks at the meaning.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::Problem;

/// Bytes of one policy file. The longest rules in public collections are below 30 KiB.
pub const FILE_BYTES_MAX: usize = 256 * 1024;

/// Levels of nesting. Sigma needs six.
const DEPTH_MAX: usize = 32;

/// Values in one file, each use of an alias counted in full.
const NODES_MAX: usize = 20_000;

/// Brackets open at once, before the parser sees the text: its work grows with their square.
const BRACKETS_MAX: usize = 256;

/// A YAML value. Keys keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map; its keys are text and differ.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Returns the value of `key`, if this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Returns the entries of a map.
    pub fn as_map(&self) -> Option<&[(String, Node)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    /// Returns the items of a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// Returns the text.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Returns what the value is, for messages.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads one YAML document.
pub fn parse(text: &str) -> Result<Node, Problem> {
    let text = without_mark(text);
    check_text(text)?;
    let left = Cell::new(NODES_MAX);
    let seed = Seed { left: &left, depth: DEPTH_MAX, large: false };
    seed.deserialize(serde_norway::Deserializer::from_str(text)).map_err(|e| problem(&e))
}

/// Reads the documents of a file, which `---` divides: the line on which each begins, its text and
/// its tree. Documents without content are left out.
pub fn parse_all(text: &str) -> Result<Vec<(usize, &str, Node)>, Problem> {
    let text = without_mark(text);
    check_text(text)?;
    let mut documents = Vec::new();
    let left = Cell::new(NODES_MAX);
    for (line, part) in documents_of(text) {
        if part.lines().all(is_blank) {
            continue;
        }
        let seed = Seed { left: &left, depth: DEPTH_MAX, large: false };
        let node = seed.deserialize(serde_norway::Deserializer::from_str(part)).map_err(|e| {
            let problem = problem(&e);
            Problem { line: problem.line.map(|within| line - 1 + within), ..problem }
        })?;
        if node != Node::Null {
            documents.push((line, part, node));
        }
    }
    Ok(documents)
}

/// Divides a file at the lines that begin a document. YAML forbids such a line anywhere else.
fn documents_of(text: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut start, mut first, mut at) = (Vec::new(), 0, 1, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.strip_prefix("---").or(line.strip_prefix("...")).is_some_and(is_blank) {
            parts.push((first, &text[start..at]));
            (start, first) = (at + line.len(), number + 2);
        }
        at += line.len();
    }
    parts.push((first, &text[start..]));
    parts
}

/// Returns whether a line has nothing but room and a comment.
fn is_blank(line: &str) -> bool {
    let line = line.trim_start_matches('\u{feff}').trim();
    line.is_empty() || line.starts_with('#')
}

/// Reads an event that others wrote, one JSON object, within the same bounds.
pub fn from_json(text: &[u8]) -> Result<Node, String> {
    let left = Cell::new(NODES_MAX);
    let mut json = serde_json::Deserializer::from_slice(text);
    let node = Seed { left: &left, depth: DEPTH_MAX, large: true }.deserialize(&mut json);
    let node = node.and_then(|node| json.end().map(|()| node)).map_err(|e| e.to_string())?;
    match node {
        Node::Map(_) => Ok(node),
        other => Err(format!("an event is a JSON object, not {}", other.what())),
    }
}

/// Takes away the mark of byte order that some editors begin a file with.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Turns the parser's error into ours, with the line where it gives one.
pub fn problem(error: &serde_norway::Error) -> Problem {
    let line = error.location().map(|location| location.line());
    // The parser repeats the place at the end of its sentence; ours stands in front.
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or(&message);
    Problem { line, message: message.to_owned() }
}

fn check_text(text: &str) -> Result<(), Problem> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes; split it");
        return Err(Problem { line: None, message });
    }
    let (mut line, mut open) = (1, 0usize);
    for byte in text.bytes() {
        match byte {
            b'\n' => line += 1,
            0 => return Err(Problem::at(line, "the file has a NUL byte; policies are text")),
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        if open > BRACKETS_MAX {
            let message = format!("more than {BRACKETS_MAX} brackets are open; write it flatter");
            return Err(Problem::at(line, message));
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    left: &'a Cell<usize>,
    depth: usize,
    /// Whether a number that is too large for a whole one may lose its last digits.
    large: bool,
}

impl Seed<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth, ..self }),
            None => Err(E::custom(format!("nested deeper than {DEPTH_MAX} levels"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => {
                let message = format!("more than {NODES_MAX} values, aliases counted in full");
                return Err(D::Error::custom(message));
            }
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("plain YAML without tags")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Node, E> {
        match i64::try_from(value) {
            Ok(value) => Ok(Node::Int(value)),
            Err(_) if self.large => Ok(Node::Float(value as f64)),
            Err(_) => Err(E::custom("the number is too large")),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut map = Vec::new();
        let mut known = std::collections::HashSet::new();
        while let Some(key) = entries.next_key_seed(seed)? {
            let key = match key {
                Node::Text(text) => text,
                Node::Int(number) => number.to_string(),
                other => {
                    return Err(A::Error::custom(format!(
                        "a key must be text, not {}",
                        other.what()
                    )));
                }
            };
            if !known.insert(key.clone()) {
                return Err(A::Error::custom(format!("key `{key}` is given twice")));
            }
            map.push((key, entries.next_value_seed(seed)?));
        }
        Ok(Node::Map(map))
    }
}

/// Returns the line on which the last key of `path` stands, following block style; 1 when the file
/// is written in a way that this simple search does not follow.
pub fn line_of(text: &str, path: &[&str]) -> usize {
    let (mut found, mut indent, mut rest) = (1, None::<usize>, path.iter().peekable());
    for (number, line) in text.lines().enumerate() {
        let Some(key) = rest.peek() else { break };
        let content = line.trim_start_matches([' ', '-']);
        let here = line.len() - content.len();
        if indent.is_some_and(|parent| here <= parent) {
            continue;
        }
        let content = content.trim_start_matches(['\'', '"']);
        let Some(after) = content.strip_prefix(**key) else { continue };
        if after.trim_start_matches(['\'', '"']).trim_start().starts_with(':') {
            (found, indent) = (number + 1, Some(here));
            rest.next();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_kind_and_order() {
        let node = parse("b: 1\na: [x, 2.5, true, null]\n").unwrap();
        let list = vec![Node::Text("x".into()), Node::Float(2.5), Node::Bool(true), Node::Null];
        assert_eq!(
            node,
            Node::Map(vec![("b".into(), Node::Int(1)), ("a".into(), Node::List(list))])
        );
    }

    #[test]
    fn a_key_given_twice_is_refused_with_its_line() {
        let problem = parse("a:\n  b: 1\n  c: 2\n  b: 3\n").unwrap_err();
        assert!(problem.message.contains("`b` is given twice"), "{problem:?}");
        assert!(problem.line.is_some());
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, of) in ["b", "c", "d", "e", "f", "g"].iter().zip(["a", "b", "c", "d", "e", "f"])
        {
            text += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", "));
        }
        assert!(parse(&text).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        for (open, count) in [("[", 100_000), ("- ", 100_000), ("[", 40), ("{a: ", 100)] {
            assert!(parse(&open.repeat(count)).is_err(), "{open} times {count}");
        }
    }

    #[test]
    fn what_is_not_plain_text_is_refused() {
        assert_eq!(parse("a: 1\nb: \0").unwrap_err().line, Some(2));
        assert!(parse("a: !tag x").is_err());
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("\u{feff}a: 1\n").is_ok(), "a byte order mark does no harm");
    }

    #[test]
    fn lines_of_keys_are_found() {
        let text = "title: x\ndetection:\n  a:\n    - Image|endswith: y\n  b:\n    'Image': z\n";
        assert_eq!(line_of(text, &["detection", "a", "Image|endswith"]), 4);
        assert_eq!(line_of(text, &["detection", "b", "Image"]), 6);
        assert_eq!(line_of(text, &["nowhere"]), 1);
    }
}
