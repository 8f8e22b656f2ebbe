//! Remarks about policy files, in the forms that people and CI systems read.

use serde_json::{Value, json};

use crate::policy::review::{Level, Remark};
use crate::text;

/// Forms of output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// Workflow commands, which GitHub shows on the changed line.
    Github,
    /// A code quality report, which GitLab shows on the changed line.
    Gitlab,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// A remark with the path by which the reader can open the file.
pub(super) struct Placed<'a> {
    pub(super) path: String,
    pub(super) remark: &'a Remark,
}

/// Returns the remarks in one of the forms; whole lines.
pub(super) fn render(format: Format, remarks: &[Placed<'_>]) -> String {
    match format {
        Format::Text => remarks.iter().map(line).collect(),
        Format::Json => remarks.iter().map(|placed| format!("{}\n", object(placed))).collect(),
        Format::Github => remarks.iter().map(github).collect(),
        Format::Gitlab => {
            let all: Vec<Value> = remarks.iter().map(gitlab).collect();
            format!("{}\n", Value::from(all))
        }
        Format::Sarif => format!("{}\n", sarif(remarks)),
    }
}

fn line(placed: &Placed<'_>) -> String {
    let Remark { line, level, code, message, .. } = placed.remark;
    let at = line.map_or(String::new(), |line| format!(":{line}"));
    let message = text::visible_str(message);
    format!("{}{at}: {}: {message} [{code}]\n", placed.path, level.name())
}

fn object(placed: &Placed<'_>) -> Value {
    let Remark { line, level, code, message, .. } = placed.remark;
    json!({
        "kind": "remark",
        "file": placed.path,
        "line": line,
        "level": level.name(),
        "code": code,
        "message": text::visible_str(message),
    })
}

/// GitHub's workflow commands escape what would end a property or the line.
fn github(placed: &Placed<'_>) -> String {
    let Remark { line, level, code, message, .. } = placed.remark;
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let word = if *level == Level::Note { "notice" } else { level.name() };
    let at = line.map_or(String::new(), |line| format!(",line={line}"));
    let message = data(&text::visible_str(message));
    format!("::{word} file={}{at},title={}::{message}\n", property(&placed.path), property(code))
}

fn gitlab(placed: &Placed<'_>) -> Value {
    let Remark { line, level, code, message, .. } = placed.remark;
    // The same remark on another line is the same remark.
    let print = blake3::hash(format!("{}\0{code}\0{message}", placed.path).as_bytes());
    let severity = match level {
        Level::Error => "major",
        Level::Warning => "minor",
        Level::Note => "info",
    };
    json!({
        "description": text::visible_str(message),
        "check_name": code,
        "fingerprint": print.to_hex().as_str(),
        "severity": severity,
        "location": {"path": placed.path, "lines": {"begin": line.unwrap_or(1)}},
    })
}

fn sarif(remarks: &[Placed<'_>]) -> Value {
    let result = |placed: &Placed<'_>| {
        let Remark { line, level, code, message, .. } = placed.remark;
        json!({
            "ruleId": code,
            "level": level.name(),
            "message": {"text": text::visible_str(message)},
            "locations": [{"physicalLocation": {
                "artifactLocation": {"uri": placed.path},
                "region": {"startLine": line.unwrap_or(1)},
            }}],
        })
    };
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "sakuramori-brain policy test",
                "version": env!("CARGO_PKG_VERSION"),
            }},
            "results": remarks.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_and_messages_stay_within_their_place() {
        let remark = Remark {
            file: "sigma/a,b.yml".to_owned(),
            line: Some(3),
            level: Level::Error,
            code: "refused",
            message: "50 % of\n::error::nothing\u{1b}[2J".to_owned(),
        };
        let placed = || Placed { path: remark.file.clone(), remark: &remark };
        let of = |format| render(format, &[placed()]);
        assert_eq!(
            of(Format::Github),
            "::error file=sigma/a%2Cb.yml,line=3,title=refused::50 %25 of\\x0a::error::nothing\
             \\x1b[2J\n"
        );
        assert_eq!(of(Format::Text).lines().count(), 1);
        for format in [Format::Json, Format::Gitlab, Format::Sarif] {
            let text = of(format);
            assert_eq!(text.lines().count(), 1);
            assert!(serde_json::from_str::<Value>(&text).is_ok());
        }
        let gitlab: Value = serde_json::from_str(&of(Format::Gitlab)).unwrap();
        assert_eq!(gitlab[0]["location"]["lines"]["begin"], 3);
    }
}
