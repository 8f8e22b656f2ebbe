//! Requests to io_uring, which do the work of system calls without making any.
//!
//! A ring with a kernel thread of its own (SQPOLL) is filled without any system call; that thread
//! belongs to the process that made the ring, so its requests count as that process's.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use sensor_abi::{act::URING, seen::Signal};

use crate::{act, kernel::field, scope, task::Process};

/// Since 6.4. match-proto: io_uring_submit_req(req)
#[raw_tracepoint(tracepoint = "io_uring_submit_req")]
pub fn uring(ctx: RawTracePointContext) -> i32 {
    if scope::task() {
        let opcode = field!(ctx.arg::<u64>(0), request_opcode => u8);
        act::count(Signal::Uring, &act::key(URING, u32::from(opcode), &Process::NONE));
    }
    0
}
