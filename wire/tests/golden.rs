//! The bytes of every version that shipped still decode to the same meaning.
//!
//! `golden/v1-*.hex` were written by version 1 and are never written again: a change that breaks
//! them needs a new [`wire::VERSION`] and new files beside the old ones. To make files for a new
//! version, run this test with `SAKURAMORI_GOLDEN=write`; it refuses to overwrite.

use std::net::IpAddr;
use std::path::PathBuf;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::{Ack, Control, EnrolReply, EnrolRequest, Hello, Refusal, Welcome};
use wire::record::{
    Address, Connection, Counters, Coverage, Exec, Exit, Flow, Hook, LedgerLine, Privilege,
    Process, ProcessRef, Stdio, Syscalls,
};
use wire::text::StringTableBuilder;

/// A batch with every kind of record and every field set to a value of its own.
fn batch() -> Batch {
    let position = Position { epoch: 1_700_000_000_000_000_001, lane: Lane::Security, seq: 2 };
    let clock = Clock { boot_ns: 3_000_000_004, unix_ns: 1_700_000_000_000_000_005 };
    let mut batch = Batch::empty(position, clock);
    let mut strings = StringTableBuilder::default();
    let mut text = |s: &str| strings.add(s.as_bytes()).unwrap();
    let stdio = Stdio {
        kind: 5,
        remote: Address::from(IpAddr::from([10, 77, 0, 11])),
        remote_port: 4444,
        local_port: 50_000,
    };
    let init = Process { pid: 1, start_ns: 6, exe: text("/sbin/init"), ..Process::default() };
    let shell = Process {
        pid: 70_000,
        start_ns: 7,
        parent: ProcessRef(1),
        exe: text("/usr/bin/bash"),
        comm: text("bash"),
        args: text("bash\0-i\0"),
        uid: 1000,
        euid: 1001,
        gid: 1002,
        user: text("www-data"),
        cgroup: text("/system.slice/nginx.service"),
        container: text("0123456789ab"),
        flags: 0b10_1010,
    };
    batch.execs.push(Exec {
        time_ns: 8,
        process: ProcessRef(2),
        exe_inode: 9,
        exe_dev: 10,
        stdio: [stdio, Stdio::default(), stdio],
    });
    batch.exits.push(Exit { time_ns: 11, process: ProcessRef(2), code: 256 });
    batch.flows.push(Flow {
        first_ns: 12,
        last_ns: 13,
        process: ProcessRef(2),
        local: stdio.remote,
        remote: Address([0xfd; 16]),
        local_port: 14,
        remote_port: 15,
        protocol: 6,
        family: 4,
        vlan: 16,
        ifindex: 17,
        detail: 1,
        direction: 2,
        ingress: Counters { packets: 18, bytes: 19, syns: 20, tcp_flags: 0x12, isn: Some(21) },
        egress: Counters { packets: 22, bytes: 1 << 40, syns: 23, tcp_flags: 0x02, isn: None },
    });
    batch.connections.push(Connection {
        time_ns: 24,
        process: ProcessRef(1),
        event: 3,
        protocol: 6,
        local: Address([1; 16]),
        remote: Address([2; 16]),
        local_port: 25,
        remote_port: 26,
    });
    batch.privileges.push(Privilege {
        time_ns: 27,
        process: ProcessRef(2),
        action: 1,
        target: text("dummy"),
    });
    batch.syscalls.push(Syscalls {
        time_ns: 28,
        process: ProcessRef(1),
        number: 39,
        count: 29,
        window_ns: 30,
    });
    batch.coverage = Some(Coverage {
        start_ns: 31,
        end_ns: 32,
        hooks: vec![Hook {
            name: text("module-load"),
            attached: text("tracepoint"),
            reason: text("no kprobes"),
        }],
        ledger: vec![LedgerLine { signal: text("exec"), outcome: text("delivered"), count: 33 }],
        drain_lag_ns: 34,
        cpu_ns: 35,
        memory_bytes: 36,
    });
    batch.processes = vec![init, shell];
    batch.strings = strings.finish();
    batch
}

fn controls() -> Vec<(&'static str, Control)> {
    let position = Position { epoch: 1, lane: Lane::Bulk, seq: 300 };
    vec![
        (
            "hello",
            Control::Hello(Hello {
                hostname: "web-1".into(),
                sensor_version: "0.1.0".into(),
                kernel: "6.12.0".into(),
                boot_id: "b".into(),
                epoch: 2,
                cpus: 3,
            }),
        ),
        ("welcome", Control::Welcome(Welcome { durable: [4, 5], brain_unix_ns: 6 })),
        ("ack", Control::Ack(Ack { position })),
        ("refusal", Control::Refusal(Refusal { reason: "revoked".into(), message: "m".into() })),
        (
            "enrol-request",
            Control::EnrolRequest(EnrolRequest {
                token: "t".into(),
                hostname: "h".into(),
                csr_der: vec![7; 3],
            }),
        ),
        (
            "enrol-reply",
            Control::EnrolReply(EnrolReply { sensor_id: "s".into(), certificate_der: vec![8; 3] }),
        ),
    ]
}

fn path(name: &str) -> PathBuf {
    let file = format!("tests/golden/v{}-{name}.hex", wire::VERSION);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn golden(name: &str, today: &[u8]) -> Vec<u8> {
    let path = path(name);
    if std::env::var_os("SAKURAMORI_GOLDEN").is_some_and(|v| v == "write") && !path.exists() {
        let digits: String = today.iter().map(|b| format!("{b:02x}")).collect();
        let lines: Vec<&str> =
            digits.as_bytes().chunks(96).map(|c| std::str::from_utf8(c).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn batches_of_version_1_still_decode() {
    let expected = batch();
    let frame = golden("batch", &codec::encode_batch(&expected).unwrap());
    assert_eq!(codec::decode_batch_frame(&frame).unwrap(), expected);
}

#[test]
fn control_frames_of_version_1_are_byte_identical() {
    for (name, message) in controls() {
        let today = codec::encode_control(&message).unwrap();
        let frame = golden(name, &today);
        assert_eq!(frame, today, "{name}");
        let (header, body) = frame.split_first_chunk::<HEADER_LEN>().unwrap();
        assert_eq!(codec::decode_control(&Header::parse(header).unwrap(), body).unwrap(), message);
    }
}
