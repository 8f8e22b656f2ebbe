//! Paths as a process passed them, where the kernel does not tell what it made of them.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user_str};
use sensor_abi::{
    fault::Fault,
    file::name_slot,
    record::file::{PATH_MAX, STRING_MAX, matched},
};

use super::{
    place::Place,
    scan,
    walk::{self, Area},
};
use crate::{
    fault,
    kernel::{bounded, field},
};

/// `AT_FDCWD`: relative to the working directory.
pub const WORKING_DIRECTORY: u64 = -100_i64 as u64;
/// Bytes that are looked through for watched names; a longer string is taken for watched.
const SCANNED_MAX: usize = 256;
/// Descriptors that a process may have; bounds a table's index for the verifier.
const DESCRIPTORS_MAX: u64 = 1 << 20;

/// A path that was passed: the directory that it starts from, and its text.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Passed {
    pub directory: u64,
    pub address: u64,
}

/// Returns the open file that a descriptor of the task leads to.
#[inline(always)]
pub fn file_of(task: u64, descriptor: u64) -> u64 {
    let files = field!(task, task_files => u64);
    let table = field!(files, files_fdt => u64);
    let array = field!(table, fdt_fd => u64);
    let count = field!(table, fdt_max_fds => u32);
    let index = descriptor & (DESCRIPTORS_MAX - 1);
    if index >= u64::from(count) {
        return 0;
    }
    crate::kernel::read::<u64>(array, (index * 8) as u32)
}

/// Reads the text behind a slash; returns its length with both, 0 when it cannot be read.
#[inline(always)]
pub fn read(area: *mut Area, passed: Passed) -> usize {
    walk::clear(area);
    // SAFETY: the caller's scratch buffer has room for the longest text; the helper checks the
    // user-space address itself.
    let written = unsafe {
        let target = (&raw mut (*area).bytes).cast::<u8>().add(PATH_MAX);
        *target = b'/';
        bpf_probe_read_user_str(
            target.add(1).cast(),
            STRING_MAX as u32 - 1,
            core::ptr::with_exposed_provenance(passed.address as usize),
        )
    };
    if written <= 0 {
        fault::count(Fault::PathUnreadable);
        return 0;
    }
    // The slash comes on top, the NUL goes.
    written as usize
}

/// Returns where the text starts from.
#[inline(always)]
pub fn base(area: *const Area, task: u64, passed: Passed) -> Place {
    // SAFETY: the caller's scratch buffer.
    let first = unsafe { (*area).bytes[PATH_MAX + 1] };
    if first == b'/' {
        Place::root_of(task)
    } else if passed.directory as u32 == WORKING_DIRECTORY as u32 {
        Place::working_of(task)
    } else {
        Place::of_file(file_of(task, passed.directory))
    }
}

/// Puts the path of the directory before the text.
#[inline(always)]
pub fn complete(area: *mut Area, base: Place, root: Place, length: usize) {
    walk::walk(area, base, root);
    // SAFETY: the caller's scratch buffer.
    unsafe {
        (*area).end = (PATH_MAX + length) as u32;
        if length >= STRING_MAX - 1 {
            (*area).cut = 1;
        }
    }
}

/// A reading of a text, byte by byte. It lies in memory that the verifier knows nothing of, not on
/// the stack, where it would follow every count.
#[repr(C)]
pub struct Reading {
    wanted: u64,
    hits: u64,
    /// The name that is being read: its first bytes, and its length.
    begin: u64,
    length: u64,
    /// The name before.
    last_begin: u64,
    last_length: u64,
}

/// Looks for watched names in the text.
#[inline(always)]
pub fn scan(area: *mut Area, length: usize, wanted: u32) -> u32 {
    if length > SCANNED_MAX {
        return u32::from(matched::NAME);
    }
    let mut passed = area;
    // SAFETY: the caller's scratch buffer; the function below takes what is passed to it, and does
    // not outlive the call.
    unsafe {
        (*area).reading = Reading {
            wanted: u64::from(wanted),
            hits: 0,
            begin: 0,
            length: 0,
            last_begin: 0,
            last_length: 0,
        };
        bpf_loop(length as u32, step as *mut c_void, (&raw mut passed).cast(), 0);
        core::ptr::read_volatile(&raw const (*area).reading.hits) as u32
    }
}

/// Reads one byte. The text ends with NUL, which ends its last name; returns 1 there.
///
/// # Safety
///
/// Only the kernel calls it, with an area of `scan`.
#[inline(never)]
unsafe extern "C" fn step(index: u64, passed: *mut *mut Area) -> i64 {
    // The text begins behind the slash that was put before it.
    let at = PATH_MAX + 1 + bounded::<{ 2 * SCANNED_MAX - 1 }>(index as usize);
    // SAFETY: the caller's promise; the mask keeps the index inside the area.
    let (byte, reading) = unsafe {
        let area = *passed;
        ((&raw const (*area).bytes).cast::<u8>().add(at).read(), &mut (*area).reading)
    };
    if byte == b'/' || byte == 0 {
        component(reading, byte == b'/');
    } else {
        let shift = bounded::<63>((reading.length as usize & 7) * 8);
        let fits = u64::from(reading.length < 8);
        reading.begin |= (u64::from(byte) * fits) << shift;
        reading.length += 1;
    }
    i64::from(byte == 0)
}

/// Asks for the name that was just read, as a directory's above or as the last one, and begins
/// anew. Behind a slash at the end there is none; then the one before is the last.
#[inline(always)]
fn component(reading: &mut Reading, above: bool) {
    let (mut begin, mut length) = (reading.begin, reading.length);
    if length == 0 {
        if above {
            return;
        }
        (begin, length) = (reading.last_begin, reading.last_length);
    }
    let wanted = reading.wanted as u32;
    if let Some(filter) = scan::filter()
        && scan::is_wanted(filter, name_slot(begin, length, above), wanted)
    {
        reading.hits |= u64::from(scan::name(begin, length, u64::from(above), wanted));
    }
    (reading.last_begin, reading.last_length) = (begin, length);
    (reading.begin, reading.length) = (0, 0);
}

/// Takes the text by itself, without the slash before it.
#[inline(always)]
pub fn alone(area: *mut Area, length: usize) {
    // SAFETY: the caller's scratch buffer.
    unsafe {
        (*area).start = PATH_MAX as u32 + 1;
        (*area).end = (PATH_MAX + length.max(1)) as u32;
    }
}
