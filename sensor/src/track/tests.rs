//! Tests of following processes and sockets, on records as the kernel programs write them.

use sensor_abi::flow::{FlowKey, FlowStats};
use sensor_abi::record as abi;
use sensor_abi::syscall::{SyscallKey, SyscallStats};
use zerocopy::FromZeros as _;

use super::*;
use crate::drain::{self, ExecView};

const SECOND: u64 = 1_000_000_000;
const CLOCK: ClockPair = ClockPair { boot_ns: 100 * SECOND, unix_ns: 1_000 * SECOND };
/// Above the largest pid of any Linux, so that `/proc` cannot answer.
const PID: u32 = 5_000_000;

fn header(kind: u32, pid: u32, start_s: u64) -> abi::Header {
    let (time_ns, start_ns) = (50 * SECOND, start_s * SECOND);
    abi::Header { kind, tgid: pid, time_ns, start_ns, cgroup_id: u64::MAX, tid: pid, uid: 0 }
}

fn take(tracker: &mut Tracker, record: drain::Record<'_>) -> Option<Observation> {
    tracker.event(convert::event(&record, CLOCK).unwrap())
}

fn exec(tracker: &mut Tracker, pid: u32, parent: u32, path: &str) -> Observation {
    let mut fixed = abi::Exec::new_zeroed();
    fixed.header = header(abi::kind::EXEC, pid, 2);
    (fixed.parent_start_ns, fixed.parent_tgid) = (SECOND, parent);
    fixed.comm = *b"name\0leftover\0\0\0";
    let view = Box::new(ExecView {
        fixed,
        path: path.into(),
        args: b"sh\0-c\0id\0",
        cwd: b"/".into(),
        script: b"",
        interpreter: b"",
        env: b"",
    });
    take(tracker, drain::Record::Exec(view)).unwrap()
}

fn fork(tracker: &mut Tracker, pid: u32, parent: u32) {
    let fork = abi::Fork {
        header: header(abi::kind::FORK, pid, 2),
        parent_start_ns: SECOND,
        parent_tgid: parent,
        reserved: 0,
    };
    assert!(take(tracker, drain::Record::Fork(&fork)).is_none());
}

fn socket(tracker: &mut Tracker, pid: u32, event: u8, ports: (u16, u16)) -> Observation {
    let socket = abi::Socket {
        header: header(abi::kind::SOCKET, pid, 2),
        local_addr: [1; 16],
        remote_addr: [2; 16],
        netns: 0,
        sock: 1,
        local_port: ports.0,
        remote_port: ports.1,
        family: 4,
        protocol: 6,
        event,
        reserved: 0,
    };
    take(tracker, drain::Record::Socket(&socket)).unwrap()
}

fn flow(tracker: &mut Tracker, ports: (u16, u16)) -> Observation {
    let (local_addr, remote_addr) = ([1; 16], [2; 16]);
    let key = FlowKey {
        local_addr,
        remote_addr,
        local_port: ports.0,
        remote_port: ports.1,
        protocol: 6,
        ..FlowKey::default()
    };
    let mut stats = FlowStats::default();
    (stats.ingress.packets, stats.egress.packets) = (3, 4);
    tracker.flow(&(key, stats), CLOCK)
}

fn exes(observation: &Observation) -> Vec<&[u8]> {
    observation.lineage.iter().map(|process| &process.exe[..]).collect()
}

#[test]
fn a_child_that_executes_keeps_its_parent() {
    let mut tracker = Tracker::new(Vec::new());
    exec(&mut tracker, PID, 0, "/usr/sbin/nginx");
    let parent_start = tracker.processes.by_pid(PID).unwrap().key.start_ns();
    assert_eq!(parent_start, 2 * SECOND);
    // The parent in these records starts at 1 s, the process above at 2 s: another process.
    fork(&mut tracker, PID + 1, PID);
    let observation = exec(&mut tracker, PID + 1, PID, "/bin/sh");
    assert_eq!(exes(&observation), [b"/bin/sh"]);
    let process = &observation.lineage[0];
    assert_eq!((&process.comm[..], &process.args[..]), (&b"name"[..], &b"sh\0-c\0id\0"[..]));
    assert_eq!(&process.user[..], b"root");
}

#[test]
fn the_lineage_outlives_the_parent() {
    let mut tracker = Tracker::new(Vec::new());
    let parent = Process {
        key: Key::new(PID, SECOND),
        exe: b"/usr/sbin/nginx"[..].into(),
        ..Process::default()
    };
    tracker.processes.insert(parent);
    fork(&mut tracker, PID + 1, PID);
    let mut header = header(abi::kind::EXIT, PID, 1);
    header.time_ns = 40 * SECOND;
    let exit = abi::Exit { header, code: 0, reserved: 0 };
    let ended = take(&mut tracker, drain::Record::Exit(&exit)).unwrap();
    let Record::Exit(record) = &ended.record else { panic!("{ended:?}") };
    assert_eq!(record.time_ns, 940 * SECOND);
    let observation = exec(&mut tracker, PID + 1, PID, "/bin/sh");
    assert_eq!(exes(&observation), [&b"/bin/sh"[..], b"/usr/sbin/nginx"]);
    assert_eq!(observation.lineage[0].image, 1);
}

#[test]
fn a_flow_gets_the_process_that_connected() {
    let mut tracker = Tracker::new(Vec::new());
    exec(&mut tracker, PID, 0, "/usr/bin/curl");
    socket(&mut tracker, PID, abi::socket_event::CONNECTED, (40_000, 443));
    let observation = flow(&mut tracker, (40_000, 443));
    assert_eq!((exes(&observation), observation.events), (vec![&b"/usr/bin/curl"[..]], 7));
    let Record::Flow(record) = &observation.record else { panic!("{observation:?}") };
    assert_eq!(record.direction, wire::record::direction::OUTGOING);
}

#[test]
fn a_flow_gets_the_process_that_listens() {
    let mut tracker = Tracker::new(Vec::new());
    exec(&mut tracker, PID, 0, "/usr/sbin/nginx");
    socket(&mut tracker, PID, abi::socket_event::LISTEN, (80, 0));
    assert_eq!(exes(&flow(&mut tracker, (80, 50_000))), [b"/usr/sbin/nginx"]);
    socket(&mut tracker, PID, abi::socket_event::LISTEN_CLOSED, (80, 0));
    assert!(flow(&mut tracker, (80, 50_001)).lineage.is_empty());
}

#[test]
fn a_process_that_nobody_saw_begin_is_named_by_what_is_known() {
    let mut tracker = Tracker::new(Vec::new());
    let observation = socket(&mut tracker, PID, abi::socket_event::CONNECTED, (1, 2));
    let process = &observation.lineage[0];
    assert_eq!(process.key, Key::new(PID, 2 * SECOND));
    assert_eq!(process.flags, process_flag::EXE_UNKNOWN | process_flag::ARGS_UNKNOWN);
    let nobody = socket(&mut tracker, 0, abi::socket_event::CLOSED, (1, 2));
    assert!(nobody.lineage.is_empty());
}

#[test]
fn seeding_finds_this_process_and_its_parent() {
    let mut tracker = Tracker::new(Vec::new());
    tracker.seed(None, 0);
    let calls = SyscallKey { tgid: std::process::id(), number: 1 };
    let mut stats = SyscallStats { count: 5, ..SyscallStats::default() };
    stats.latency[2] = 4;
    let observation = tracker.syscalls(&(calls, stats), CLOCK, SECOND);
    assert_eq!(observation.events, 5);
    let Record::Syscalls(record) = &observation.record else { panic!("{observation:?}") };
    assert_eq!(record.latency, [0, 0, 0, 0, 0, 0, 0, 0, 4]);
    assert!(observation.lineage.len() > 1);
    assert_eq!(observation.lineage[0].flags & process_flag::SEEDED, process_flag::SEEDED);
    assert_eq!(observation.lineage[1].key.pid, std::os::unix::process::parent_id());
}

#[test]
fn a_scoped_sensor_knows_nothing_of_others() {
    let mut tracker = Tracker::new(b"/no-such-group".to_vec());
    tracker.seed(None, 0);
    assert_eq!(tracker.processes.stats().processes, 0);
    let inside = procfs::Seen { cgroup: b"/no-such-group/a".to_vec(), ..Default::default() };
    let beside = procfs::Seen { cgroup: b"/no-such-group-2".to_vec(), ..Default::default() };
    assert!(tracker.in_scope(&inside) && !tracker.in_scope(&beside));
}

#[test]
fn a_listener_that_was_there_before_owns_what_it_accepts() {
    let mut tracker = Tracker::new(Vec::new());
    let listener = std::net::TcpListener::bind("[::]:0").unwrap();
    tracker.seed(None, 0);
    let port = listener.local_addr().unwrap().port();
    let accepted = socket(&mut tracker, 0, abi::socket_event::ACCEPTED, (port, 50_000));
    assert_eq!(accepted.lineage[0].key.pid, std::process::id());
    let flow = flow(&mut tracker, (port, 50_000));
    assert_eq!(flow.lineage[0].key.pid, std::process::id());
}
