//! `detect`: Sigma rules over events that anybody wrote, one JSON object a line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::json;

use crate::detect::sigma::{self, LogSource, Matcher, Object, Rule, RuleSet};
use crate::policy::{Folders, Loader, PolicySet, node};
use crate::text;

/// Bytes of one event. Longer lines are not events but mistakes, and are counted as such.
const LINE_MAX: usize = 1024 * 1024;

/// Bad lines that are named; of the rest the number is told.
const NAMED_MAX: u64 = 20;

/// Exit status when something is wrong with how it was called.
const WRONG_USE: u8 = 2;

/// Where extra folders stand among the policies.
const EXTRA: &str = "rules/";

#[derive(Debug, Args)]
pub(crate) struct Detect {
    /// File with one JSON object per line; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    events: PathBuf,
    /// Folder of policies, or any folder of Sigma rules.
    #[arg(long, value_name = "DIR")]
    policies: PathBuf,
    /// Log source of events that do not say theirs, such as product=linux,category=process_creation
    #[arg(long, value_name = "PARTS", value_parser = LogSource::parse)]
    logsource: Option<LogSource>,
    /// One JSON object per match.
    #[arg(long)]
    json: bool,
}

/// What became of the events.
#[derive(Debug, Default)]
struct Counts {
    lines: u64,
    events: u64,
    matches: u64,
    bad: u64,
    unknown: u64,
}

/// Runs the command: 0 when nothing matched, 1 when something did, 2 when it could not run.
pub(super) fn run(flags: &Detect) -> ExitCode {
    match detect(flags, &mut io::stdout().lock()) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::from(WRONG_USE)
        }
    }
}

fn detect(flags: &Detect, out: &mut dyn Write) -> Result<u64> {
    let PolicySet { rules, errors, correlations, .. } = rules(&flags.policies)?;
    for error in &errors {
        let _ = writeln!(io::stderr(), "{error}");
    }
    if !correlations.is_empty() {
        // Events of others need not say when they were.
        let (number, note) = (correlations.len(), "not looked for; their rules speak for them");
        let _ = writeln!(io::stderr(), "{number} correlations are {note}");
    }
    let events: Box<dyn BufRead> = match flags.events.as_os_str() {
        name if name == "-" => Box::new(io::stdin().lock()),
        name => {
            let file = File::open(name)
                .with_context(|| format!("failed to open {}", flags.events.display()))?;
            Box::new(BufReader::with_capacity(LINE_MAX, file))
        }
    };
    let loaded = rules.len();
    anyhow::ensure!(loaded > 0, "no rule in {} can be used", flags.policies.display());
    let mut run = Run {
        matcher: Matcher::new(Arc::new(RuleSet::new(rules))),
        logsource: flags.logsource.as_ref(),
        json: flags.json,
        counts: Counts::default(),
    };
    let ended = run.all(events, &mut BufWriter::new(out));
    run.tell(loaded, errors.len());
    match ended {
        // A reader that has seen enough is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other.context("failed to read events")?,
    }
    Ok(run.counts.matches)
}

/// Returns the rules of a folder and what is wrong with others. A folder that is not laid out as
/// policies are is one of rules.
fn rules(folder: &Path) -> Result<PolicySet> {
    let is_policies = folder.join("sigma").is_dir();
    let folders = match is_policies {
        true => Folders::new(Some(folder.to_owned()), &[]),
        false => Folders::new(None, &[folder.to_owned()]),
    };
    let mut set = Loader::new(folders).load()?;
    if !is_policies {
        // What this build carries was not asked for.
        set.rules.retain(|rule| rule.policy.file.starts_with(EXTRA));
        set.errors.retain(|error| error.file.starts_with(EXTRA));
        set.correlations.retain(|rule| rule.policy.file.starts_with(EXTRA));
    }
    Ok(set)
}

struct Run<'a> {
    matcher: Matcher,
    logsource: Option<&'a LogSource>,
    json: bool,
    counts: Counts,
}

impl Run<'_> {
    fn all(&mut self, mut events: Box<dyn BufRead>, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = events.by_ref().take(LINE_MAX as u64 + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return out.flush();
            }
            self.counts.lines += 1;
            if line.len() > LINE_MAX {
                skip_line(&mut events)?;
                self.bad(&format!("longer than {LINE_MAX} bytes"));
            } else if !line.trim_ascii().is_empty() {
                self.line(&line, out)?;
            }
        }
    }

    fn line(&mut self, line: &[u8], out: &mut dyn Write) -> io::Result<()> {
        let root = match node::from_json(line) {
            Ok(root) => root,
            Err(error) => {
                self.bad(&error);
                return Ok(());
            }
        };
        self.counts.events += 1;
        let said = sigma::recognise(&root);
        let log = match self.logsource {
            Some(given) if said.is_open() => given.clone(),
            _ => said,
        };
        if log.is_open() {
            self.counts.unknown += 1;
            return Ok(());
        }
        let object = Object { log, root };
        let set = Arc::clone(self.matcher.set());
        let (number, json) = (self.counts.lines, self.json);
        let (mut matches, mut written) = (0, Ok(()));
        self.matcher.object(&object, |index, _| {
            matches += 1;
            if written.is_ok() {
                written = write_match(out, set.rule(index), number, json);
            }
        });
        self.counts.matches += matches;
        written
    }

    fn bad(&mut self, why: &str) {
        self.counts.bad += 1;
        if self.counts.bad <= NAMED_MAX {
            let line = self.counts.lines;
            let _ = writeln!(io::stderr(), "line {line}: not an event: {}", text::visible_str(why));
        }
    }

    /// Says on standard error what was done, so that silence is never taken for a clean result.
    fn tell(&self, rules: usize, refused: usize) {
        let Counts { events, matches, bad, unknown, .. } = self.counts;
        let mut text = format!(
            "{rules} rules ({refused} refused), {events} events, {matches} matches, {bad} bad lines"
        );
        if unknown > 0 {
            text +=
                &format!("; {unknown} events do not say what log they are from, see --logsource");
        }
        let skipped = self.matcher.skipped();
        if skipped > 0 {
            text += &format!("; {skipped} events skipped, since there are too many log sources");
        }
        let _ = writeln!(io::stderr(), "{text}");
    }
}

fn write_match(out: &mut dyn Write, rule: &Rule, line: u64, json: bool) -> io::Result<()> {
    let policy = &rule.policy;
    if json {
        let shown = json!({
            "rule": policy.id,
            "title": rule.title,
            "level": rule.level,
            "author": policy.author,
            "file": policy.file,
            "line": line,
        });
        return writeln!(out, "{shown}");
    }
    writeln!(out, "{line}: {}: {} ({})", rule.level, rule.title, policy.file)
}

fn skip_line(events: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let buffer = events.fill_buf()?;
        if buffer.is_empty() {
            return Ok(());
        }
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                events.consume(end + 1);
                return Ok(());
            }
            None => {
                let length = buffer.len();
                events.consume(length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: &str = "title: Whoami\nid: r-1\nlevel: low\nauthor: A\nlogsource:\n    product: \
        linux\n    category: process_creation\ndetection:\n    s:\n        Image|endswith: \
        /whoami\n    condition: s\n";

    fn run(events: &str, logsource: Option<&str>) -> (u64, String) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("any/deep")).unwrap();
        std::fs::write(folder.path().join("any/deep/whoami.yaml"), RULE).unwrap();
        std::fs::write(folder.path().join("broken.yml"), "title: x\n").unwrap();
        let file = folder.path().join("events.jsonl");
        std::fs::write(&file, events).unwrap();
        let flags = Detect {
            events: file,
            policies: folder.path().to_owned(),
            logsource: logsource.map(|text| LogSource::parse(text).unwrap()),
            json: true,
        };
        let mut out = Vec::new();
        let matches = detect(&flags, &mut out).unwrap();
        (matches, String::from_utf8(out).unwrap())
    }

    #[test]
    fn matches_are_told_by_rule_and_line_and_bad_lines_do_not_end_it() {
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(LINE_MAX));
        let events = format!(
            "{{\"Image\": \"/usr/bin/whoami\"}}\nnot json\n\n{long}\n\
             {{\"Image\": \"/usr/bin/whoami\", \"logsource\": {{\"category\": \"file_event\"}}}}\n\
             {{\"process\": {{\"executable\": \"/BIN/WHOAMI\"}}}}"
        );
        let (matches, out) = run(&events, Some("product=linux,category=process_creation"));
        assert_eq!(matches, 2);
        let lines: Vec<serde_json::Value> =
            out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["line"], &lines[1]["line"]), (&json!(1), &json!(6)));
        assert_eq!((&lines[0]["rule"], &lines[0]["level"]), (&json!("r-1"), &json!("low")));
        assert!(lines[0]["file"].as_str().unwrap().ends_with("any/deep/whoami.yaml"));
        assert_eq!(run(&events, None).0, 0, "events of no known log match nothing");
    }
}
