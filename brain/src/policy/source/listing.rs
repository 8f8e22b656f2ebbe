//! What lies in a policy folder, found without reading any of it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Part, PolicyError, Problem};

/// Files of all folders together: fifty thousand rules with their samples, and some more.
pub(super) const FILES_MAX: usize = 120_000;

/// Names that are looked at, policies or not, so that a folder of something else ends as well.
const ENTRIES_MAX: usize = 400_000;

/// Levels of folders. Public collections have five.
pub(super) const DEPTH_MAX: usize = 12;

/// Sums up names, sizes, times and commits; equal as long as nobody has changed anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Print([u8; 32]);

/// A file that may be a policy.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) commit: Option<Arc<str>>,
}

/// Everything below some folders.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) files: Vec<Found>,
    pub(super) errors: Vec<PolicyError>,
    pub(super) print: Print,
    entries: usize,
    is_full: bool,
}

struct Walk<'a> {
    listing: &'a mut Listing,
    hasher: blake3::Hasher,
    root: PathBuf,
    commit: Option<Arc<str>>,
}

impl Listing {
    /// Adds what lies below `root`; fails when `root` itself cannot be read.
    pub(super) fn add(
        &mut self,
        root: &Path,
        prefix: &str,
        commit: Option<Arc<str>>,
    ) -> io::Result<()> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.print.0);
        hasher.update(prefix.as_bytes());
        hasher.update(commit.as_deref().unwrap_or_default().as_bytes());
        let mut walk = Walk { listing: self, hasher, root: root.canonicalize()?, commit };
        walk.folder(root, prefix, DEPTH_MAX)?;
        let print = Print(*walk.hasher.finalize().as_bytes());
        self.print = print;
        Ok(())
    }
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str, depth: usize) -> io::Result<()> {
        let mut leaves = Vec::new();
        for entry in fs::read_dir(folder)? {
            self.listing.entries += 1;
            if self.listing.entries > ENTRIES_MAX {
                self.fill(prefix, &format!("more than {ENTRIES_MAX} names"));
                break;
            }
            let entry = entry?;
            // A name that is not text cannot be named in an error either.
            if let Ok(leaf) = entry.file_name().into_string()
                && !leaf.starts_with('.')
            {
                leaves.push((leaf, entry.file_type()?));
            }
        }
        leaves.sort_by(|a, b| a.0.cmp(&b.0));
        for (leaf, kind) in leaves {
            if self.listing.is_full {
                break;
            }
            let (name, path) = (format!("{prefix}{leaf}"), folder.join(&leaf));
            if kind.is_dir() && depth == 0 {
                self.refuse(&name, format!("more than {DEPTH_MAX} levels of folders; move it up"));
            } else if kind.is_dir() {
                if let Err(error) = self.folder(&path, &format!("{name}/"), depth - 1) {
                    self.refuse(&name, format!("the folder cannot be read: {error}"));
                }
            } else if Part::of(&name) != Part::Other {
                self.file(name, path, kind.is_symlink());
            }
        }
        Ok(())
    }

    fn file(&mut self, name: String, path: PathBuf, is_link: bool) {
        if self.listing.files.len() == FILES_MAX {
            return self.fill(&name, &format!("more than {FILES_MAX} files"));
        }
        // A link to elsewhere could make any file of the machine a policy, and show it in an error.
        if is_link && !path.canonicalize().is_ok_and(|target| target.starts_with(&self.root)) {
            return self.refuse(
                &name,
                "a link that leads out of the folder, or nowhere; \
                put the file here"
                    .to_owned(),
            );
        }
        let meta = match fs::metadata(&path) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return self.refuse(&name, "is no plain file".to_owned()),
            // It went away between the two looks; that is no error.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => return self.refuse(&name, format!("cannot be read: {error}")),
        };
        self.hasher.update(name.as_bytes());
        let (modified, changed) =
            ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        for number in [modified.0, modified.1, changed.0, changed.1] {
            self.hasher.update(&number.to_le_bytes());
        }
        self.hasher.update(&meta.ino().to_le_bytes());
        self.hasher.update(&meta.len().to_le_bytes());
        let commit = self.commit.clone();
        self.listing.files.push(Found { name, path, bytes: meta.len(), commit });
    }

    fn fill(&mut self, name: &str, what: &str) {
        self.listing.is_full = true;
        self.refuse(name, format!("{what}; the rest is left out"));
    }

    fn refuse(&mut self, name: &str, message: String) {
        self.hasher.update(name.as_bytes());
        self.listing.errors.push(Problem { line: None, message }.in_file(name));
    }
}
