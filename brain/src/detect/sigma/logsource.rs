//! Log sources: which log a rule is about, and which log an event is from.

use std::fmt;

use crate::policy::node::Node;

/// Bytes of one part; the longest in public rules has thirty.
const PART_MAX: usize = 128;

/// A log source: `product`, `category` and `service`, each of which may be left open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogSource {
    /// Whose log it is, such as `linux` or `zeek`.
    pub product: Option<Box<str>>,
    /// What kind of events it has, such as `process_creation`.
    pub category: Option<Box<str>>,
    /// Which part of the product writes it, such as `sshd`.
    pub service: Option<Box<str>>,
}

impl LogSource {
    /// Returns a log source of these parts; an empty one is left open.
    pub fn new(product: &str, category: &str, service: &str) -> Self {
        let part = |text: &str| (!text.is_empty()).then(|| text.to_ascii_lowercase().into());
        Self { product: part(product), category: part(category), service: part(service) }
    }

    /// Returns whether a rule for this log source is about events of `event`: whatever the rule
    /// names must be what the event is from. An event that does not say it is not taken for it.
    pub fn covers(&self, event: &LogSource) -> bool {
        let part = |rule: &Option<Box<str>>, event: &Option<Box<str>>| {
            rule.is_none() || rule.as_deref() == event.as_deref()
        };
        part(&self.product, &event.product)
            && part(&self.category, &event.category)
            && part(&self.service, &event.service)
    }

    /// Returns whether nothing is named.
    pub fn is_open(&self) -> bool {
        self.product.is_none() && self.category.is_none() && self.service.is_none()
    }

    /// Reads a `logsource` map. The error names the key that is wrong.
    pub fn read(node: &Node) -> Result<Self, (Option<&'static str>, String)> {
        if node.as_map().is_none() {
            return Err((None, format!("`logsource` must be a map, not {}", node.what())));
        }
        let mut source = Self::default();
        for (key, part) in [
            ("product", &mut source.product),
            ("category", &mut source.category),
            ("service", &mut source.service),
        ] {
            *part = match node.get(key) {
                None | Some(Node::Null) => None,
                Some(Node::Text(text)) if !text.is_empty() && text.len() <= PART_MAX => {
                    Some(text.to_ascii_lowercase().into())
                }
                Some(Node::Text(_)) => {
                    return Err((Some(key), format!("`{key}` must have 1 to {PART_MAX} bytes")));
                }
                Some(other) => {
                    return Err((Some(key), format!("`{key}` must be text, not {}", other.what())));
                }
            };
        }
        if source.is_open() {
            let message = "name at least one of `product`, `category` and `service`";
            return Err((None, message.to_owned()));
        }
        Ok(source)
    }

    /// Reads `product=linux,category=process_creation`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut source = Self::default();
        for part in text.split(',') {
            let wrong = || {
                format!(
                    "`{part}` is not a part of a log source; write product=…, category=… or \
                     service=…, divided by commas"
                )
            };
            let (key, value) = part.split_once('=').ok_or_else(wrong)?;
            let value = value.trim();
            if value.is_empty() || value.len() > PART_MAX {
                return Err(wrong());
            }
            let slot = match key.trim() {
                "product" => &mut source.product,
                "category" => &mut source.category,
                "service" => &mut source.service,
                _ => return Err(wrong()),
            };
            *slot = Some(value.to_ascii_lowercase().into());
        }
        Ok(source)
    }
}

impl fmt::Display for LogSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts =
            [("product", &self.product), ("category", &self.category), ("service", &self.service)];
        let mut first = true;
        for (key, value) in parts {
            if let Some(value) = value {
                write!(f, "{}{key}={value}", if first { "" } else { "," })?;
                first = false;
            }
        }
        if first { f.write_str("any") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_covers_what_is_named_and_nothing_that_is_not_said() {
        let event = LogSource::new("linux", "process_creation", "");
        for (rule, covers) in [
            ("product=linux", true),
            ("category=process_creation", true),
            ("product=Linux,category=process_creation", true),
            ("product=windows,category=process_creation", false),
            ("product=linux,service=auditd", false),
            ("category=file_event", false),
        ] {
            assert_eq!(LogSource::parse(rule).unwrap().covers(&event), covers, "{rule}");
        }
        assert!(!LogSource::parse("category=dns").unwrap().covers(&LogSource::default()));
    }

    #[test]
    fn text_and_map_say_the_same() {
        let text = "product=zeek,service=dns";
        let source = LogSource::parse(text).unwrap();
        let node = crate::policy::node::parse("product: Zeek\nservice: dns\n").unwrap();
        assert_eq!(LogSource::read(&node), Ok(source.clone()));
        assert_eq!(source.to_string(), text);
        for wrong in ["", "linux", "product=", "definition=x"] {
            assert!(LogSource::parse(wrong).is_err(), "{wrong}");
        }
        let node = crate::policy::node::parse("definition: x\n").unwrap();
        assert!(LogSource::read(&node).is_err());
    }
}
