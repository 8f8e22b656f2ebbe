//! Disks that are full for a while: small file systems in memory, in a mount namespace of our own,
//! and a file that takes all their room.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// The file that fills a disk.
const BALLAST: &str = "ballast";
/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;

/// Makes mounts of this process and its children their own. To be called before there are threads.
pub fn own_mounts() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("failed to get a mount namespace: this needs root")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("failed to make mounts private")
}

/// A small disk, unmounted when dropped.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts a disk of so many bytes.
    pub fn new(path: &Path, bytes: u64) -> Result<Self> {
        fs::create_dir_all(path)?;
        let options = format!("size={bytes},mode=0700");
        mount(Some("none"), path, Some("tmpfs"), MsFlags::empty(), Some(&*options))
            .with_context(|| format!("failed to mount {}", path.display()))?;
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes all room.
    pub fn fill(&self) -> Result<()> {
        let mut file = File::options().append(true).create(true).open(self.path.join(BALLAST))?;
        // The last write is cut short, or refused: then it is full.
        while file.write_all(&[0; PIECE]).is_ok() {}
        Ok(())
    }

    /// Returns whether its room is taken.
    pub fn is_full(&self) -> bool {
        self.path.join(BALLAST).exists()
    }

    /// Gives it back.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.path.join(BALLAST)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).context("failed to remove what filled the disk")
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Who still uses it keeps it; it goes with the namespace.
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}
