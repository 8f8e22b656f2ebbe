//! Which system calls the worker may make (seccomp). Any other one fails with "not permitted" and
//! is counted, so that a mistake here, or an intruder, shows in coverage instead of vanishing.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule,
};

/// Calls without a look at their arguments: files, memory, time, threads, sockets.
const ALLOWED: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_connect,
    libc::SYS_dup,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fadvise64,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpeername,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mkdirat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_prlimit64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    // Only downwards, without privilege.
    libc::SYS_setpriority,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_socketpair,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_sysinfo,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_uname,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older forms of the same calls.
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_dup2,
    libc::SYS_epoll_wait,
    libc::SYS_getdents,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[c_long] = &[libc::SYS_dup3];

/// What may be done with maps that are held: read, write, remove, ask what they are. Not making a
/// map, loading or attaching a program.
const MAP_COMMANDS: &[u64] = &[1, 2, 3, 4, 15, 21, 24, 25, 26, 27];
/// Families of sockets: local, IPv4, IPv6.
const FAMILIES: &[u64] = &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64];
/// What may be asked of a descriptor by `ioctl`.
const REQUESTS: &[u64] = &[libc::FIONBIO, libc::FIOCLEX, libc::FIONREAD, libc::TCGETS];
/// Names of threads, and names of their memory, which the C library gives.
const PROCESS_OPTIONS: &[u64] = &[libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64];

static DENIED: AtomicU64 = AtomicU64::new(0);
static LATEST: AtomicI64 = AtomicI64::new(-1);

/// Filters the calls of this process from now on.
pub fn filter() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    count_denials().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

/// Returns how many calls were refused, and the number of the latest one.
pub fn denied() -> (u64, i64) {
    (DENIED.load(Relaxed), LATEST.load(Relaxed))
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in ALLOWED.iter().chain(ALLOWED_OLD) {
        rules.insert(*call, Vec::new());
    }
    rules.insert(libc::SYS_bpf, one_of(0, MAP_COMMANDS)?);
    rules.insert(libc::SYS_socket, one_of(0, FAMILIES)?);
    rules.insert(libc::SYS_ioctl, one_of(1, REQUESTS)?);
    rules.insert(libc::SYS_prctl, one_of(0, PROCESS_OPTIONS)?);
    // A panic ends this process by a signal to itself; no other process gets one.
    let own = [u64::from(std::process::id())];
    rules.insert(libc::SYS_tgkill, one_of(0, &own)?);
    // Threads, not processes.
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![SeccompCondition::new(
            0,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64),
            libc::CLONE_THREAD as u64,
        )?])?],
    );
    let architecture = std::env::consts::ARCH.try_into()?;
    let (other, listed) = (SeccompAction::Trap, SeccompAction::Allow);
    SeccompFilter::new(rules, other, listed, architecture)?.try_into()
}

/// Rules that hold when an argument is one of some values.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |&value| {
        let length = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(argument, length, SeccompCmpOp::Eq, value)?;
        SeccompRule::new(vec![condition])
    };
    values.iter().map(rule).collect()
}

/// Takes the signal that a refused call raises.
fn count_denials() -> io::Result<()> {
    // SAFETY: an all-zero `sigaction` is valid, and every field that matters is set.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_denied as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
    // SAFETY: the handler only touches atomics and the context that the kernel gives it.
    let answer = unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the refused call fail as if the kernel had said "not permitted".
extern "C" fn on_denied(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    DENIED.fetch_add(1, Relaxed);
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the kernel passes the context that it restores when the handler returns.
    unsafe {
        let result = &mut (*context).uc_mcontext.gregs[libc::REG_RAX as usize];
        LATEST.store(*result, Relaxed);
        *result = -i64::from(libc::EPERM);
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; the number of the call is in register 8, its result in register 0.
    unsafe {
        LATEST.store((*context).uc_mcontext.regs[8] as i64, Relaxed);
        (*context).uc_mcontext.regs[0] = -i64::from(libc::EPERM) as u64;
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    use super::*;

    /// Exit codes of the child, one for each thing that went wrong.
    fn child() -> i32 {
        if filter().is_err() {
            return 1;
        }
        // SAFETY: plain system calls with numbers for arguments.
        let (own, other) = unsafe {
            let own = libc::syscall(libc::SYS_getppid);
            (own, libc::syscall(libc::SYS_ptrace, 0, 0, 0, 0))
        };
        let errno = io::Error::last_os_error().raw_os_error();
        if own <= 0 || other != -1 || errno != Some(libc::EPERM) {
            return 2;
        }
        // SAFETY: as above; the command would make a map.
        let made = unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) };
        if made != -1 || denied() != (2, libc::SYS_bpf) {
            return 3;
        }
        0
    }

    #[test]
    fn what_is_not_listed_is_refused_and_counted() {
        // SAFETY: the child makes system calls only and leaves without running destructors.
        match unsafe { fork() }.unwrap() {
            // SAFETY: ends the child at once.
            ForkResult::Child => unsafe { libc::_exit(child()) },
            ForkResult::Parent { child } => {
                assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            }
        }
    }
}
