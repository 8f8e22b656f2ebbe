//! The files that belong to the repository, in memory.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::source::Source;

/// Folders that a walk leaves out, where there is no git to say what belongs to the tree.
const LEFT_OUT: &[&str] = &[".git", "target", "dist", "node_modules", "reports"];

/// A text file.
#[derive(Debug)]
pub(super) struct File {
    /// Path from the root of the tree, with slashes.
    pub path: String,
    pub text: String,
    /// For Rust files, the text taken apart.
    pub rust: Option<Source>,
}

/// All text files.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: Vec<File>,
}

impl Tree {
    /// Reads what git tracks and what it would add, so that a new file is judged before its commit.
    /// Without git, as in an unpacked archive, everything but build output.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut paths = match listed(root) {
            Some(paths) => paths,
            None => walked(root, "")?,
        };
        paths.sort();
        paths.dedup();
        let mut tree = Self::default();
        for path in paths {
            let whole = root.join(&path);
            // Deleted but still in the index, a link, or not text: nothing to judge.
            if !whole.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
                continue;
            }
            let bytes = fs::read(&whole).with_context(|| format!("failed to read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                tree.add(path, text);
            }
        }
        ensure!(tree.file("Cargo.toml").is_some(), "no workspace at {}", root.display());
        Ok(tree)
    }

    /// Returns a tree of these paths and texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add((*path).to_owned(), (*text).to_owned());
        }
        tree
    }

    fn add(&mut self, path: String, text: String) {
        let rust = path.ends_with(".rs").then(|| Source::new(&text));
        self.files.push(File { path, text, rust });
    }

    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// Returns the Rust files with their text taken apart.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&File, &Source)> {
        self.files.iter().filter_map(|file| Some((file, file.rust.as_ref()?)))
    }

    pub(super) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }
}

fn listed(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .ok()?;
    let paths = String::from_utf8(output.stdout).ok()?;
    let paths: Vec<String> = paths.split_terminator('\0').map(str::to_owned).collect();
    (output.status.success() && !paths.is_empty()).then_some(paths)
}

fn walked(root: &Path, prefix: &str) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    let folder = root.join(prefix);
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to list {prefix:?}"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = format!("{prefix}{name}");
        if !entry.file_type()?.is_dir() {
            paths.push(path);
        } else if !LEFT_OUT.contains(&name.as_str()) {
            paths.extend(walked(root, &format!("{path}/"))?);
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_sees_what_git_tracks() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let walked = walked(&root, "").unwrap();
        for path in ["Cargo.toml", "xtask/src/main.rs", "wire/src/lib.rs"] {
            assert!(walked.iter().any(|seen| seen == path), "{path}");
        }
        assert!(!walked.iter().any(|path| path.starts_with("target/")));
    }

    #[test]
    fn a_folder_without_a_workspace_is_refused() {
        assert!(Tree::read(Path::new("/proc/self/fdinfo")).is_err());
    }
}
