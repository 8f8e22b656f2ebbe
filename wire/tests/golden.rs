//! The bytes of every version that shipped still decode to the same meaning.
//!
//! `golden/v1-*.hex` were written by version 1 and are never written again: a change that breaks
//! them needs a new [`wire::VERSION`] and new files beside the old ones. To make files for a new
//! version, run this test with `SAKURAMORI_GOLDEN=write`; it refuses to overwrite.

use std::net::IpAddr;
use std::path::PathBuf;

use wire::batch::{Batch, Clock, Lane, Position};
use wire::codec::{self, HEADER_LEN, Header};
use wire::control::{
    Ack, Control, EnrolReply, EnrolRequest, Hello, Refusal, RuleOffer, RulePart, RuleReply,
    Settings, SettingsReply, TimeProbe, TimeReply, Welcome,
};
use wire::limits;
use wire::record::{
    Activity, Address, Connection, Counters, Coverage, CredentialChange, Credentials, Dns,
    DnsAnswer, Exec, Exit, File, Flow, Hook, Inventory, LedgerLine, Login, MapFill, Memory,
    Privilege, Process, ProcessRef, Scan, Stdio, Sweep, Syscalls, Tls, Uring, Use,
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
        login_uid: 1003,
        session: 1004,
        capabilities: 1005,
        exe_inode: 9,
        exe_dev: 10,
        namespace_pid: 1006,
        pid_namespace: 1007,
        mount_namespace: 1008,
        network_namespace: 1009,
        user_namespace: 1010,
        pod: text("shop/cart-0"),
        sha256: text("0123456789abcdef0123456789abcdef"),
        cwd: text("/srv"),
        script: text("/srv/run.sh"),
        env: text("LD_PRELOAD=/tmp/x.so\0"),
        tty: text("pts/0"),
    };
    batch.execs.push(Exec {
        time_ns: 8,
        process: ProcessRef(2),
        stdio: [stdio, Stdio::default(), stdio],
    });
    batch.exits.push(Exit { time_ns: 11, process: ProcessRef(2), code: 256, duration_ns: 1011 });
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
        inner_vlan: 1016,
        tunnel: 3,
        tunnel_id: 1017,
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
        target: ProcessRef(1),
        action: 8,
        flags: 1,
        argument: 1027,
        kind: 1028,
        count: 1029,
        error: 1030,
        credentials: Some(CredentialChange {
            before: Credentials {
                uid: 1,
                euid: 2,
                suid: 3,
                gid: 4,
                egid: 5,
                effective: 6,
                permitted: 7,
            },
            after: Credentials {
                uid: 8,
                euid: 9,
                suid: 10,
                gid: 11,
                egid: 12,
                effective: 13,
                permitted: 14,
            },
        }),
        name: text("/mnt"),
        source: text("/dev/sda1"),
        type_name: text("ext4"),
    });
    batch.syscalls.push(Syscalls {
        time_ns: 28,
        process: ProcessRef(1),
        number: 39,
        count: 29,
        window_ns: 30,
        latency: vec![0, 1031, 2],
    });
    batch.activities.push(Activity {
        time_ns: 100,
        process: ProcessRef(2),
        window_ns: 101,
        forks: 102,
        write_opens: 103,
        creates: 104,
        renames: 105,
        unlinks: 106,
        links: 107,
        attribute_changes: 108,
    });
    batch.uses.push(Use {
        first_ns: 110,
        last_ns: 111,
        process: ProcessRef(1),
        protocol: 17,
        direction: 1,
        local: Address([3; 16]),
        remote: Address([4; 16]),
        local_port: 112,
        remote_port: 113,
        sent: 114,
        received: 115,
        sends: 116,
        receives: 117,
    });
    batch.sweeps.push(Sweep {
        first_ns: 120,
        last_ns: 121,
        process: ProcessRef(2),
        source: Address([5; 16]),
        direction: 2,
        packets: 122,
        syns: 123,
        resets: 124,
        unreachables: 125,
        odd: 126,
        addresses: text("\u{1}\u{2}"),
        ports: text("\u{3}\u{4}"),
    });
    batch.dns.push(Dns {
        time_ns: 130,
        process: ProcessRef(2),
        transport: 17,
        flags: 3,
        id: 131,
        query_type: 28,
        response_code: 3,
        count: 132,
        size: 133,
        ifindex: 134,
        local: Address([6; 16]),
        remote: Address([7; 16]),
        local_port: 135,
        remote_port: 53,
        name: text("a.example"),
        answers: vec![DnsAnswer { kind: 5, ttl: 136, data: text("b.example") }],
    });
    batch.tls.push(Tls {
        time_ns: 140,
        process: ProcessRef(1),
        direction: 1,
        version: 0x0304,
        ifindex: 141,
        local: Address([8; 16]),
        remote: Address([9; 16]),
        local_port: 142,
        remote_port: 443,
        count: 143,
        server_name: text("c.example"),
        ja4: text("t13d1516h2_8daaf6152771_b186095e22b6"),
        alpn: text("h2"),
    });
    batch.files.push(File {
        time_ns: 150,
        process: ProcessRef(2),
        action: 4,
        flags: 1,
        inode: 151,
        dev: 152,
        open_flags: 153,
        mode: 154,
        uid: 155,
        gid: 156,
        error: 157,
        path: text("/etc/passwd+"),
        target: text("/etc/passwd"),
    });
    batch.memory.push(Memory {
        time_ns: 160,
        process: ProcessRef(2),
        target: ProcessRef(1),
        action: 7,
        flags: 1,
        argument: 161,
        address: 162,
        length: 163,
        count: 164,
        error: 165,
        remote: Address([10; 16]),
        remote_port: 166,
        name: text("payload"),
    });
    batch.urings.push(Uring { time_ns: 170, process: ProcessRef(1), opcode: 23, count: 171 });
    batch.logins.push(Login {
        time_ns: 180,
        process: ProcessRef(2),
        action: 1,
        flags: 4,
        count: 181,
        pid: 182,
        remote: Address([11; 16]),
        remote_port: 183,
        service: text("sshd"),
        user: text("alice"),
        target_user: text("root"),
        method: text("publickey"),
        key: text("SHA256:x"),
        tty: text("pts/1"),
        command: text("/bin/ls"),
        cwd: text("/home/alice"),
        remote_name: text("client.example"),
        detail: text("a reason"),
        message: text("Accepted publickey for alice"),
    });
    batch.inventory.push(Inventory {
        time_ns: 190,
        kind: 1,
        change: 4,
        name: text("openssl"),
        version: text("3.0.17-1"),
        detail: text("amd64"),
    });
    batch.scans.push(Scan {
        time_ns: 200,
        process: ProcessRef(2),
        trigger: 1,
        inode: 201,
        dev: 202,
        size: 203,
        more: 204,
        path: text("/tmp/x"),
        sha256: text("0123456789abcdef0123456789abcdef"),
        rule: text("coin_miner"),
        source: text("coin_miner.yar"),
        revision: text("r1"),
        tags: text("elf\0"),
        meta: text("class=malicious\0"),
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
        maps: vec![MapFill { name: text("FLOWS"), used: 37, capacity: 38, bytes: 39 }],
        canary_ns: 40,
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
        (
            "settings",
            Control::Settings(Settings { revision: "r".into(), text: "[collect]\n".into() }),
        ),
        (
            "settings-reply",
            Control::SettingsReply(SettingsReply { revision: "r".into(), problem: "p".into() }),
        ),
        ("rule-offer", Control::RuleOffer(RuleOffer { revision: "r".into() })),
        (
            "rule-reply",
            Control::RuleReply(RuleReply {
                revision: "r".into(),
                wanted: true,
                rules: 300,
                problem: "p".into(),
            }),
        ),
        (
            "rule-part",
            Control::RulePart(RulePart {
                revision: "r".into(),
                file: "f.yar".into(),
                text: "rule t".into(),
                rest: 2,
            }),
        ),
        ("time-probe", Control::TimeProbe(TimeProbe { number: 3 })),
        (
            "time-reply",
            Control::TimeReply(TimeReply {
                number: 3,
                clock: Clock { boot_ns: 4_000_000_005, unix_ns: 1_700_000_000_000_000_006 },
            }),
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
    let frame = golden("batch", b"");
    assert_eq!(codec::decode_batch_frame(&frame).unwrap(), expected);
}

/// As columns, which today's code packs in the same bytes as ever: their order and the dictionary
/// are part of the protocol.
#[test]
fn batches_in_columns_still_decode_and_are_packed_alike() {
    let expected = batch();
    let today = codec::encode_batch(&expected).unwrap();
    let frame = golden("batch-columns", &today);
    assert_eq!(codec::decode_batch_frame(&frame).unwrap(), expected);
    let dictionary = include_bytes!("../src/codec/dictionary.txt");
    let mut decompressor = zstd::bulk::Decompressor::with_dictionary(dictionary).unwrap();
    let mut packed =
        |frame: &[u8]| decompressor.decompress(&frame[HEADER_LEN..], limits::BODY_MAX).unwrap();
    assert_eq!(packed(&frame), packed(&today));
}

#[test]
fn a_brain_without_columns_gets_rows() {
    let expected = batch();
    let columns = codec::encode_batch(&expected).unwrap();
    let rows = codec::in_rows(&columns).unwrap();
    assert_eq!((columns[7], rows[7]), (4, 2));
    assert_eq!(codec::decode_batch_frame(&rows).unwrap(), expected);
    assert_eq!(codec::in_rows(&rows).unwrap(), rows);
    assert!(codec::in_rows(&columns[1..]).is_err());
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
