//! Users, groups and capabilities that change.

use aya_ebpf::{bindings::BPF_ANY, macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_abi::{
    act::{flag, privilege as action},
    record::{
        kind,
        privilege::{Act, Credentials, Identity},
    },
    seen::Signal,
};

use super::{blank, is_told};
use crate::{
    call::{Call, on_call, on_function},
    kernel::{current_task, field},
    maps::{IDENTITIES, SECURITY, Thread},
    ring, scope,
    task::Process,
};

on_call! {
    /// Stands in for the function that all changes go through. The calls of the setuid family and
    /// capset(2) end here, whatever their arguments.
    credentials => try_call;
}

on_function! {
    /// Preferred: every change goes through here, also that of an execution.
    /// match-proto: int commit_creds(struct cred *new)
    credentials_probed, credentials_entered (0) => |[new]: [u64; 1]| before_commit(new);
}

#[inline(always)]
fn before_commit(new: u64) {
    if scope::task() {
        let before = identity(field!(current_task(), task_cred => u64));
        changed(before, identity(new), 0, 0);
    }
}

/// Stands in for executions, since 6.10. The task has its old credentials, and cannot go back.
/// match-proto: sched_prepare_exec(task, bprm)
#[raw_tracepoint(tracepoint = "sched_prepare_exec")]
pub fn credentials_exec(ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        let before = identity(field!(current_task(), task_cred => u64));
        let after = identity(field!(ctx.arg::<u64>(1), bprm_cred => u64));
        changed(before, after, 0, 0);
        remember(&after);
    }
    0
}

/// The old credentials are gone when the call has ended, so the last known ones of each thread are
/// kept. Of a thread that never changed any, the sensor knows those of its process.
#[inline(always)]
fn try_call(call: &Call) {
    if call.error() != 0 || !scope::task() {
        return;
    }
    let after = identity(field!(current_task(), task_cred => u64));
    // SAFETY: copied out at once.
    let before = unsafe { IDENTITIES.get(&thread()) }.copied().unwrap_or_default();
    changed(before, after, call.result, call.flags);
    remember(&after);
}

#[inline(always)]
fn thread() -> Thread {
    let task = current_task();
    Thread {
        start_ns: field!(task, task_start_boottime => u64),
        tid: u64::from(field!(task, task_pid => u32)),
    }
}

#[inline(always)]
fn remember(identity: &Identity) {
    // It evicts; only running out of memory could make it fail, and then the sensor fills in.
    let _kept = IDENTITIES.insert(&thread(), identity, u64::from(BPF_ANY));
}

#[inline(always)]
fn changed(before: Identity, after: Identity, result: i64, flags: u32) {
    if before == after {
        return;
    }
    let mut act = blank(action::CREDENTIALS, &Process::NONE, result, flags | one_thread(&after));
    act.header.kind = kind::CREDENTIALS;
    if before.known != 0 {
        act.header.uid = before.uid;
    }
    // A process that becomes another user again and again cannot hide how it becomes root.
    let gains = after.euid == 0 && before.euid != 0 || after.effective & !before.effective != 0;
    if is_told(&act, u32::from(gains)) {
        tell(act, before, after);
    }
}

#[inline(always)]
fn tell(act: Act, before: Identity, after: Identity) {
    let record = Credentials { act, before, after };
    ring::submit::<Credentials, _, _>(&SECURITY, Signal::Privilege, &record);
}

/// A thread that is not its process's first one may change alone; libraries change all of them one
/// after the other, first the caller.
#[inline(always)]
fn one_thread(after: &Identity) -> u32 {
    let task = current_task();
    let leader = field!(task, task_group_leader => u64);
    if leader == task {
        return 0;
    }
    let process = identity(field!(leader, task_cred => u64));
    if process == *after { 0 } else { flag::ONE_THREAD }
}

#[inline(always)]
fn identity(cred: u64) -> Identity {
    let [uid, gid, suid, _, euid, egid] = field!(cred, cred_uid => [u32; 6]);
    Identity {
        effective: field!(cred, cred_cap_effective => u64),
        permitted: field!(cred, cred_permitted => u64),
        uid,
        euid,
        suid,
        gid,
        egid,
        known: 1,
    }
}
