//! The rarer records in words: time, kind, and what happened.

use std::net::SocketAddr;

use wire::record::{
    Address, Dns, File, Inventory, Login, Memory, Privilege, Scan, Sweep, Tls, Use, dns_flag,
};

use crate::escape::Escaped;
use crate::observation::{Record, Text};

/// Returns when, of which kind, and what; for kinds that have no line of their own elsewhere.
pub(super) fn of(record: &Record) -> (u64, &'static str, String) {
    match record {
        Record::Activity(r) => {
            let what = format!(
                "{} forks, {} opens for writing, {} creates, {} renames, {} unlinks",
                r.forks, r.write_opens, r.creates, r.renames, r.unlinks
            );
            (r.time_ns, "activity", what)
        }
        Record::Uring(r) => {
            (r.time_ns, "io_uring", format!("{} requests of opcode {}", r.count, r.opcode))
        }
        Record::Use(r) => (r.last_ns, "use", used(r)),
        Record::Sweep(r) => (r.last_ns, "sweep", sweep(r)),
        Record::Dns(r) => (r.time_ns, "dns", dns(r)),
        Record::Tls(r) => (r.time_ns, "tls", tls(r)),
        Record::File(r) => (r.time_ns, "file", file(r)),
        Record::Memory(r) => (r.time_ns, "memory", memory(r)),
        Record::Privilege(r) => (r.time_ns, "privilege", privilege(r)),
        Record::Login(r) => (r.time_ns, "login", login(r)),
        Record::Inventory(r) => (r.time_ns, "inventory", inventory(r)),
        Record::Scan(r) => (r.time_ns, "scan", scan(r)),
        Record::Exec(_)
        | Record::Exit(_)
        | Record::Flow(_)
        | Record::Connection(_)
        | Record::Syscalls(_) => (0, "", String::new()),
    }
}

fn end(address: Address, port: u16) -> SocketAddr {
    SocketAddr::new(address.to_ip(), port)
}

fn used(r: &Use) -> String {
    format!(
        "{} - {} protocol {}: {} bytes sent, {} received",
        end(r.local, r.local_port),
        end(r.remote, r.remote_port),
        r.protocol,
        r.sent,
        r.received
    )
}

fn sweep(r: &Sweep<Text>) -> String {
    format!(
        "{} probed: {} unanswered, {} reset, {} unreachable, {} odd",
        r.source.to_ip(),
        r.syns,
        r.resets,
        r.unreachables,
        r.odd
    )
}

fn dns(r: &Dns<Text>) -> String {
    let (local, remote) = (end(r.local, r.local_port), end(r.remote, r.remote_port));
    let name = Escaped(&r.name);
    match r.flags & dns_flag::RESPONSE {
        0 => format!("{name} type {} asked {} times, {local} - {remote}", r.query_type, r.count),
        _ => format!(
            "{name} type {} answered by {} records, code {}, {local} - {remote}",
            r.query_type,
            r.answers.len(),
            r.response_code
        ),
    }
}

fn tls(r: &Tls<Text>) -> String {
    let (local, remote) = (end(r.local, r.local_port), end(r.remote, r.remote_port));
    format!("{} {} {local} - {remote}", Escaped(&r.server_name), Escaped(&r.ja4))
}

fn named(names: &[&'static str], number: u8) -> &'static str {
    usize::from(number).checked_sub(1).and_then(|at| names.get(at)).copied().unwrap_or("unknown")
}

fn file(r: &File<Text>) -> String {
    const ACTIONS: [&str; 12] = [
        "opened for writing",
        "created",
        "opened",
        "renamed",
        "linked",
        "symlinked",
        "unlinked",
        "mode changed",
        "owner changed",
        "truncated",
        "connected to",
        "mapped as code",
    ];
    let target = if r.target.is_empty() { "" } else { " → " };
    let failed = if r.error == 0 { String::new() } else { format!(" (error {})", r.error) };
    let (path, other) = (Escaped(&r.path), Escaped(&r.target));
    format!("{} {path}{target}{other}{failed}", named(&ACTIONS, r.action))
}

fn memory(r: &Memory<Text>) -> String {
    const ACTIONS: [&str; 13] = [
        "asked to be traced",
        "attached",
        "wrote memory by ptrace",
        "wrote registers by ptrace",
        "read by ptrace",
        "read by process_vm_readv",
        "wrote by process_vm_writev",
        "opened /proc/PID/mem for writing",
        "wrote /proc/PID/mem",
        "made a memory file",
        "made writable memory executable",
        "mapped memory writable and executable",
        "put a socket onto a standard stream",
    ];
    let times = if r.count > 1 { format!(", {} times", r.count) } else { String::new() };
    format!("{} {}{times}", named(&ACTIONS, r.action), Escaped(&r.name))
}

fn privilege(r: &Privilege<Text>) -> String {
    const ACTIONS: [&str; 16] = [
        "loaded module",
        "changed credentials",
        "set capabilities",
        "loaded BPF program",
        "made BPF map",
        "attached BPF program",
        "used bpf()",
        "mounted",
        "unmounted",
        "changed its root to",
        "entered namespace",
        "made namespaces",
        "used userfaultfd",
        "wrote release_agent",
        "set up io_uring",
        "removed module",
    ];
    let mut what = format!("{} {}", named(&ACTIONS, r.action), Escaped(&r.name));
    if !r.source.is_empty() {
        what += &format!(" from {}", Escaped(&r.source));
    }
    if let Some(change) = r.credentials {
        what += &format!("{} → {}", change.before.euid, change.after.euid);
    }
    what
}

fn login(r: &Login<Text>) -> String {
    format!("{}: {}", Escaped(&r.service), Escaped(&r.message))
}

fn scan(r: &Scan<Text>) -> String {
    format!("{} matches {}", Escaped(&r.path), Escaped(&r.rule))
}

fn inventory(r: &Inventory<Text>) -> String {
    const CHANGES: [&str; 4] = ["present", "added", "removed", "changed"];
    format!("{} {} {}", named(&CHANGES, r.change), Escaped(&r.name), Escaped(&r.version))
}
