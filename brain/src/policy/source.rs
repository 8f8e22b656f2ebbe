//! Files of policy folders, read within bounds, and all of one state of the folder.

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wire::limits::RULES_MAX;

use super::node::FILE_BYTES_MAX;
use super::{LoadError, Part, PolicyError, Problem, embedded, revision};
use crate::text;

mod listing;

pub(crate) use listing::Print;

use listing::{Found, Listing};

/// Bytes of one feed: half a million addresses.
const FEED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes of all files together: a hundred thousand rules of the usual size.
const TOTAL_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A folder that changes while it is read is read again, so often.
const READS_MAX: usize = 5;

/// Waits so long before it reads again, so that whoever writes can end.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Where the files of extra folders stand among the others.
pub(crate) const EXTRA: &str = "rules/";

/// A policy file in memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyFile {
    /// Path relative to the policy folder, with slashes.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl PolicyFile {
    /// Returns what the file is, by where it lies.
    pub(crate) fn part(&self) -> Part {
        Part::of(&self.name)
    }
}

impl Part {
    fn of(name: &str) -> Self {
        let yaml = name.ends_with(".yml") || name.ends_with(".yaml");
        let samples = name.ends_with(".samples.yml");
        match name.split('/').next() {
            Some("detectors" | "sigma" | "rules" | "suppress" | "overrides") if samples => {
                Self::Samples
            }
            Some("detectors") if yaml => Self::Detector,
            Some("sigma" | "rules") if yaml => Self::Sigma,
            Some("suppress") if yaml => Self::Suppression,
            Some("overrides") if yaml => Self::Override,
            Some("yara") if name.ends_with(".yar") => Self::Yara,
            Some("sensors") if name.ends_with(".toml") => Self::Sensor,
            Some("intel") if name.ends_with(".txt") => Self::Intel,
            _ => Self::Other,
        }
    }
}

/// A file with the git commit of the folder that it lies in.
#[derive(Clone, Debug)]
pub(crate) struct Sourced {
    pub(crate) file: PolicyFile,
    pub(crate) commit: Option<Arc<str>>,
}

/// Which folders hold the policies.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    main: Option<PathBuf>,
    extra: Vec<Extra>,
}

#[derive(Clone, Debug)]
struct Extra {
    path: PathBuf,
    /// What stands before the names of its files.
    prefix: String,
}

impl Folders {
    /// Takes `main`, or what this build carries, and folders of rules beside it. These are read
    /// as if each lay in `rules/`, under its own name.
    pub fn new(main: Option<PathBuf>, extra: &[PathBuf]) -> Self {
        let mut folders = Self { main, extra: Vec::new() };
        for path in extra {
            let own = path.canonicalize().unwrap_or_else(|_| path.clone());
            let own = own.file_name().and_then(|name| name.to_str()).map(text::visible_str);
            let own = own.unwrap_or_else(|| "extra".to_owned());
            let taken = |prefix: &String| folders.extra.iter().any(|e| e.prefix == *prefix);
            let mut prefix = format!("{EXTRA}{own}/");
            for number in 2.. {
                if !taken(&prefix) {
                    break;
                }
                prefix = format!("{EXTRA}{own}-{number}/");
            }
            folders.extra.push(Extra { path: path.clone(), prefix });
        }
        folders
    }

    /// Returns whether there is a folder at all, rather than what this build carries.
    pub fn is_watched(&self) -> bool {
        self.main.is_some() || !self.extra.is_empty()
    }

    /// Returns where a policy file of this name lies, for people who want to open it.
    pub fn path_of(&self, name: &str) -> Option<PathBuf> {
        for extra in &self.extra {
            if let Some(rest) = name.strip_prefix(&extra.prefix) {
                return Some(extra.path.join(rest));
            }
        }
        self.main.as_ref().map(|main| main.join(name))
    }

    /// Returns the folder's own name, for messages.
    pub(crate) fn shown(&self) -> String {
        self.main.as_ref().map_or_else(
            || "the policies that this build carries".to_owned(),
            |main| main.display().to_string(),
        )
    }

    fn roots(&self) -> impl Iterator<Item = (&Path, &str)> {
        let main = self.main.iter().map(|path| (path.as_path(), ""));
        main.chain(self.extra.iter().map(|extra| (extra.path.as_path(), extra.prefix.as_str())))
    }

    /// Returns what the folders look like now, without reading any file.
    pub(crate) fn print(&self) -> Result<Print, LoadError> {
        Ok(self.list()?.print)
    }

    fn list(&self) -> Result<Listing, LoadError> {
        let mut listing = Listing::default();
        for (root, prefix) in self.roots() {
            let commit = revision::git_commit(root).map(Arc::from);
            if let Err(error) = listing.add(root, prefix, commit) {
                let message = format!("the policy folder cannot be read: {error}");
                let folder = root.display().to_string();
                return Err(LoadError::Unreadable(
                    Problem { line: None, message }.in_file(&folder),
                ));
            }
        }
        Ok(listing)
    }
}

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) files: Vec<Sourced>,
    /// Files and folders that cannot be read.
    pub(crate) errors: Vec<PolicyError>,
    pub(crate) print: Print,
}

/// Reads all files of one state of the folders: what changes meanwhile is read again.
pub(crate) fn read(folders: &Folders) -> Result<Snapshot, LoadError> {
    for attempt in 1..=READS_MAX {
        let listing = folders.list()?;
        let before = listing.print;
        let snapshot = read_listed(folders, listing);
        if folders.print()? == before {
            return Ok(snapshot);
        }
        if attempt < READS_MAX {
            std::thread::sleep(READ_AGAIN_AFTER);
        }
    }
    Err(LoadError::Unsteady { folder: folders.shown(), reads: READS_MAX })
}

fn read_listed(folders: &Folders, listing: Listing) -> Snapshot {
    let Listing { files, errors, print, .. } = listing;
    let mut snapshot = Snapshot { files: Vec::new(), errors, print };
    if folders.main.is_none() {
        let carried = embedded::files().into_iter().map(|file| Sourced { file, commit: None });
        snapshot.files.extend(carried);
    }
    let mut left = TOTAL_BYTES_MAX;
    for found in files {
        match read_file(&found, left) {
            Ok(Some(file)) => {
                left -= file.text.len();
                snapshot.files.push(Sourced { file, commit: found.commit });
            }
            Ok(None) => {}
            Err(message) => {
                snapshot.errors.push(Problem { line: None, message }.in_file(&found.name));
            }
        }
    }
    snapshot
}

/// Reads a file; `None` when it is no policy, or has gone since the folder was listed.
fn read_file(found: &Found, left: usize) -> Result<Option<PolicyFile>, String> {
    let max = match Part::of(&found.name) {
        Part::Other => return Ok(None),
        Part::Intel => FEED_BYTES_MAX,
        Part::Yara => RULES_MAX,
        _ => FILE_BYTES_MAX,
    };
    let mut bytes = Vec::new();
    let mut options = fs::File::options();
    // What became a pipe since the folder was listed must not hold up the reader.
    let open = options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(&found.path);
    let read = open.and_then(|open| open.take(max as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot be read: {error}")),
        Ok(_) if bytes.len() > max => {
            let size = found.bytes.max(bytes.len() as u64);
            return Err(format!("has {size} bytes; a file has at most {max}, so split it"));
        }
        Ok(length) if length > left => {
            let max = TOTAL_BYTES_MAX;
            return Err(format!("all files together have more than {max} bytes; remove some"));
        }
        Ok(_) => {}
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("is not UTF-8 from line {line} on; save it as such")
    })?;
    if found.name.starts_with(EXTRA) && Part::of(&found.name) == Part::Sigma && !is_rule(&text) {
        return Ok(None);
    }
    Ok(Some(PolicyFile { name: found.name.clone(), text }))
}

/// Returns whether a YAML file is a rule by its looks. Folders of public rules hold other files,
/// such as tests and settings.
fn is_rule(text: &str) -> bool {
    const KEYS: [&str; 4] = ["detection:", "correlation:", "filter:", "logsource:"];
    text.lines().any(|line| KEYS.iter().any(|key| line.starts_with(key)))
}

#[cfg(test)]
mod tests;
