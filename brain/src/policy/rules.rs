//! YARA rules for sensors. The brain looks no further than their size: it has no engine that could
//! try them, and sensors say which files they cannot use, and why.

use wire::control::RulePart;
use wire::limits;

use super::{PolicyFile, Problem};

/// The rules of all files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct YaraRules {
    /// Names this state of the rules; empty when there are none.
    pub revision: String,
    files: Vec<PolicyFile>,
    bytes: usize,
}

impl YaraRules {
    /// Takes a file in.
    pub(super) fn read(&mut self, file: &PolicyFile) -> Result<(), Problem> {
        let refuse = |message: String| Err(Problem { line: None, message });
        let name = name(file);
        if name.len() > limits::RULE_NAME_MAX {
            return refuse(format!("its name is longer than {} bytes", limits::RULE_NAME_MAX));
        }
        if self.files.len() == limits::RULE_FILES_MAX {
            return refuse(format!("more than {} files; join some", limits::RULE_FILES_MAX));
        }
        let bytes = self.bytes + name.len() + file.text.len();
        if bytes > limits::RULES_MAX {
            return refuse(format!("all rules have more than {} bytes", limits::RULES_MAX));
        }
        self.bytes = bytes;
        self.files.push(file.clone());
        Ok(())
    }

    /// Names the rules, once all files are in.
    pub(super) fn finish(&mut self, revision: String) {
        if !self.files.is_empty() {
            self.revision = revision;
        }
    }

    /// Returns the messages in which the rules travel.
    pub fn parts(&self) -> Vec<RulePart> {
        let mut parts = Vec::new();
        for file in &self.files {
            let mut rest = file.text.as_str();
            loop {
                let mut end = rest.len().min(limits::RULE_PART_MAX);
                while !rest.is_char_boundary(end) {
                    end -= 1;
                }
                let (text, after) = rest.split_at(end);
                let (revision, file) = (self.revision.clone(), name(file).to_owned());
                parts.push(RulePart { revision, file, text: text.to_owned(), rest: 0 });
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
        }
        for (rest, part) in parts.iter_mut().rev().enumerate() {
            part.rest = rest as u32;
        }
        parts
    }
}

/// Returns a file's name as sensors and findings have it: below the folder of rules.
fn name(file: &PolicyFile) -> &str {
    file.name.strip_prefix("yara/").unwrap_or(&file.name)
}

#[cfg(test)]
mod tests {
    use super::super::PolicySet;
    use super::*;

    fn rules(files: &[(&str, &str)]) -> PolicySet {
        let file =
            |&(name, text): &(&str, &str)| PolicyFile { name: name.into(), text: text.into() };
        PolicySet::from_files(files.iter().map(file).collect(), None)
    }

    #[test]
    fn rules_travel_in_parts_and_no_character_is_torn() {
        let long = "ä".repeat(limits::RULE_PART_MAX);
        let set = rules(&[("yara/a.yar", "rule a {}"), ("yara/sub/b.yar", &long)]);
        let parts = set.sensors.yara.parts();
        let names: Vec<(&str, u32)> = parts.iter().map(|p| (p.file.as_str(), p.rest)).collect();
        assert_eq!(names, [("a.yar", 2), ("sub/b.yar", 1), ("sub/b.yar", 0)]);
        assert!(parts.iter().all(|part| part.text.len() <= limits::RULE_PART_MAX));
        assert_eq!(parts[1].text.clone() + &parts[2].text, long);
        assert!(!set.sensors.yara.revision.is_empty());
        assert_eq!(parts[0].revision, set.sensors.yara.revision);
    }

    #[test]
    fn another_text_is_another_revision_and_no_rules_have_none() {
        let of = |text| rules(&[("yara/a.yar", text)]).sensors.yara.revision.clone();
        assert_ne!(of("rule a {}"), of("rule b {}"));
        assert_eq!(rules(&[]).sensors.yara.revision, "");
    }

    #[test]
    fn more_than_a_sensor_takes_is_refused_by_file() {
        let half = "x".repeat(limits::RULES_MAX / 2);
        let set = rules(&[("yara/a.yar", &half), ("yara/b.yar", &half), ("yara/c.yar", "x")]);
        let named: Vec<&str> = set.errors.iter().map(|error| error.file.as_str()).collect();
        assert_eq!(named, ["yara/b.yar"], "{:?}", set.errors);
        assert_eq!(set.sensors.yara.parts().last().unwrap().file, "c.yar");
    }
}
