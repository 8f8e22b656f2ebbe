//! The hooks on every system call.

use sensor_abi::seen::Signal;

use super::{Hook, always_needed};
use crate::probe::way::Way;

/// Name of the system call hook, which is switched on and off at run time.
pub(in crate::probe) const SYSCALL: &str = "syscall";
/// Name of the program on ends of calls, which is switched along.
pub(in crate::probe) const SYSCALL_END: &str = "syscall_end";

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: SYSCALL,
    signal: Signal::Syscall,
    required: false,
    lost: "counts and times of system calls per process",
    ways: &[Way::All(&[
        Way::RawTracepoint { program: SYSCALL, hook: "sys_enter" },
        Way::RawTracepoint { program: SYSCALL_END, hook: "sys_exit" },
    ])],
    unneeded: always_needed,
}];
