//! The audit log: one line per change that a person or script made. Each line holds the hash of the
//! one before it, so that a line that is taken out or changed later shows.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::file::{FileError, failed};
use crate::clock;
use crate::text;

/// A line.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    time: String,
    user: String,
    action: String,
    target: String,
    detail: String,
    previous: String,
}

/// The open log.
#[derive(Debug)]
pub struct Audit {
    path: PathBuf,
    tail: Mutex<Tail>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    hash: String,
    bytes: u64,
}

impl Audit {
    pub(super) fn open(path: PathBuf) -> Result<Self, FileError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&path).map_err(failed("open", &path))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed("read", &path))?;
        // A line that a crash cut short was never confirmed to anyone.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(failed("shorten", &path))?;
        }
        if let Some(number) = broken_link(&text[..whole]) {
            let path = path.display();
            tracing::error!(%path, line = number, "the audit log was changed at this line");
        }
        let hash = text[..whole].lines().last().map(hash).unwrap_or_default();
        Ok(Self { path, tail: Mutex::new(Tail { file, hash, bytes: whole as u64 }) })
    }

    /// Writes a line; it is on disk when this returns. A failure is logged, and returned.
    pub fn record(
        &self,
        user: &str,
        action: &str,
        target: &str,
        detail: &str,
    ) -> Result<(), FileError> {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let line = Line {
            time: text::rfc3339(clock::now_ns()),
            user: user.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            detail: detail.to_owned(),
            previous: tail.hash.clone(),
        };
        let mut json = serde_json::to_string(&line)
            .map_err(|source| FileError::Content { path: self.path.clone(), source })?;
        let next = hash(&json);
        json.push('\n');
        let written = tail.file.write_all(json.as_bytes()).and_then(|()| tail.file.sync_data());
        if let Err(error) = written {
            let _ = tail.file.set_len(tail.bytes);
            return Err(failed("write", &self.path)(error));
        }
        tail.hash = next;
        tail.bytes += json.len() as u64;
        Ok(())
    }
}

fn hash(line: &str) -> String {
    blake3::hash(line.as_bytes()).to_hex().to_string()
}

/// Returns the number of the first line that does not hold the hash of the one before it.
fn broken_link(text: &str) -> Option<usize> {
    let mut previous = String::new();
    for (number, line) in text.lines().enumerate() {
        let fits = serde_json::from_str::<Line>(line).is_ok_and(|line| line.previous == previous);
        if !fits {
            return Some(number + 1);
        }
        previous = hash(line);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_line_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(path.clone()).unwrap();
        audit.record("admin", "token.create", "t1", "").unwrap();
        audit.record("admin", "token.revoke", "t1", "").unwrap();
        drop(audit);
        Audit::open(path.clone()).unwrap().record("admin", "host.revoke", "h", "").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!((text.lines().count(), broken_link(&text)), (3, None));
        assert_eq!(broken_link(&text.replacen("t1", "t2", 1)), Some(2));
        let without: Vec<&str> =
            text.lines().enumerate().filter(|(n, _)| *n != 1).map(|(_, l)| l).collect();
        assert_eq!(broken_link(&without.join("\n")), Some(2));
    }
}
