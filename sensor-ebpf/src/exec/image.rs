//! The file that a program was executed from.

use sensor_abi::{
    fault::Fault,
    record::{Exec, exec_flag},
};

use super::room;
use crate::{
    fault,
    kernel::{field, setting},
    maps::Scratch,
    path::{self, Place},
};

/// `OVERLAYFS_SUPER_MAGIC`.
pub const OVERLAY_MAGIC: u64 = 0x794c_7630;
const SECOND_NS: u64 = 1_000_000_000;
/// Bits of a time's nanoseconds. Since 6.13 the kernel keeps a flag of its own above them.
const NANOS_MASK: u32 = (1 << 30) - 1;

/// Fills what is known of the file, and walks its path.
#[inline(always)]
pub fn fill(scratch: *mut Scratch, task: u64) {
    let exec: *mut Exec = scratch.cast();
    let mm = field!(task, task_mm => u64);
    let file = field!(mm, mm_exe_file => u64);
    let inode = field!(file, file_inode => u64);
    let sb = field!(inode, inode_sb => u64);
    let start = room::used(scratch);
    let mut flags = 0;
    if path::walk(scratch, Place::of_file(file)) {
        flags |= exec_flag::PATH_TRUNCATED;
    }
    let length = room::used(scratch) - start;
    if length == 0 {
        fault::count(Fault::PathUnreadable);
    }
    if inode != 0 && field!(inode, inode_nlink => u32) == 0 {
        flags |= exec_flag::UNLINKED;
        if path::is_memfd(scratch, sb) {
            flags |= exec_flag::MEMFD;
        }
    }
    if field!(sb, sb_magic => u64) == OVERLAY_MAGIC {
        flags |= layer(inode);
    }
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe {
        (*exec).path_len = length as u16;
        (*exec).exe_inode = field!(inode, inode_ino => u64);
        (*exec).exe_dev = field!(sb, sb_dev => u32);
        (*exec).exe_size = field!(inode, inode_size => u64);
        (*exec).exe_mtime_ns = nanoseconds(
            field!(inode, inode_mtime_sec => u64),
            field!(inode, inode_mtime_nsec => u32),
        );
        (*exec).exe_ctime_ns = nanoseconds(
            field!(inode, inode_ctime_sec => u64),
            field!(inode, inode_ctime_nsec => u32),
        );
        (*exec).flags |= flags;
    }
}

#[inline(always)]
fn nanoseconds(seconds: u64, nanos: u32) -> u64 {
    seconds.wrapping_mul(SECOND_NS).wrapping_add(u64::from(nanos & NANOS_MASK))
}

/// An overlay's inode lies inside a larger structure, which points to the file of the upper layer
/// once there is one. Where it lies is known while the file system's types are: when it is built
/// in, or its module was loaded before the sensor.
#[inline(always)]
pub fn layer(inode: u64) -> u32 {
    let embedded: u32 = setting!(offsets.ovl_vfs_inode);
    let upper: u32 = setting!(offsets.ovl_upperdentry);
    if embedded == sensor_abi::config::Offsets::UNKNOWN
        || upper == sensor_abi::config::Offsets::UNKNOWN
    {
        return exec_flag::OVERLAY | exec_flag::LAYER_UNKNOWN;
    }
    let outer = inode.wrapping_sub(u64::from(embedded));
    match field!(outer, ovl_upperdentry => u64) {
        0 => exec_flag::OVERLAY,
        _ => exec_flag::OVERLAY | exec_flag::UPPER_LAYER,
    }
}
