//! The state directory: made here, given to the worker's user.

use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use nix::sys::statfs::{FsType, statfs};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use crate::sandbox::account::Account;

/// Folders below the state directory: the spool is one.
const DEPTH_MAX: usize = 2;
/// Where the BPF file system usually is.
const BPF_FOLDER: &str = "/sys/fs/bpf";
/// How the kernel marks it.
const BPF_FS_MAGIC: libc::__fsword_t = 0xcafe_4a11;
/// Digits that tell sensors of one host apart.
const NAME_DIGITS: usize = 16;
/// Entries that are given away; a spool has some hundred.
const ENTRIES_MAX: usize = 100_000;

/// Makes the directory if it is not there, and opens it.
pub(super) fn make(path: &Path) -> Result<OwnedFd> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    let opened = made.and_then(|()| {
        let flags = libc::O_DIRECTORY | libc::O_CLOEXEC;
        std::fs::File::options().read(true).custom_flags(flags).open(path)
    });
    opened.map(OwnedFd::from).with_context(|| {
        let path = path.display();
        format!("cannot make the state directory {path}; set brain.state_dir to another")
    })
}

/// Returns this sensor's own folder for the names of maps and links, in a BPF file system that is
/// mounted if it is not. Several sensors of one host are told apart by their state directories.
pub(super) fn pin_folder(folder: &Path, state_dir: &Path) -> Result<PathBuf> {
    let usual = Path::new(BPF_FOLDER);
    let mount_point = if folder.starts_with(usual) { usual } else { folder };
    let wrong = || format!("cannot use {} for guard.pin", folder.display());
    DirBuilder::new().recursive(true).mode(0o700).create(mount_point).with_context(wrong)?;
    if statfs(mount_point).with_context(wrong)?.filesystem_type() != FsType(BPF_FS_MAGIC) {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let options = Some("mode=0700");
        mount(Some("bpf"), mount_point, Some("bpf"), flags, options).with_context(wrong)?;
    }
    let state_dir = state_dir.canonicalize().with_context(wrong)?;
    let name = blake3::hash(state_dir.as_os_str().as_bytes()).to_hex();
    let own = folder.join(&name[..NAME_DIGITS]);
    DirBuilder::new().recursive(true).mode(0o700).create(&own).with_context(wrong)?;
    Ok(own)
}

/// Gives the directory and what is in it to the worker's user. Links are not followed, and a file
/// with another name elsewhere stays whose it is.
pub(super) fn hand_over(directory: &OwnedFd, account: &Account) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let mut left = ENTRIES_MAX;
    give(directory, uid, gid, DEPTH_MAX, &mut left)?;
    Ok(())
}

fn give(directory: &OwnedFd, uid: Uid, gid: Gid, depth: usize, left: &mut usize) -> io::Result<()> {
    if fstat(directory)?.st_uid != uid.as_raw() {
        fchown(directory, Some(uid), Some(gid))?;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut listed = Dir::from_fd(openat(directory.as_fd(), ".", flags, Mode::empty())?)?;
    for entry in listed.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." || *left == 0 {
            continue;
        }
        *left -= 1;
        let about = fstatat(directory.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        match SFlag::from_bits_truncate(about.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFDIR if depth > 0 => {
                let inner = openat(directory.as_fd(), name, flags, Mode::empty())?;
                give(&inner, uid, gid, depth - 1, left)?;
            }
            SFlag::S_IFREG if about.st_nlink == 1 && about.st_uid != uid.as_raw() => {
                let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
                fchownat(directory.as_fd(), name, Some(uid), Some(gid), flags)?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn files_change_hands_but_links_do_not() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let outside = tempfile::NamedTempFile::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let directory = make(&state).unwrap();
        std::fs::create_dir(state.join("spool")).unwrap();
        std::fs::write(state.join("spool/segment"), b"x").unwrap();
        std::fs::write(state.join("key"), b"x").unwrap();
        symlink(outside.path(), state.join("link")).unwrap();
        std::fs::hard_link(state.join("key"), state.join("second-name")).unwrap();
        let account = Account { uid: 4_000_001, gid: 4_000_002, groups: Vec::new() };
        hand_over(&directory, &account).unwrap();
        let owner = |path: &str| state.join(path).symlink_metadata().unwrap().uid();
        assert!([".", "spool", "spool/segment"].iter().all(|path| owner(path) == 4_000_001));
        assert_eq!((owner("key"), outside.path().metadata().unwrap().uid()), (0, 0));
    }
}
