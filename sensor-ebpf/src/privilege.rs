//! Privileges used and gained, beside kernel modules.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_abi::{
    act::{flag, privilege as action},
    record::{
        kind,
        privilege::{Act, PRIVILEGE_NAME_LEN, Privilege},
    },
    seen::Signal,
};

use crate::{
    act,
    call::{Call, on_call, on_function},
    kernel::field,
    maps::SECURITY,
    ring, scope,
    task::{self, Process},
};

mod bpf;
mod credentials;
mod mount;

/// Flags of clone(2) and unshare(2) that make a namespace: time, mount, cgroup, UTS, IPC, user,
/// process id and network.
const NEW_NAMESPACES: u64 = 0x7e02_0080;
/// Acts of one kind by one process that are told within a tick, on each CPU. A container's start
/// mounts two dozen file systems; four kinds of acts may then fill an eighth of the ring.
const TOLD_MAX: u64 = 32;
/// `NSFS_MAGIC`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

on_call! {
    /// match-proto: unshare(unsigned long unshare_flags)
    namespace_created, namespace_created_returned => try_unshare;
    /// match-proto: setns(int fd, int flags)
    namespace_entered, namespace_entered_returned => try_setns;
    /// match-proto: userfaultfd(int flags)
    user_faults, user_faults_returned => |call: &Call| simple(call, action::USERFAULTFD);
}

/// match-proto: task_newtask(task, clone_flags)
#[raw_tracepoint(tracepoint = "task_newtask")]
pub fn namespace_cloned(ctx: RawTracePointContext) -> i32 {
    let flags = ctx.arg::<u64>(1) & NEW_NAMESPACES;
    if flags != 0 && scope::task() {
        let child = Process::of(ctx.arg::<u64>(0));
        let act = Act { argument: flags, ..blank(action::NAMESPACE_CREATED, &child, 0, 0) };
        tell_first(&act);
    }
    0
}

/// match-proto: io_uring_create(fd, ctx, sq_entries, cq_entries, flags)
#[raw_tracepoint(tracepoint = "io_uring_create")]
pub fn uring_created(ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        let flags = ctx.arg::<u64>(4) & 0xffff_ffff;
        let act = blank(action::URING_SETUP, &Process::NONE, ctx.arg::<i32>(0).into(), 0);
        tell_first(&Act { argument: flags, ..act });
    }
    0
}

/// match-proto: module_free(mod)
#[raw_tracepoint(tracepoint = "module_free")]
pub fn module_removed(ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        let act = blank(action::MODULE_REMOVED, &Process::NONE, 0, 0);
        let name = field!(ctx.arg::<u64>(0), module_name => [u8; PRIVILEGE_NAME_LEN]);
        if is_told(&act, 0) {
            tell(&Privilege { act, name });
        }
    }
    0
}

on_function! {
    /// Preferred: what is written is the kernel's own copy.
    /// match-proto: static ssize_t cgroup_release_agent_write(struct kernfs_open_file *of,
    release_agent_probed, release_agent_entered (0, 1) => release_agent_written;
}

#[inline(always)]
fn release_agent_written([_file, content]: [u64; 2]) {
    if scope::task() {
        let act = blank(action::RELEASE_AGENT, &Process::NONE, 0, flag::RESULT_UNKNOWN);
        mount::tell_source(&act, content);
    }
}

/// Stands in: a file of a version 1 cgroup was opened for writing.
#[inline(always)]
pub fn opened(call: &Call, file: u64) {
    if task::file_name::<16>(file) == *b"release_agent\0\0\0" {
        let act = blank(action::RELEASE_AGENT, &Process::NONE, 0, call.flags);
        tell_first(&act);
    }
}

#[inline(always)]
fn try_unshare(call: &Call) {
    let flags = call.arg(0) & NEW_NAMESPACES;
    if flags != 0 && scope::task() {
        let act = blank(action::NAMESPACE_CREATED, &Process::NONE, call.result, call.flags);
        tell_first(&Act { argument: flags, ..act });
    }
}

#[inline(always)]
fn try_setns(call: &Call) {
    if !scope::task() {
        return;
    }
    let mut act = blank(action::NAMESPACE_ENTERED, &Process::NONE, call.result, call.flags);
    act.kind = call.arg(1) as u32;
    let file = task::file(call.arg(0) as u32);
    if task::file_system(file) == NSFS_MAGIC {
        let inode = field!(file, file_inode => u64);
        act.argument = field!(inode, inode_ino => u64);
    }
    tell_first(&act);
}

#[inline(always)]
fn simple(call: &Call, action: u32) {
    if scope::task() {
        let act = blank(action, &Process::NONE, call.result, call.flags);
        tell_first(&Act { argument: call.arg(0), ..act });
    }
}

/// What every act has.
#[inline(always)]
fn blank(action: u32, target: &Process, result: i64, flags: u32) -> Act {
    Act {
        header: scope::header(kind::PRIVILEGE),
        target_start_ns: target.start_ns,
        argument: 0,
        result,
        target_tgid: target.tgid,
        action,
        kind: 0,
        flags,
    }
}

/// Counts an act; returns whether to tell it at once. What fails cannot hide what succeeds, nor one
/// of several calls another one.
#[inline(always)]
fn is_told(act: &Act, call: u32) -> bool {
    // The sign, without a branch, of which the verifier would follow both sides.
    let failed = (act.result as u64 >> 63) as u32;
    let key = act::key(act.action, call << 1 | failed, &Process::NONE);
    act::is_told(Signal::Privilege, &key, TOLD_MAX)
}

#[inline(always)]
fn tell_first(act: &Act) {
    if is_told(act, 0) {
        tell(&Privilege { act: *act, name: [0; PRIVILEGE_NAME_LEN] });
    }
}

#[inline(always)]
fn tell(record: &Privilege) {
    ring::submit::<Privilege, _, _>(&SECURITY, Signal::Privilege, record);
}
