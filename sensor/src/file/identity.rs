//! What the patterns mean on this host now: inodes, by which a file is known under any other name,
//! and the paths that symbolic links lead to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sensor_abi::file::FileInodeKey;

use super::rule::{Rule, fits_name, is_pattern};

/// Entries of a directory that one pattern is compared with, and files of a watched directory whose
/// inodes are noted. More are watched by their path only.
const ENTRIES_MAX: usize = 256;

/// Something that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its inode.
    pub key: FileInodeKey,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Its path, when that is another than the pattern says.
    pub resolved: Option<Vec<u8>>,
}

/// Returns what a rule means, as far as it can be found without searching the whole host: a pattern
/// that begins with `**` is known by its path only.
pub fn of(rule: &Rule, mounts: &Mounts) -> Vec<Found> {
    let mut paths = vec![PathBuf::from("/")];
    for name in &rule.names {
        if name == b"**" {
            return Vec::new();
        }
        paths = paths.iter().flat_map(|path| step(path, name)).take(ENTRIES_MAX).collect();
    }
    let is_literal = rule.literal().is_some();
    let mut found: Vec<Found> =
        paths.iter().filter_map(|path| mounts.look(path, is_literal)).collect();
    if rule.below {
        let inside = paths.iter().flat_map(|path| entries(path));
        found.extend(
            inside.filter_map(|path| mounts.look(&path, false)).filter(|f| !f.is_directory),
        );
    }
    found
}

fn step(path: &Path, name: &[u8]) -> Vec<PathBuf> {
    if !is_pattern(name) {
        return vec![path.join(OsStr::from_bytes(name))];
    }
    let fits =
        |path: &PathBuf| path.file_name().is_some_and(|found| fits_name(name, found.as_bytes()));
    entries(path).into_iter().filter(fits).collect()
}

fn entries(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    entries.flatten().take(ENTRIES_MAX).map(|entry| entry.path()).collect()
}

/// Devices by mount point.
#[derive(Debug)]
pub struct Mounts(BTreeMap<PathBuf, u64>);

impl Mounts {
    /// Reads what is mounted now.
    pub fn read() -> Self {
        let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Self(text.lines().filter_map(mount).collect())
    }

    fn look(&self, path: &Path, is_literal: bool) -> Option<Found> {
        let metadata = fs::metadata(path).ok()?;
        let resolved = fs::canonicalize(path).ok()?;
        let dev = self.device(&resolved, metadata.dev());
        let key = FileInodeKey { inode: metadata.ino(), dev };
        let is_directory = metadata.is_dir();
        let differs = is_literal && resolved != path;
        let resolved = differs.then(|| resolved.into_os_string().into_vec());
        Some(Found { key, is_directory, resolved })
    }

    /// Returns the device as the kernel has it in the super block. `stat` tells another one on some
    /// file systems (Btrfs); the list of mounts tells the same.
    fn device(&self, path: &Path, told: u64) -> u64 {
        let mounted = path.ancestors().find_map(|above| self.0.get(above));
        mounted.copied().unwrap_or_else(|| {
            kernel_device(nix::sys::stat::major(told), nix::sys::stat::minor(told))
        })
    }
}

/// One line of `mountinfo`: number, parent, device, root, mount point. A later mount hides an
/// earlier one.
fn mount(line: &str) -> Option<(PathBuf, u64)> {
    let mut fields = line.split(' ').skip(2);
    let (major, minor) = fields.next()?.split_once(':')?;
    let point = fields.nth(1)?;
    let device = kernel_device(major.parse().ok()?, minor.parse().ok()?);
    Some((PathBuf::from(point.replace("\\040", " ")), device))
}

/// `MKDEV` of the kernel.
fn kernel_device(major: u64, minor: u64) -> u64 {
    major << 20 | minor
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_from_its_line() {
        let line = "36 35 98:7 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw";
        let device = 98 << 20 | 7;
        assert_eq!(mount(line), Some((PathBuf::from("/mnt 2"), device)));
    }

    #[test]
    fn what_is_there_is_found_under_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir(base.join("real")).unwrap();
        fs::write(base.join("real/one"), "").unwrap();
        std::os::unix::fs::symlink("real", base.join("link")).unwrap();
        let inode = fs::metadata(base.join("real/one")).unwrap().ino();
        let text = format!("{}/link/one", base.display());
        let mounts = Mounts::read();
        let found = of(&Rule::new(&text, 1).unwrap(), &mounts);
        let resolved = base.join("real/one").into_os_string().into_vec();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key.inode, inode);
        assert_eq!(found[0].resolved.as_deref(), Some(&resolved[..]));
        let rule = Rule::new(&format!("{}/r*l/", base.display()), 1).unwrap();
        let starred = of(&rule, &mounts);
        let inodes: Vec<u64> = starred.iter().map(|found| found.key.inode).collect();
        assert_eq!(inodes.len(), 2);
        assert!(inodes.contains(&inode) && starred[0].is_directory);
    }
}
