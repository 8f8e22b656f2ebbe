//! As whom, where and below what a program runs.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_uid_gid};
use sensor_abi::record::{COMM_LEN, Exec, Stdio, exec::TTY_LEN};

use crate::{
    kernel::{self, bounded, field, optional, setting},
    scope, stdio,
};

/// What the kernel calls a log-in or session that is not set.
const UNSET: u32 = u32::MAX;
/// One less than a power of two above the depth that process namespaces can have (32).
const LEVEL_MASK: usize = 63;
/// Bytes of the kernel's `struct upid`: a number, then the namespace in which it counts.
const UPID_SIZE: u32 = 16;

/// Fills everything of known size behind the header, but for the image.
///
/// # Safety
///
/// `exec` points to this CPU's scratch buffer.
#[inline(always)]
pub unsafe fn fill(exec: *mut Exec, task: u64) {
    let parent = field!(task, task_real_parent => u64);
    let signal = field!(task, task_signal => u64);
    // SAFETY: the caller's promise.
    unsafe {
        (*exec).parent_tgid = field!(parent, task_tgid => u32);
        (*exec).parent_start_ns = scope::process_start(parent);
        (*exec).comm = bpf_get_current_comm().unwrap_or([0; COMM_LEN]);
        (*exec).loginuid = optional!(task, task_loginuid => u32, UNSET);
        (*exec).session = optional!(task, task_sessionid => u32, UNSET);
        let tty = field!(signal, signal_tty => u64);
        (*exec).tty = field!(tty, tty_name => [u8; TTY_LEN]);
        credentials(exec, task);
        namespaces(exec, task);
        streams(exec, task);
    }
}

/// # Safety
///
/// As [`fill`].
#[inline(always)]
unsafe fn credentials(exec: *mut Exec, task: u64) {
    let cred = field!(task, task_cred => u64);
    let user_ns = field!(cred, cred_user_ns => u64);
    // SAFETY: the caller's promise.
    unsafe {
        (*exec).euid = field!(cred, cred_euid => u32);
        (*exec).gid = (bpf_get_current_uid_gid() >> 32) as u32;
        (*exec).egid = field!(cred, cred_egid => u32);
        (*exec).capabilities = field!(cred, cred_cap_effective => u64);
        (*exec).user_ns = field!(user_ns, user_ns_inum => u32);
    }
}

/// # Safety
///
/// As [`fill`].
#[inline(always)]
unsafe fn namespaces(exec: *mut Exec, task: u64) {
    let proxy = field!(task, task_nsproxy => u64);
    let mounts = field!(proxy, nsproxy_mnt_ns => u64);
    let network = field!(proxy, nsproxy_net_ns => u64);
    // A process's own namespace is the innermost one in which it has a number; the proxy names the
    // one that its children will be in.
    let pid = field!(task, task_thread_pid => u64);
    let level = bounded::<LEVEL_MASK>(field!(pid, pid_level => u32) as usize) as u32;
    let numbers: u32 = setting!(offsets.pid_numbers);
    let numbers = pid.wrapping_add(u64::from(numbers));
    let upid = numbers.wrapping_add(u64::from(level * UPID_SIZE));
    let processes = field!(upid, upid_ns => u64);
    // SAFETY: the caller's promise.
    unsafe {
        (*exec).mnt_ns = field!(mounts, mnt_ns_inum => u32);
        (*exec).net_ns = field!(network, net_inum => u32);
        (*exec).pid_ns = field!(processes, pid_ns_inum => u32);
        (*exec).inner_pid = kernel::read(upid, 0);
    }
}

/// # Safety
///
/// As [`fill`].
#[inline(always)]
unsafe fn streams(exec: *mut Exec, task: u64) {
    let files = field!(task, task_files => u64);
    let table = field!(files, files_fdt => u64);
    for descriptor in 0..3 {
        // SAFETY: the caller's promise.
        unsafe {
            let entry: *mut Stdio = &raw mut (*exec).stdio[descriptor];
            stdio::describe(table, descriptor as u32, entry);
        }
    }
}
