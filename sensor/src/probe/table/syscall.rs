//! The hook on every system call.

use super::{Hook, always_needed};
use crate::probe::way::Way;

/// Name of the system call hook, which is switched on and off at run time.
pub(in crate::probe) const SYSCALL: &str = "syscall";

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: SYSCALL,
    signal: "syscall",
    required: false,
    lost: "counts of system calls per process",
    ways: &[Way::RawTracepoint { program: "syscall", hook: "sys_enter" }],
    unneeded: always_needed,
}];
