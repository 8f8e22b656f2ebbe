//! Looks at a set of policies as a careful colleague would: what is broken, untested, over, or
//! cannot do what its author meant.

use std::collections::BTreeMap;

use super::sample::{self, Outcome};
use super::{Loader, PolicySet};

mod logic;
mod rules;

/// The code of remarks about public rules that cannot be used.
pub const UNUSED: &str = "unused-public-rule";

/// How much a remark matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// It is wrong and must be mended.
    Error,
    /// It is likely not what was meant.
    Warning,
    /// It is good to know.
    Note,
}

impl Level {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something about a file that its author should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// The file, relative to the policy folder.
    pub file: String,
    /// The line, where one can be named.
    pub line: Option<usize>,
    /// How much it matters.
    pub level: Level,
    /// Names the kind of remark.
    pub code: &'static str,
    /// What it is, and what to do.
    pub message: String,
}

/// What came of looking.
#[derive(Debug, Default)]
pub struct Review {
    /// By file and line.
    pub remarks: Vec<Remark>,
    /// What became of each sample.
    pub samples: Vec<Outcome>,
}

impl Review {
    /// Returns how many remarks are of this level.
    pub fn count(&self, level: Level) -> usize {
        self.remarks.iter().filter(|remark| remark.level == level).count()
    }
}

/// Looks at everything that `loader` has loaded into `set`, at the time `now_ns`.
pub fn review(set: &PolicySet, loader: &Loader, now_ns: u64) -> Review {
    let samples = sample::test(set);
    let mut remarks = Vec::new();
    refused(set, &mut remarks);
    failed(&samples, loader, &mut remarks);
    untested(set, &mut remarks);
    rules::compare(set, loader, &mut remarks);
    rules::fields(set, loader, &mut remarks);
    for ended in set.exceptions.ended(now_ns) {
        let (level, code) =
            if ended.is_over { (Level::Warning, "ended") } else { (Level::Note, "ends-soon") };
        let line = Some(ended.line);
        remarks.push(Remark { file: ended.file, line, level, code, message: ended.message });
    }
    remarks.sort();
    Review { remarks, samples }
}

/// Of public rules some always go unused, such as those for other systems. That is no reason to
/// fail, as a broken file of one's own is.
fn refused(set: &PolicySet, remarks: &mut Vec<Remark>) {
    for error in &set.errors {
        let (level, code) = match error.is_public() {
            true => (Level::Note, UNUSED),
            false => (Level::Error, "refused"),
        };
        let (file, message) = (error.file.clone(), error.message.clone());
        remarks.push(Remark { file, line: error.line, level, code, message });
    }
}

fn failed(samples: &[Outcome], loader: &Loader, remarks: &mut Vec<Remark>) {
    for outcome in samples {
        let Some(failure) = &outcome.failure else { continue };
        let text = loader.text(&outcome.file).unwrap_or_default();
        remarks.push(Remark {
            file: outcome.file.clone(),
            line: line_of_name(text, &outcome.sample),
            level: Level::Error,
            code: "sample",
            message: format!("sample `{}`: {failure}", outcome.sample),
        });
    }
}

/// Returns the line on which a sample of this name begins.
fn line_of_name(text: &str, name: &str) -> Option<usize> {
    let is_it = |line: &str| {
        let line = line.trim_start().trim_start_matches("- ").trim_start();
        let value = line.strip_prefix("name:").map(|value| value.trim().trim_matches(['"', '\'']));
        value.is_some_and(|value| !value.is_empty() && name.starts_with(value))
    };
    text.lines().position(is_it).map(|at| at + 1)
}

fn untested(set: &PolicySet, remarks: &mut Vec<Remark>) {
    let samples: BTreeMap<String, (usize, usize)> = (set.samples.iter())
        .map(|file| (file.policy_file(), (file.fires.len(), file.quiet.len())))
        .collect();
    let mut known = BTreeMap::new();
    for policy in &set.refs {
        // The detector of rules raises nothing itself, and public rules have no samples of ours.
        if policy.file == "detectors/sigma.yml" || policy.file.starts_with(super::source::EXTRA) {
            continue;
        }
        known.insert(policy.file.as_str(), samples.get(&policy.file).copied().unwrap_or_default());
    }
    for (file, counts) in known {
        let missing = match counts {
            (0, 0) => "has no samples",
            (0, _) => "has no sample under `fires`",
            (_, 0) => "has no sample under `quiet`",
            _ => continue,
        };
        let message = format!("{missing}; write {}", file.replace(".yml", ".samples.yml"));
        let (level, code) = (Level::Warning, "untested");
        remarks.push(Remark { file: file.to_owned(), line: None, level, code, message });
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::Folders;
    use super::*;

    const RULE: &str = "title: T\nid: a-rule\nlogsource:\n    category: process_creation\n\
        detection:\n    a:\n        Image: /x\n    condition: a\n";

    const SAMPLES: &str = "fires:\n  - name: it runs\n    processes: {x: {exe: /x}}\n    \
        events: [{exec: x}]\n  - name: another one\n    processes: {y: {exe: /y}}\n    \
        events: [{exec: y}]\n";

    const SUPPRESSION: &str = "owner: o\nreason: r\nexpires: 2026-01-01\nmatch: {host: a}\n";

    #[test]
    fn each_kind_of_trouble_is_named_by_file_and_line() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("sigma/a.yml", RULE),
            ("sigma/a.samples.yml", SAMPLES),
            ("sigma/b.yml", "title: T\ntitle: U\n"),
            ("rules/windows/c.yml", "title: T\ndetection:\n  a: b\n  condition: b\n"),
            ("detectors/sigma.yml", "detector: sigma\n"),
            ("suppress/d.yml", SUPPRESSION),
        ] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut loader = Loader::new(Folders::new(Some(folder.path().to_owned()), &[]));
        let set = loader.load().unwrap();
        let review = review(&set, &loader, 1_800_000_000_000_000_000);
        let told: Vec<(&str, Option<usize>, Level, &str)> = (review.remarks.iter())
            .map(|remark| (remark.file.as_str(), remark.line, remark.level, remark.code))
            .collect();
        let wanted = [
            ("rules/windows/c.yml", review.remarks[0].line, Level::Note, "unused-public-rule"),
            ("sigma/a.samples.yml", Some(5), Level::Error, "sample"),
            ("sigma/a.yml", None, Level::Warning, "untested"),
            ("sigma/b.yml", review.remarks[3].line, Level::Error, "refused"),
            ("suppress/d.yml", None, Level::Warning, "untested"),
            ("suppress/d.yml", Some(3), Level::Warning, "ended"),
        ];
        assert_eq!(told, wanted, "{:#?}", review.remarks);
        assert_eq!((review.samples.len(), review.count(Level::Error)), (2, 2));
    }

    #[test]
    fn rules_that_are_the_same_covered_or_dead_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let rule = |id: &str, detection: &str| {
            let (head, _) = RULE.split_once("    a:").unwrap();
            format!("{}{detection}", head.replace("a-rule", id))
        };
        for (name, text) in [
            ("a", rule("a", "    a: {Image|endswith: [/x, /y]}\n    condition: a\n")),
            ("b", rule("b", "    s: {Image|endswith: [/y, /x]}\n    condition: s\n")),
            ("c", rule("c", "    s: {Image: /bin/x, User: root}\n    condition: s\n")),
            ("d", rule("d", "    s: {Image: /a}\n    t: {Image: /b}\n    condition: s and t\n")),
            ("e", rule("e", "    s: {Image: /bin/z}\n    condition: s\n")),
        ] {
            fs::create_dir_all(folder.path().join("sigma")).unwrap();
            fs::write(folder.path().join(format!("sigma/{name}.yml")), text).unwrap();
        }
        let mut loader = Loader::new(Folders::new(Some(folder.path().to_owned()), &[]));
        let set = loader.load().unwrap();
        assert_eq!(set.errors, Vec::new());
        let all = review(&set, &loader, 0).remarks;
        let told: Vec<(&str, &str)> = (all.iter())
            .filter(|remark| remark.code != "untested")
            .map(|remark| (remark.file.as_str(), remark.code))
            .collect();
        let wanted = [
            ("sigma/b.yml", "duplicate-rule"),
            ("sigma/c.yml", "shadowed-rule"),
            ("sigma/d.yml", "dead-rule"),
        ];
        assert_eq!(told, wanted, "{all:#?}");
    }

    #[test]
    fn a_field_that_no_sensor_tells_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let rule = RULE.replace(
            "        Image: /x\n",
            "        Image: /x\n        IntegrityLevel|contains: High\n",
        );
        for name in ["sigma/a.yml", "rules/a.yml"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, rule.replace("a-rule", name)).unwrap();
        }
        let mut loader = Loader::new(Folders::new(Some(folder.path().to_owned()), &[]));
        let set = loader.load().unwrap();
        assert_eq!((set.rules.len(), set.errors.len()), (2, 0));
        let all = review(&set, &loader, 0).remarks;
        let told: Vec<_> = all.iter().filter(|remark| remark.code == "untold-field").collect();
        assert_eq!(told.len(), 1, "{all:#?}");
        assert_eq!((told[0].file.as_str(), told[0].line), ("sigma/a.yml", Some(8)));
        assert!(told[0].message.contains("IntegrityLevel"), "{}", told[0].message);
    }

    #[test]
    fn what_we_ship_needs_no_remark() {
        let mut loader = Loader::new(Folders::new(None, &[]));
        let set = loader.load().unwrap();
        let review = review(&set, &loader, 0);
        assert_eq!(review.remarks, Vec::new());
        let tested = review.samples.iter().filter(|sample| sample.failure.is_none()).count();
        println!("{tested} of {} samples do as they say", review.samples.len());
        assert!(tested > 20);
    }
}
