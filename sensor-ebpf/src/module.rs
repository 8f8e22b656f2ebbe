//! Kernel modules loaded.

use aya_ebpf::{
    EbpfContext,
    macros::{kprobe, raw_tracepoint, tracepoint},
    programs::{ProbeContext, RawTracePointContext, TracePointContext},
};
use sensor_abi::{
    fault::Fault,
    record::{MODULE_NAME_LEN, Module, kind},
    seen::Signal,
};

use crate::{exec::NO_WAKEUP, fault, kernel::field, maps::SECURITY, scope};

/// Preferred: after the module was checked and before its code runs.
/// match-proto: static noinline int do_init_module(struct module *mod)
#[kprobe]
pub fn module(ctx: ProbeContext) -> u32 {
    try_module(&ctx, ctx.arg::<u64>(0).unwrap_or(0));
    0
}

/// Stands in where kprobes are missing. match-proto: module_load(mod)
#[raw_tracepoint(tracepoint = "module_load")]
pub fn module_load(ctx: RawTracePointContext) -> i32 {
    try_module(&ctx, ctx.arg::<u64>(0));
    0
}

/// Stands in where both are missing: the system call, whether it succeeds or not, without a name.
#[tracepoint]
pub fn module_syscall(ctx: TracePointContext) -> u32 {
    try_module(&ctx, 0);
    0
}

#[inline(always)]
fn try_module<C: EbpfContext>(ctx: &C, module: u64) {
    if !scope::task() {
        return;
    }
    fault::seen(Signal::Module);
    let mut name = [0; MODULE_NAME_LEN];
    if module != 0 {
        name = field!(module, module_name => [u8; MODULE_NAME_LEN]);
    }
    let record = Module { header: scope::header(kind::MODULE), name };
    if SECURITY.output_untyped::<Module>(record, NO_WAKEUP).is_err() {
        fault::count(Fault::SecurityRingFull);
        aya_log_ebpf::debug!(ctx, "security ring full: a module record was lost");
    }
}
