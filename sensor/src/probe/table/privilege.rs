//! Hooks on acts that need or give privileges.

use std::path::Path;

use sensor_abi::seen::Signal;

use super::{Hook, always_needed, memory};
use crate::probe::way::Way;

const MODULE: Hook = Hook {
    name: "module",
    signal: Signal::Module,
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
};

const fn hook(name: &'static str, lost: &'static str, ways: &'static [Way]) -> Hook {
    Hook { name, signal: Signal::Privilege, required: false, lost, ways, unneeded: always_needed }
}

const CREDENTIALS: Way = Way::Most(&[
    Way::Call { program: "credentials", call: "setuid" },
    Way::Call { program: "credentials", call: "setgid" },
    Way::Call { program: "credentials", call: "setreuid" },
    Way::Call { program: "credentials", call: "setregid" },
    Way::Call { program: "credentials", call: "setresuid" },
    Way::Call { program: "credentials", call: "setresgid" },
    Way::Call { program: "credentials", call: "setfsuid" },
    Way::Call { program: "credentials", call: "setfsgid" },
    Way::Call { program: "credentials", call: "capset" },
    Way::RawTracepoint { program: "credentials_exec", hook: "sched_prepare_exec" },
]);

pub(super) const HOOKS: &[Hook] = &[
    MODULE,
    Hook {
        name: "module_removed",
        signal: Signal::Privilege,
        required: false,
        lost: "kernel modules being removed",
        ways: &[Way::RawTracepoint { program: "module_removed", hook: "module_free" }],
        unneeded: modules_unsupported,
    },
    hook(
        "credentials",
        "users, groups and capabilities that change",
        &[
            Way::Fentry { program: "credentials_entered", function: "commit_creds" },
            Way::Kprobe { program: "credentials_probed", function: "commit_creds" },
            CREDENTIALS,
        ],
    ),
    hook("bpf", "programs and maps that others load into the kernel", &on_return!["bpf" "bpf"]),
    hook(
        "mount",
        "file systems mounted and unmounted, and roots changed",
        &on_return![
            "mount" "mount",
            "mount_moved" "move_mount",
            "mount_tree" "open_tree",
            "mount_opened" "fsopen",
            "mount_detached" "fsmount",
            "unmount" "umount",
            "root_pivoted" "pivot_root",
            "root_changed" "chroot",
        ],
    ),
    hook(
        "namespace_clone",
        "processes that start in namespaces of their own",
        &[Way::RawTracepoint { program: "namespace_cloned", hook: "task_newtask" }],
    ),
    hook(
        "namespace",
        "namespaces that processes make for themselves or enter",
        &on_return![
            "namespace_created" "unshare",
            "namespace_entered" "setns",
        ],
    ),
    hook(
        "userfaultfd",
        "page faults that a process handles by itself",
        &on_return!["user_faults" "userfaultfd"],
    ),
    hook(
        "release_agent",
        "programs that the kernel runs as root when a cgroup empties",
        &[
            Way::Fentry {
                program: "release_agent_entered",
                function: "cgroup_release_agent_write",
            },
            Way::Kprobe { program: "release_agent_probed", function: "cgroup_release_agent_write" },
            memory::OPENED,
        ],
    ),
    hook(
        "uring_setup",
        "rings of io_uring being made",
        &[Way::RawTracepoint { program: "uring_created", hook: "io_uring_create" }],
    ),
];

fn modules_unsupported() -> Option<&'static str> {
    let proc = Path::new("/proc/self").exists();
    (proc && !Path::new("/proc/modules").exists())
        .then_some("nothing has to stand in, because this kernel cannot load modules")
}
