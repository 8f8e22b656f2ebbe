//! Another process's memory through its file `/proc/PID/mem`.

use sensor_abi::{
    act::{flag, memory as action},
    seen::Signal,
};

use super::{TOLD_OF_TARGET, blank, tell};
use crate::{
    act,
    call::{Call, on_call, on_function},
    kernel::{field, setting},
    maps::MEMORY_OPENED,
    scope,
    task::{self, Process},
};

/// `PROC_SUPER_MAGIC`.
const PROC_MAGIC: u64 = 0x9fa0;
/// `FMODE_WRITE`.
const WRITABLE: u32 = 2;

on_call! {
    /// Stands in. match-proto: pwrite64(unsigned int fd, const char __user *buf, size_t count,
    proc_mem_write => try_written;
}

on_function! {
    /// Preferred. match-proto: static int mem_open(struct inode *inode, struct file *file)
    proc_mem_open_probed, proc_mem_open_entered (0, 1) => before_open;
    /// Preferred: also what is written by splicing and through io_uring.
    /// match-proto: static ssize_t mem_write(struct file *file, const char __user *buf,
    proc_mem_write_probed, proc_mem_write_entered (0, 1, 2) => before_write;
}

#[inline(always)]
fn before_open([inode, file]: [u64; 2]) {
    if field!(file, file_mode => u32) & WRITABLE != 0 && scope::task() {
        report(action::PROC_MEM_OPEN, inode, 0, flag::RESULT_UNKNOWN);
    }
}

#[inline(always)]
fn before_write([file, _buffer, count]: [u64; 3]) {
    if scope::task() {
        let inode = field!(file, file_inode => u64);
        report(action::PROC_MEM_WRITE, inode, count as i64, flag::RESULT_UNKNOWN);
    }
}

/// Stands in: a file of `/proc` was opened for writing.
#[inline(always)]
pub fn opened(call: &Call, file: u64) {
    if is_memory(file) {
        if let Some(opened) = MEMORY_OPENED.get_ptr_mut(0) {
            // SAFETY: a slot of the map; every writer writes the same.
            unsafe { *opened = 1 };
        }
        report(action::PROC_MEM_OPEN, field!(file, file_inode => u64), 0, call.flags);
    }
}

/// Writing is frequent, so a look at the file has to wait until somebody has opened such a one.
#[inline(always)]
fn try_written(call: &Call) {
    if MEMORY_OPENED.get(0).copied().unwrap_or(0) == 0 || call.error() != 0 || !scope::task() {
        return;
    }
    let file = task::file(call.arg(0) as u32);
    if task::file_system(file) == PROC_MAGIC && is_memory(file) {
        let inode = field!(file, file_inode => u64);
        report(action::PROC_MEM_WRITE, inode, call.result, call.flags);
    }
}

#[inline(always)]
fn is_memory(file: u64) -> bool {
    task::file_name::<4>(file) == *b"mem\0"
}

#[inline(always)]
fn report(action: u32, inode: u64, result: i64, flags: u32) {
    let outer: u32 = setting!(offsets.proc_inode_vfs);
    let pid = field!(inode.wrapping_sub(u64::from(outer)), proc_inode_pid => u64);
    let target = Process::of(task::of_pid(pid));
    if target.is_own() {
        return;
    }
    if act::is_told(Signal::Memory, &act::key(action, 0, &target), TOLD_OF_TARGET) {
        let mut record = blank(action, &target, result, flags);
        record.length = result as u64;
        tell(&record);
    }
}
