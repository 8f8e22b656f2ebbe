//! A file's path, from its directory entry up to the root, across mounts.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sensor_abi::record::{
    Exec,
    exec::{PATH_DEPTH_MAX, PATH_MAX},
};

use crate::{
    exec::room,
    kernel::{field, known, setting},
    maps::Scratch,
};

/// `TMPFS_MAGIC`; anonymous memory files live on the kernel's own tmpfs mount.
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// `HUGETLBFS_MAGIC`; those made with `MFD_HUGETLB`.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;
/// Mount points that a path may cross, beside its directories.
const MOUNTS_MAX: usize = 8;
/// Longest name of one directory entry, with NUL.
const NAME_MAX: u32 = 256;

/// A directory entry and the mount that it is reached by.
pub struct Place {
    pub dentry: u64,
    pub mount: u64,
}

impl Place {
    /// Returns where an open file is.
    #[inline(always)]
    pub fn of_file(file: u64) -> Self {
        Self { dentry: field!(file, file_dentry => u64), mount: field!(file, file_mnt => u64) }
    }
}

/// Appends the path's names, leaf first and each ended by NUL. Returns whether the path is deeper
/// or longer than there is room for.
#[inline(always)]
pub fn walk(scratch: *mut Scratch, mut place: Place) -> bool {
    let start = room::used(scratch);
    for _ in 0..PATH_DEPTH_MAX + MOUNTS_MAX {
        if place.dentry == 0 {
            return true;
        }
        if field!(place.mount, vfsmount_root => u64) == place.dentry {
            if !cross(&mut place) {
                return false;
            }
            continue;
        }
        if !name(scratch, start, place.dentry) {
            return true;
        }
        let parent = field!(place.dentry, dentry_parent => u64);
        // A file without a directory, such as a memfd, is its own parent.
        if parent == place.dentry {
            return false;
        }
        place.dentry = parent;
    }
    true
}

/// Goes from a mount's root to the place where it is mounted; false at the top.
#[inline(always)]
fn cross(place: &mut Place) -> bool {
    let embedded: u32 = setting!(offsets.mount_mnt);
    if !known(embedded) {
        return false;
    }
    let mount = place.mount.wrapping_sub(u64::from(embedded));
    let parent = field!(mount, mount_parent => u64);
    if parent == mount || parent == 0 {
        return false;
    }
    place.dentry = field!(mount, mount_mountpoint => u64);
    place.mount = parent.wrapping_add(u64::from(embedded));
    true
}

/// Appends an entry's name; returns whether it fitted.
#[inline(always)]
fn name(scratch: *mut Scratch, start: usize, dentry: u64) -> bool {
    let source = field!(dentry, dentry_name => u64);
    // SAFETY: the place has room for more than this; the helper checks the kernel address itself.
    let written = unsafe {
        let target = room::place(scratch);
        bpf_probe_read_kernel_str(target.cast(), NAME_MAX, source as *const _)
    };
    if written <= 0 || room::used(scratch) - start + written as usize > PATH_MAX {
        return false;
    }
    room::keep(scratch, written as usize);
    true
}

/// Returns whether the walked file, which has no link, is an anonymous memory file.
#[inline(always)]
pub fn is_memfd(scratch: *const Scratch, sb: u64) -> bool {
    let magic = field!(sb, sb_magic => u64);
    if magic != TMPFS_MAGIC && magic != HUGETLBFS_MAGIC {
        return false;
    }
    // SAFETY: inside this CPU's scratch buffer.
    let start: [u8; 6] = unsafe { *scratch.cast::<u8>().add(Exec::FIXED).cast() };
    start == *b"memfd:"
}
