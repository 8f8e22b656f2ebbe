//! Copies of rules that look for other words: the same shape, the same kinds of patterns, other
//! letters. What is not a word, such as a slash or an option's dash, stays.

use brain::policy::node::{self, Node};

/// Returns a rule, as JSON, whose values have other letters. Copy 0 is the rule itself.
pub fn varied(text: &str, copy: usize) -> Option<String> {
    let Node::Map(entries) = node::parse(text).ok()? else { return None };
    let entries = (entries.into_iter())
        .map(|(key, value)| match (key.as_str(), value) {
            ("id" | "title" | "name", Node::Text(text)) => (key, named(&text, copy)),
            ("detection", value) => (key, detection(value, copy)),
            (_, value) => (key, value),
        })
        .collect();
    Some(json(&Node::Map(entries)))
}

fn named(text: &str, copy: usize) -> Node {
    Node::Text(if copy == 0 { text.to_owned() } else { format!("{text} {copy}") })
}

fn detection(node: Node, copy: usize) -> Node {
    let Node::Map(entries) = node else { return node };
    let entries = entries.into_iter().map(|(key, value)| match key.as_str() {
        "condition" => (key, value),
        _ => (key, values(value, copy, false)),
    });
    Node::Map(entries.collect())
}

fn values(node: Node, copy: usize, fixed: bool) -> Node {
    match node {
        Node::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                let modifiers: Vec<&str> = key.split('|').skip(1).collect();
                let fixed = modifiers.iter().any(|m| ["re", "cidr", "exists"].contains(m));
                let value = values(value, copy, fixed);
                (key, value)
            });
            Node::Map(entries.collect())
        }
        Node::List(items) => {
            Node::List(items.into_iter().map(|item| values(item, copy, fixed)).collect())
        }
        Node::Text(text) if !fixed && copy > 0 => Node::Text(turned(&text, copy)),
        // Letters of an expression mean something; a word of its own tells copies apart.
        Node::Text(text) if copy > 0 && text.parse::<f64>().is_err() && !text.contains('/') => {
            Node::Text(format!("(?:{text})w{copy}x"))
        }
        other => other,
    }
}

/// Turns each letter on by a number that depends on the copy and on where it stands.
fn turned(text: &str, copy: usize) -> String {
    let turn = |(at, c): (usize, char)| {
        let by = (copy * (at % 7 + 1) + copy / 26 * (at % 3)) as u8 % 25 + 1;
        match c {
            'a'..='z' => char::from((c as u8 - b'a' + by) % 26 + b'a'),
            'A'..='Z' => char::from((c as u8 - b'A' + by) % 26 + b'A'),
            other => other,
        }
    };
    text.chars().enumerate().map(turn).collect()
}

fn json(node: &Node) -> String {
    value(node).to_string()
}

fn value(node: &Node) -> serde_json::Value {
    match node {
        Node::Null => serde_json::Value::Null,
        Node::Bool(word) => (*word).into(),
        Node::Int(number) => (*number).into(),
        Node::Float(number) => (*number).into(),
        Node::Text(text) => text.as_str().into(),
        Node::List(items) => items.iter().map(value).collect(),
        Node::Map(entries) => entries.iter().map(|(k, v)| (k.clone(), value(v))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_differ_in_their_words_alone() {
        let rule = "title: t\nid: i\nlogsource: {product: linux}\ndetection:\n  s:\n    \
            Image|endswith: [/bash, -i]\n    CommandLine|re: 'a.*b'\n  condition: s\n";
        let first = varied(rule, 0).unwrap();
        assert!(first.contains("/bash") && first.contains("\"i\""), "{first}");
        let (one, two) = (varied(rule, 1).unwrap(), varied(rule, 27).unwrap());
        assert!(one.contains("\"i 1\"") && one.contains("(?:a.*b)w1x"), "{one}");
        assert!(!one.contains("bash") && one.len() == two.len() - 3, "{one} {two}");
        assert_ne!(turned("xclip", 3), turned("xclip", 29));
    }
}
