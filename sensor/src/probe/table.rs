//! The probe table: every hook, its ways in order of preference, and what is lost without it.

use std::path::Path;

/// One hook and the signal that it feeds.
#[derive(Debug)]
pub(super) struct Hook {
    /// The hook's name.
    pub(super) name: &'static str,
    /// The signal it feeds.
    pub(super) signal: &'static str,
    /// Whether the sensor is of little use without it.
    pub(super) required: bool,
    /// What is lost when no way works.
    pub(super) lost: &'static str,
    /// How to attach, best first.
    pub(super) ways: &'static [Way],
    /// Says why this kernel needs no such hook, if so.
    pub(super) unneeded: fn() -> Option<&'static str>,
}

/// One way to attach a hook.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// Needs no tracefs, and passes the kernel's own arguments.
    RawTracepoint {
        /// Program in the object.
        program: &'static str,
        /// Tracepoint of the kernel.
        hook: &'static str,
    },
    /// Needs tracefs.
    Tracepoint {
        /// Program in the object.
        program: &'static str,
        /// Folder below `events`.
        category: &'static str,
        /// Tracepoints of that folder, all of which are attached.
        hooks: &'static [&'static str],
    },
    /// Needs a kernel with kprobes.
    Kprobe {
        /// Program in the object.
        program: &'static str,
        /// Function of the kernel.
        function: &'static str,
    },
}

impl Way {
    /// Returns the way as `doctor` names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::RawTracepoint { hook, .. } => format!("raw tracepoint {hook}"),
            Self::Tracepoint { category, hooks, .. } => {
                format!("tracepoint {category}/{}", hooks.join(", "))
            }
            Self::Kprobe { function, .. } => format!("kprobe {function}"),
        }
    }

    /// Says in plain words why this kernel cannot have this way, when that can be told beforehand.
    pub(super) fn missing(&self) -> Option<&'static str> {
        let kprobes = Path::new("/sys/bus/event_source/devices/kprobe");
        let sysfs = Path::new("/sys/bus/event_source/devices");
        let is_kprobe = matches!(self, Self::Kprobe { .. });
        (is_kprobe && sysfs.exists() && !kprobes.exists())
            .then_some("this kernel is built without kprobes")
    }
}

const fn always_needed() -> Option<&'static str> {
    None
}

fn modules_unsupported() -> Option<&'static str> {
    let proc = Path::new("/proc/self").exists();
    (proc && !Path::new("/proc/modules").exists())
        .then_some("nothing has to stand in, because this kernel cannot load modules")
}

/// Name of the system call hook, which is switched on and off at run time.
pub(super) const SYSCALL: &str = "syscall";

/// Hooks on tasks and sockets. Packets are attached per interface, see `interfaces`.
///
/// No hook but `syscall` may sit on the system call path while a better way works: any program
/// there slows every system call of the host.
pub(super) const HOOKS: &[Hook] = &[
    Hook {
        name: "exec",
        signal: "exec",
        required: true,
        lost: "executed programs, their arguments and what their standard streams lead to",
        ways: &[
            Way::RawTracepoint { program: "exec", hook: "sched_process_exec" },
            Way::Tracepoint {
                program: "exec_tracepoint",
                category: "sched",
                hooks: &["sched_process_exec"],
            },
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "fork",
        signal: "fork",
        required: true,
        lost: "the lineage of processes that fork without executing",
        ways: &[Way::RawTracepoint { program: "fork", hook: "sched_process_fork" }],
        unneeded: always_needed,
    },
    Hook {
        name: "exit",
        signal: "exit",
        required: false,
        lost: "when processes end and with which status",
        ways: &[
            Way::RawTracepoint { program: "exit", hook: "sched_process_exit" },
            Way::Tracepoint {
                program: "exit_tracepoint",
                category: "sched",
                hooks: &["sched_process_exit"],
            },
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "socket",
        signal: "socket",
        required: true,
        lost: "which process connects, listens and accepts, so flows have no process",
        ways: &[
            Way::RawTracepoint { program: "socket", hook: "inet_sock_set_state" },
            Way::Tracepoint {
                program: "socket_tracepoint",
                category: "sock",
                hooks: &["inet_sock_set_state"],
            },
        ],
        unneeded: always_needed,
    },
    Hook {
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
    },
    Hook {
        name: SYSCALL,
        signal: "syscall",
        required: false,
        lost: "counts of system calls per process",
        ways: &[Way::RawTracepoint { program: "syscall", hook: "sys_enter" }],
        unneeded: always_needed,
    },
];
