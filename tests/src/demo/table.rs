//! Findings as a table for the terminal.

use serde_json::Value;

/// Widest cell; command lines can be long.
const CELL_MAX: usize = 72;

/// Renders one line per finding, the gravest first.
pub fn render(findings: &[Value]) -> String {
    let mut findings: Vec<&Value> = findings.iter().collect();
    findings.sort_by(|one, other| {
        let severity = |finding: &Value| finding["severity"].as_f64().unwrap_or(0.0);
        severity(other).total_cmp(&severity(one))
    });
    let head = ["SEVERITY", "TYPE", "HOST", "PROCESS", "COUNT", "TITLE"].map(str::to_owned);
    let rows: Vec<[String; 6]> =
        std::iter::once(head).chain(findings.into_iter().map(row)).collect();
    let widths: Vec<usize> = (0..6)
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let line: String =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}  ")).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(finding: &Value) -> [String; 6] {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let severity = finding["severity"].as_f64().unwrap_or(0.0);
    [
        format!("{severity:.1} {}", text(&finding["severity_label"])),
        text(&finding["type"]),
        text(&finding["host"]["name"]),
        text(&finding["process"]["name"]),
        finding["count"].to_string(),
        text(&finding["title"]).chars().take(CELL_MAX).collect(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_gravest_comes_first_and_columns_align() {
        let finding = |severity: f64, host: &str| {
            json!({
                "severity": severity, "severity_label": "low", "type": "A:Host/B", "title": "title",
                "host": { "name": host }, "process": { "name": "p" }, "count": 1,
            })
        };
        let text = render(&[finding(2.0, "db-1"), finding(8.0, "a-longer-name")]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].starts_with("8.0"));
        let column = |line: &str, word: &str| line.find(word).expect("the word is there");
        assert_eq!(column(lines[0], "PROCESS"), column(lines[2], "p  "));
    }
}
