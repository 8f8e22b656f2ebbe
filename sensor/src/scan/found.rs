//! What a scan found, as records.

use std::sync::Arc;

use scanner_abi::message::{Match, Scanned};
use wire::record::Scan;

use super::Candidate;
use crate::hash::{FileId, HASH_LEN};
use crate::observation::Text;

/// A file that was scanned.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which content of which file.
    pub file: FileId,
    /// Revision of the rules.
    pub revision: Arc<str>,
    /// What the scanner said.
    pub scanned: Scanned,
}

impl Found {
    /// Returns a record for each rule that matches.
    pub fn records(&self, candidate: &Candidate) -> Vec<Scan<Text>> {
        let sha256 = unhex(&self.scanned.sha256).map(|hash| Text::from(&hash[..]));
        let record = |found: &Match| Scan {
            time_ns: candidate.time_ns,
            process: wire::record::ProcessRef::default(),
            trigger: candidate.trigger,
            inode: self.file.inode,
            dev: self.file.dev,
            size: self.scanned.size,
            more: u32::try_from(self.scanned.more).unwrap_or(u32::MAX),
            path: Text::from(&*candidate.path),
            sha256: sha256.clone().unwrap_or_default(),
            rule: text(&found.rule),
            source: text(&found.file),
            revision: text(&self.revision),
            tags: ended(found.tags.iter().cloned()),
            meta: ended(found.meta.iter().map(|(name, value)| format!("{name}={value}"))),
        };
        self.scanned.matches.iter().map(record).collect()
    }
}

fn text(text: &str) -> Text {
    Text::from(text.as_bytes())
}

/// Joins texts, each ended by NUL; a NUL inside is left out.
fn ended(texts: impl Iterator<Item = String>) -> Text {
    let all: String = texts.map(|text| text.replace('\0', "") + "\0").collect();
    self::text(&all)
}

fn unhex(digits: &str) -> Option<[u8; HASH_LEN]> {
    let mut hash = [0; HASH_LEN];
    let pairs = digits.as_bytes().as_chunks::<2>().0;
    if digits.len() != 2 * HASH_LEN {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(pairs) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Key;

    #[test]
    fn each_rule_that_matches_is_a_record() {
        let candidate = Candidate {
            key: Key::new(7, 8),
            path: b"/tmp/x".as_slice().into(),
            time_ns: 9,
            trigger: 1,
        };
        let meta = vec![("class".to_owned(), "mali\0cious".to_owned())];
        let found = Match { rule: "r".into(), file: "f.yar".into(), tags: Vec::new(), meta };
        let sha256 = "0a".repeat(HASH_LEN);
        let scanned = Scanned { size: 3, sha256, matches: vec![found; 2], more: 4 };
        let found = Found { file: FileId::default(), revision: "v1".into(), scanned };
        let records = found.records(&candidate);
        assert_eq!(records.len(), 2);
        assert_eq!((&records[0].rule[..], &records[0].path[..]), (&b"r"[..], &b"/tmp/x"[..]));
        assert_eq!(&records[1].meta[..], b"class=malicious\0");
        assert_eq!((&records[1].sha256[..], records[1].more), (&[10; HASH_LEN][..], 4));
        assert_eq!(unhex("zz"), None);
    }
}
