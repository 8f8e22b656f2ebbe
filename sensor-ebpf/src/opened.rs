//! Files opened for writing that give power over others. Stands in for hooks on those files alone.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::{
    call::{self, Call},
    kernel::field,
    memory, privilege, scope, task,
};

/// `O_ACCMODE`; nothing of it set is reading.
const ACCESS: u64 = 3;
/// `FMODE_WRITE`.
const WRITABLE: u32 = 2;
/// `PROC_SUPER_MAGIC` and `CGROUP_SUPER_MAGIC`, the latter of version 1.
const PROC_MAGIC: u64 = 0x9fa0;
const CGROUP_MAGIC: u64 = 0x0027_e0eb;

/// match-proto: open(const char __user *filename, int flags, umode_t mode)
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn opened(ctx: RawTracePointContext) -> i32 {
    ended(&ctx, |call| call.arg(1) & ACCESS != 0)
}

/// match-proto: openat(int dfd, const char __user *filename, int flags,
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn opened_at(ctx: RawTracePointContext) -> i32 {
    ended(&ctx, |call| call.arg(2) & ACCESS != 0)
}

/// match-proto: openat2(int dfd, const char __user *filename, struct open_how __user *how,
#[raw_tracepoint(tracepoint = "sys_exit")]
pub fn opened_how(ctx: RawTracePointContext) -> i32 {
    ended(&ctx, |_| true)
}

#[inline(always)]
fn ended(ctx: &RawTracePointContext, writes: impl Fn(&Call) -> bool) -> i32 {
    let call = Call::ended(ctx);
    if writes(&call) {
        try_opened(&call);
    }
    call::go_on(ctx, &call);
    0
}

#[inline(always)]
fn try_opened(call: &Call) {
    if call.error() != 0 || !scope::task() {
        return;
    }
    let file = task::file(call.result as u32);
    if field!(file, file_mode => u32) & WRITABLE == 0 {
        return;
    }
    match task::file_system(file) {
        PROC_MAGIC => memory::opened(call, file),
        CGROUP_MAGIC => privilege::opened(call, file),
        _ => {}
    }
}
