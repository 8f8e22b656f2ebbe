//! What is mounted where, and which root a process sees.

use sensor_abi::{
    act::{call_kind, flag, privilege as action},
    loss::Loss,
    record::{
        kind,
        privilege::{Act, MOUNT_TEXT_LEN, Mount},
    },
    seen::Signal,
};

use super::{blank, is_told};
use crate::{
    call::{Call, on_call},
    fault,
    kernel::text,
    maps::SECURITY,
    ring::WAKE_WHEN_READ,
    scope,
    task::Process,
};

/// `OPEN_TREE_CLONE`: without it a tree is only looked at.
const CLONE: u64 = 1;

/// Which arguments of a call are strings and which is its flags; `None` for what it lacks.
struct Shape {
    action: u32,
    kind: u32,
    name: Option<usize>,
    source: Option<usize>,
    type_name: Option<usize>,
    flags: Option<usize>,
}

impl Shape {
    const fn new(action: u32, kind: u32) -> Self {
        Self { action, kind, name: None, source: None, type_name: None, flags: None }
    }
}

const MOUNT: Shape = Shape {
    source: Some(0),
    name: Some(1),
    type_name: Some(2),
    flags: Some(3),
    ..Shape::new(action::MOUNT, call_kind::CLASSIC)
};
const MOVE: Shape = Shape {
    source: Some(1),
    name: Some(3),
    flags: Some(4),
    ..Shape::new(action::MOUNT, call_kind::MOVE)
};
const TREE: Shape =
    Shape { source: Some(1), flags: Some(2), ..Shape::new(action::MOUNT, call_kind::TREE) };
const OPEN: Shape =
    Shape { type_name: Some(0), flags: Some(1), ..Shape::new(action::MOUNT, call_kind::OPEN) };
const DETACHED: Shape = Shape { flags: Some(2), ..Shape::new(action::MOUNT, call_kind::DETACHED) };
const UNMOUNT: Shape =
    Shape { name: Some(0), flags: Some(1), ..Shape::new(action::UNMOUNT, call_kind::CLASSIC) };
const PIVOT: Shape =
    Shape { name: Some(0), source: Some(1), ..Shape::new(action::ROOT, call_kind::CLASSIC) };
const CHROOT: Shape = Shape { name: Some(0), ..Shape::new(action::ROOT, call_kind::CHROOT) };

on_call! {
    /// match-proto: mount(char __user *dev_name, char __user *dir_name, char __user *type,
    mount, mount_returned => |call| try_mount(call, &MOUNT);
    /// match-proto: move_mount(int from_dfd, const char __user *from_pathname, int to_dfd,
    mount_moved, mount_moved_returned => |call| try_mount(call, &MOVE);
    /// match-proto: open_tree(int dfd, const char __user *filename, unsigned flags)
    mount_tree, mount_tree_returned => |call: &Call| {
        if call.arg(2) & CLONE != 0 { try_mount(call, &TREE) }
    };
    /// match-proto: fsopen(const char __user *_fs_name, unsigned int flags)
    mount_opened, mount_opened_returned => |call| try_mount(call, &OPEN);
    /// match-proto: fsmount(int fs_fd, unsigned int flags, unsigned int attr_flags)
    mount_detached, mount_detached_returned => |call| try_mount(call, &DETACHED);
    /// match-proto: umount(char __user *name, int flags)
    unmount, unmount_returned => |call| try_mount(call, &UNMOUNT);
    /// match-proto: pivot_root(const char __user *new_root, const char __user *put_old)
    root_pivoted, root_pivoted_returned => |call| try_mount(call, &PIVOT);
    /// match-proto: chroot(const char __user *filename)
    root_changed, root_changed_returned => |call| try_mount(call, &CHROOT);
}

#[inline(always)]
fn try_mount(call: &Call, shape: &Shape) {
    if !scope::task() {
        return;
    }
    let mut act = blank(shape.action, &Process::NONE, call.result, call.flags | flag::RACY);
    act.kind = shape.kind;
    act.argument = argument(call, shape.flags);
    if is_told(&act, shape.kind) {
        let name = argument(call, shape.name);
        let source = argument(call, shape.source);
        write(&act, [(name, true), (source, true), (argument(call, shape.type_name), true)]);
    }
}

#[inline(always)]
fn argument(call: &Call, index: Option<usize>) -> u64 {
    match index {
        Some(index) => call.arg(index),
        None => 0,
    }
}

/// Tells an act with one string of the kernel's as its source.
#[inline(always)]
pub fn tell_source(act: &Act, source: u64) {
    if is_told(act, 0) {
        write(act, [(0, false), (source, false), (0, false)]);
    }
}

/// Writes the record in the ring's own memory: it is larger than a program's stack. Each string has
/// its address and whether that is in the process's memory.
#[inline(always)]
fn write(act: &Act, [name, source, type_name]: [(u64, bool); 3]) {
    let Some(mut entry) = SECURITY.reserve_untyped::<Mount>(0) else {
        fault::lost(Signal::Privilege, Loss::RingFull);
        return;
    };
    let record: *mut Mount = entry.as_mut_ptr();
    // SAFETY: reserved for a record; each field is written before it is submitted.
    unsafe {
        (*record).act = *act;
        (*record).act.header.kind = kind::MOUNT;
        let cut = string(&raw mut (*record).name, name)
            | string(&raw mut (*record).source, source)
            | string(&raw mut (*record).type_name, type_name);
        if cut {
            (*record).act.flags |= flag::TRUNCATED;
        }
    }
    entry.submit(WAKE_WHEN_READ);
}

/// Reads a string; what is behind its end is whatever the ring held before, and must be zeroed.
#[inline(always)]
fn string(target: *mut [u8; MOUNT_TEXT_LEN], (address, from_user): (u64, bool)) -> bool {
    // SAFETY: the caller's part of a reserved record.
    unsafe { *target.cast::<[u64; MOUNT_TEXT_LEN / 8]>() = [0; MOUNT_TEXT_LEN / 8] };
    text(target, address, from_user)
}
