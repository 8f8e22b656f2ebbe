//! A file's whole path, written from its end to its begin, so that it can be compared.

use core::ffi::c_void;

use aya_ebpf::{
    btf_maps::lpm_trie::Key,
    helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_probe_read_kernel_str},
};
use sensor_abi::{
    file::{FilePrefix, PREFIX_MAX},
    record::file::{DEPTH_MAX, PATH_MAX, STRING_MAX},
};

use super::{
    place::{Place, entry},
    string::Reading,
};
use crate::{kernel::bounded, maps::FILE_PREFIXES};

/// What the verifier believes that a masked length could be beyond the room.
const SLACK: usize = 256;
/// Longest name of a directory entry, without NUL.
const NAME_MAX: usize = 255;

/// Room for one path: the resolved part ends at [`PATH_MAX`], a string of the process may follow.
#[repr(C)]
pub struct Area {
    /// Where a walk is, and where the process's root is: kept here, because a stack that is deep
    /// already has no room for it.
    dentry: u64,
    mount: u64,
    own_root: [u64; 2],
    /// Where the path begins.
    pub start: u32,
    /// Where it ends.
    pub end: u32,
    /// Where what is below the process's root begins; 0 when the root was not met.
    pub root: u32,
    /// 1 when the path is cut.
    pub cut: u32,
    /// State of `string::scan`.
    pub reading: Reading,
    pub bytes: [u8; PATH_MAX + STRING_MAX + SLACK],
}

/// The key of a look-up, as the trie wants it, with room for what the verifier believes.
#[repr(C)]
pub struct Prefix {
    bits: u32,
    bytes: [u8; PREFIX_MAX],
    slack: [u8; SLACK],
}

/// A walk from a file to the root; its state is in the area. Before 6.2 the kernel passes on
/// nothing but what is on the stack.
#[repr(C)]
struct Walk {
    area: *mut Area,
}

/// Walks from a place to the root of its mount namespace, and notes where the process's root is.
/// The kernel makes the loop, as in `scan`.
#[inline(always)]
pub fn walk(area: *mut Area, from: Place, own_root: Place) {
    clear(area);
    let mut walk = Walk { area };
    // SAFETY: the caller's scratch buffer; the function below takes what is passed to it, and does
    // not outlive the call. The path is cut unless the walk comes to an end.
    unsafe {
        ((*area).dentry, (*area).mount) = (from.dentry, from.mount);
        (*area).own_root = [own_root.dentry, own_root.mount];
        (*area).cut = 1;
        bpf_loop(DEPTH_MAX as u32, step as *mut c_void, (&raw mut walk).cast(), 0);
    }
}

/// Writes one name and goes to the directory above; returns 1 at the end.
///
/// # Safety
///
/// Only the kernel calls it, with a walk of `walk`.
#[inline(never)]
unsafe extern "C" fn step(_index: u64, walk: *mut Walk) -> i64 {
    // SAFETY: the caller's promise.
    let area = unsafe { (*walk).area };
    // SAFETY: the caller's scratch buffer.
    let (mut place, own_root) =
        unsafe { (Place { dentry: (*area).dentry, mount: (*area).mount }, (*area).own_root) };
    if place.dentry == own_root[0] && place.mount == own_root[1] {
        // SAFETY: as above.
        unsafe { (*area).root = (*area).start };
    }
    if place.dentry == 0 {
        return 1;
    }
    if place.mount_root() == place.dentry {
        let crossed = place.cross();
        // SAFETY: as above.
        unsafe { ((*area).dentry, (*area).mount) = (place.dentry, place.mount) };
        return if crossed { 0 } else { whole(area) };
    }
    let entry = entry(place.dentry);
    if !prepend(area, entry.name, entry.length as usize) {
        return 1;
    }
    if entry.parent == place.dentry {
        return whole(area);
    }
    // SAFETY: as above.
    unsafe { (*area).dentry = entry.parent };
    0
}

/// Notes that the walk came to an end, and ends it.
#[inline(always)]
fn whole(area: *mut Area) -> i64 {
    // SAFETY: the caller's scratch buffer.
    unsafe { (*area).cut = 0 };
    1
}

/// Makes the path empty.
#[inline(always)]
pub fn clear(area: *mut Area) {
    // SAFETY: the caller's scratch buffer.
    unsafe {
        (*area).start = PATH_MAX as u32;
        (*area).end = PATH_MAX as u32;
        (*area).root = 0;
        (*area).cut = 0;
    }
}

/// Takes a string of the kernel for the path.
#[inline(always)]
pub fn copy(area: *mut Area, address: u64) {
    clear(area);
    // SAFETY: the string goes behind the resolved part, where there is room for the longest; the
    // helper checks the kernel address itself.
    let written = unsafe {
        bpf_probe_read_kernel_str(
            (&raw mut (*area).bytes).cast::<u8>().add(PATH_MAX).cast(),
            STRING_MAX as u32,
            core::ptr::with_exposed_provenance(address as usize),
        )
    };
    if written > 0 {
        // SAFETY: as above.
        unsafe {
            (*area).end = PATH_MAX as u32 + written as u32 - 1;
            (*area).cut = u32::from(written as usize == STRING_MAX);
        }
    }
}

/// Puts a slash and a name before what is there; returns whether there was room.
#[inline(always)]
fn prepend(area: *mut Area, name: u64, length: usize) -> bool {
    let length = bounded::<NAME_MAX>(length);
    // SAFETY: the caller's scratch buffer. Read back from memory so that the verifier knows the
    // same of it on every way through the loop.
    let start = unsafe { core::ptr::read_volatile(&raw const (*area).start) } as usize;
    if start < length + 1 {
        return false;
    }
    let start = bounded::<{ 2 * PATH_MAX - 1 }>(start - length - 1);
    // 6.12 forgets the bound of a number when it learns something of that number plus one.
    let length = bounded::<NAME_MAX>(length);
    // SAFETY: the masks keep the name inside the area; the helper checks the kernel address itself.
    unsafe {
        let target = (&raw mut (*area).bytes).cast::<u8>().add(start);
        *target = b'/';
        bpf_probe_read_kernel(
            target.add(1).cast(),
            length as u32,
            core::ptr::with_exposed_provenance(name as usize),
        );
        (*area).start = start as u32;
    }
    true
}

/// Returns the accesses by which the path from `start` on is watched.
#[inline(always)]
pub fn prefixes(key: *mut Prefix, area: *const Area, start: u32) -> u32 {
    // SAFETY: the caller's scratch buffer.
    let end = unsafe { core::ptr::read_volatile(&raw const (*area).end) };
    let start = bounded::<{ 2 * PATH_MAX - 1 }>(start as usize);
    let mut length = (end as usize).wrapping_sub(start);
    // A whole path ends with NUL, so that it is no prefix of a longer name.
    let mut bits = 8 * (length as u32 + 1);
    if length >= PREFIX_MAX {
        length = PREFIX_MAX;
        bits = 8 * PREFIX_MAX as u32;
    }
    let length = bounded::<{ SLACK - 1 }>(length);
    // SAFETY: both are parts of the caller's scratch buffer, and the masks keep the copy inside
    // them; the key has the layout that the trie's key type has.
    unsafe {
        let target = (&raw mut (*key).bytes).cast::<u8>();
        bpf_probe_read_kernel(
            target.cast(),
            length as u32,
            (&raw const (*area).bytes).cast::<u8>().add(start).cast(),
        );
        *target.add(length) = 0;
        (*key).bits = bits;
        FILE_PREFIXES.get(&*key.cast::<Key<FilePrefix>>()).copied().unwrap_or(0)
    }
}
