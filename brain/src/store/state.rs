//! The sled database: opened, checked, set aside when corrupt, and synced for real.

use std::fs::{self, File};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

use super::StoreError;
use super::file::{self, failed};

/// Meaning of everything in the database. An older one is built anew from the journal.
const SCHEMA: u32 = 1;

const SCHEMA_KEY: &[u8] = b"schema";

/// Memory that sled may use for pages; the brain holds what it works on itself.
const CACHE_BYTES: u64 = 64 << 20;

/// Room that must be left on the disk for a write to begin. Once a write of sled has failed, the
/// open database never writes again; this is more than one checkpoint of ours has ever grown it by.
const ROOM_BYTES: u64 = 16 << 20;

/// An open database.
#[derive(Debug)]
pub struct State {
    db: sled::Db,
    path: PathBuf,
    /// Whether an earlier database was set aside.
    pub rebuilt: bool,
}

/// Returns a function that names what was tried.
pub fn failing(act: &'static str) -> impl FnOnce(sled::Error) -> StoreError {
    move |source| StoreError::State { act, source }
}

impl State {
    /// Opens the database, or sets it aside and begins a new one when it is corrupt or outdated.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        file::private_dir(path)?;
        // sled opens some damaged files as empty ones. That something had been there is noted
        // outside.
        let begun = path.with_extension("begun");
        match try_open(path, begun.exists()) {
            Ok(db) => {
                let state = Self { db, path: path.to_owned(), rebuilt: false };
                state.sync()?;
                file::replace(&begun, b"")?;
                return Ok(state);
            }
            Err(Unusable::Error(error)) => return Err(error),
            Err(Unusable::Corrupt(why)) => {
                let aside = set_aside(path)?;
                tracing::error!(why, aside = %aside.display(),
                    "the state store was set aside; findings are built again from the journal");
            }
        }
        file::private_dir(path)?;
        match try_open(path, false) {
            Ok(db) => Ok(Self { db, path: path.to_owned(), rebuilt: true }),
            Err(Unusable::Error(error)) => Err(error),
            Err(Unusable::Corrupt(why)) => {
                Err(StoreError::State { act: "begin", source: sled::Error::ReportableBug(why) })
            }
        }
    }

    /// Opens one table.
    pub fn tree(&self, name: &str) -> Result<sled::Tree, StoreError> {
        self.db.open_tree(name).map_err(failing("open a table of"))
    }

    /// Returns an error when the disk has too little room for a write to begin.
    pub fn has_room(&self) -> Result<(), StoreError> {
        // Where this cannot be told, the write itself tells.
        let Ok(disk) = nix::sys::statvfs::statvfs(&self.path) else { return Ok(()) };
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free < ROOM_BYTES {
            return Err(StoreError::Full { path: self.path.clone(), free });
        }
        Ok(())
    }

    /// Makes everything written so far durable.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(failing("write"))?;
        // sled only asks for the write-back to begin. A sync acts on the file, whichever descriptor
        // it is asked through.
        let path = self.path.join("db");
        File::open(&path).and_then(|file| file.sync_all()).map_err(failed("sync", &path))?;
        Ok(())
    }
}

enum Unusable {
    Corrupt(String),
    Error(StoreError),
}

fn try_open(path: &Path, has_begun: bool) -> Result<sled::Db, Unusable> {
    let config = sled::Config::new().path(path).cache_capacity(CACHE_BYTES);
    // sled panics on some damaged files instead of reporting them.
    let opened = panic::catch_unwind(AssertUnwindSafe(|| config.open()))
        .map_err(|_| Unusable::Corrupt("opening it panicked".to_owned()))?;
    let db = opened.map_err(|error| match error {
        sled::Error::Io(io) if is_lock(&io) => Unusable::Error(StoreError::InUse(path.to_owned())),
        sled::Error::Corruption { .. }
        | sled::Error::ReportableBug(_)
        | sled::Error::Unsupported(_) => Unusable::Corrupt(error.to_string()),
        other => Unusable::Error(failing("open")(other)),
    })?;
    let stored = db.get(SCHEMA_KEY).map_err(|error| Unusable::Corrupt(error.to_string()))?;
    let Some(stored) = stored else {
        if has_begun {
            return Err(Unusable::Corrupt("it has lost its content".to_owned()));
        }
        db.insert(SCHEMA_KEY, &SCHEMA.to_le_bytes())
            .map_err(|e| Unusable::Error(failing("begin")(e)))?;
        return Ok(db);
    };
    match stored.as_ref().try_into().map(u32::from_le_bytes) {
        Ok(SCHEMA) => Ok(db),
        Ok(found) if found > SCHEMA => {
            let path = path.to_owned();
            Err(Unusable::Error(StoreError::Newer { path, found, known: SCHEMA }))
        }
        Ok(found) => Err(Unusable::Corrupt(format!("its schema {found} is outdated"))),
        Err(_) => Err(Unusable::Corrupt("its schema number is damaged".to_owned())),
    }
}

fn is_lock(error: &std::io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    for number in 1.. {
        let aside = path.with_extension(format!("corrupt-{number}"));
        if !aside.exists() {
            fs::rename(path, &aside).map_err(failed("set aside", path))?;
            return Ok(aside);
        }
    }
    unreachable!("the range has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrupt_database_is_set_aside_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = State::open(&path).unwrap();
        state.tree("t").unwrap().insert("k", "v").unwrap();
        state.sync().unwrap();
        drop(state);
        let db = path.join("db");
        let mut bytes = fs::read(&db).unwrap();
        for byte in bytes.iter_mut().take(4096) {
            *byte = !*byte;
        }
        fs::write(&db, bytes).unwrap();
        fs::write(path.join("conf"), b"garbage").unwrap();
        let state = State::open(&path).unwrap();
        assert!(state.rebuilt);
        assert!(state.tree("t").unwrap().get("k").unwrap().is_none());
        assert!(dir.path().join("state.corrupt-1").join("db").exists());
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.db.insert(SCHEMA_KEY, &(SCHEMA + 1).to_le_bytes()).unwrap();
        state.sync().unwrap();
        drop(state);
        assert!(matches!(State::open(dir.path()), Err(StoreError::Newer { found: 2, .. })));
    }
}
