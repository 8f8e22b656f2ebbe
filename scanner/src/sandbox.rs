//! Gives up everything but reading what is handed over: user, capabilities, files (landlock),
//! system calls (seccomp), and most of the processor and the memory.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use libc::c_long;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{self, Gid, Uid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Nobody's number.
const NOBODY: u32 = 65_534;
/// Bytes of memory that the process may write: a file of the largest size twice, and the rules.
pub const MEMORY_MAX: u64 = 768 * 1024 * 1024;
/// Descriptors: the socket, a file, what the runtime holds.
const DESCRIPTORS_MAX: u64 = 32;
/// Lowest priority that is not idle, as nice(1) has it. An idle one would never end a scan on a
/// host that is busy, which an intruder can see to.
const NICE: i32 = 19;
/// `IOPRIO_WHO_PROCESS`, and the idle class (ioprio_set(2)).
const IO_PROCESS: i32 = 1;
const IO_IDLE: i32 = 3 << 13;
/// The newest rules of landlock that are asked for; older kernels hold what they know of it.
const LANDLOCK: ABI = ABI::V6;

/// Calls without a look at their arguments: reading, answering, memory, threads, time.
const ALLOWED: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_set_robust_list,
    libc::SYS_setitimer,
    libc::SYS_sigaltstack,
    libc::SYS_statx,
    // What it says before it ends badly.
    libc::SYS_write,
];
#[cfg(target_arch = "x86_64")]
const ALLOWED_OLD: &[c_long] = &[libc::SYS_alarm, libc::SYS_arch_prctl];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_OLD: &[c_long] = &[];

/// Enters the sandbox. What must hold, or this fails: another user than root, no capabilities, no
/// new privileges, limits, the filter of system calls. Returns what the kernel does not have.
pub fn enter() -> Result<Vec<String>> {
    become_nobody().context("cannot give up the user")?;
    prctl::set_no_new_privs().context("cannot give up new privileges")?;
    drop_capabilities().context("cannot give up capabilities")?;
    prctl::set_dumpable(false).context("cannot close the memory to others")?;
    limit().context("cannot limit what it may take")?;
    last_in_line();
    let mut missing = Vec::new();
    if let Err(why) = no_files() {
        missing.push(format!("landlock: {why}"));
    }
    seccompiler::apply_filter(&program()?).context("cannot filter system calls")?;
    Ok(missing)
}

fn become_nobody() -> io::Result<()> {
    if !unistd::geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    unistd::setgroups(&[])?;
    unistd::setresgid(gid, gid, gid)?;
    unistd::setresuid(uid, uid, uid)?;
    Ok(())
}

/// Empties every set of this process. Those that the user's change has emptied stay so.
fn drop_capabilities() -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` (capget(2)).
    const VERSION: u32 = 0x2008_0522;
    let head = [VERSION, 0];
    let none = [0_u32; 6];
    // SAFETY: both point to as many words as the version says, and live through the call.
    let answer = unsafe { libc::syscall(libc::SYS_capset, head.as_ptr(), none.as_ptr()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn limit() -> io::Result<()> {
    for (what, most) in [
        (Resource::RLIMIT_DATA, MEMORY_MAX),
        (Resource::RLIMIT_NOFILE, DESCRIPTORS_MAX),
        (Resource::RLIMIT_FSIZE, 0),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
    ] {
        setrlimit(what, most, most)?;
    }
    Ok(())
}

/// Everything else goes first. Without it the scanning only competes harder.
fn last_in_line() {
    // SAFETY: plain system calls; 0 means this process.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
        libc::syscall(libc::SYS_ioprio_set, IO_PROCESS, 0, IO_IDLE);
    }
}

/// No file and no folder can be opened, no port connected to, no other process signalled.
fn no_files() -> Result<(), landlock::RulesetError> {
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .restrict_self()?;
    Ok(())
}

fn program() -> Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in ALLOWED.iter().chain(ALLOWED_OLD) {
        rules.insert(*call, Vec::new());
    }
    let is = |at, operator, value: u64| -> Result<SeccompRule> {
        let condition = SeccompCondition::new(at, SeccompCmpArgLen::Dword, operator, value)?;
        Ok(SeccompRule::new(vec![condition])?)
    };
    // Conditions of rules are interpreted, so no memory becomes code.
    let no_code = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
    rules.insert(libc::SYS_mmap, vec![is(2, no_code.clone(), 0)?]);
    rules.insert(libc::SYS_mprotect, vec![is(2, no_code, 0)?]);
    // Threads, not processes.
    let thread = SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64);
    rules.insert(libc::SYS_clone, vec![is(0, thread, libc::CLONE_THREAD as u64)?]);
    // A panic ends this process by a signal to itself.
    let own = u64::from(std::process::id());
    rules.insert(libc::SYS_tgkill, vec![is(0, SeccompCmpOp::Eq, own)?]);
    // Only whether a descriptor is open, which debug builds ask before they close it.
    rules.insert(libc::SYS_fcntl, vec![is(1, SeccompCmpOp::Eq, libc::F_GETFD as u64)?]);
    // Names of threads and of their memory.
    let names = [libc::PR_SET_NAME as u64, libc::PR_SET_VMA as u64];
    let named: Result<Vec<SeccompRule>> =
        names.into_iter().map(|name| is(0, SeccompCmpOp::Eq, name)).collect();
    rules.insert(libc::SYS_prctl, named?);
    let architecture = std::env::consts::ARCH.try_into()?;
    let (other, listed) = (SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow);
    Ok(SeccompFilter::new(rules, other, listed, architecture)?.try_into()?)
}
