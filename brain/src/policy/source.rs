//! Files of a policy folder, read within bounds.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::node::FILE_BYTES_MAX;
use super::{Part, PolicyError, Problem};

/// Files in a policy folder. Public rule collections have some thousands.
const FILES_MAX: usize = 10_000;

/// Levels of folders.
const DEPTH_MAX: usize = 8;

/// Bytes of one feed: half a million addresses.
const FEED_BYTES_MAX: usize = 16 * 1024 * 1024;

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
        let yaml = self.name.ends_with(".yml") || self.name.ends_with(".yaml");
        let samples = self.name.ends_with(".samples.yml");
        match self.name.split('/').next() {
            Some("detectors" | "sigma") if samples => Part::Samples,
            Some("detectors") if yaml => Part::Detector,
            Some("sigma") if yaml => Part::Sigma,
            Some("sensors") if self.name.ends_with(".toml") => Part::Sensor,
            Some("intel") if self.name.ends_with(".txt") => Part::Intel,
            _ => Part::Other,
        }
    }
}

type Read = (Vec<PolicyFile>, Vec<PolicyError>);

/// Reads all files below `folder`. Links are not followed: they could lead out of the folder.
pub(super) fn read(folder: &Path) -> Result<Read, Vec<PolicyError>> {
    let mut read = (Vec::new(), Vec::new());
    if let Err(error) = walk(folder, "", DEPTH_MAX, &mut read) {
        let message = format!("the policy folder cannot be read: {error}; check --policies");
        return Err(vec![Problem { line: None, message }.in_file(&folder.display().to_string())]);
    }
    Ok(read)
}

fn walk(folder: &Path, prefix: &str, depth: usize, read: &mut Read) -> std::io::Result<()> {
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let Ok(leaf) = entry.file_name().into_string() else { continue };
        if leaf.starts_with('.') {
            continue;
        }
        let name = format!("{prefix}{leaf}");
        let refuse = |message: String| Problem { line: None, message }.in_file(&name);
        let kind = entry.file_type()?;
        if kind.is_dir() && depth > 0 {
            if let Err(error) = walk(&entry.path(), &format!("{name}/"), depth - 1, read) {
                read.1.push(refuse(format!("the folder cannot be read: {error}")));
            }
        } else if kind.is_dir() {
            read.1.push(refuse(format!("more than {DEPTH_MAX} levels of folders; move it up")));
        } else if kind.is_symlink() {
            read.1.push(refuse("links are not followed; put the file here".to_owned()));
        } else if read.0.len() == FILES_MAX {
            read.1.push(refuse(format!("more than {FILES_MAX} files; the rest is left out")));
            return Ok(());
        } else {
            match read_file(&entry.path(), &name) {
                Ok(file) => read.0.push(file),
                Err(message) => read.1.push(refuse(message)),
            }
        }
    }
    Ok(())
}

fn read_file(path: &Path, name: &str) -> Result<PolicyFile, String> {
    let mut file = PolicyFile { name: name.to_owned(), text: String::new() };
    let max = match file.part() {
        Part::Other => return Ok(file),
        Part::Intel => FEED_BYTES_MAX,
        _ => FILE_BYTES_MAX,
    };
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|open| open.take(max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > max {
        return Err(format!("is larger than {max} bytes; split it"));
    }
    file.text = String::from_utf8(bytes).map_err(|_| "is not UTF-8; save it as such".to_owned())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_files_links_and_other_bytes_are_named_and_the_rest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("sigma/deep")).unwrap();
        fs::write(at("sigma/large.yml"), vec![b'a'; FILE_BYTES_MAX + 1]).unwrap();
        fs::write(at("sigma/latin.yml"), b"a: \xe9").unwrap();
        fs::write(at("sigma/deep/good.yml"), "a: 1").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("sigma/link.yml")).unwrap();
        let (files, errors) = read(folder.path()).unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!((files[0].name.as_str(), files[0].part()), ("sigma/deep/good.yml", Part::Sigma));
        let named: Vec<&str> = errors.iter().map(|e| e.file.as_str()).collect();
        assert_eq!(named, ["sigma/large.yml", "sigma/latin.yml", "sigma/link.yml"]);
        assert!(read(&at("missing")).is_err());
    }
}
