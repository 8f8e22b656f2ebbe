//! `policy explain`

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Value, json};

use super::{Explain, Loaded};
use crate::cli::client::print;
use crate::detect::sigma::explain::{Asked, Explanation, Step, explain};
use crate::detect::sigma::{LogSource, Object, Rule, recognise};
use crate::policy::{node, sample};
use crate::record::Event;
use crate::text;

/// Bytes of events that are read; they are held in memory, and every one is told in many lines.
const EVENTS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// An event, and where it stands.
struct Given {
    place: String,
    event: What,
}

/// One of ours, or one of others.
enum What {
    Record(Box<Event>),
    Object(Object),
}

/// Runs the command; returns whether the rule matches any event.
pub(super) fn run(flags: &Explain) -> Result<bool> {
    let loaded = flags.sources.load()?;
    let rule = find(&loaded, &flags.rule)?;
    let events = read(&flags.event, &rule, flags.logsource.as_ref())?;
    ensure!(!events.is_empty(), "{} has no event", flags.event.display());
    let mut any = false;
    for given in &events {
        let asked = match &given.event {
            What::Record(event) => Asked::Event(event),
            What::Object(object) => Asked::Object(object),
        };
        let explanation = explain(&rule, asked);
        any |= explanation.matched;
        print(&match flags.json {
            true => format!("{}\n", object(&rule, given, &explanation)),
            false => told(&rule, given, &explanation),
        })?;
    }
    Ok(any)
}

/// Finds a rule by id, name, title, or file.
fn find(loaded: &Loaded, wanted: &str) -> Result<Arc<Rule>> {
    let set = &loaded.set;
    let is_file = |file: &str| {
        let leaf = file.rsplit('/').next().unwrap_or(file);
        let stem = leaf.trim_end_matches(".yml").trim_end_matches(".yaml");
        [file, leaf, stem, loaded.path(file).as_str()].contains(&wanted)
    };
    let is_called = |rule: &&Arc<Rule>| {
        rule.policy.id == wanted || rule.title == wanted || rule.name.as_deref() == Some(wanted)
    };
    let called: Vec<_> = set.rules.iter().filter(is_called).collect();
    let found = match called.is_empty() {
        true => set.rules.iter().filter(|rule| is_file(&rule.policy.file)).collect(),
        false => called,
    };
    match found.as_slice() {
        [rule] => return Ok(Arc::clone(rule)),
        [] => {}
        several => bail!("{} rules are called `{wanted}`; name one by its id", several.len()),
    }
    if let Some(error) = set.errors.iter().find(|error| is_file(&error.file)) {
        bail!("the rule cannot be used: {error}");
    }
    if set.correlations.iter().any(|one| one.policy.id == wanted || one.title == wanted) {
        bail!("`{wanted}` is a correlation, which counts matches; explain one of its rules");
    }
    bail!("no rule has the id, name, title or file `{wanted}`")
}

/// Reads JSON events, one a line, or a file of samples, or one scenario.
fn read(path: &Path, rule: &Rule, log: Option<&LogSource>) -> Result<Vec<Given>> {
    let shown = match path.as_os_str() == "-" {
        true => "standard input".to_owned(),
        false => text::visible_str(&path.display().to_string()),
    };
    let source: Box<dyn Read> = match path.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(path).with_context(|| format!("failed to open {shown}"))?),
    };
    let mut bytes = Vec::new();
    let read = source.take(EVENTS_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("failed to read {shown}"))?;
    let all = bytes.len() as u64 <= EVENTS_BYTES_MAX;
    ensure!(all, "{shown} has more than {EVENTS_BYTES_MAX} bytes; give fewer events");
    match bytes.trim_ascii_start().first() {
        Some(b'{') => objects(&bytes, &shown, rule, log),
        _ => records(bytes, &shown),
    }
}

fn records(bytes: Vec<u8>, shown: &str) -> Result<Vec<Given>> {
    let text = String::from_utf8(bytes).map_err(|_| anyhow!("{shown} is not text"))?;
    let events =
        sample::read_events(&text).map_err(|problem| anyhow!("{}", problem.in_file(shown)))?;
    let given = |(name, at, event): (String, usize, Event)| Given {
        place: format!("{}, event {at}", text::visible_str(&name)),
        event: What::Record(Box::new(event)),
    };
    Ok(events.into_iter().map(given).collect())
}

fn objects(bytes: &[u8], shown: &str, rule: &Rule, log: Option<&LogSource>) -> Result<Vec<Given>> {
    let mut events = Vec::new();
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim_ascii().is_empty()) {
        let number = at + 1;
        let root = node::from_json(line).map_err(|why| {
            anyhow!("{shown}:{number}: not an event: {}", text::visible_str(&why))
        })?;
        let said = Some(recognise(&root)).filter(|said| !said.is_open());
        // Who explains a rule by an event that does not say its log means the rule's.
        let log = said.or_else(|| log.cloned()).unwrap_or_else(|| rule.log.clone());
        events.push(Given {
            place: format!("line {number}"),
            event: What::Object(Object { log, root }),
        });
    }
    Ok(events)
}

fn told(rule: &Rule, given: &Given, explanation: &Explanation) -> String {
    let verdict = if explanation.matched { "matches" } else { "does not match" };
    let mut text = format!("{}: `{}` {verdict}\n", given.place, rule.title);
    match &explanation.step {
        Some(step) => lines(step, 1, &mut text),
        None => {
            text += &format!(
                "  the event is of the log {}, the rule is about {}\n",
                text::visible_str(&explanation.log),
                text::visible_str(&rule.log.to_string()),
            )
        }
    }
    text
}

fn lines(step: &Step, depth: usize, text: &mut String) {
    let mark = if step.holds { "yes" } else { "no " };
    *text += &format!("{}{mark} {}", "  ".repeat(depth), step.text);
    if !step.values.is_empty() {
        *text += &format!("   [has {}]", step.values.join(" | "));
    }
    if let Some(note) = step.note {
        *text += &format!("   ({note})");
    }
    text.push('\n');
    step.parts.iter().for_each(|part| lines(part, depth + 1, text));
}

fn object(rule: &Rule, given: &Given, explanation: &Explanation) -> Value {
    json!({
        "rule": rule.policy.id,
        "title": rule.title,
        "event": given.place,
        "log": text::visible_str(&explanation.log),
        "matched": explanation.matched,
        "step": explanation.step.as_ref().map(part),
    })
}

fn part(step: &Step) -> Value {
    json!({
        "kind": step.kind.name(),
        "text": step.text,
        "holds": step.holds,
        "values": step.values,
        "note": step.note,
        "parts": step.parts.iter().map(part).collect::<Vec<_>>(),
    })
}
