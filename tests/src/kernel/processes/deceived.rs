//! A path that is not there yet when the call begins: its page comes only when the kernel asks for
//! it, as late as whoever calls likes.

use std::ptr;

use anyhow::{Result, ensure};
use libtest_mimic::{Completion, Trial};
use nix::libc;

use super::{TRUE, exec_by, resolved, settings};
use crate::{
    figure,
    kernel::{
        child,
        watch::{Watch, unavailable},
    },
    skip::trial,
};

/// What userfaultfd(2) needs of linux/userfaultfd.h.
const API: libc::c_ulong = 0xc018_aa3f;
const REGISTER: libc::c_ulong = 0xc020_aa00;
const COPY: libc::c_ulong = 0xc028_aa03;
const API_VERSION: u64 = 0xaa;
const MISSING: u64 = 1;
const PAGE: usize = 4096;
const STACK: usize = 64 * 1024;
/// How long the page is kept back.
const STALL_US: u32 = 100_000;
/// Exit status of a child without such faults.
const LACKING: i32 = 90;

pub fn trials() -> Vec<Trial> {
    vec![trial("processes::a_path_that_comes_late_is_told_as_it_was_executed", late)]
}

/// What the thread that brings the page needs.
struct Late {
    faults: i32,
    page: u64,
    source: u64,
}

extern "C" fn bring(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the first thread waits for the page, and what it gave outlives its execution.
    unsafe {
        let late: &Late = &*argument.cast();
        let mut message = [0_u64; 4];
        libc::read(late.faults, message.as_mut_ptr().cast(), size_of_val(&message));
        libc::usleep(STALL_US);
        let mut copy = [late.page, late.source, PAGE as u64, 0, 0];
        libc::ioctl(late.faults, COPY, copy.as_mut_ptr());
        libc::syscall(libc::SYS_exit, 0);
    }
    0
}

/// Executes a program whose path is on a page that comes late.
fn execute_late() -> i32 {
    let map = |length| {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: new memory, which nobody frees.
        unsafe { libc::mmap(ptr::null_mut(), length, protection, kind, -1, 0) }
    };
    let (page, source, stack) = (map(PAGE), map(PAGE), map(STACK));
    let flags = libc::CLONE_VM
        | libc::CLONE_THREAD
        | libc::CLONE_SIGHAND
        | libc::CLONE_FS
        | libc::CLONE_FILES;
    // SAFETY: mappings of the sizes that are used, structures as the calls take them; the thread
    // has a stack of its own and makes system calls only.
    unsafe {
        ptr::copy_nonoverlapping(TRUE.as_ptr(), source.cast(), TRUE.len());
        let faults = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) as i32;
        let mut api = [API_VERSION, 0, 0];
        let mut region = [page as u64, PAGE as u64, MISSING, 0];
        if faults < 0
            || libc::ioctl(faults, API, api.as_mut_ptr()) != 0
            || libc::ioctl(faults, REGISTER, region.as_mut_ptr()) != 0
        {
            return LACKING;
        }
        let late = Late { faults, page: page as u64, source: source as u64 };
        let argument = (&raw const late).cast_mut().cast();
        if libc::clone(bring, stack.byte_add(STACK), flags, argument) < 0 {
            return 1;
        }
        let arguments = [c"true".as_ptr(), ptr::null()];
        libc::execv(page.cast(), arguments.as_ptr());
    }
    2
}

fn late() -> Result<Completion> {
    if let Some(reason) = unavailable() {
        return Ok(Completion::ignored_with(reason));
    }
    let mut watch = Watch::start(&settings())?;
    let (id, status) = child::run(execute_late)?;
    if libc::WEXITSTATUS(status) == LACKING {
        return Ok(Completion::ignored_with("this kernel lets nobody handle its faults"));
    }
    ensure!(status == 0, "the execution itself failed: {status:#x}");
    let exec = exec_by(&mut watch, id)?;
    ensure!(exec.path == resolved(TRUE)?, "{}", exec.path.escape_ascii());
    figure::tell("E-02", "path on a page that userfaultfd keeps back: told as it was executed");
    Ok(Completion::Completed)
}
