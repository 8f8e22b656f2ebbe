//! Child processes that do one thing and end. The sensor leaves out its own process, so whatever a
//! trial wants to see must be done by another one.

use anyhow::{Context as _, Result};
use nix::{
    libc,
    unistd::{ForkResult, Pid, fork},
};

/// Runs `work` in a child and returns the child's id; its exit status is what `work` returns.
///
/// `work` may only use system calls: other threads may hold locks at the time of the fork.
pub fn start(work: impl FnOnce() -> i32) -> Result<Pid> {
    // SAFETY: the child only makes system calls, as callers promise, and leaves with `_exit`.
    match unsafe { fork() }.context("could not fork")? {
        ForkResult::Parent { child } => Ok(child),
        // SAFETY: ends the child without running anything of the parent's.
        ForkResult::Child => unsafe { libc::_exit(work()) },
    }
}

/// Runs `work` in a child, waits for it and returns its id and status as `wait` gives it.
pub fn run(work: impl FnOnce() -> i32) -> Result<(u32, i32)> {
    let child = start(work)?;
    let mut status = 0;
    // SAFETY: a child of ours, and a status that lives through the call.
    let waited = unsafe { libc::waitpid(child.as_raw(), &raw mut status, 0) };
    nix::errno::Errno::result(waited).context("could not wait for the child")?;
    Ok((child.as_raw() as u32, status))
}

/// A second thread outlives the process's first one by a moment, then ends with status 7.
pub fn leader_leaves_first() -> i32 {
    const STACK: usize = 64 * 1024;
    extern "C" fn second(_argument: *mut libc::c_void) -> libc::c_int {
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        // SAFETY: plain system calls with arguments that live through them; the second one ends
        // this thread only.
        unsafe {
            libc::syscall(libc::SYS_nanosleep, &raw const moment, std::ptr::null_mut::<u8>());
            libc::syscall(libc::SYS_exit, 7);
        }
        0
    }
    let flags = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FS;
    // SAFETY: the new thread has a stack of its own, which nobody frees, and makes system calls
    // only.
    unsafe {
        let stack = libc::mmap(
            std::ptr::null_mut(),
            STACK,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if libc::clone(second, stack.byte_add(STACK), flags, std::ptr::null_mut()) < 0 {
            return 1;
        }
        libc::syscall(libc::SYS_exit, 0);
    }
    2
}
