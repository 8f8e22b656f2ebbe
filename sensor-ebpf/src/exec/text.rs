//! What a program was started with: arguments, directory, script, environment.
//!
//! All of it is read after the kernel made its own copy for the new program, which no thread of the
//! old one can reach.

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel_str, bpf_probe_read_user, bpf_probe_read_user_str,
};
use sensor_abi::{
    fault::Fault,
    record::{
        Exec,
        exec::{
            ARGS_MAX, ENV_ENTRY_MAX, ENV_LOOK_BYTES, ENV_LOOKED_AT, ENV_MAX, INTERPRETER_MAX,
            SCRIPT_MAX,
        },
        exec_flag,
    },
    tuning::{Tuning, VARIABLES_MAX, Variable},
};

use super::room;
use crate::{
    fault,
    kernel::{bounded, field},
    maps::Scratch,
    path::{self, Place},
    tuning::tuned_at,
};

/// Copies the arguments.
#[inline(always)]
pub fn arguments(scratch: *mut Scratch, task: u64) {
    let exec: *mut Exec = scratch.cast();
    let mm = field!(task, task_mm => u64);
    let start = field!(mm, mm_arg_start => u64);
    let end = field!(mm, mm_arg_end => u64);
    let mut length = end.wrapping_sub(start) as usize;
    let mut flags = 0;
    if length > ARGS_MAX {
        length = ARGS_MAX;
        flags |= exec_flag::ARGS_TRUNCATED;
    }
    let length = bounded::<{ 2 * ARGS_MAX - 1 }>(length);
    // SAFETY: place and mask keep it inside the scratch buffer; the helper checks the user-space
    // address itself.
    let failed = start == 0
        || unsafe {
            bpf_probe_read_user(room::place(scratch).cast(), length as u32, start as *const _) != 0
        };
    if failed {
        fault::count(Fault::ArgsUnreadable);
        flags |= exec_flag::ARGS_UNREADABLE;
    }
    let length = if failed { 0 } else { length };
    room::keep(scratch, length);
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe {
        (*exec).args_len = length as u16;
        (*exec).flags |= flags;
    }
}

/// Walks the working directory's path.
#[inline(always)]
pub fn directory(scratch: *mut Scratch, task: u64) {
    let exec: *mut Exec = scratch.cast();
    let fs = field!(task, task_fs => u64);
    let place =
        Place { dentry: field!(fs, fs_pwd_dentry => u64), mount: field!(fs, fs_pwd_mnt => u64) };
    let start = room::used(scratch);
    let truncated = path::walk(scratch, place);
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe {
        (*exec).cwd_len = (room::used(scratch) - start) as u16;
        if truncated {
            (*exec).flags |= exec_flag::CWD_TRUNCATED;
        }
    }
}

/// Copies the names of the script and its interpreter, when the kernel executed one for the other.
#[inline(always)]
pub fn script(scratch: *mut Scratch, bprm: u64) {
    let exec: *mut Exec = scratch.cast();
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe {
        (*exec).script_len = 0;
        (*exec).interpreter_len = 0;
        if bprm == 0 {
            (*exec).flags |= exec_flag::SCRIPT_UNKNOWN;
            return;
        }
    }
    // Both point to the same text until an interpreter takes over.
    let filename = field!(bprm, bprm_filename => u64);
    let interpreter = field!(bprm, bprm_interp => u64);
    if filename == interpreter {
        return;
    }
    let script_len = kernel_text::<SCRIPT_MAX>(scratch, filename);
    let interpreter_len = kernel_text::<INTERPRETER_MAX>(scratch, interpreter);
    // SAFETY: as above.
    unsafe {
        (*exec).script_len = script_len as u16;
        (*exec).interpreter_len = interpreter_len as u16;
    }
}

/// Appends a text of the kernel's with its NUL; returns its length.
#[inline(always)]
fn kernel_text<const MAX: usize>(scratch: *mut Scratch, source: u64) -> usize {
    // SAFETY: the place has room for more than this; the helper checks the kernel address itself.
    let written = unsafe {
        let target = room::place(scratch);
        bpf_probe_read_kernel_str(target.cast(), MAX as u32 + 1, source as *const _)
    };
    let mut length = if written > 0 { written as usize } else { 0 };
    if length > MAX {
        length = MAX;
        let exec: *mut Exec = scratch.cast();
        // SAFETY: as above; the byte is inside the text.
        unsafe {
            *room::place(scratch).add(MAX - 1) = 0;
            (*exec).flags |= exec_flag::SCRIPT_TRUNCATED;
        }
    }
    room::keep(scratch, length);
    length
}

/// Copies the environment variables that were asked for.
#[inline(always)]
pub fn environment(scratch: *mut Scratch, task: u64) {
    let exec: *mut Exec = scratch.cast();
    let mm = field!(task, task_mm => u64);
    let end = field!(mm, mm_env_end => u64);
    let start = room::used(scratch);
    let flags = variables(scratch, field!(mm, mm_env_start => u64), end, start);
    // SAFETY: this CPU's scratch buffer, see `try_exec`.
    unsafe {
        (*exec).env_len = (room::used(scratch) - start) as u16;
        (*exec).flags |= flags;
    }
}

/// Looks at one variable after the other; returns what could not be told.
#[inline(always)]
fn variables(scratch: *mut Scratch, mut at: u64, end: u64, start: usize) -> u32 {
    let mut begins = true;
    for _ in 0..ENV_LOOKED_AT {
        if at >= end {
            return 0;
        }
        let target = room::place(scratch);
        // SAFETY: the place has room for more than this; the helper checks the address itself.
        let looked = unsafe {
            bpf_probe_read_user_str(target.cast(), ENV_LOOK_BYTES as u32, at as *const _)
        };
        if looked <= 0 {
            return exec_flag::ENV_UNREADABLE;
        }
        let length = looked as usize;
        // SAFETY: the place has room for more than a word.
        if begins && is_wanted(unsafe { target.cast::<u64>().read_unaligned() }) {
            let kept = if length > ENV_ENTRY_MAX { ENV_ENTRY_MAX } else { length };
            if room::used(scratch) - start + kept > ENV_MAX {
                return exec_flag::ENV_TRUNCATED;
            }
            if length > ENV_ENTRY_MAX {
                let exec: *mut Exec = scratch.cast();
                // SAFETY: inside the variable, and this CPU's scratch buffer.
                unsafe {
                    *target.add(ENV_ENTRY_MAX - 1) = 0;
                    (*exec).flags |= exec_flag::ENV_TRUNCATED;
                }
            }
            room::keep(scratch, kept);
        }
        // A look that filled its room ended inside the variable, with a NUL that is not there.
        begins = length < ENV_LOOK_BYTES;
        at = at.wrapping_add(length as u64 - if begins { 0 } else { 1 });
    }
    if at < end { exec_flag::ENV_TRUNCATED } else { 0 }
}

/// Returns whether a variable begins as one that was asked for.
#[inline(always)]
fn is_wanted(begin: u64) -> bool {
    let mut wanted = false;
    for index in 0..VARIABLES_MAX {
        let at = core::mem::offset_of!(Tuning, variables) + index * size_of::<Variable>();
        // SAFETY: a variable's two words lie there.
        let [expected, mask] = unsafe { tuned_at::<[u64; 2]>(at) };
        wanted |= begin & mask == expected;
    }
    wanted
}
