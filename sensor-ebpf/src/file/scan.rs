//! The cheap questions: does any name or inode between a file and the root occur in the watched
//! set?

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use sensor_abi::{
    file::{FileFilter, FileInodeKey, FileNameKey, inode_slot, name_slot, place, slot_at},
    record::file::{DEPTH_MAX, matched},
};

use super::place::{Place, entry};
use crate::{
    kernel::{bounded, field},
    maps::{FILE_FILTER, FILE_INODES, FILE_NAMES},
};

/// Returns the filter; `None` only while the verifier looks.
#[inline(always)]
pub fn filter() -> Option<&'static FileFilter> {
    FILE_FILTER.get(0)
}

/// A climb from a file to the root.
#[repr(C)]
struct Climb {
    dentry: u64,
    mount: u64,
    /// Where the mount begins.
    root: u64,
    wanted: u64,
    /// 1 when what is meant is below the place.
    above: u64,
    hits: u64,
}

/// Returns bits of [`matched`]; [`matched::PREFIX`] means only that the path is worth a walk.
///
/// `above` says that the place is a directory and something below it is meant. The kernel makes the
/// loop, since its verifier follows every iteration of one written here.
#[inline(always)]
pub fn up(from: Place, wanted: u32, above: bool) -> u32 {
    let mut climb = Climb {
        dentry: from.dentry,
        mount: from.mount,
        root: from.mount_root(),
        wanted: u64::from(wanted),
        above: u64::from(above),
        hits: 0,
    };
    // SAFETY: the function below takes what is passed to it, and does not outlive the call.
    unsafe {
        bpf_loop(DEPTH_MAX as u32, step as *mut c_void, (&raw mut climb).cast(), 0);
        core::ptr::read_volatile(&raw const climb.hits) as u32
    }
}

/// Looks at one entry and goes to the one above; returns 1 at the end.
///
/// # Safety
///
/// Only the kernel calls it, with a climb of `up`.
#[inline(never)]
unsafe extern "C" fn step(index: u64, climb: *mut Climb) -> i64 {
    let Some(filter) = filter() else {
        return 1;
    };
    // SAFETY: the caller's promise.
    let climb = unsafe { &mut *climb };
    if climb.dentry == 0 {
        return 1;
    }
    let (wanted, above) = (climb.wanted as u32, climb.above);
    let entry = entry(climb.dentry);
    let at_root = climb.dentry == climb.root;
    let slot = name_slot(entry.begin, entry.length, above != 0);
    let named = !at_root && is_wanted(filter, slot, wanted);
    if named {
        climb.hits |= u64::from(name(entry.begin, entry.length, above, wanted));
    }
    // Every directory's inode would be a read per directory. A watched directory keeps its name in
    // every mount of its file system, unless the mount begins there.
    if index < 2 || at_root || named {
        climb.hits |= u64::from(inode(filter, entry.inode, above, wanted));
    }
    if at_root {
        let mut place = Place { dentry: climb.dentry, mount: climb.mount };
        if !place.cross() {
            return 1;
        }
        (climb.dentry, climb.mount) = (place.dentry, place.mount);
        climb.root = place.mount_root();
        return 0;
    }
    // A file without a directory, such as a memfd, is its own parent.
    let top = entry.parent == climb.dentry;
    (climb.dentry, climb.above) = (entry.parent, 1);
    i64::from(top)
}

/// Returns whether the filter has one of the wanted accesses in a slot.
#[inline(always)]
pub fn is_wanted(filter: &FileFilter, slot: usize, wanted: u32) -> bool {
    let (word, shift) = slot_at(slot);
    let word = bounded::<{ sensor_abi::file::FILTER_WORDS - 1 }>(word);
    // SAFETY: the mask keeps the index inside the filter. The sensor may write the word now; either
    // value of it is right.
    let word =
        unsafe { core::ptr::read_volatile((&raw const filter.words).cast::<u64>().add(word)) };
    (word >> shift) as u32 & wanted != 0
}

/// Asks the table of names. `above` is 1 for a directory's.
#[inline(always)]
pub fn name(begin: u64, length: u64, above: u64, wanted: u32) -> u32 {
    let Some(accesses) = FILE_NAMES.get_ptr(FileNameKey { begin, length }) else {
        return 0;
    };
    // SAFETY: an entry of the map, which stays readable while the program runs.
    let accesses = unsafe { *accesses } >> (above as u32 * place::ABOVE);
    some(accesses & wanted) * u32::from(matched::PREFIX)
        | some(accesses >> place::ANYWHERE & wanted) * u32::from(matched::NAME)
}

/// Returns 1 for anything but 0, without a branch that the verifier would follow.
#[inline(always)]
fn some(bits: u32) -> u32 {
    let bits = u64::from(bits);
    ((bits | bits.wrapping_neg()) >> 63) as u32
}

/// Asks the filter, then the table of inodes.
#[inline(always)]
fn inode(filter: &FileFilter, inode: u64, above: u64, wanted: u32) -> u32 {
    if inode == 0 {
        return 0;
    }
    let number = field!(inode, inode_ino => u64);
    if !is_wanted(filter, inode_slot(number, above != 0), wanted) {
        return 0;
    }
    let sb = field!(inode, inode_sb => u64);
    let key = FileInodeKey { inode: number, dev: u64::from(field!(sb, sb_dev => u32)) };
    let Some(accesses) = FILE_INODES.get_ptr(key) else {
        return 0;
    };
    // SAFETY: as in `name`.
    let accesses = unsafe { *accesses } >> (above as u32 * place::ABOVE);
    some(accesses & wanted) * u32::from(matched::INODE)
}
