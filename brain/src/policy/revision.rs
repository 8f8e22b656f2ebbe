//! Names the state of policy files, so that a finding says which version of a rule made it.

use std::fs;
use std::path::Path;

use super::source::Sourced;
use super::{Part, PolicyFile};

/// Characters of a commit or hash that are shown: enough to tell versions apart.
const SHOWN: usize = 12;

/// Bytes of a file of git's that are read; `packed-refs` of a large repository stays below.
const GIT_FILE_MAX: u64 = 4 * 1024 * 1024;

/// Returns the revision of one file. In a checkout it is commit and content, since an edit that is
/// not committed must not pass for the commit.
pub(super) fn of(file: &PolicyFile, commit: Option<&str>) -> String {
    named(blake3::hash(file.text.as_bytes()), commit)
}

/// Returns the revision of all files together.
pub(super) fn of_all(files: &[Sourced]) -> String {
    // Folders can be of several checkouts; the hash below covers them all.
    let commit = files.iter().find_map(|sourced| sourced.commit.as_deref());
    named(hash(files, |_| true), commit)
}

/// Returns what names the content of some files, whatever their commit.
pub(super) fn of_content(files: &[Sourced], is_meant: impl Fn(Part) -> bool) -> String {
    named(hash(files, is_meant), None)
}

fn hash(files: &[Sourced], is_meant: impl Fn(Part) -> bool) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for file in files.iter().map(|sourced| &sourced.file).filter(|file| is_meant(file.part())) {
        hasher.update(&(file.name.len() as u64).to_le_bytes());
        hasher.update(file.name.as_bytes());
        hasher.update(blake3::hash(file.text.as_bytes()).as_bytes());
    }
    hasher.finalize()
}

fn named(hash: blake3::Hash, commit: Option<&str>) -> String {
    let hash = &hash.to_hex()[..SHOWN];
    match commit {
        Some(commit) => format!("{}+{hash}", &commit[..SHOWN.min(commit.len())]),
        None => hash.to_owned(),
    }
}

/// Returns the commit that is checked out at `folder` or above it, read from git's own files.
pub(super) fn git_commit(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().ok()?;
    let git = folder.ancestors().map(|above| above.join(".git")).find(|git| git.is_dir())?;
    let head = read(&git.join("HEAD"))?;
    let Some(reference) = head.trim().strip_prefix("ref: ") else { return commit(&head) };
    // A reference is a path below .git; one that climbs out is not git's.
    if !reference.starts_with("refs/") || reference.contains("..") {
        return None;
    }
    if let Some(text) = read(&git.join(reference)) {
        return commit(&text);
    }
    let packed = read(&git.join("packed-refs"))?;
    let line =
        packed.lines().find(|line| line.split_once(' ').is_some_and(|(_, r)| r == reference));
    commit(line?.split_once(' ')?.0)
}

fn read(path: &Path) -> Option<String> {
    if fs::metadata(path).ok()?.len() > GIT_FILE_MAX {
        return None;
    }
    fs::read_to_string(path).ok()
}

fn commit(text: &str) -> Option<String> {
    let text = text.trim();
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (text.len() >= 40 && hex).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_read_from_head_loose_and_packed_references() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        let policies = folder.path().join("policies");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        fs::create_dir(&policies).unwrap();
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(git.join("packed-refs"), format!("# pack\n{b} refs/heads/main\n")).unwrap();
        assert_eq!(git_commit(&policies), Some(b));
        fs::write(git.join("refs/heads/main"), format!("{a}\n")).unwrap();
        assert_eq!(git_commit(&policies), Some(a));
        fs::write(git.join("HEAD"), "ref: refs/../../secret\n").unwrap();
        assert_eq!(git_commit(&policies), None);
    }

    #[test]
    fn an_edit_changes_the_revision() {
        let file = |text: &str| PolicyFile { name: "sigma/a.yml".into(), text: text.into() };
        assert_ne!(of(&file("a"), None), of(&file("b"), None));
        assert_ne!(of(&file("a"), Some("c0ffee")), of(&file("b"), Some("c0ffee")));
        assert!(of(&file("a"), Some("c0ffee")).starts_with("c0ffee+"));
    }
}
