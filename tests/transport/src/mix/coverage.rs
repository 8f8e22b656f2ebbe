//! A sensor's account of itself.

use sensor::batch::CoverageText;
use wire::record::Coverage;

use super::SECOND_NS;
use super::chance::Chance;

/// Hooks and how they are attached.
const HOOKS: [(&str, &str); 24] = [
    ("flow-ingress", "xdp native"),
    ("flow-egress", "tcx"),
    ("exec", "raw tracepoint sched_process_exec"),
    ("fork", "raw tracepoint sched_process_fork"),
    ("exit", "raw tracepoint sched_process_exit"),
    ("socket", "tracepoint inet_sock_set_state"),
    ("module", "fentry do_init_module"),
    ("syscalls", "raw tracepoint sys_enter"),
    ("syscall-latency", "raw tracepoint sys_exit"),
    ("use-send", "fexit sock_sendmsg"),
    ("use-receive", "fexit sock_recvmsg"),
    ("file-open", "lsm file_open"),
    ("file-rename", "lsm path_rename"),
    ("file-link", "lsm path_link"),
    ("file-unlink", "lsm path_unlink"),
    ("file-mode", "lsm path_chmod"),
    ("file-owner", "lsm path_chown"),
    ("memory-ptrace", "lsm ptrace_access_check"),
    ("memory-protect", "lsm file_mprotect"),
    ("privilege-credentials", "fentry commit_creds"),
    ("privilege-bpf", "lsm bpf"),
    ("privilege-mount", "lsm sb_mount"),
    ("uring-submit", "tracepoint io_uring_submit_req"),
    ("uring-setup", "tracepoint sys_enter_io_uring_setup"),
];

const SIGNALS: [&str; 10] =
    ["exec", "fork", "exit", "socket", "flow", "syscall", "use", "dns", "file", "activity"];

const MAPS: [&str; 12] = [
    "FLOWS", "SECURITY", "BULK", "SEEN", "LOST", "CALLS", "USES", "NAMES", "WATCHED", "CHAINS",
    "SKETCHES", "THROTTLE",
];

pub(super) fn report(chance: &mut Chance, now_ns: u64) -> CoverageText {
    let figures = Coverage {
        start_ns: now_ns - 10 * SECOND_NS,
        end_ns: now_ns,
        drain_lag_ns: chance.size(100_000),
        cpu_ns: chance.between(20_000_000, 60_000_000),
        memory_bytes: chance.between(20 << 20, 34 << 20),
        canary_ns: now_ns - chance.below(SECOND_NS),
        ..Coverage::default()
    };
    let hooks = HOOKS.map(|(name, attached)| [name, attached, ""].map(str::to_owned));
    let mut ledger = Vec::new();
    for signal in SIGNALS {
        let seen = chance.size(40);
        ledger.push((signal, "seen", seen));
        ledger.push((signal, "delivered", seen));
    }
    let fill = |name: &&str| {
        let capacity = 1_024 << chance.below(6);
        ((*name).to_owned(), [chance.below(capacity / 2), capacity, capacity * 96])
    };
    let maps = MAPS.iter().map(fill).collect();
    CoverageText { figures, hooks: hooks.to_vec(), ledger, maps }
}
