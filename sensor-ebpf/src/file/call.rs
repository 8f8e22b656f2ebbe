//! Stands in where no hook below the system calls can be had: looks at calls when they end.
//!
//! What is open then is still resolved truth: the returned descriptor leads to the file. The paths
//! of all other calls are strings of the process, which may have changed since the kernel read
//! them, and lead through links that are not resolved; their records say so.
//!
//! Requests to io_uring are no system calls of their own, so they pass by.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs},
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use sensor_abi::{
    activity::Act,
    call::{IA32, NUMBERS, SLOTS},
    file::{access, call},
    loss::Loss,
    record::file::{action, flag, matched},
    seen::Signal,
};

use super::{
    CHANGED, MOVED, Other, RENAMED, Touch, connect, opened,
    place::Place,
    scan,
    scratch::{self, FileScratch},
    string::{self, Passed, WORKING_DIRECTORY},
    submit, touched, walk,
};
use crate::{
    activity,
    call::{is_ia32, saved},
    fault,
    kernel::{bounded, current_task, field},
    scope,
};

/// Kind of a socket in `inode.i_mode`.
const SOCKET: u16 = 0o140_000;
const AF_UNIX: u16 = 1;
/// Errors that say that somebody wanted what he may not: `EPERM`, `EACCES`, `EROFS`.
const REFUSALS: [i64; 3] = [-1, -13, -30];

/// Makes a program of a group of calls, to which `call::jump` hands on the ends of such calls.
macro_rules! programs {
    ($($program:ident = $handle:ident;)*) => {$(
        #[raw_tracepoint(tracepoint = "sys_exit")]
        pub fn $program(ctx: RawTracePointContext) -> i32 {
            try_call(ctx.arg::<u64>(1) as i64, $handle);
            0
        }
    )*};
}

// match-proto: sys_exit(regs, ret)
programs! {
    file_call_open = open;
    file_call_descriptor = by_descriptor;
    file_call_path = by_path;
    file_call_connect = socket;
}

/// What each call means, by its place; set by the sensor at load, then frozen.
#[unsafe(no_mangle)]
pub static FILE_CALLS: [u8; SLOTS] = [call::NONE; SLOTS];

/// A system call that ends.
#[derive(Clone, Copy)]
struct Ended {
    result: i64,
    arguments: [u64; 5],
}

/// Reads the registers that the task entered the kernel with, as x86-64 keeps them: the number of
/// the call and its arguments. The sensor attaches these programs on no other architecture.
///
/// Both conventions are read and one is chosen by arithmetic, since the verifier would follow each
/// through all that comes after.
#[inline(always)]
fn registers(ia32: bool) -> (u32, [u64; 5]) {
    let low = if ia32 { u64::from(u32::MAX) } else { 0 };
    let native = if ia32 { 0 } else { u64::MAX };
    // SAFETY: neither helper has preconditions; the second one's result is a pointer to the
    // registers, which the verifier knows by their type, and each load below is one of them.
    unsafe {
        let registers = bpf_task_pt_regs(bpf_get_current_task_btf()) as *const u64;
        let at = |offset: u32| core::ptr::read_volatile(registers.add(offset as usize / 8));
        let argument =
            |index: usize| at(saved::ARGS[index]) & native | at(saved::IA32_ARGS[index]) & low;
        (at(saved::NUMBER as u32) as u32, core::array::from_fn(argument))
    }
}

/// Handles a call that ends; those of the other groups are left to their programs.
#[inline(always)]
fn try_call(result: i64, handle: impl Fn(u64, u8, &Ended)) {
    let ia32 = is_ia32();
    let (number, arguments) = registers(ia32);
    let convention = if ia32 { IA32 } else { 0 };
    let slot = bounded::<{ SLOTS - 1 }>((convention + number % NUMBERS) as usize);
    // SAFETY: the mask keeps it inside the table. Volatile, so that the compiler does not fold in
    // what the object was built with.
    let call = unsafe { core::ptr::read_volatile((&raw const FILE_CALLS).cast::<u8>().add(slot)) };
    if call != call::NONE && scope::task() {
        handle(current_task(), call, &Ended { result, arguments });
    }
}

#[inline(always)]
fn open(task: u64, call: u8, ended: &Ended) {
    if !matches!(call, call::OPEN | call::OPEN_PATH | call::OPENAT) || ended.result < 0 {
        return;
    }
    let file = string::file_of(task, ended.result as u64);
    // What was asked for at opening is not in the file any more; registers cannot change.
    let flags = match call {
        call::OPEN_PATH => ended.arguments[1] as u32,
        call::OPENAT => ended.arguments[2] as u32,
        _ => field!(file, file_flags => u32),
    };
    opened(file, flags);
}

#[inline(always)]
fn by_descriptor(task: u64, call: u8, ended: &Ended) {
    if ended.result < 0 {
        return;
    }
    let [descriptor, second, third, ..] = ended.arguments;
    let touch = match call {
        call::FCHMOD => Touch { mode: second as u32 & 0o7777, ..Touch::new(action::MODE, CHANGED) },
        call::FCHOWN => owned(second, third),
        call::FTRUNCATE => Touch::new(action::TRUNCATE, CHANGED),
        _ => return,
    };
    touched(touch, Place::of_file(string::file_of(task, descriptor)), Other::None);
    if touch.action != action::TRUNCATE {
        activity::count(Act::Attribute);
    }
}

#[inline(always)]
fn owned(user: u64, group: u64) -> Touch {
    let (uid, gid) = ((user as u32).wrapping_add(1), (group as u32).wrapping_add(1));
    Touch { uid, gid, ..Touch::new(action::OWNER, CHANGED) }
}

/// The peer of a connected socket has the path that it is bound to.
#[inline(always)]
fn socket(task: u64, call: u8, ended: &Ended) {
    if call != call::CONNECT || ended.result < 0 {
        return;
    }
    let file = string::file_of(task, ended.arguments[0]);
    let inode = field!(file, file_inode => u64);
    if field!(inode, inode_mode => u16) & super::KIND != SOCKET {
        return;
    }
    let socket = field!(file, file_private_data => u64);
    let sk = field!(socket, socket_sk => u64);
    if field!(sk, sock_family => u16) == AF_UNIX {
        let peer = field!(sk, unix_peer => u64);
        connect(peer, Touch::new(action::CONNECT, access::CONNECT));
    }
}

/// A call that names files by strings. It is kept in memory and read back from there, so that the
/// verifier does not follow each call through all that comes after.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Named {
    action: u64,
    wanted: u64,
    mode: u64,
    user: u64,
    group: u64,
    result: u64,
    path: Passed,
    /// The second path, or the content of a symbolic link; address 0 when there is none.
    target: Passed,
}

/// Takes a call apart; `None` when it is of another group.
#[inline(always)]
fn named(call: u8, arguments: [u64; 5]) -> Option<Named> {
    let [a, b, c, d, _] = arguments;
    let here = |address| Passed { directory: WORKING_DIRECTORY, address };
    let at = |directory, address| Passed { directory, address };
    let act = |action: u16, wanted: u32, path, target| Named {
        action: u64::from(action),
        wanted: u64::from(wanted),
        mode: 0,
        user: 0,
        group: 0,
        result: 0,
        path,
        target,
    };
    let mode = |path, bits| Named { mode: bits, ..act(action::MODE, CHANGED, path, here(0)) };
    let owner = |path, user: u64, group: u64| Named {
        user: u64::from((user as u32).wrapping_add(1)),
        group: u64::from((group as u32).wrapping_add(1)),
        ..act(action::OWNER, CHANGED, path, here(0))
    };
    Some(match call {
        call::RENAME => act(action::RENAME, RENAMED, here(a), here(b)),
        call::RENAMEAT => act(action::RENAME, RENAMED, at(a, b), at(c, d)),
        call::LINK => act(action::LINK, RENAMED, here(a), here(b)),
        call::LINKAT => act(action::LINK, RENAMED, at(a, b), at(c, d)),
        call::SYMLINK => act(action::SYMLINK, CHANGED, here(b), here(a)),
        call::SYMLINKAT => act(action::SYMLINK, CHANGED, at(b, c), here(a)),
        call::UNLINK => act(action::UNLINK, MOVED, here(a), here(0)),
        call::UNLINKAT => act(action::UNLINK, MOVED, at(a, b), here(0)),
        call::CHMOD => mode(here(a), b),
        call::FCHMODAT => mode(at(a, b), c),
        call::CHOWN => owner(here(a), b, c),
        call::FCHOWNAT => owner(at(a, b), c, d),
        call::TRUNCATE => act(action::TRUNCATE, CHANGED, here(a), here(0)),
        _ => return None,
    })
}

#[inline(always)]
fn by_path(task: u64, call: u8, ended: &Ended) {
    let result = ended.result;
    if result < 0 && !REFUSALS.contains(&result) {
        return;
    }
    let Some(named) = named(call, ended.arguments) else {
        return;
    };
    let Some(scratch) = scratch::take() else {
        fault::seen(Signal::File);
        fault::lost(Signal::File, Loss::ScratchMissing);
        return;
    };
    let named = Named { result: result as u64, ..named };
    // SAFETY: a field of the room that was just taken.
    let named = forget(unsafe { &raw mut (*scratch).named }, named);
    // All ones when the call failed.
    let failed = (named.result as i64 >> 63) as u32;
    let touch = Touch {
        action: named.action as u16,
        wanted: named.wanted as u32,
        flags: flag::RACY,
        open_flags: 0,
        mode: named.mode as u32 & 0o7777,
        uid: named.user as u32,
        gid: named.group as u32,
        error: named.result.wrapping_neg() as u32 & failed,
    };
    compare(scratch, task, &touch, named.path, named.target);
    scratch::give_back(scratch);
    if failed == 0 {
        count(touch.action);
    }
}

#[inline(always)]
fn count(done: u16) {
    match done {
        action::RENAME => activity::count(Act::Rename),
        action::LINK | action::SYMLINK => activity::count(Act::Link),
        action::UNLINK => activity::count(Act::Unlink),
        action::MODE | action::OWNER => activity::count(Act::Attribute),
        _ => {}
    }
}

/// Keeps a value in memory and reads it back, so that the verifier forgets by which of several ways
/// it came about.
#[inline(always)]
fn forget<T: Copy>(kept: *mut T, value: T) -> T {
    // SAFETY: callers pass a field of the room that they took.
    unsafe {
        core::ptr::write_volatile(kept, value);
        core::ptr::read_volatile(kept)
    }
}

/// Submits a record when a name of either string, or of the directories that they start from, is
/// watched; the sensor compares the whole paths.
#[inline(always)]
fn compare(scratch: *mut FileScratch, task: u64, touch: &Touch, from: Passed, to: Passed) {
    // A symbolic link's content is no path yet.
    let is_content = touch.action == action::SYMLINK;
    // SAFETY: fields of the room that the caller took.
    let (path, target) = unsafe { (&raw mut (*scratch).path, &raw mut (*scratch).target) };
    let length = string::read(path, from);
    if length == 0 {
        return;
    }
    // SAFETY: as above.
    let (kept_base, kept_hits) = unsafe { (&raw mut (*scratch).base, &raw mut (*scratch).hits) };
    let base = forget(kept_base, string::base(path, task, from));
    let hits = string::scan(path, length, touch.wanted) | scan::up(base, touch.wanted, true);
    let mut hits = forget(kept_hits, u64::from(hits));
    let mut target_length = 0;
    let mut target_base = base;
    walk::clear(target);
    if to.address != 0 {
        target_length = string::read(target, to);
        if !is_content {
            target_base = forget(kept_base, string::base(target, task, to));
            let more = string::scan(target, target_length, touch.wanted)
                | scan::up(target_base, touch.wanted, true);
            hits |= u64::from(more);
        }
    }
    if forget(kept_hits, hits) == 0 {
        return;
    }
    let root = Place::root_of(task);
    string::complete(path, base, root, length);
    if is_content {
        string::alone(target, target_length);
    } else if target_length != 0 {
        string::complete(target, target_base, root, target_length);
    }
    submit::submit(scratch, touch, None, u32::from(matched::NAME));
}
