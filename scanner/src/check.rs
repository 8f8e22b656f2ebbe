//! Rules and their samples in a folder: beside `NAME.yar` lies `NAME.samples.yml`, with contents
//! that must match and others that must not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use scanner_abi::message::{BUNDLE_MAX, Bundle, RuleFile};
use serde::Deserialize;

use crate::rules::{self, Rules};

/// Time for one sample.
const SAMPLE_TIME: Duration = Duration::from_secs(10);
/// Bytes that a sample may stand for.
const SAMPLE_MAX: usize = 1024 * 1024;
const RULES: &str = ".yar";
const SAMPLES: &str = ".samples.yml";

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Files of rules.
    pub files: usize,
    /// Rules.
    pub rules: usize,
    /// Samples that were tried.
    pub samples: usize,
    /// What is wrong, each with the file in front.
    pub problems: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Samples {
    #[serde(default)]
    fires: Vec<Sample>,
    #[serde(default)]
    quiet: Vec<Sample>,
}

/// A content, as parts that are put together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    /// In words.
    name: String,
    /// The rule that must match; left out, any.
    #[serde(default)]
    rule: Option<String>,
    /// The parts.
    content: Vec<Part>,
}

/// One part: whichever is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Part {
    /// Characters as they are.
    text: String,
    /// Bytes as hexadecimal digits.
    hex: String,
    /// So many zero bytes.
    zeros: usize,
}

/// Compiles all rules of a folder and tries all samples.
pub fn run(folder: &Path) -> Result<Report> {
    let (bundle, samples) = read(folder)?;
    let (rules, compiled) = rules::compile(&bundle);
    let mut report = Report { files: bundle.files.len(), rules: rules.len(), ..Report::default() };
    report.problems.extend(compiled.problems);
    let names = rules.names();
    for file in &bundle.files {
        let Some((_, text)) = samples.iter().find(|(name, _)| *name == samples_of(&file.name))
        else {
            report.problems.push(format!("{}: has no {}", file.name, samples_of(&file.name)));
            continue;
        };
        let own: BTreeSet<&str> = names
            .iter()
            .filter(|(_, of)| *of == file.name)
            .map(|(rule, _)| rule.as_str())
            .collect();
        try_samples(&rules, &file.name, &own, text, &mut report);
    }
    for (name, _) in &samples {
        if bundle.files.iter().all(|file| samples_of(&file.name) != *name) {
            report.problems.push(format!("{name}: there are no rules of that name"));
        }
    }
    Ok(report)
}

fn samples_of(file: &str) -> String {
    format!("{}{SAMPLES}", file.trim_end_matches(RULES))
}

/// Name and text of a file.
type Named = (String, String);

fn read(folder: &Path) -> Result<(Bundle, Vec<Named>)> {
    let at = || format!("cannot read {}", folder.display());
    let (mut bundle, mut samples, mut bytes) = (Bundle::default(), Vec::new(), 0);
    for entry in fs::read_dir(folder).with_context(at)? {
        let path = entry.with_context(at)?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !name.ends_with(RULES) && !name.ends_with(SAMPLES) {
            continue;
        }
        bytes += path.metadata().map_or(0, |metadata| metadata.len());
        anyhow::ensure!(bytes <= BUNDLE_MAX, "the files have more than {BUNDLE_MAX} bytes");
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        match name.ends_with(RULES) {
            true => bundle.files.push(RuleFile { name: name.to_owned(), text }),
            false => samples.push((name.to_owned(), text)),
        }
    }
    bundle.files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((bundle, samples))
}

fn try_samples(rules: &Rules, file: &str, own: &BTreeSet<&str>, text: &str, report: &mut Report) {
    let Report { samples: tried, problems, .. } = report;
    let mut problem = |what: String| problems.push(format!("{}: {what}", samples_of(file)));
    let samples: Samples = match serde_norway::from_str(text) {
        Ok(samples) => samples,
        Err(error) => return problem(error.to_string()),
    };
    let mut fired: BTreeSet<String> = BTreeSet::new();
    let expected = samples.fires.iter().map(|sample| (sample, true));
    for (sample, fires) in expected.chain(samples.quiet.iter().map(|sample| (sample, false))) {
        *tried += 1;
        let name = &sample.name;
        let found = match bytes(sample).map(|bytes| matching(rules, file, &bytes)) {
            Ok(Ok(found)) => found,
            Ok(Err(why)) | Err(why) => {
                problem(format!("`{name}` {why}"));
                continue;
            }
        };
        let is_meant = match &sample.rule {
            Some(rule) => found.contains(rule),
            None => !found.is_empty(),
        };
        if is_meant != fires {
            let verb = if fires { "does not fire" } else { "fires" };
            problem(format!("`{name}` {verb}: {found:?} match"));
        }
        fired.extend(found);
    }
    for rule in own.iter().filter(|rule| !fired.contains(**rule)) {
        problem(format!("no sample makes `{rule}` fire"));
    }
    if samples.quiet.is_empty() {
        problem("no sample under `quiet:`".to_owned());
    }
}

/// Returns the rules of a file that match.
fn matching(rules: &Rules, file: &str, bytes: &[u8]) -> Result<BTreeSet<String>, String> {
    match rules.matcher().matches(bytes, SAMPLE_TIME) {
        Ok((found, _)) => {
            Ok(found.into_iter().filter(|found| found.file == file).map(|f| f.rule).collect())
        }
        Err(why) => Err(format!("has no verdict: {why:?}")),
    }
}

fn bytes(sample: &Sample) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for part in &sample.content {
        bytes.extend_from_slice(part.text.as_bytes());
        bytes.extend(unhex(&part.hex)?);
        bytes.resize(bytes.len() + part.zeros.min(SAMPLE_MAX), 0);
        if bytes.len() > SAMPLE_MAX {
            return Err(format!("is longer than {SAMPLE_MAX} bytes"));
        }
    }
    Ok(bytes)
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0);
    let digits = digits.ok_or("has a `hex` that is not pairs of hexadecimal digits")?;
    Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_rules_do_what_their_samples_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/yara");
        let report = run(&folder).unwrap();
        assert_eq!(report.problems, Vec::<String>::new());
        println!("{} rules, {} samples", report.rules, report.samples);
        assert!(report.rules >= 3 && report.samples >= 6, "{report:?}");
    }

    #[test]
    fn rules_without_samples_and_samples_that_are_wrong_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let rule = |name: &str| format!("rule {name} {{ strings: $x = \"abc\" condition: $x }}\n");
        write("a.yar", &rule("a"));
        write("b.yar", &(rule("b") + "rule never { condition: false }"));
        let samples = "fires: [{name: wrong, content: [text: ab, hex: '6']}]\n\
            quiet: [{name: right, content: [text: ab, zeros: 3]}, {name: bad, content: [hex: '616263']}]\n";
        write("b.samples.yml", samples);
        write("c.samples.yml", "fires: []");
        let report = run(folder.path()).unwrap();
        let expected = [
            "a.yar: has no a.samples.yml",
            "b.samples.yml: `wrong` has a `hex` that is not pairs of hexadecimal digits",
            "b.samples.yml: `bad` fires: {\"b\"} match",
            "b.samples.yml: no sample makes `never` fire",
            "c.samples.yml: there are no rules of that name",
        ];
        assert_eq!(report.problems, expected);
    }
}
