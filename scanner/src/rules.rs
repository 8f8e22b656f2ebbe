//! Rules: compiled file by file, matched against bytes. The only file that names the engine.

use std::time::Duration;

use scanner_abi::message::{
    Bundle, Compiled, MATCHES_MAX, META_MAX, Match, PROBLEM_MAX, PROBLEMS_MAX, RuleFile, cut,
};
use yara_x::{Compiler, MetaValue, ScanError, Scanner, SourceCode};

/// Files of one bundle.
const FILES_MAX: usize = 4_096;
/// Places of one pattern that are noted in a file; a rule that counts more of them sees this many.
const PLACES_MAX: usize = 10_000;

/// Rules that are ready to be matched.
pub struct Rules {
    rules: yara_x::Rules,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("rules", &self.rules.iter().len()).finish()
    }
}

/// Matches rules against one file after the other.
pub struct Matcher<'a> {
    scanner: Scanner<'a>,
}

impl std::fmt::Debug for Matcher<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Matcher").finish_non_exhaustive()
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVerdict {
    /// It took longer than it may.
    Timeout,
    /// The engine gave up.
    Failed,
}

/// Compiles a bundle. A file is taken whole or not at all.
pub fn compile(bundle: &Bundle) -> (Rules, Compiled) {
    let mut problems = Vec::new();
    let mut good: Vec<&RuleFile> = bundle.files.iter().take(FILES_MAX).collect();
    if let Some(first) = bundle.files.get(FILES_MAX) {
        problems.push(format!("{}: more than {FILES_MAX} files; join some", first.name));
    }
    let mut compiler = new_compiler();
    let broken = add_all(&mut compiler, &good);
    if !broken.is_empty() {
        // What was right in a broken file is in the compiler by now, so it begins anew.
        good.retain(|file| broken.iter().all(|(name, _)| name != &file.name));
        compiler = new_compiler();
        // These have compiled before.
        add_all(&mut compiler, &good);
        problems.extend(broken.into_iter().map(|(_, problem)| problem));
    }
    let rules = compiler.build();
    let more = problems.len().saturating_sub(PROBLEMS_MAX) as u64;
    problems.truncate(PROBLEMS_MAX);
    problems.iter_mut().for_each(|problem| cut(problem, PROBLEM_MAX));
    let compiled = Compiled { rules: rules.iter().len() as u64, problems, more };
    (Rules { rules }, compiled)
}

fn new_compiler() -> Compiler<'static> {
    let mut compiler = Compiler::new();
    // A file of rules names no other file; there is none to be read here.
    compiler.enable_includes(false);
    compiler.switch_all_warnings(false);
    compiler
}

/// Adds files, each in a namespace of its own; returns the broken ones and why.
fn add_all<'a>(compiler: &mut Compiler<'_>, files: &[&'a RuleFile]) -> Vec<(&'a str, String)> {
    let mut broken = Vec::new();
    for file in files {
        compiler.new_namespace(&file.name);
        let source = SourceCode::from(file.text.as_str()).with_origin(&file.name);
        if let Err(error) = compiler.add_source(source) {
            broken.push((file.name.as_str(), sentence(&file.name, &error.to_string())));
        }
    }
    broken
}

/// Takes the place and the first line out of the engine's picture of an error.
fn sentence(file: &str, picture: &str) -> String {
    let mut lines = picture.lines();
    let title = lines.next().unwrap_or_default();
    let title = title.split_once(": ").map_or(title, |(_, title)| title);
    let place = lines.find_map(|line| line.trim_start().strip_prefix("--> "));
    let numbers = place.and_then(|place| place.strip_prefix(file)?.strip_prefix(':'));
    match numbers.and_then(|numbers| numbers.split(':').next()) {
        Some(line) => format!("{file}:{line}: {title}"),
        None => format!("{file}: {title}"),
    }
}

impl Rules {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.rules.iter().len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the name and the file of each.
    pub fn names(&self) -> Vec<(String, String)> {
        let name = |rule: yara_x::Rule<'_, '_>| (rule.identifier().into(), rule.namespace().into());
        self.rules.iter().map(name).collect()
    }

    /// Returns what matches them.
    pub fn matcher(&self) -> Matcher<'_> {
        let mut scanner = Scanner::new(&self.rules);
        scanner.max_matches_per_pattern(PLACES_MAX).fast_scan(true);
        Matcher { scanner }
    }
}

impl Matcher<'_> {
    /// Returns the rules that match, and how many more do.
    pub fn matches(
        &mut self,
        bytes: &[u8],
        time: Duration,
    ) -> Result<(Vec<Match>, u64), NoVerdict> {
        let results = self.scanner.set_timeout(time).scan(bytes).map_err(|error| match error {
            ScanError::Timeout => NoVerdict::Timeout,
            _ => NoVerdict::Failed,
        })?;
        let mut rules = results.matching_rules();
        let matches: Vec<Match> =
            rules.by_ref().take(MATCHES_MAX).map(|rule| told(&rule)).collect();
        Ok((matches, rules.count() as u64))
    }
}

fn told(rule: &yara_x::Rule<'_, '_>) -> Match {
    let value = |value: MetaValue<'_>| match value {
        MetaValue::Integer(number) => number.to_string(),
        MetaValue::Float(number) => number.to_string(),
        MetaValue::Bool(yes) => yes.to_string(),
        MetaValue::String(text) => text.to_owned(),
        MetaValue::Bytes(bytes) => bytes.to_string(),
    };
    let meta = rule.metadata().take(META_MAX);
    let mut told = Match {
        rule: rule.identifier().to_owned(),
        file: rule.namespace().to_owned(),
        tags: rule.tags().take(META_MAX).map(|tag| tag.identifier().to_owned()).collect(),
        meta: meta.map(|(name, meta)| (name.to_owned(), value(meta))).collect(),
    };
    told.cut();
    told
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    fn bundle(files: &[(&str, &str)]) -> Bundle {
        let file = |&(name, text): &(&str, &str)| RuleFile { name: name.into(), text: text.into() };
        Bundle { revision: "r".to_owned(), files: files.iter().map(file).collect() }
    }

    #[test]
    fn a_broken_file_is_named_with_its_line_and_the_others_match() {
        let (rules, compiled) = compile(&bundle(&[
            ("a.yar", "rule a : t { meta: level = 3 strings: $x = \"abc\" condition: $x }"),
            ("b.yar", "rule good { condition: true }\n\nrule b { condition: nonsense }"),
            ("c.yar", "rule a { condition: false }"),
            ("d.yar", "include \"/etc/passwd\"\nrule d { condition: true }"),
        ]));
        assert_eq!((compiled.rules, rules.len()), (2, 2));
        assert_eq!(compiled.problems.len(), 2, "{:?}", compiled.problems);
        assert_eq!(compiled.problems[0], "b.yar:3: unknown identifier `nonsense`");
        assert!(compiled.problems[1].starts_with("d.yar:1: "), "{}", compiled.problems[1]);
        let (found, more) = rules.matcher().matches(b"xxabcxx", TIME).unwrap();
        let level = ("level".to_owned(), "3".to_owned());
        let expected = Match {
            rule: "a".into(),
            file: "a.yar".into(),
            tags: vec!["t".into()],
            meta: vec![level],
        };
        assert_eq!((found, more), (vec![expected], 0));
        assert_eq!(rules.matcher().matches(b"xxabxx", TIME).unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn a_rule_that_takes_for_ever_is_stopped() {
        let text = "rule slow { condition: for all i in (0..2000000000) : \
            (for all j in (0..2000000000) : (i + j >= 0)) }";
        let (rules, compiled) = compile(&bundle(&[("slow.yar", text)]));
        assert_eq!(compiled.problems, Vec::<String>::new());
        let start = Instant::now();
        let verdict = rules.matcher().matches(b"x", Duration::from_secs(1));
        assert_eq!(verdict, Err(NoVerdict::Timeout));
        assert!(start.elapsed() < TIME, "{:?}", start.elapsed());
        println!("a rule of 4e18 steps was stopped after {:?}", start.elapsed());
    }

    #[test]
    fn many_matches_are_counted() {
        let text: String =
            (0..MATCHES_MAX + 3).map(|n| format!("rule r{n} {{ condition: true }}\n")).collect();
        let (rules, _) = compile(&bundle(&[("many.yar", &text)]));
        let (found, more) = rules.matcher().matches(b"", TIME).unwrap();
        assert_eq!((found.len(), more), (MATCHES_MAX, 3));
    }
}
