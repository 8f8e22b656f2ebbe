//! Programs executed: who, from which file, with which arguments, attached to what.
//!
//! The record is put together in a per-CPU buffer and copied to the ring in its exact length; most
//! are a few hundred bytes, while reserving the longest would take over 5 KiB each.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_uid_gid, generated::bpf_probe_read_user},
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    fault::Fault,
    loss::Loss,
    record::{ARGS_MAX, COMM_LEN, Exec, PATH_MAX, Stdio, exec_flag, kind},
    seen::Signal,
};

use crate::{
    fault,
    kernel::{bounded, current_task, field},
    maps::{SCRATCH, SECURITY, Scratch},
    path, ring, scope, stdio,
};

/// Preferred: needs no tracefs. match-proto: sched_process_exec(task, old_pid, bprm)
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec(_ctx: RawTracePointContext) -> i32 {
    try_exec();
    0
}

/// Stands in where raw tracepoints are refused.
#[tracepoint]
pub fn exec_tracepoint(_ctx: TracePointContext) -> i32 {
    try_exec();
    0
}

#[inline(always)]
fn try_exec() {
    if !scope::task() {
        return;
    }
    fault::seen(Signal::Exec);
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        fault::lost(Signal::Exec, Loss::ScratchMissing);
        return;
    };
    let task = current_task();
    let exec: *mut Exec = scratch.cast();
    // SAFETY: this CPU's slot, larger than the record; the hook runs with preemption off and never
    // in an interrupt, so nothing else writes it now.
    unsafe { fixed(exec, task) };
    let path_len = image(scratch, exec, task);
    let args_len = arguments(scratch, exec, task, path_len);
    // SAFETY: as above.
    unsafe {
        (*exec).args_len = args_len as u16;
    }
    let length = bounded::<{ Scratch::SIZE - 1 }>(Exec::FIXED + path_len + args_len);
    // SAFETY: the mask keeps the length inside the scratch buffer.
    let record = unsafe { core::slice::from_raw_parts(scratch.cast::<u8>(), length) };
    ring::submit::<[u8], _, _>(&SECURITY, Signal::Exec, record);
}

/// Fills everything of known size.
///
/// # Safety
///
/// `exec` points to this CPU's scratch buffer.
#[inline(always)]
unsafe fn fixed(exec: *mut Exec, task: u64) {
    let parent = field!(task, task_real_parent => u64);
    let cred = field!(task, task_cred => u64);
    let files = field!(task, task_files => u64);
    let table = field!(files, files_fdt => u64);
    // SAFETY: the caller's promise.
    unsafe {
        (*exec).header = scope::header(kind::EXEC);
        (*exec).parent_tgid = field!(parent, task_tgid => u32);
        (*exec).parent_start_ns = scope::process_start(parent);
        (*exec).euid = field!(cred, cred_euid => u32);
        (*exec).gid = (bpf_get_current_uid_gid() >> 32) as u32;
        (*exec).comm = bpf_get_current_comm().unwrap_or([0; COMM_LEN]);
        (*exec).flags = 0;
        for descriptor in 0..3 {
            let entry: *mut Stdio = &raw mut (*exec).stdio[descriptor];
            stdio::describe(table, descriptor as u32, entry);
        }
    }
}

/// Fills what is known of the executable's file, and walks its path; returns the path's length.
#[inline(always)]
fn image(scratch: *mut Scratch, exec: *mut Exec, task: u64) -> usize {
    let mm = field!(task, task_mm => u64);
    let file = field!(mm, mm_exe_file => u64);
    let inode = field!(file, file_inode => u64);
    let sb = field!(inode, inode_sb => u64);
    let truncated = path::walk(scratch, exec, file);
    let mut flags = 0;
    if inode != 0 && field!(inode, inode_nlink => u32) == 0 {
        flags |= exec_flag::UNLINKED;
        if path::is_memfd(scratch, sb) {
            flags |= exec_flag::MEMFD;
        }
    }
    if truncated {
        flags |= exec_flag::PATH_TRUNCATED;
    }
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe {
        (*exec).exe_inode = field!(inode, inode_ino => u64);
        (*exec).exe_dev = field!(sb, sb_dev => u32);
        (*exec).flags = flags;
    }
    let length = path::length(exec);
    if length == 0 {
        fault::count(Fault::PathUnreadable);
    }
    length
}

/// Copies the arguments behind the path; returns their length.
#[inline(always)]
fn arguments(scratch: *mut Scratch, exec: *mut Exec, task: u64, path_len: usize) -> usize {
    let mm = field!(task, task_mm => u64);
    let start = field!(mm, mm_arg_start => u64);
    let end = field!(mm, mm_arg_end => u64);
    let mut length = end.wrapping_sub(start) as usize;
    let mut flags = 0;
    if length > ARGS_MAX {
        length = ARGS_MAX;
        flags |= exec_flag::ARGS_TRUNCATED;
    }
    let offset = Exec::FIXED + bounded::<{ 2 * PATH_MAX - 1 }>(path_len);
    let length = bounded::<{ 2 * ARGS_MAX - 1 }>(length);
    // SAFETY: the masks keep `offset + length` inside the scratch buffer; the helper checks the
    // user-space address itself.
    let failed = start == 0
        || unsafe {
            let target = scratch.cast::<u8>().add(offset);
            bpf_probe_read_user(target.cast(), length as u32, start as *const _) != 0
        };
    if failed {
        fault::count(Fault::ArgsUnreadable);
        flags |= exec_flag::ARGS_UNREADABLE;
    }
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe { (*exec).flags |= flags };
    if failed { 0 } else { length }
}
