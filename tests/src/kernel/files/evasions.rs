//! An open that tries to be taken for another one: its path changes while the call waits.

use std::ffi::CStr;

use anyhow::{Result, ensure};
use libtest_mimic::Completion;
use nix::libc;
use sensor::probe::WayKind;
use sensor_abi::record::file::action;

use super::stage::Stage;
use crate::{
    figure,
    kernel::{child, watch::unavailable},
};

/// Room for a path.
const ROOM: usize = 4096;
const STACK: usize = 64 * 1024;
/// How long the call waits before its path is rewritten.
const STALL_US: u32 = 50_000;

/// Copies a path to where its text may change.
fn copied(path: &CStr) -> Option<*mut u8> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: new memory, which nobody frees; the path fits.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), ROOM, protection, flags, -1, 0);
        let bytes = path.to_bytes_with_nul();
        if at == libc::MAP_FAILED || bytes.len() > ROOM {
            return None;
        }
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.cast(), bytes.len());
        Some(at.cast())
    }
}

/// What the rewriting thread needs.
struct Stalled {
    passed: *mut u8,
    /// Where the part starts that is rewritten.
    at: usize,
    real: *const libc::c_char,
}

extern "C" fn rewrite(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the first thread waits in its call until this one opens the other end; all of it
    // outlives both.
    unsafe {
        let stalled: &Stalled = &*argument.cast();
        libc::usleep(STALL_US);
        for (index, byte) in b"unheard".iter().enumerate() {
            stalled.passed.add(stalled.at + index).write_volatile(*byte);
        }
        libc::open(stalled.real, libc::O_RDONLY | libc::O_NONBLOCK);
        libc::usleep(STALL_US);
        libc::syscall(libc::SYS_exit, 0);
    }
    0
}

/// Opens a pipe with a name, which waits for its other end; its path is rewritten meanwhile.
pub fn stalled(way: WayKind) -> Result<Completion> {
    let mut stage = stage!(way);
    let fifo = stage.c("watched/pipe");
    // SAFETY: a string that ends with NUL.
    ensure!(unsafe { libc::mkfifo(fifo.as_ptr(), 0o600) } == 0, "no pipe with a name");
    let at = stage.c("").as_bytes().len();
    let flags = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND | libc::CLONE_FS;
    let (opener, status) = child::run(|| {
        let Some(passed) = copied(&fifo) else { return 1 };
        let stalled = Stalled { passed, at, real: fifo.as_ptr() };
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the new thread has a stack of its own, which nobody frees, and makes system calls
        // only; what it is given outlives it, since this thread waits for it.
        unsafe {
            let stack = libc::mmap(std::ptr::null_mut(), STACK, protection, kind, -1, 0);
            let argument = (&raw const stalled).cast_mut().cast();
            if libc::clone(rewrite, stack.byte_add(STACK), flags, argument) < 0 {
                return 2;
            }
            let opened = libc::open(passed.cast(), libc::O_WRONLY);
            i32::from(opened < 0) * 3 + i32::from(passed.add(at).read_volatile() != b'u') * 4
        }
    })?;
    ensure!(status == 0, "the act itself failed: {status:#x}");
    let files = stage.files_of(opener, |files| !files.is_empty())?;
    let right = stage.c("watched/pipe").into_bytes();
    ensure!(files[0].path == right, "told {}", files[0].path.escape_ascii());
    ensure!(files[0].fixed.action == action::OPEN_WRITE, "{files:?}");
    let figure = format!("by {way:?}: path rewritten while an open waits: told as it was opened");
    figure::tell("E-02", figure);
    Ok(Completion::Completed)
}
