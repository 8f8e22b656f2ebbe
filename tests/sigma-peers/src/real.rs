//! Events from material that others wrote: lines of logs, commands of attacks, names.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rsigma_parser::LogSource;
use serde_json::{Value, json};

/// Reads all of it; a folder that is not there has no events.
pub fn events(material: &Path) -> Result<Vec<(LogSource, Value)>> {
    let mut events = Vec::new();
    for path in files(&material.join("authlog"))? {
        lines(&path, &mut events)?;
    }
    for path in files(&material.join("atomic-linux"))? {
        if path.extension().is_some_and(|end| end == "jsonl") {
            commands(&path, &mut events)?;
        }
    }
    for path in files(&material.join("domains"))? {
        if path.extension().is_some_and(|end| end == "csv") {
            names(&path, &mut events)?;
        }
    }
    Ok(events)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("failed to read {}", folder.display()))? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn log(category: &str, service: &str) -> LogSource {
    let part = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    LogSource {
        product: part("linux"),
        category: part(category),
        service: part(service),
        ..LogSource::default()
    }
}

/// Lines of a service's log, told by each service whose rules are about lines.
fn lines(path: &Path, events: &mut Vec<(LogSource, Value)>) -> Result<()> {
    for line in read(path)?.lines() {
        for service in ["sshd", "vsftpd", "syslog", "auth", "cron"] {
            events.push((log("", service), json!({"message": line})));
        }
    }
    Ok(())
}

/// What attacks run and write: each command as it was started, and each line of their scripts.
fn commands(path: &Path, events: &mut Vec<(LogSource, Value)>) -> Result<()> {
    for line in read(path)?.lines() {
        let test: Value = serde_json::from_str(line).context("a test is no JSON")?;
        let texts = |at: &str| -> Vec<String> {
            let items = test.pointer(at).and_then(Value::as_array);
            let texts = items.into_iter().flatten().filter_map(Value::as_str);
            texts.map(str::to_owned).collect()
        };
        let scripts = [&test["command"], &test["cleanup"]].into_iter().filter_map(Value::as_str);
        let lines = scripts.flat_map(str::lines).map(str::to_owned);
        for command in lines.chain(texts("/observed/exec")) {
            let program = command.split_whitespace().next().unwrap_or_default();
            let name = program.rsplit('/').next().unwrap_or_default();
            let event = json!({
                "Image": format!("/usr/bin/{name}"), "CommandLine": command,
                "ParentImage": "/bin/sh", "User": test["user"],
            });
            events.push((log("process_creation", ""), event));
            let words = command.split_whitespace().enumerate();
            let words = words.map(|(at, word)| (format!("a{at}"), word.into()));
            let told: serde_json::Map<String, Value> =
                words.chain([("type".to_owned(), "EXECVE".into())]).collect();
            events.push((log("", "auditd"), Value::Object(told)));
        }
        for path in texts("/observed/writes").into_iter().chain(texts("/observed/sensitive_reads"))
        {
            events.push((log("file_event", ""), json!({"TargetFilename": path})));
            events.push((log("", "auditd"), json!({"type": "PATH", "name": path})));
        }
    }
    Ok(())
}

/// Names that are asked for.
fn names(path: &Path, events: &mut Vec<(LogSource, Value)>) -> Result<()> {
    for line in read(path)?.lines().skip(1) {
        let name = line.split(',').next().unwrap_or_default();
        events.push((log("dns", ""), json!({"query": name, "record_type": "A"})));
        let zeek = LogSource { product: Some("zeek".to_owned()), ..log("", "dns") };
        events.push((zeek, json!({"query": name, "qtype_name": "A"})));
    }
    Ok(())
}
