//! Small files that survive a power cut: written beside, synced, renamed, and the folder synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// Why a file of the data directory cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The operating system refuses.
    #[error("failed to {act} {path}: {source}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The content is not what this program writes.
    #[error(
        "{path} is damaged ({source}); restore it from a backup, or move it away to start anew"
    )]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// Returns a function that names act and path in an error.
pub fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Io { act, path, source }
}

/// Makes a folder that only this user can enter.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create", path))
}

/// Replaces a file at once: a reader, or a crash, sees the old content or the new, never a part.
/// Only this user can read it.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let beside = path.with_extension("new");
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_dir(path.parent().unwrap_or(Path::new(".")))
    };
    write().map_err(failed("write", path))
}

/// Makes names in a folder durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Reads a file, or nothing when there is none.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// A value in memory with its copy in a JSON file. A change is visible only once it is on disk.
#[derive(Debug)]
pub struct Document<T> {
    path: PathBuf,
    value: Mutex<T>,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Document<T> {
    /// Reads the file, or starts with the empty value.
    pub fn open(path: PathBuf) -> Result<Self, FileError> {
        let value = match read(&path)? {
            None => T::default(),
            Some(content) => serde_json::from_slice(&content)
                .map_err(|source| FileError::Content { path: path.clone(), source })?,
        };
        Ok(Self { path, value: Mutex::new(value) })
    }

    /// Looks at the value.
    pub fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Changes the value. When `change` refuses or the disk fails, nothing has changed. Waits for
    /// the disk.
    pub fn update<R, E: From<FileError>>(
        &self,
        change: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut value = self.lock();
        let mut next = value.clone();
        let result = change(&mut next)?;
        let json = serde_json::to_vec_pretty(&next)
            .map_err(|source| FileError::Content { path: self.path.clone(), source })?;
        replace(&self.path, &json)?;
        *value = next;
        Ok(result)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, T> {
        // The value is replaced whole, so a panic of another thread cannot leave it half changed.
        self.value.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_refused_change_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        let document = Document::<Vec<u32>>::open(path.clone()).unwrap();
        let push = |list: &mut Vec<u32>| {
            list.push(1);
            Ok::<_, FileError>(())
        };
        document.update(push).unwrap();
        let refused = document.update(|list| {
            list.push(2);
            Err::<(), _>(FileError::Io {
                act: "t",
                path: path.clone(),
                source: io::ErrorKind::Other.into(),
            })
        });
        assert!(refused.is_err());
        assert_eq!(Document::<Vec<u32>>::open(path.clone()).unwrap().read(Vec::clone), [1]);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn damage_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        fs::write(&path, b"[1, 2").unwrap();
        let error = Document::<Vec<u32>>::open(path).unwrap_err().to_string();
        assert!(error.contains("list.json is damaged"), "{error}");
    }
}
