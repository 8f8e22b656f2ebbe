//! How much of real logs the sensor understands, and whether it says what others say of them.
//!
//! The material is read, never kept: loghub's OpenSSH log with its table of templates, fail2ban's
//! lines with the address that each must give, CrowdSec's logs with the fields that they assert.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::shell;

/// What each of loghub's templates says.
const TEMPLATES: &[(&str, &[&str])] = &[
    ("accepted", &["E1"]),
    ("disconnected", &["E2", "E6", "E7", "E24", "E25", "E26"]),
    ("probe", &["E3", "E11"]),
    ("too_many", &["E4", "E5"]),
    ("failed", &["E8", "E9", "E10", "E14", "E15", "E16", "E17", "E19", "E20"]),
    ("invalid_user", &["E12", "E13"]),
    ("session_closed", &["E22"]),
    ("session_opened", &["E23"]),
    ("dull", &["E18", "E21", "E27"]),
];

/// Words that a line of an action has, for a count that knows nothing of the parser.
const WORDS: &[(&str, &[&str])] = &[
    ("accepted", &[": Accepted "]),
    ("invalid_user", &[": Invalid user ", ": input_userauth_request: invalid user "]),
    ("session_opened", &["session opened for user"]),
    ("session_closed", &["session closed for user"]),
];

/// What came of one line, by its number.
type Lines = BTreeMap<u64, Value>;

/// A comparison: its name, how many agree, of how many, and some that do not.
struct Row {
    name: String,
    agree: usize,
    of: usize,
    differ: Vec<String>,
}

/// Compares and prints; `false` when something is not as it must be.
pub fn run(material: Option<&Path>, as_json: bool) -> Result<bool> {
    let default = shell::root().join("../shared/material/authlog");
    let material = material.unwrap_or(&default);
    if !material.is_dir() {
        eprintln!("skipped: there is no {}; name a folder by --material", material.display());
        return Ok(true);
    }
    let mut rows = Vec::new();
    rows.extend(loghub(&material.join("openssh-loghub"))?);
    rows.extend(fail2ban(&material.join("fail2ban/sshd"))?);
    rows.extend(crowdsec(&material.join("crowdsec"))?);
    if rows.is_empty() {
        bail!("{} has nothing that is known here", material.display());
    }
    // A word that a log never has tells nothing.
    rows.retain(|row| row.of > 0);
    let mut good = true;
    for Row { name, agree, of, differ } in &rows {
        let share = *agree as f64 * 100.0 / *of as f64;
        // A line in a hundred may be read another way by others; more is a fault of ours.
        good &= share >= 98.5;
        if as_json {
            println!("{}", json!({"name": name, "agree": agree, "of": of, "differ": differ}));
        } else {
            println!("{name:<48} {agree:>6} of {of:>6}  {share:5.1} %");
            differ.iter().for_each(|line| println!("    {line}"));
        }
    }
    Ok(good)
}

/// Lets the sensor read a file; lines of other programs are not in the answer.
fn read(file: &Path) -> Result<(Lines, Value)> {
    let mut command = shell::cargo();
    command.args(["run", "--quiet", "-p", "sensor", "--bin", "sakuramori-sensor", "--", "logins"]);
    let output = command.arg(file).output().context("cannot run the sensor")?;
    if !output.status.success() {
        bail!("the sensor failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let (mut lines, mut sums) = (Lines::new(), Value::Null);
    for text in String::from_utf8(output.stdout)?.lines() {
        let object: Value = serde_json::from_str(text)?;
        match object["line"].as_u64() {
            Some(line) => drop(lines.insert(line, object)),
            None => sums = object["sums"].clone(),
        }
    }
    Ok((lines, sums))
}

/// What the sensor said of a line, in one word.
fn word(lines: &Lines, number: u64) -> &str {
    let Some(line) = lines.get(&number) else { return "nothing" };
    match line["result"].as_str() {
        Some("event") => line["event"]["action"].as_str().unwrap_or("nothing"),
        other => other.unwrap_or("nothing"),
    }
}

/// Returns the rows about a log: what was understood, and counts by words.
fn counted(name: &str, file: &Path, lines: &Lines, sums: &Value) -> Result<Vec<Row>> {
    let text = fs::read_to_string(file)?;
    let of = |kind: &str| sums[kind].as_u64().unwrap_or(0) as usize;
    let understood = of("event") + of("dull");
    let unknown = lines.iter().filter(|(_, line)| line["result"] == "unknown");
    let differ = unknown.take(5).map(|(n, line)| format!("{n}: {}", line["event"]["message"]));
    let mut rows = vec![Row {
        name: format!("{name}: lines understood"),
        agree: understood,
        of: understood + of("unknown"),
        differ: differ.collect(),
    }];
    for (action, words) in WORDS {
        let has = |line: &&str| words.iter().any(|word| line.contains(word));
        let wanted = text.lines().filter(has).count();
        let told = lines.keys().filter(|line| word(lines, **line) == *action).count();
        rows.push(Row {
            name: format!("{name}: {action}, counted by words"),
            agree: told.min(wanted),
            of: told.max(wanted),
            differ: Vec::new(),
        });
    }
    Ok(rows)
}

fn loghub(folder: &Path) -> Result<Vec<Row>> {
    let (log, table) =
        (folder.join("OpenSSH_2k.log"), folder.join("OpenSSH_2k.log_structured.csv"));
    if !log.exists() {
        return Ok(Vec::new());
    }
    let (lines, sums) = read(&log)?;
    let mut rows = counted("loghub", &log, &lines, &sums)?;
    let mut row =
        Row { name: "loghub: action by template".into(), agree: 0, of: 0, differ: Vec::new() };
    for text in fs::read_to_string(table)?.lines().skip(1) {
        let Some((number, rest)) = text.split_once(',') else { continue };
        let events: Vec<&str> = rest.split(',').filter(|w| is_template(w)).collect();
        let (Ok(number), Some(event)) = (number.parse(), events.last()) else { continue };
        let wanted = TEMPLATES.iter().find(|(_, ids)| ids.contains(event)).map(|(name, _)| *name);
        row.of += 1;
        match (wanted, word(&lines, number)) {
            (Some(wanted), told) if wanted == told => row.agree += 1,
            (wanted, told) if row.differ.len() < 5 => {
                row.differ.push(format!("line {number}: {told}, {event} says {wanted:?}"));
            }
            _ => {}
        }
    }
    rows.push(row);
    Ok(rows)
}

fn is_template(word: &str) -> bool {
    word.strip_prefix('E').is_some_and(|n| n.parse::<u8>().is_ok())
}

/// Each line of fail2ban's file follows a comment that says which host it must give, if any.
fn fail2ban(file: &Path) -> Result<Vec<Row>> {
    if !file.exists() {
        return Ok(Vec::new());
    }
    let (lines, sums) = read(file)?;
    let mut rows = counted("fail2ban", file, &lines, &sums)?;
    let mut row =
        Row { name: "fail2ban: host of each failure".into(), agree: 0, of: 0, differ: Vec::new() };
    let mut wanted: Option<String> = None;
    for (number, text) in (1..).zip(fs::read_to_string(file)?.lines()) {
        if let Some(truth) = text.strip_prefix("# failJSON:") {
            let truth: Value = serde_json::from_str(truth).unwrap_or_default();
            let host = truth["host"].as_str().filter(|_| truth["match"] == true);
            wanted = host.map(str::to_owned);
            continue;
        }
        let Some(host) = wanted.take() else { continue };
        let told = lines.get(&number).map_or("", |l| l["event"]["remote"].as_str().unwrap_or(""));
        // Some lines get their host from an earlier one of the same process.
        if told.is_empty() && !text.contains(&host) {
            continue;
        }
        row.of += 1;
        match same_host(told, &host) {
            true => row.agree += 1,
            false => row.differ.push(format!("line {number}: {told:?}, not {host:?}")),
        }
    }
    rows.push(row);
    Ok(rows)
}

/// An IPv4 address may be written inside an IPv6 one, or with zeros before its numbers.
fn same_host(told: &str, wanted: &str) -> bool {
    let plain = |host: &str| {
        let host = host.strip_prefix("::ffff:").unwrap_or(host).to_ascii_lowercase();
        let part = |part: &str| part.parse::<u8>().map_or(part.to_owned(), |n| n.to_string());
        host.split('.').map(part).collect::<Vec<_>>().join(".")
    };
    plain(told) == plain(wanted)
}

/// CrowdSec asserts a source address for each line that its parser takes.
fn crowdsec(folder: &Path) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for entry in folder.read_dir().into_iter().flatten() {
        let folder = entry?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log: PathBuf = folder.join(format!("{name}.log"));
        if !log.exists() {
            continue;
        }
        let (lines, sums) = read(&log)?;
        rows.extend(counted(&format!("crowdsec {name}"), &log, &lines, &sums)?);
        let Ok(asserted) = fs::read_to_string(folder.join("parser.assert")) else { continue };
        let is_truth = |line: &&str| {
            line.starts_with("results[\"s01-parse\"]") && line.contains("Meta[\"source_ip\"] == ")
        };
        let mut wanted: Vec<String> = (asserted.lines().filter(is_truth))
            .filter_map(|line| Some(line.rsplit_once(" == ")?.1.trim_matches('"').to_owned()))
            .collect();
        let told = lines.values().filter_map(|line| line["event"]["remote"].as_str());
        let mut told: Vec<String> =
            told.filter(|host| !host.is_empty()).map(str::to_owned).collect();
        wanted.sort();
        told.sort();
        let agree = wanted.iter().zip(&told).filter(|(a, b)| a == b).count();
        let of = wanted.len().max(told.len());
        rows.push(Row { name: format!("crowdsec {name}: addresses"), agree, of, differ: vec![] });
    }
    Ok(rows)
}
