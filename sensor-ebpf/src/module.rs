//! Kernel modules loaded.

use aya_ebpf::{
    macros::{kprobe, raw_tracepoint, tracepoint},
    programs::{ProbeContext, RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    record::{MODULE_NAME_LEN, Module, kind},
    seen::Signal,
};

use crate::{fault, kernel::field, maps::SECURITY, ring, scope};

/// Preferred: after the module was checked and before its code runs.
/// match-proto: static noinline int do_init_module(struct module *mod)
#[kprobe]
pub fn module(ctx: ProbeContext) -> u32 {
    try_module(ctx.arg::<u64>(0).unwrap_or(0));
    0
}

/// Stands in where kprobes are missing. match-proto: module_load(mod)
#[raw_tracepoint(tracepoint = "module_load")]
pub fn module_load(ctx: RawTracePointContext) -> i32 {
    try_module(ctx.arg::<u64>(0));
    0
}

/// Stands in where both are missing: the system call, whether it succeeds or not, without a name.
#[tracepoint]
pub fn module_syscall(_ctx: TracePointContext) -> u32 {
    try_module(0);
    0
}

#[inline(always)]
fn try_module(module: u64) {
    if !scope::task() {
        return;
    }
    fault::seen(Signal::Module);
    let mut name = [0; MODULE_NAME_LEN];
    if module != 0 {
        name = field!(module, module_name => [u8; MODULE_NAME_LEN]);
    }
    let record = Module { header: scope::header(kind::MODULE), name };
    ring::submit::<Module, _, _>(&SECURITY, Signal::Module, record);
}
