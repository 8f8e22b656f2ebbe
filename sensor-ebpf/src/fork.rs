//! Processes created. Threads are not reported.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_abi::{
    activity::Act,
    record::{Fork, Header, kind},
    seen::Signal,
};

use crate::{activity, fault, kernel::field, maps::PROCESS, ring, scope, throttle};

/// Raw, because the plain tracepoint gives only numbers, and its child may be a thread.
/// match-proto: sched_process_fork(parent, child)
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork(ctx: RawTracePointContext) -> i32 {
    try_fork(ctx.arg::<u64>(1));
    0
}

#[inline(always)]
fn try_fork(child: u64) {
    let tid = field!(child, task_pid => u32);
    let tgid = field!(child, task_tgid => u32);
    // A child of the sensor's own is reported: it is another process, whose events will follow.
    if tid != tgid || !scope::cgroup() {
        return;
    }
    fault::seen(Signal::Fork);
    // Counted whatever becomes of the record: of a storm this is what stays.
    activity::count(Act::Fork);
    let creator = scope::header(kind::FORK);
    if !throttle::fork(&creator) {
        return;
    }
    let record = Fork {
        // The creator's user and cgroup are the child's, which has not run yet.
        header: Header {
            tgid,
            tid,
            start_ns: field!(child, task_start_boottime => u64),
            ..creator
        },
        // Not the child's parent, which with `CLONE_PARENT` is somebody else.
        parent_start_ns: creator.start_ns,
        parent_tgid: creator.tgid,
        reserved: 0,
    };
    ring::submit::<Fork, _, _>(&PROCESS, Signal::Fork, record);
}
