//! Every record of the wire becomes an event with all that it says, in order of time.

use wire::batch::{Clock, Lane, Position};
use wire::record::{
    Activity, Address, CredentialChange, Dns, DnsAnswer, Exit, File, Flow, Inventory, Login,
    Memory, ProcessRef, Sweep, Syscalls, Tls, Uring, Use,
};
use wire::text::StringTableBuilder;

use super::*;

fn batch() -> Batch {
    let position = Position { epoch: 1, lane: Lane::Bulk, seq: 1 };
    let mut batch = Batch::empty(position, Clock::default());
    let mut strings = StringTableBuilder::default();
    let mut text = |s: &str| strings.add(s.as_bytes()).unwrap();
    let (first, second) = (ProcessRef(1), ProcessRef(2));
    let ip = |last| Address::from(IpAddr::from([192, 0, 2, last]));
    batch.processes = vec![
        wired::Process { pid: 1, exe: text("/sbin/init"), ..Default::default() },
        wired::Process {
            pid: 2,
            parent: first,
            login_uid: 1001,
            pod: text("shop/cart"),
            tty: text("pts/3"),
            mount_namespace: 77,
            ..Default::default()
        },
    ];
    batch.exits.push(Exit { time_ns: 160, process: second, code: 256, duration_ns: 9 });
    batch.syscalls.push(Syscalls { time_ns: 150, latency: vec![0, 3], ..Default::default() });
    batch.activities.push(Activity { time_ns: 140, forks: 5, ..Default::default() });
    batch.urings.push(Uring { time_ns: 130, process: second, opcode: 23, count: 4 });
    batch.sweeps.push(Sweep {
        first_ns: 120,
        source: ip(9),
        direction: wired::direction::INCOMING,
        syns: 6,
        ports: text("registers"),
        ..Default::default()
    });
    let (tunnel, tunnel_id) = (wired::tunnel::VXLAN, 42);
    batch.flows.push(Flow { first_ns: 110, tunnel, tunnel_id, ..Default::default() });
    batch.uses.push(Use {
        first_ns: 100,
        remote: ip(1),
        remote_port: 443,
        sent: 7,
        ..Default::default()
    });
    batch.tls.push(Tls { time_ns: 90, server_name: text("c.example"), ..Default::default() });
    let data = text("\u{1}\u{2}\u{3}\u{4}");
    batch.dns.push(Dns {
        time_ns: 80,
        flags: wired::dns_flag::RESPONSE,
        name: text("a.example"),
        answers: vec![DnsAnswer { kind: 1, ttl: 60, data }],
        ..Default::default()
    });
    batch.files.push(File {
        time_ns: 60,
        process: second,
        action: wired::file_action::OWNER,
        uid: 1,
        path: text("/etc/shadow"),
        ..Default::default()
    });
    batch.memory.push(Memory {
        time_ns: 50,
        process: second,
        target: first,
        action: wired::memory_action::POKE,
        ..Default::default()
    });
    batch.privileges.push(wired::Privilege {
        time_ns: 40,
        process: second,
        action: 200,
        credentials: Some(CredentialChange::default()),
        ..Default::default()
    });
    batch.logins.push(Login {
        time_ns: 20,
        process: second,
        action: wired::login_action::ACCEPTED,
        remote: ip(7),
        user: text("alice"),
        ..Default::default()
    });
    batch.inventory.push(Inventory {
        time_ns: 10,
        kind: wired::inventory_kind::PACKAGE,
        change: wired::inventory_change::ADDED,
        name: text("nmap"),
        ..Default::default()
    });
    batch.strings = strings.finish();
    batch
}

fn host() -> Arc<Host> {
    Arc::new(Host { id: HostId("h".into()), name: "h".into(), role: "r".into() })
}

#[test]
fn every_record_becomes_an_event_in_order_of_time() {
    let batch = batch();
    batch.check().unwrap();
    let events = events(&batch, &host());
    assert_eq!(events.len(), batch.record_count());
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    for event in &events {
        match &event.kind {
            EventKind::Inventory(r) => {
                assert_eq!((r.kind, r.change), (InventoryKind::Package, InventoryChange::Added));
                assert_eq!((&r.name[..], event.time_ns), (&b"nmap"[..], 10));
            }
            EventKind::Login(r) => {
                assert_eq!((r.action, &r.user[..]), (LoginAction::Accepted, &b"alice"[..]));
                assert_eq!(r.remote, Some([192, 0, 2, 7].into()));
            }
            EventKind::Privilege(r) => {
                assert_eq!((r.action, r.target.is_some()), (PrivilegeAction::Unknown, false));
                assert!(r.credentials.is_some());
            }
            EventKind::Memory(r) => {
                assert_eq!(r.action, MemoryAction::Poke);
                assert_eq!(r.target.as_ref().unwrap().exe_name(), b"init");
            }
            EventKind::File(r) => {
                assert_eq!((r.action, r.uid, r.gid), (FileAction::Owner, Some(0), None));
                assert_eq!(&r.path[..], b"/etc/shadow");
            }
            EventKind::Dns(r) => {
                assert!(r.is_response() && r.answers[0].data.len() == 4);
                assert_eq!(&r.name[..], b"a.example");
            }
            EventKind::Tls(r) => assert_eq!(&r.server_name[..], b"c.example"),
            EventKind::Use(r) => {
                assert_eq!((r.remote, r.sent), ("192.0.2.1:443".parse().unwrap(), 7));
            }
            EventKind::Flow(r) => assert_eq!(r.tunnel, Some((Tunnel::Vxlan, 42))),
            EventKind::Sweep(r) => {
                assert_eq!((r.direction, r.syns), (Direction::Incoming, 6));
                assert_eq!(&r.ports[..], b"registers");
            }
            EventKind::Uring(r) => assert_eq!((r.opcode, r.count), (23, 4)),
            EventKind::Activity(r) => assert_eq!(r.forks, 5),
            EventKind::Syscalls { latency, .. } => assert_eq!(latency, &[0, 3]),
            EventKind::Exit { code, duration_ns } => assert_eq!((*code, *duration_ns), (256, 9)),
            other => panic!("{other:?} was not sent"),
        }
    }
}

#[test]
fn a_process_brings_all_that_is_known_of_it() {
    let events = events(&batch(), &host());
    let process = events.iter().find_map(|event| event.process.clone()).unwrap();
    assert_eq!((process.login_uid, process.session), (Some(1000), None));
    assert_eq!((&process.pod[..], &process.tty[..]), (&b"shop/cart"[..], &b"pts/3"[..]));
    assert_eq!(process.namespaces, Namespaces { mount: 77, ..Namespaces::default() });
    assert_eq!(process.parent.as_ref().unwrap().login_uid, None);
}
