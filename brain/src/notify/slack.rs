//! Messages in Slack's Block Kit. Text of a host stands only where nothing is interpreted, or with
//! the three characters escaped that Slack interprets, and every limit is kept by cutting.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::finding::Finding;
use crate::text::{self, rfc3339};

/// Slack's limits: blocks in a message, characters of a header, a section and one of its fields.
const BLOCKS_MAX: usize = 50;
const HEADER_MAX: usize = 150;
const SECTION_MAX: usize = 3000;
const FIELD_MAX: usize = 2000;

/// Slack refuses messages of some 13,200 characters in all without documenting it; this stays clear
/// of it.
const TOTAL_MAX: usize = 10_000;

/// Pieces of evidence that a message shows; the console shows all.
const EVIDENCE_SHOWN: usize = 3;

/// Findings that a digest names.
const LISTED: usize = 10;

/// Returns the message for a new finding.
pub(super) fn finding(f: &Finding, console: &str) -> Value {
    let head = format!("{} {}", marker(f), text::visible_str(&f.title));
    let mut blocks = vec![header(&head)];
    blocks.push(fields(&[
        ("Severity", format!("{} ({:.1})", f.severity.label(), f.severity.value())),
        ("Host", with_role(f)),
        ("Type", f.kind.name.clone()),
        ("First seen", rfc3339(f.first_ns)),
    ]));
    if let Some(process) = &f.process {
        let lineage: Vec<String> = process.lineage().map(|p| p.name()).collect();
        let mut lines = code(&process.command_line());
        if !lineage.is_empty() {
            lines.push_str(&format!("\nstarted by {}", escape(&lineage.join(" ← "))));
        }
        blocks.push(section(&lines));
    }
    let evidence: Vec<String> = (f.evidence.iter().take(EVIDENCE_SHOWN))
        .map(|e| format!("• {}", escape(&text::visible_str(&e.summary))))
        .collect();
    if !evidence.is_empty() {
        blocks.push(section(&evidence.join("\n")));
    }
    blocks.push(section(&format!("*What to do first:* {}", escape(&f.kind.remediation))));
    let techniques: Vec<&str> = f.kind.techniques.iter().map(|t| t.id.as_str()).collect();
    let origin = format!(
        "Policy {} · {} · coverage {}",
        f.policy.id,
        techniques.join(", "),
        f.coverage.state.name()
    );
    blocks.push(context(&origin));
    blocks.extend(button(console, &format!("findings/{}", f.id.0), "Open in the console"));
    message(&head, blocks)
}

/// Returns the message for findings that came too fast to be told one by one.
pub(super) fn digest(findings: &[Arc<Finding>], console: &str) -> Value {
    let head = format!("{} more findings", findings.len());
    list(&head, findings, console, "They came faster than messages may be sent.")
}

/// Returns the message for findings that were told before and go on.
pub(super) fn reminder(findings: &[Arc<Finding>], console: &str) -> Value {
    let head = match findings.len() {
        1 => "1 finding goes on".to_owned(),
        count => format!("{count} findings go on"),
    };
    list(&head, findings, console, "Counts are those since each was first seen.")
}

fn list(head: &str, findings: &[Arc<Finding>], console: &str, note: &str) -> Value {
    let mut lines: Vec<String> = findings.iter().take(LISTED).map(|f| line(f)).collect();
    if findings.len() > LISTED {
        lines.push(format!("… and {} more", findings.len() - LISTED));
    }
    let mut blocks = vec![header(head), section(&lines.join("\n")), context(note)];
    blocks.extend(button(console, "findings", "Open the console"));
    message(head, blocks)
}

fn line(f: &Finding) -> String {
    let title = text::visible_cut(f.title.as_bytes(), 200);
    format!("{} {} ({}×)", marker(f), escape(&title), f.count)
}

fn marker(f: &Finding) -> &'static str {
    match f.severity.label() {
        "critical" => "🔴",
        "high" => "🟠",
        "medium" => "🟡",
        _ => "🔵",
    }
}

fn with_role(f: &Finding) -> String {
    let name = text::visible_str(&f.host.name);
    if f.host.role.is_empty() { name } else { format!("{name} ({})", f.host.role) }
}

/// Escapes what Slack interprets: these three and nothing else, as its manual says.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Shows a host's text as code, which it cannot leave: a backtick of its own is replaced.
fn code(text: &str) -> String {
    format!("`{}`", escape(&cut(&text.replace('`', "'"), SECTION_MAX / 2)))
}

/// A header is plain text, in which nothing is interpreted.
fn header(text: &str) -> Value {
    let text = cut(text, HEADER_MAX);
    json!({"type": "header", "text": {"type": "plain_text", "text": text, "emoji": false}})
}

/// `markdown` must be escaped already. Links that Slack would guess are left alone.
fn section(markdown: &str) -> Value {
    json!({
        "type": "section",
        "text": {"type": "mrkdwn", "text": cut_escaped(markdown, SECTION_MAX), "verbatim": true},
    })
}

fn fields(pairs: &[(&str, String)]) -> Value {
    let fields = pairs.iter().map(|(name, value)| {
        let markdown = format!("*{name}*\n{}", escape(value));
        json!({"type": "mrkdwn", "text": cut_escaped(&markdown, FIELD_MAX), "verbatim": true})
    });
    json!({"type": "section", "fields": fields.collect::<Vec<_>>()})
}

fn context(text: &str) -> Value {
    let text = cut(text, FIELD_MAX);
    json!({"type": "context", "elements": [{"type": "plain_text", "text": text, "emoji": false}]})
}

fn button(console: &str, path: &str, label: &str) -> Option<Value> {
    let url = format!("{}/{path}", console.trim_end_matches('/'));
    let usable = console.starts_with("http://") || console.starts_with("https://");
    usable.then(|| {
        let text = json!({"type": "plain_text", "text": label});
        json!({"type": "actions", "elements": [{"type": "button", "text": text, "url": url}]})
    })
}

/// Puts blocks together; when they are too much, the longest section texts give way first.
fn message(fallback: &str, mut blocks: Vec<Value>) -> Value {
    blocks.truncate(BLOCKS_MAX);
    let fallback = escape(&cut(fallback, HEADER_MAX));
    let mut share = SECTION_MAX;
    while total(&blocks) + fallback.chars().count() > TOTAL_MAX && share > 100 {
        share /= 2;
        for block in &mut blocks {
            if let Some(text) = block.pointer_mut("/text/text") {
                let shorter = cut_escaped(text.as_str().unwrap_or(""), share);
                *text = json!(shorter);
            }
        }
    }
    json!({"text": fallback, "blocks": blocks})
}

/// Characters of the message as Slack may count them: everything that is sent.
fn total(blocks: &[Value]) -> usize {
    blocks.iter().map(|block| block.to_string().chars().count()).sum()
}

fn cut(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max - 1).chain(['…']).collect()
}

/// Cuts escaped text without leaving half of an escape, or code without its end.
fn cut_escaped(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(max - 2).collect();
    if let Some(at) = kept.rfind('&')
        && !kept[at..].contains(';')
    {
        kept.truncate(at);
    }
    let open = kept.matches('`').count() % 2 == 1;
    kept.push('…');
    if open {
        kept.push('`');
    }
    kept
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::finding::{
        Coverage, Evidence, EvidenceKind, Exactness, FindingId, Kind, PolicyRef, Severity, State,
    };
    use crate::record::{Host, HostId, Process};

    fn sample(hostile: &str) -> Finding {
        let mut process = Process::default();
        process.exe = Bytes::from(hostile.to_owned());
        process.args = Bytes::from(hostile.to_owned());
        let evidence = Evidence {
            time_ns: 1,
            kind: EvidenceKind::Exec,
            summary: hostile.to_owned(),
            fields: Vec::new(),
            slot: None,
        };
        Finding {
            id: FindingId::new("k", 1),
            kind: Arc::new(Kind {
                name: "Execution:Host/ReverseShell".into(),
                guardduty: None,
                description: "d".into(),
                remediation: "Look & <see>.".into(),
                techniques: Vec::new(),
            }),
            severity: Severity::new(8.0),
            title: hostile.to_owned(),
            host: Arc::new(Host {
                id: HostId("h".into()),
                name: hostile.to_owned(),
                role: "web".into(),
            }),
            state: State::Open,
            count: 1,
            first_ns: 1,
            last_ns: 1,
            process: Some(Arc::new(process)),
            actors: Vec::new(),
            actors_dropped: 0,
            evidence: vec![evidence; 32],
            evidence_dropped: 0,
            policy: Arc::new(PolicyRef {
                id: "p".into(),
                file: "f".into(),
                revision: "r".into(),
                author: None,
            }),
            exactness: Exactness::Exact,
            coverage: Coverage::default(),
            dedup_key: "k".into(),
            history: Vec::new(),
        }
    }

    fn several(finding: Arc<Finding>, count: usize) -> Vec<Arc<Finding>> {
        std::iter::repeat_n(finding, count).collect()
    }

    /// Checks what Slack checks, and that nothing but plain text holds an unescaped character.
    fn check(message: &Value) {
        let blocks = message["blocks"].as_array().unwrap();
        assert!(blocks.len() <= BLOCKS_MAX);
        let length = |text: &Value| text.as_str().unwrap().chars().count();
        assert!(length(&message["text"]) <= HEADER_MAX * 5);
        for block in blocks {
            match block["type"].as_str().unwrap() {
                "header" => assert!(length(&block["text"]["text"]) <= HEADER_MAX),
                "section" => {
                    let texts = block
                        .get("text")
                        .into_iter()
                        .chain(block["fields"].as_array().into_iter().flatten());
                    for text in texts {
                        let markdown = text["text"].as_str().unwrap();
                        assert!(length(&text["text"]) <= SECTION_MAX);
                        assert!(!markdown.contains('<') && !markdown.contains('>'), "{markdown}");
                        assert_eq!(markdown.matches('`').count() % 2, 0, "{markdown}");
                        for (at, _) in markdown.match_indices('&') {
                            let rest = &markdown[at..];
                            assert!(
                                ["&amp;", "&lt;", "&gt;"].iter().any(|e| rest.starts_with(e)),
                                "{rest}"
                            );
                        }
                    }
                }
                _ => {}
            }
        }
        assert!(message.to_string().chars().count() <= TOTAL_MAX + 1000);
    }

    #[test]
    fn a_hosts_text_stays_text() {
        for hostile in
            ["<!channel> hi", "<http://evil|Approve>", "`code` *bold*", "&lt;", "a\u{202e}b\x1b[2J"]
        {
            let message = finding(&sample(hostile), "http://127.0.0.1:8080/");
            check(&message);
            let text = message.to_string();
            assert!(!text.contains("\u{202e}") && !text.contains("\\u001b"), "{text}");
        }
    }

    #[test]
    fn limits_hold_whatever_a_host_sends() {
        for hostile in [
            "x".repeat(5000),
            "&".repeat(5000),
            "<".repeat(5000),
            "`".repeat(5000),
            "漢".repeat(5000),
        ] {
            let one = Arc::new(sample(&hostile));
            check(&finding(&one, "https://brain.example"));
            check(&digest(&several(Arc::clone(&one), 500), "https://brain.example"));
            check(&reminder(&several(one, 500), ""));
        }
    }

    #[test]
    fn a_digest_says_how_many() {
        let message = digest(&several(Arc::new(sample("t")), 37), "javascript:alert(1)");
        assert_eq!(message["text"], "37 more findings");
        assert!(message.to_string().contains("… and 27 more"));
        assert!(!message.to_string().contains("javascript:"));
    }
}
