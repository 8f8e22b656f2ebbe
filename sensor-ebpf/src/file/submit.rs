//! What a watched file's record says, and whether there may be one more.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::{bpf_ktime_get_boot_ns, generated::bpf_probe_read_kernel},
};
use sensor_abi::{
    fault::Fault,
    file::{BURST, BURST_OF_ONE, NS_PER_RECORD, NS_PER_RECORD_OF_ONE},
    loss::Loss,
    record::{
        exec_flag,
        file::{File, PATH_MAX, flag},
        kind,
    },
    seen::Signal,
};

use super::{
    Touch,
    place::{Place, entry},
    scratch::{FileScratch, PACKED},
    walk::Area,
};
use crate::{
    exec::image::{OVERLAY_MAGIC, layer},
    fault,
    kernel::{bounded, field},
    maps::{FILE, FILE_BUCKETS},
    ring, scope,
};

/// What is left of what a cgroup may report.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Bucket {
    tokens: u64,
    filled_ns: u64,
}

/// Completes the record, whose paths are in the scratch buffer, and submits it.
#[inline(always)]
pub fn submit(scratch: *mut FileScratch, touch: &Touch, place: Option<Place>, matched: u32) {
    fault::seen(Signal::File);
    let record: *mut File = record_of(scratch);
    // SAFETY: the room that the caller took.
    unsafe {
        *record = File::EMPTY;
        (*record).header = scope::header(kind::FILE);
        (*record).flags = touch.flags;
        (*record).open_flags = touch.open_flags;
        (*record).mode = touch.mode;
        (*record).uid = touch.uid;
        (*record).gid = touch.gid;
        (*record).error = touch.error;
        (*record).action = touch.action;
        (*record).matched = matched as u16;
        (*record).access = touch.wanted;
        if let Some(place) = place {
            identity(record, entry(place.dentry).inode);
        }
        if !is_admitted((*record).inode, (*record).header.cgroup_id) {
            fault::lost(Signal::File, Loss::Throttled);
            return;
        }
    }
    pack(scratch);
}

#[inline(always)]
fn record_of(scratch: *mut FileScratch) -> *mut File {
    // SAFETY: a field's address inside the room that the caller took.
    unsafe { &raw mut (*scratch).record }
}

/// Fills what the inode says.
#[inline(always)]
fn identity(record: *mut File, inode: u64) {
    if inode == 0 {
        return;
    }
    let sb = field!(inode, inode_sb => u64);
    // SAFETY: the record in the caller's room.
    unsafe {
        (*record).inode = field!(inode, inode_ino => u64);
        (*record).dev = field!(sb, sb_dev => u32);
        if field!(sb, sb_magic => u64) == OVERLAY_MAGIC
            && layer(inode) & exec_flag::UPPER_LAYER != 0
        {
            (*record).flags |= flag::UPPER_LAYER;
        }
        if (*record).mode == 0 {
            (*record).mode = u32::from(field!(inode, inode_mode => u16));
        }
    }
}

/// Puts the paths behind the record and copies all of it to the ring.
#[inline(always)]
fn pack(scratch: *mut FileScratch) {
    let record = record_of(scratch);
    // SAFETY: parts of the room that the caller took; the masks keep every copy inside it.
    unsafe {
        let packed = (&raw mut (*scratch).packed).cast::<u8>();
        let path_len = append(packed, File::FIXED, &raw const (*scratch).path);
        let target_len = append(packed, File::FIXED + path_len, &raw const (*scratch).target);
        (*record).path_len = path_len as u16;
        (*record).target_len = target_len as u16;
        (*record).path_root_len = root_len(&raw const (*scratch).path);
        (*record).target_root_len = root_len(&raw const (*scratch).target);
        if (*scratch).path.cut | (*scratch).target.cut != 0 {
            (*record).flags |= flag::PATH_TRUNCATED;
        }
        if path_len == 0 {
            fault::count(Fault::PathUnreadable);
        }
        core::ptr::copy_nonoverlapping(record, packed.cast::<File>(), 1);
        let length = bounded::<{ PACKED - 1 }>(File::FIXED + path_len + target_len);
        let bytes = core::slice::from_raw_parts(packed, length);
        ring::submit::<[u8], _, _>(&FILE, Signal::File, bytes);
    }
}

/// Copies a path; returns its length.
#[inline(always)]
// SAFETY: callers pass parts of the room that they took.
unsafe fn append(packed: *mut u8, at: usize, area: *const Area) -> usize {
    const MOST: usize = 2 * PATH_MAX - 1;
    // SAFETY: the caller's promise: both are parts of its room.
    unsafe {
        let start = bounded::<MOST>((*area).start as usize);
        let length = bounded::<MOST>(((*area).end as usize).wrapping_sub(start));
        let target = packed.add(bounded::<{ 2 * MOST + 1 }>(at));
        // What the verifier believes must stay inside the area, so the rest of it is the bound.
        let source = (&raw const (*area).bytes).cast::<u8>().add(start);
        bpf_probe_read_kernel(target.cast(), length as u32, source.cast());
        length
    }
}

/// Returns how much of a path names the process's root.
#[inline(always)]
// SAFETY: callers pass a part of the room that they took.
unsafe fn root_len(area: *const Area) -> u16 {
    // SAFETY: the caller's promise.
    let (root, start) = unsafe { ((*area).root, (*area).start) };
    if root > start { (root - start) as u16 } else { 0 }
}

/// Returns whether the running task's cgroup may report one more act, and one more on this file: a
/// storm on one file must not use up what the cgroup's other acts need, nor one cgroup's storm what
/// the others need.
#[inline(always)]
fn is_admitted(inode: u64, cgroup: u64) -> bool {
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    (inode == 0 || takes([cgroup, inode], now, BURST_OF_ONE, NS_PER_RECORD_OF_ONE))
        && takes([cgroup, 0], now, BURST, NS_PER_RECORD)
}

#[inline(always)]
fn takes(key: [u64; 2], now: u64, burst: u64, ns_per_token: u64) -> bool {
    let Some(bucket) = FILE_BUCKETS.get_ptr_mut(key) else {
        let bucket = Bucket { tokens: burst - 1, filled_ns: now };
        // A table that is full evicts; should it fail all the same, the record counts more.
        let _full = FILE_BUCKETS.insert(key, bucket, u64::from(BPF_ANY));
        return true;
    };
    // SAFETY: an entry of the map, readable and writable while the program runs. Two CPUs may take
    // the same token; what is let through and what is not is counted either way.
    unsafe {
        let earned = now.wrapping_sub((*bucket).filled_ns) / ns_per_token;
        let mut tokens = (*bucket).tokens;
        if earned > 0 {
            tokens += earned;
            if tokens > burst {
                tokens = burst;
            }
            (*bucket).filled_ns = now;
        }
        if tokens == 0 {
            return false;
        }
        (*bucket).tokens = tokens - 1;
    }
    true
}
