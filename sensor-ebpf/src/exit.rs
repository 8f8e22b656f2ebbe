//! Processes ended.
//!
//! A process has ended when its last thread leaves, which need not be its leader: a leader that
//! calls `pthread_exit` goes first. Since 6.16 the hook says which thread is the last one. Before,
//! `signal->live` is read, which the kernel lowers before the hook; two threads that leave at the
//! same time can both see 0, so the first of them is remembered.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    macros::{raw_tracepoint, tracepoint},
    programs::{RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    record::{Exit, Header, kind},
    seen::Signal,
};

use crate::{
    fault,
    kernel::{current_task, field, known, setting},
    maps::{PROCESS, REPORTED},
    ring, scope, throttle,
};

/// match-proto: sched_process_exit(task, group_dead), before 6.16 sched_process_exit(task)
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn exit(ctx: RawTracePointContext) -> i32 {
    // An argument that the hook lacks must not be read: the verifier refuses the access.
    let last = exit_says_last() && ctx.arg::<u64>(1) & 0xff != 0;
    try_exit(last);
    0
}

/// Stands in where raw tracepoints are refused.
#[tracepoint]
pub fn exit_tracepoint(_ctx: TracePointContext) -> i32 {
    try_exit(false);
    0
}

#[inline(always)]
fn try_exit(last: bool) {
    if !scope::task() {
        return;
    }
    let task = current_task();
    let header = scope::header(kind::EXIT);
    if !last && !is_last(task, &header) {
        return;
    }
    fault::seen(Signal::Exit);
    if !throttle::exit(&header) {
        return;
    }
    let signal = field!(task, task_signal => u64);
    let record = Exit { header, code: field!(signal, signal_group_exit_code => u32), reserved: 0 };
    ring::submit::<Exit, _, _>(&PROCESS, Signal::Exit, record);
}

#[inline(always)]
fn is_last(task: u64, header: &Header) -> bool {
    if exit_says_last() {
        return false;
    }
    let signal = field!(task, task_signal => u64);
    if !known(setting!(offsets.signal_live)) || field!(signal, signal_live => u32) != 0 {
        return false;
    }
    let process = [header.start_ns, u64::from(header.tgid)];
    REPORTED.insert(&process, &header.tid, u64::from(BPF_NOEXIST)).is_ok()
}

#[inline(always)]
fn exit_says_last() -> bool {
    let says: u32 = setting!(exit_says_group_dead);
    says == 1
}
