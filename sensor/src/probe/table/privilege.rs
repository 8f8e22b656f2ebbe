//! Hooks on acts that need or give privileges.

use std::path::Path;

use super::Hook;
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[Hook {
    name: "module",
    signal: "module",
    required: false,
    lost: "kernel modules being loaded",
    ways: &[
        Way::Kprobe { program: "module", function: "do_init_module" },
        Way::RawTracepoint { program: "module_load", hook: "module_load" },
        Way::Tracepoint {
            program: "module_syscall",
            category: "syscalls",
            hooks: &["sys_enter_finit_module", "sys_enter_init_module"],
        },
    ],
    unneeded: modules_unsupported,
}];

fn modules_unsupported() -> Option<&'static str> {
    let proc = Path::new("/proc/self").exists();
    (proc && !Path::new("/proc/modules").exists())
        .then_some("nothing has to stand in, because this kernel cannot load modules")
}
