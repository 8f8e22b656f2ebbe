//! An executable's path, from its directory entry up to the root, across mounts.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use sensor_abi::record::{Exec, PATH_DEPTH_MAX, PATH_MAX};

use crate::{
    kernel::{bounded, field, known, setting},
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

/// What a walk gave.
#[derive(Clone, Copy)]
pub struct Walked {
    /// Bytes written behind the record's fixed part.
    pub length: usize,
    /// The path was deeper or longer than there is room for.
    pub truncated: bool,
}

/// Where a walk is.
struct Place {
    dentry: u64,
    mount: u64,
}

/// Writes the path's names, leaf first and each ended by NUL, behind the record's fixed part.
#[inline(always)]
pub fn walk(scratch: *mut Scratch, file: u64) -> Walked {
    let mut place = Place {
        dentry: field!(file, file_dentry => u64).unwrap_or(0),
        mount: field!(file, file_mnt => u64).unwrap_or(0),
    };
    let mut length = 0;
    for _ in 0..PATH_DEPTH_MAX + MOUNTS_MAX {
        if place.dentry == 0 {
            return Walked { length, truncated: length != 0 };
        }
        if field!(place.mount, vfsmount_root => u64) == Some(place.dentry) {
            if !cross(&mut place) {
                return Walked { length, truncated: false };
            }
            continue;
        }
        let written = name(scratch, length, place.dentry);
        if written == 0 || length + written > PATH_MAX {
            return Walked { length, truncated: true };
        }
        length += written;
        let parent = field!(place.dentry, dentry_parent => u64).unwrap_or(0);
        // A file without a directory, such as a memfd, is its own parent.
        if parent == place.dentry {
            return Walked { length, truncated: false };
        }
        place.dentry = parent;
    }
    Walked { length, truncated: true }
}

/// Goes from a mount's root to the place where it is mounted; false at the top.
#[inline(always)]
fn cross(place: &mut Place) -> bool {
    let embedded: u32 = setting!(offsets.mount_mnt);
    if !known(embedded) {
        return false;
    }
    let mount = place.mount.wrapping_sub(u64::from(embedded));
    let parent = field!(mount, mount_parent => u64).unwrap_or(0);
    if parent == mount || parent == 0 {
        return false;
    }
    place.dentry = field!(mount, mount_mountpoint => u64).unwrap_or(0);
    place.mount = parent.wrapping_add(u64::from(embedded));
    true
}

/// Copies an entry's name to `length` behind the fixed part; returns its bytes with NUL.
#[inline(always)]
fn name(scratch: *mut Scratch, length: usize, dentry: u64) -> usize {
    let source = field!(dentry, dentry_name => u64).unwrap_or(0);
    let offset = Exec::FIXED + bounded::<{ 2 * PATH_MAX - 1 }>(length);
    // SAFETY: the mask keeps `offset` plus the longest name inside the scratch buffer; the helper
    // checks the kernel address itself.
    let written = unsafe {
        let target = scratch.cast::<u8>().add(offset);
        bpf_probe_read_kernel_str(target.cast(), NAME_MAX, source as *const _)
    };
    if written > 0 { written as usize } else { 0 }
}

/// Returns whether the walked file, which has no link, is an anonymous memory file.
#[inline(always)]
pub fn is_memfd(scratch: *const Scratch, sb: u64) -> bool {
    let magic = field!(sb, sb_magic => u64).unwrap_or(0);
    if magic != TMPFS_MAGIC && magic != HUGETLBFS_MAGIC {
        return false;
    }
    // SAFETY: inside this CPU's scratch buffer.
    let start: [u8; 6] = unsafe { *scratch.cast::<u8>().add(Exec::FIXED).cast() };
    start == *b"memfd:"
}
