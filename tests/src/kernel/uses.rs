//! Bytes per socket and process: real conversations, of which every byte is accounted for.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::{
    collect::Collector,
    ledger::Ledger,
    observation::{Observation, Record},
    probe::{Scope, Settings, WayKind},
};
use sensor_abi::{
    loss::Loss,
    record::socket_event,
    seen::Signal,
    usage::{Use, UseKey},
};
use wire::record::{Address, connection_event};

use super::{
    child,
    netns::{self, Namespace},
    talk::{self, ANSWERED, ASKED, DATAGRAMS, FIRST, Role, Roles, SECOND},
    watch::{Event, Watch, only, unavailable},
};
use crate::{figure, skip::trial};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
const PORT: u16 = 7_001;
/// More sockets than the table of uses has room for.
const SOCKETS: u32 = 20_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("uses::a_worker_is_named_with_every_byte", || each_address(worker)),
        trial("uses::every_stand_in_counts_the_same", stand_ins),
        trial("uses::datagrams_have_their_process", || each_address(datagrams)),
        trial("uses::who_takes_a_connection_over_is_named", || each_address(handed_over)),
        trial("uses::a_storm_is_accounted_for_exactly", storm),
        trial("uses::flows_name_who_uses_their_socket", || each_address(flows)),
        trial("uses::datagram_flows_name_their_process", || each_address(datagram_flows)),
        trial("uses::who_listened_before_is_reported", listened_before),
    ]
}

/// Runs a trial with IPv4 and with IPv6, each in a namespace of its own.
fn each_address(trial: fn(&Namespace, SocketAddr) -> Result<()>) -> Result<Completion> {
    if let Some(reason) = unavailable().or_else(netns::unavailable) {
        return Ok(Completion::ignored_with(reason));
    }
    for ip in [V4, V6] {
        let namespace = Namespace::alone()?;
        trial(&namespace, SocketAddr::new(ip, PORT)).with_context(|| format!("with {ip}"))?;
    }
    Ok(Completion::Completed)
}

fn settings(namespace: &Namespace, avoid: &[WayKind]) -> Settings {
    let scope = Scope { cgroup: None, netns: Some(namespace.path()) };
    let (interfaces, avoid) = (vec!["lo".to_owned()], avoid.to_vec());
    let wanted = only(&[Signal::Flow, Signal::Socket, Signal::Use]);
    Settings { scope, interfaces, avoid, ..wanted }
}

/// Runs a conversation in the namespace; returns the id of the process that began it.
fn talk(namespace: &Namespace, work: impl FnOnce() -> Option<()> + Send) -> Result<u32> {
    let (pid, status) = namespace.inside(|| child::run(|| i32::from(work().is_none())))??;
    ensure!(status == 0, "the conversation failed: {status}");
    Ok(pid)
}

/// Reads all uses, and checks that what was seen is all there or counted as lost.
fn uses(watch: &mut Watch) -> Result<Vec<(UseKey, Use)>> {
    let mut uses = watch.drain.uses();
    // Without a barrier the kernel's last table comes one call later.
    uses.extend(watch.drain.uses());
    let delivered: u64 = uses.iter().map(|(_, used)| used.calls()).sum();
    let lost = watch.drain.lost()[Loss::TableFull.slot(Signal::Use)];
    let seen = watch.drain.seen()[Signal::Use as usize];
    ensure!(seen == delivered + lost, "{seen} calls seen, {delivered} told, {lost} lost");
    Ok(uses)
}

/// What a process sent and received, through how many sockets.
fn sums(uses: &[(UseKey, Use)], pid: u32) -> (u64, u64, usize) {
    let of_process = uses.iter().filter(|(key, _)| key.tgid == pid);
    of_process.fold((0, 0, 0), |(sent, received, sockets), (_, used)| {
        (sent + used.sent, received + used.received, sockets + 1)
    })
}

fn of(uses: &[(UseKey, Use)], pid: u32) -> Result<Use> {
    let found = uses.iter().find(|(key, _)| key.tgid == pid);
    found.map(|(_, used)| *used).with_context(|| format!("process {pid} uses nothing"))
}

fn worker(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let mut watch = Watch::start(&settings(namespace, &[]))?;
    check_worker(namespace, at, &mut watch)
}

fn check_worker(namespace: &Namespace, at: SocketAddr, watch: &mut Watch) -> Result<()> {
    let roles = Roles::new()?;
    let listener = talk(namespace, || talk::serve_by_worker(at, &roles))?;
    let (client, worker) = (roles.pid(Role::Client), roles.pid(Role::Worker));
    let uses = uses(watch)?;
    ensure!(sums(&uses, client) == (ASKED, ANSWERED, 1), "the client: {uses:?}");
    ensure!(sums(&uses, worker) == (ANSWERED, ASKED, 1), "the worker: {uses:?}");
    ensure!(sums(&uses, listener) == (0, 0, 0), "the listener only listens: {uses:?}");
    let (asks, answers) = (of(&uses, client)?, of(&uses, worker)?);
    let ip = Address::from(at.ip()).0;
    ensure!((asks.remote_addr, asks.remote_port) == (ip, PORT), "{asks:?}");
    ensure!((answers.local_addr, answers.local_port) == (ip, PORT), "{answers:?}");
    ensure!(asks.local_port == answers.remote_port, "{asks:?} and {answers:?}");
    ensure!(asks.first_ns <= asks.last_ns && asks.protocol == 6, "{asks:?}");
    ensure!(asks.start_ns < asks.first_ns && asks.start_ns > 0, "{asks:?}");
    Ok(())
}

/// Each way that this kernel has gives the same numbers.
fn stand_ins() -> Result<Completion> {
    use WayKind::{Fentry, RawTracepoint, Tracepoint};
    if let Some(reason) = unavailable().or_else(netns::unavailable) {
        return Ok(Completion::ignored_with(reason));
    }
    let mut tried = Vec::new();
    for avoid in [
        &[][..],
        &[RawTracepoint],
        &[RawTracepoint, Tracepoint],
        &[RawTracepoint, Tracepoint, Fentry],
    ] {
        for ip in [V4, V6] {
            let namespace = Namespace::alone()?;
            let mut watch = Watch::start(&settings(&namespace, avoid))?;
            let report = watch.probes.report().iter().find(|hook| hook.name == "use");
            let report = report.context("no hook for uses")?;
            let Some(how) = report.attached.clone() else {
                eprintln!("avoiding {avoid:?}: {:?}", report.error);
                continue;
            };
            let at = SocketAddr::new(ip, PORT);
            check_worker(&namespace, at, &mut watch).with_context(|| format!("{how}, {ip}"))?;
            check_datagrams(&namespace, at, &mut watch).with_context(|| format!("{how}, {ip}"))?;
            tried.push(how);
        }
    }
    tried.dedup();
    eprintln!("counted by {}", tried.join(" | "));
    ensure!(!tried.is_empty(), "no way could be tried");
    Ok(Completion::Completed)
}

fn datagrams(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let mut watch = Watch::start(&settings(namespace, &[]))?;
    let (client, worker) = check_datagrams(namespace, at, &mut watch)?;
    let announced = |pid, event| {
        move |seen: &Event| match seen {
            Event::Socket(socket) => {
                let fits = socket.header.tgid == pid && socket.event == event;
                (fits && socket.protocol == 17).then_some(*socket)
            }
            _ => None,
        }
    };
    let mut events = Vec::new();
    watch.until("first uses", |all| {
        events = all.to_vec();
        let find = |pid, event| all.iter().any(|e| announced(pid, event)(e).is_some());
        find(client, socket_event::SENT) && find(worker, socket_event::RECEIVED)
    })?;
    let server = events.iter().find_map(announced(worker, socket_event::RECEIVED));
    let server = server.context("the server is not announced")?;
    ensure!((server.local_port, server.remote_port) == (PORT, 0), "{server:?}");
    let announcements =
        events.iter().filter(|e| announced(worker, socket_event::RECEIVED)(e).is_some()).count();
    ensure!(announcements == 1, "the server is announced {announcements} times");
    Ok(())
}

fn check_datagrams(namespace: &Namespace, at: SocketAddr, watch: &mut Watch) -> Result<(u32, u32)> {
    let before = uses_before(watch);
    let roles = Roles::new()?;
    talk(namespace, || talk::exchange_datagrams(at, &roles))?;
    let [client, worker, other] = [Role::Client, Role::Worker, Role::Other].map(|r| roles.pid(r));
    let mut uses = watch.drain.uses();
    uses.extend(watch.drain.uses());
    let delivered: u64 = uses.iter().map(|(_, used)| used.calls()).sum();
    let seen = watch.drain.seen()[Signal::Use as usize] - before;
    ensure!(seen == delivered, "{seen} calls seen, {delivered} told");
    let bytes: u64 = (1..=DATAGRAMS).sum();
    for pid in [client, other] {
        ensure!(sums(&uses, pid) == (bytes, bytes, 1), "client {pid}: {uses:?}");
        let used = of(&uses, pid)?;
        ensure!((used.sends, used.receives) == (DATAGRAMS, DATAGRAMS), "{used:?}");
        let peer = if pid == client { PORT } else { 0 };
        ensure!(used.remote_port == peer && used.protocol == 17, "{used:?}");
    }
    ensure!(sums(&uses, worker) == (2 * bytes, 2 * bytes, 1), "the server: {uses:?}");
    let used = of(&uses, worker)?;
    ensure!((used.local_port, used.remote_port) == (PORT, 0), "{used:?}");
    Ok((client, worker))
}

/// Empties the table; returns the calls seen until now.
fn uses_before(watch: &mut Watch) -> u64 {
    for _ in 0..2 {
        drop(watch.drain.uses());
    }
    watch.drain.seen()[Signal::Use as usize]
}

fn handed_over(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let mut watch = Watch::start(&settings(namespace, &[]))?;
    let roles = Roles::new()?;
    talk(namespace, || talk::hand_over(at, &roles))?;
    let uses = uses(&mut watch)?;
    let (client, other) = (roles.pid(Role::Client), roles.pid(Role::Other));
    ensure!(sums(&uses, client) == (FIRST, 0, 1), "who connected: {uses:?}");
    ensure!(sums(&uses, other) == (SECOND, 0, 1), "who took over: {uses:?}");
    let (before, after) = (of(&uses, client)?, of(&uses, other)?);
    ensure!(before.local_port == after.local_port, "{before:?} and {after:?}");
    Ok(())
}

fn storm() -> Result<Completion> {
    if let Some(reason) = unavailable().or_else(netns::unavailable) {
        return Ok(Completion::ignored_with(reason));
    }
    let namespace = Namespace::alone()?;
    let mut watch = Watch::start(&settings(&namespace, &[]))?;
    talk(&namespace, || talk::many_sockets(SocketAddr::new(V4, PORT), SOCKETS))?;
    let told: u64 = uses(&mut watch)?.iter().map(|(_, used)| used.sent).sum();
    let lost = watch.drain.lost();
    let lost_of = |loss: Loss, signal: Signal| lost[loss.slot(signal)];
    let unknown = lost_of(Loss::TableFull, Signal::Use);
    figure::tell("S-05", format_args!("uses of {SOCKETS} sockets: {told} told + {unknown} lost"));
    ensure!(told + unknown == u64::from(SOCKETS), "{told} told, {unknown} lost");
    ensure!(unknown > 0 && told > u64::from(SOCKETS) / 2, "{told} told, {unknown} lost");
    let mut announced = 0;
    watch.drain.records(&mut |record| {
        announced += u64::from(matches!(record, sensor::drain::Record::Socket(_)));
    });
    let seen = watch.drain.seen()[Signal::Socket as usize];
    let lost = lost_of(Loss::RingFull, Signal::Socket);
    ensure!(seen == announced + lost, "{seen} changes seen, {announced} told, {lost} lost");
    Ok(Completion::Completed)
}

/// Runs a conversation under a whole collector; returns what it observed.
fn observe(
    namespace: &Namespace,
    work: impl FnOnce() -> Option<()> + Send,
) -> Result<Vec<Observation>> {
    let mut collector = Collector::start(&settings(namespace, &[]), Vec::new())?;
    let ledger = RefCell::new(Ledger::default());
    let mut observations = Vec::new();
    talk(namespace, work)?;
    // Records of the last moment are held back, to be put in order.
    std::thread::sleep(std::time::Duration::from_millis(10));
    for _ in 0..2 {
        collector.tick(&ledger, &mut |observation| observations.push(observation));
    }
    Ok(observations)
}

/// The processes of the flows whose local port fits.
fn owners(observations: &[Observation], fits: impl Fn(u16) -> bool, protocol: u8) -> Vec<u32> {
    let mut owners: Vec<u32> = observations
        .iter()
        .filter_map(|observation| match &observation.record {
            Record::Flow(flow) if flow.protocol == protocol && fits(flow.local_port) => {
                Some(observation.lineage.first().map_or(0, |process| process.key.pid))
            }
            _ => None,
        })
        .collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}

fn flows(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let roles = Roles::new()?;
    let observations = observe(namespace, || talk::serve_by_worker(at, &roles))?;
    let (client, worker) = (roles.pid(Role::Client), roles.pid(Role::Worker));
    let served = owners(&observations, |port| port == PORT, 6);
    ensure!(served == [worker], "flows of the server name {served:?}, not worker {worker}");
    let asked = owners(&observations, |port| port != PORT, 6);
    ensure!(asked == [client], "flows of the client name {asked:?}, not client {client}");
    let used = observations.iter().find_map(|observation| match &observation.record {
        Record::Use(used) if used.local_port == PORT => Some((used.clone(), observation)),
        _ => None,
    });
    let (used, observation) = used.context("no use of the server's socket")?;
    ensure!((used.sent, used.received) == (ANSWERED, ASKED), "{used:?}");
    ensure!(used.direction == wire::record::direction::INCOMING, "{used:?}");
    ensure!(observation.lineage.len() > 1, "the worker has no parent: {observation:?}");
    Ok(())
}

fn datagram_flows(namespace: &Namespace, at: SocketAddr) -> Result<()> {
    let roles = Roles::new()?;
    let observations = observe(namespace, || talk::exchange_datagrams(at, &roles))?;
    let [client, worker, other] = [Role::Client, Role::Worker, Role::Other].map(|r| roles.pid(r));
    let served = owners(&observations, |port| port == PORT, 17);
    ensure!(served == [worker], "flows of the server name {served:?}, not {worker}");
    let asked = owners(&observations, |port| port != PORT, 17);
    let mut clients = [client, other];
    clients.sort_unstable();
    ensure!(asked == clients, "flows of the clients name {asked:?}, not {clients:?}");
    let listens = observations.iter().any(|observation| match &observation.record {
        Record::Connection(connection) => {
            connection.event == connection_event::LISTEN
                && (connection.protocol, connection.local_port) == (17, PORT)
                && observation.lineage.first().is_some_and(|process| process.key.pid == worker)
        }
        _ => false,
    });
    ensure!(listens, "the server's socket is not reported as one that listens");
    Ok(())
}

fn listened_before() -> Result<Completion> {
    if let Some(reason) = unavailable().or_else(netns::unavailable) {
        return Ok(Completion::ignored_with(reason));
    }
    let namespace = Namespace::alone()?;
    let open = namespace.inside(|| -> Result<_> {
        let tcp = [V4, V6].map(|ip| TcpListener::bind(SocketAddr::new(ip, PORT)));
        let udp = [V4, V6].map(|ip| UdpSocket::bind(SocketAddr::new(ip, PORT)));
        Ok((tcp, udp))
    })??;
    // `/proc/PID/net` is of the process's own namespace, so a process has to live there.
    let sleeper = namespace.inside(|| {
        child::start(|| {
            // SAFETY: the call has no arguments.
            unsafe { nix::libc::pause() }
        })
    })??;
    let observations = observe(&namespace, || Some(()));
    nix::sys::signal::kill(sleeper, nix::sys::signal::Signal::SIGKILL)?;
    nix::sys::wait::waitpid(sleeper, None)?;
    drop(open);
    let mut found: Vec<(u8, Address)> = observations?
        .iter()
        .filter_map(|observation| match &observation.record {
            Record::Connection(c) if c.event == connection_event::LISTEN => {
                let pid = observation.lineage.first().map(|process| process.key.pid);
                let ours = c.local_port == PORT && pid == Some(sleeper.as_raw() as u32);
                ours.then_some((c.protocol, c.local))
            }
            _ => None,
        })
        .collect();
    found.sort_unstable_by_key(|(protocol, address)| (*protocol, address.0));
    let [v4, v6] = [V4, V6].map(Address::from);
    let expected = [(6, v6), (6, v4), (17, v6), (17, v4)];
    ensure!(found == expected, "{found:?}");
    Ok(Completion::Completed)
}
