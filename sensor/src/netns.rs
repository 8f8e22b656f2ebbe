//! Work inside another network namespace.
//!
//! Only a thread changes its namespace, and the thread ends with the work, so the sensor's own
//! connections stay where they are.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns};
use thiserror::Error;

/// Why a namespace could not be entered.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// The file that names it cannot be opened.
    #[error("could not open network namespace {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("could not enter network namespace {}", path.display())]
    Enter {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Returns the inode number by which the kernel knows the namespace.
pub fn inode(path: &Path) -> Result<u32, NetnsError> {
    let open = |source| NetnsError::Open { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(open)?;
    u32::try_from(metadata.ino()).map_err(|_| open(io::Error::other("not a namespace")))
}

/// Runs `work` inside the namespace, or right here when there is none.
pub fn inside<T: Send>(
    path: Option<&Path>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetnsError> {
    let Some(path) = path else {
        return Ok(work());
    };
    let namespace =
        File::open(path).map_err(|source| NetnsError::Open { path: path.to_owned(), source })?;
    let entered = thread::scope(|scope| {
        let worker = scope.spawn(|| setns(&namespace, CloneFlags::CLONE_NEWNET).map(|()| work()));
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    entered.map_err(|errno| NetnsError::Enter { path: path.to_owned(), source: errno.into() })
}
