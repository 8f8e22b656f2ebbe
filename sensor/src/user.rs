//! User ids → names, from the host's `/etc/passwd`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::SystemTime;

/// Names remembered; a longer file is read up to here.
const USERS_MAX: usize = 16_384;
/// Bytes of the file that are read.
const FILE_MAX: u64 = 4 * 1024 * 1024;
/// Time between two looks at whether the file has changed.
const LOOK_INTERVAL_NS: u64 = 30_000_000_000;

/// The host's users.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    names: HashMap<u32, Rc<[u8]>>,
    modified: Option<SystemTime>,
    looked_ns: Option<u64>,
}

impl Users {
    /// Returns the users of a passwd file, which is read when a name is first asked for.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), names: HashMap::new(), modified: None, looked_ns: None }
    }

    /// Returns the name of a user, empty when there is none.
    pub fn name(&mut self, uid: u32, now_ns: u64) -> Rc<[u8]> {
        if self.looked_ns.is_none_or(|last| now_ns.saturating_sub(last) >= LOOK_INTERVAL_NS) {
            self.looked_ns = Some(now_ns);
            self.look();
        }
        self.names.get(&uid).cloned().unwrap_or_default()
    }

    /// Reads the file when it has changed. One that cannot be read leaves the names as they were.
    fn look(&mut self) {
        let Ok(metadata) = self.path.metadata() else { return };
        let modified = metadata.modified().ok();
        if metadata.len() > FILE_MAX || (modified.is_some() && modified == self.modified) {
            return;
        }
        let Ok(text) = std::fs::read(&self.path) else { return };
        self.modified = modified;
        self.names = parse(&text);
    }
}

/// Reads the text of a passwd file.
pub fn parse(text: &[u8]) -> HashMap<u32, Rc<[u8]>> {
    let mut names = HashMap::new();
    for line in text.split(|&b| b == b'\n') {
        let mut fields = line.split(|&b| b == b':');
        let (Some(name), Some(uid)) = (fields.next(), fields.nth(1)) else { continue };
        let Some(uid) = str::from_utf8(uid).ok().and_then(|t| t.parse().ok()) else { continue };
        if names.len() < USERS_MAX {
            // Of several names for one id the first counts, as getpwuid has it.
            names.entry(uid).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwd");
        std::fs::write(&path, "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/:\nbroken\n").unwrap();
        let mut users = Users::new(&path);
        assert_eq!(&users.name(0, 0)[..], b"root");
        assert_eq!(&users.name(7, 0)[..], b"");
        std::fs::write(&path, "lp:x:7:7::/:\n").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(&users.name(7, LOOK_INTERVAL_NS - 1)[..], b"");
        assert_eq!(&users.name(7, LOOK_INTERVAL_NS)[..], b"lp");
    }
}
