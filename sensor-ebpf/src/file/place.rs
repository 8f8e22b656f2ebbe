//! Places in the tree of directories and mounts.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use sensor_abi::config::Offsets;

use crate::kernel::{field, known, read, setting};

/// A directory entry as seen through a mount.
#[derive(Clone, Copy)]
pub struct Place {
    pub dentry: u64,
    pub mount: u64,
}

/// What one directory entry says of itself.
#[derive(Clone, Copy)]
pub struct Entry {
    pub parent: u64,
    pub inode: u64,
    /// Where the name is.
    pub name: u64,
    /// Its first bytes, zero behind the end.
    pub begin: u64,
    pub length: u64,
}

impl Place {
    /// Where an open file is.
    #[inline(always)]
    pub fn of_file(file: u64) -> Self {
        Self { dentry: field!(file, file_dentry => u64), mount: field!(file, file_mnt => u64) }
    }

    /// Where a `struct path` leads.
    #[inline(always)]
    pub fn of_path(path: u64) -> Self {
        // `struct path` has had these two fields, in this order, since it exists.
        Self { mount: read::<u64>(path, 0), dentry: read::<u64>(path, 8) }
    }

    /// An entry in the directory that a `struct path` leads to.
    #[inline(always)]
    pub fn in_directory(path: u64, dentry: u64) -> Self {
        Self { mount: read::<u64>(path, 0), dentry }
    }

    /// The root directory of a task.
    #[inline(always)]
    pub fn root_of(task: u64) -> Self {
        let fs = field!(task, task_fs => u64);
        Self { dentry: field!(fs, fs_root_dentry => u64), mount: field!(fs, fs_root_mnt => u64) }
    }

    /// The working directory of a task.
    #[inline(always)]
    pub fn working_of(task: u64) -> Self {
        let fs = field!(task, task_fs => u64);
        Self { dentry: field!(fs, fs_pwd_dentry => u64), mount: field!(fs, fs_pwd_mnt => u64) }
    }

    /// The entry where the place's mount begins.
    #[inline(always)]
    pub fn mount_root(self) -> u64 {
        field!(self.mount, vfsmount_root => u64)
    }

    /// Goes from a mount's root to the place where it is mounted; false at the top.
    #[inline(always)]
    pub fn cross(&mut self) -> bool {
        let embedded: u32 = setting!(offsets.mount_mnt);
        if !known(embedded) {
            return false;
        }
        let mount = self.mount.wrapping_sub(u64::from(embedded));
        let parent = field!(mount, mount_parent => u64);
        if parent == mount || parent == 0 {
            return false;
        }
        self.dentry = field!(mount, mount_mountpoint => u64);
        self.mount = parent.wrapping_add(u64::from(embedded));
        true
    }
}

/// Reads an entry, at the cost of one read where the fields lie as they have since 3.x.
#[inline(always)]
pub fn entry(dentry: u64) -> Entry {
    let chunk: u32 = setting!(offsets.dentry_chunk);
    let entry = if chunk == Offsets::UNKNOWN { apart(dentry) } else { together(dentry, chunk) };
    Entry { begin: cut(entry.begin, entry.length), ..entry }
}

/// `d_parent`, length and address of the name, `d_inode` and the begin of the short name follow
/// each other.
#[inline(always)]
fn together(dentry: u64, chunk: u32) -> Entry {
    let mut words = [0_u64; 5];
    // SAFETY: the helper checks the address itself, and zeroes the words when it is bad.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut words).cast(),
            size_of_val(&words) as u32,
            core::ptr::with_exposed_provenance(dentry.wrapping_add(u64::from(chunk)) as usize),
        );
    }
    let [parent, hash_and_length, name, inode, short] = words;
    let short_at = dentry.wrapping_add(u64::from(chunk) + 32);
    let begin = if name == short_at { short } else { read::<u64>(name, 0) };
    Entry { parent, inode, name, begin, length: hash_and_length >> 32 }
}

#[inline(always)]
fn apart(dentry: u64) -> Entry {
    let name = field!(dentry, dentry_name => u64);
    // `struct qstr`: hash, length, address.
    let name_at: u32 = setting!(offsets.dentry_name);
    let length_at = name_at.wrapping_sub(4);
    Entry {
        parent: field!(dentry, dentry_parent => u64),
        inode: field!(dentry, dentry_inode => u64),
        name,
        begin: read::<u64>(name, 0),
        length: u64::from(read::<u32>(dentry, length_at)),
    }
}

/// Clears what is behind the end of a short name.
#[inline(always)]
fn cut(begin: u64, length: u64) -> u64 {
    if length >= 8 {
        return begin;
    }
    begin & ((1_u64 << ((length & 7) * 8)) - 1)
}
