//! Hooks on processes that begin, execute and end.

use sensor_abi::seen::Signal;

use super::{Hook, always_needed};
use crate::probe::way::Way;

pub(super) const HOOKS: &[Hook] = &[
    Hook {
        name: "exec",
        signal: Signal::Exec,
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
        signal: Signal::Fork,
        required: true,
        lost: "the lineage of processes that fork without executing",
        ways: &[Way::RawTracepoint { program: "fork", hook: "sched_process_fork" }],
        unneeded: always_needed,
    },
    Hook {
        name: "exit",
        signal: Signal::Exit,
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
];
