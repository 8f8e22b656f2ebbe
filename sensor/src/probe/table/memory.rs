//! Hooks on memory that is touched as injection and fileless execution do.

use sensor_abi::seen::Signal;

use super::{Hook, always_needed};
use crate::probe::way::Way;

/// Calls that open a file, for those that give power over others.
pub(super) const OPENED: Way = Way::All(&[
    Way::Call { program: "opened", call: "open" },
    Way::Call { program: "opened_at", call: "openat" },
    Way::Call { program: "opened_how", call: "openat2" },
    Way::Call { program: "opened_how", call: "creat" },
]);

pub(super) const HOOKS: &[Hook] = &[
    Hook {
        name: "ptrace",
        signal: Signal::Memory,
        required: false,
        lost: "processes that trace others",
        ways: &on_return!["ptrace" "ptrace"],
        unneeded: always_needed,
    },
    Hook {
        name: "peer_memory",
        signal: Signal::Memory,
        required: false,
        lost: "memory of other processes that is read or written in one call",
        ways: &on_return![
            "peer_read" "process_vm_readv",
            "peer_write" "process_vm_writev",
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "proc_mem_open",
        signal: Signal::Memory,
        required: false,
        lost: "memory files of other processes being opened for writing",
        ways: &[
            Way::Fentry { program: "proc_mem_open_entered", function: "mem_open" },
            Way::Kprobe { program: "proc_mem_open_probed", function: "mem_open" },
            OPENED,
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "proc_mem_write",
        signal: Signal::Memory,
        required: false,
        lost: "memory files of other processes being written",
        ways: &[
            Way::Fentry { program: "proc_mem_write_entered", function: "mem_write" },
            Way::Kprobe { program: "proc_mem_write_probed", function: "mem_write" },
            Way::All(&[
                Way::Call { program: "proc_mem_write", call: "write" },
                Way::Call { program: "proc_mem_write", call: "pwrite64" },
                Way::Call { program: "proc_mem_write", call: "writev" },
                Way::Call { program: "proc_mem_write", call: "pwritev" },
                Way::Call { program: "proc_mem_write", call: "pwritev2" },
            ]),
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "memory_file",
        signal: Signal::Memory,
        required: false,
        lost: "memory files being made; their execution is still told",
        ways: &on_return!["memory_file" "memfd_create"],
        unneeded: always_needed,
    },
    Hook {
        name: "protect",
        signal: Signal::Memory,
        required: false,
        lost: "memory made executable after it was written",
        ways: &[
            Way::Fentry { program: "protect_entered", function: "security_file_mprotect" },
            Way::Kprobe { program: "protect_probed", function: "security_file_mprotect" },
            Way::All(&[
                Way::Call { program: "protect", call: "mprotect" },
                Way::Call { program: "protect", call: "pkey_mprotect" },
            ]),
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "map",
        signal: Signal::Memory,
        required: false,
        lost: "memory mapped writable and executable, and libraries new in containers",
        ways: &[
            Way::Fentry { program: "map_entered", function: "security_mmap_file" },
            Way::Kprobe { program: "map_probed", function: "security_mmap_file" },
            Way::Call { program: "map", call: "mmap" },
        ],
        unneeded: always_needed,
    },
    Hook {
        name: "stream",
        signal: Signal::Memory,
        required: false,
        lost: "sockets becoming standard streams; an execution still tells its streams",
        ways: &[
            Way::All(&[
                Way::Return { program: "duplicate_returned", call: "dup" },
                Way::Return { program: "duplicate_returned", call: "dup2" },
                Way::Return { program: "duplicate_returned", call: "dup3" },
                Way::Return { program: "duplicate_fcntl_returned", call: "fcntl" },
                Way::Return { program: "duplicate_fcntl_returned", call: "fcntl64" },
            ]),
            Way::All(&[
                Way::Call { program: "duplicate", call: "dup" },
                Way::Call { program: "duplicate", call: "dup2" },
                Way::Call { program: "duplicate", call: "dup3" },
                Way::Call { program: "duplicate_fcntl", call: "fcntl" },
            ]),
        ],
        unneeded: always_needed,
    },
];
