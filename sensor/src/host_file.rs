//! Files of the host that the sensor reads: logs, package databases, accounts. All are opened here,
//! from a list of paths that is fixed at the start, so that whoever has the right to read them can
//! do it for the one that has not.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::privileged;

/// Names in a log's folder that are looked at for the rotated file.
const SIBLINGS_MAX: usize = 4_096;

/// Names a file for good, as long as it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device of its file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// What tells a file apart from what it was before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStamp {
    /// Which file.
    pub id: FileId,
    /// Bytes.
    pub size: u64,
    /// When it was last written, nanoseconds since the Unix epoch.
    pub modified_ns: i128,
}

impl From<&Metadata> for FileStamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            id: FileId { dev: metadata.dev(), ino: metadata.ino() },
            size: metadata.len(),
            modified_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// The files that may be opened.
#[derive(Clone, Debug, Default)]
pub struct HostFiles {
    paths: Vec<PathBuf>,
    /// Whether the loader's list begins in the same way, so that it can open what is refused here.
    known_to_loader: bool,
}

impl HostFiles {
    /// Fixes the list.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, known_to_loader: false }
    }

    /// Fixes a list that begins with the logs that the loader knows too, in the same order.
    pub fn of_logs(paths: Vec<PathBuf>) -> Self {
        Self { paths, known_to_loader: true }
    }

    /// Opens a file of the list. Anything but a regular file is refused: reading a pipe or a
    /// device could wait for ever.
    pub fn open(&self, path: &Path) -> io::Result<File> {
        let Some(place) = self.place(path) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        open_regular(path).or_else(|error| self.by_loader(place, 0, error))
    }

    /// Opens a file by its place in the list, or the one that it was rotated to by the low bits of
    /// its inode number: for whoever may not be told a path.
    pub fn open_place(&self, place: u32, rotated: u32) -> io::Result<File> {
        let path = self.paths.get(place as usize).ok_or(io::ErrorKind::InvalidInput)?;
        if rotated == 0 {
            return open_regular(path);
        }
        let sibling =
            sibling(path, |id| id.ino as u32 == rotated).ok_or(io::ErrorKind::NotFound)?;
        open_regular(&sibling)
    }

    fn by_loader(&self, place: u32, rotated: u32, refusal: io::Error) -> io::Result<File> {
        match self.known_to_loader {
            true => regular(privileged::open_log(place, rotated, refusal)?),
            false => Err(refusal),
        }
    }

    fn place(&self, path: &Path) -> Option<u32> {
        self.paths.iter().position(|known| known == path).map(|place| place as u32)
    }

    /// Reads a file of the list, which may be at most `max` bytes long.
    pub fn read(&self, path: &Path, max: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path)?;
        if file.metadata()?.len() > max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut content = Vec::new();
        file.take(max).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Returns what a path leads to now. This needs no right but to search the folder.
    pub fn stamp(&self, path: &Path) -> io::Result<FileStamp> {
        path.metadata().map(|metadata| FileStamp::from(&metadata))
    }

    /// Opens the file that a path led to before it was rotated away: one beside it whose name
    /// begins with the same letters.
    pub fn open_rotated(&self, path: &Path, id: FileId) -> Option<File> {
        let place = self.place(path)?;
        let sibling = sibling(path, |found| found == id)?;
        let rotated = |error| self.by_loader(place, id.ino as u32, error);
        let file = open_regular(&sibling).or_else(rotated).ok()?;
        (FileStamp::from(&file.metadata().ok()?).id == id).then_some(file)
    }
}

/// Returns the file beside a path whose name begins with the same letters, and that is wanted.
fn sibling(path: &Path, is_wanted: impl Fn(FileId) -> bool) -> Option<PathBuf> {
    let (folder, name) = (path.parent()?, path.file_name()?);
    for entry in folder.read_dir().ok()?.flatten().take(SIBLINGS_MAX) {
        let sibling = entry.file_name();
        let begins =
            sibling.as_encoded_bytes().starts_with(name.as_encoded_bytes()) && sibling != name;
        let is_it = |metadata: Metadata| is_wanted(FileStamp::from(&metadata).id);
        if begins && entry.metadata().is_ok_and(is_it) {
            return Some(entry.path());
        }
    }
    None
}

fn open_regular(path: &Path) -> io::Result<File> {
    regular(OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?)
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (log, other) = (dir.path().join("auth.log"), dir.path().join("other"));
        std::fs::write(&log, b"text").unwrap();
        std::fs::write(&other, b"text").unwrap();
        let files = HostFiles::new(vec![log.clone(), dir.path().to_owned()]);
        assert_eq!(files.read(&log, 10).unwrap(), b"text");
        assert!(files.read(&log, 3).is_err());
        assert!(files.open(&other).is_err() && files.open(dir.path()).is_err());
    }

    #[test]
    fn a_rotated_file_is_found_by_its_inode() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("auth.log");
        let files = HostFiles::new(vec![log.clone()]);
        std::fs::write(&log, b"old").unwrap();
        let id = files.stamp(&log).unwrap().id;
        assert!(files.open_rotated(&log, id).is_none());
        std::fs::rename(&log, dir.path().join("auth.log-20240305")).unwrap();
        std::fs::write(&log, b"new").unwrap();
        let mut text = String::new();
        files.open_rotated(&log, id).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "old");
    }
}
