//! Log files read at once and shown, for whoever wants to know what is understood of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::event::{Event, Parsed};
use super::time::Calendar;
use super::{line, parse};
use crate::clock::ClockPair;
use crate::escape::visible;
use crate::inventory::package::each_line;

/// Prints one JSON object for each line that says something or should, and the sums at the end.
pub fn run(files: &[PathBuf]) -> Result<()> {
    let mut calendar = Calendar::new(std::fs::read("/etc/localtime").ok().as_deref());
    calendar.set_now(ClockPair::now().unix_ns);
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut sums = BTreeMap::new();
    for path in files {
        show(path, &calendar, &mut sums, &mut out)?;
    }
    writeln!(out, "{}", json!({"sums": sums}))?;
    Ok(out.flush()?)
}

fn show(
    path: &Path,
    calendar: &Calendar,
    sums: &mut BTreeMap<&'static str, u64>,
    out: &mut dyn Write,
) -> Result<()> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot read {shown}"))?;
    let (mut number, mut failed) = (0_u64, Ok(()));
    each_line(&mut BufReader::new(file), &mut |text| {
        number += 1;
        let Some(line) = line::parse(text) else {
            *sums.entry("no_head").or_default() += u64::from(!text.is_empty());
            return;
        };
        let (result, object) = match parse(line.program, line.message) {
            Parsed::Event(event) => ("event", event_object(&event)),
            Parsed::Unknown => ("unknown", json!({"message": visible(line.message)})),
            Parsed::Dull => ("dull", json!({})),
            Parsed::Foreign => ("foreign", Value::Null),
        };
        *sums.entry(result).or_default() += 1;
        if object.is_null() || failed.is_err() {
            return;
        }
        let time = jiff::Timestamp::from_nanosecond(i128::from(calendar.moment(line.stamp)));
        let time = time.map(|time| time.to_string()).unwrap_or_default();
        failed = writeln!(
            out,
            "{}",
            json!({
                "file": shown.to_string(), "line": number, "result": result, "time": time,
                "program": visible(line.program), "pid": line.pid, "event": object,
            })
        );
    })?;
    Ok(failed?)
}

fn event_object(event: &Event<'_>) -> Value {
    json!({
        "service": format!("{:?}", event.service).to_lowercase(), "action": event.action.name(),
        "user": visible(event.user), "target": visible(event.target),
        "remote": visible(event.remote_text), "port": event.remote_port,
        "method": visible(event.method), "key": visible(event.key), "tty": visible(event.tty),
        "directory": visible(event.directory), "detail": visible(event.detail),
        "repeated": event.repeated.max(1), "invalid_user": event.marks.invalid_user,
        "preauth": event.marks.preauth, "ambiguous": event.marks.ambiguous,
    })
}
