//! Real DNS queries and TLS greetings between namespaces: names, answers, counts and processes.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::{
    collect::Collector,
    ledger::{Ledger, Signal},
    observation::{Observation, Record, Text},
    probe::{Scope, Settings},
};
use wire::record::{Dns, Tls, direction, dns_flag, transport};

use super::{
    child,
    netns::{self, Pair},
    watch::{only, unavailable},
};
use crate::{figure, skip::trial};

mod greeting;
mod resolver;

use resolver::Resolver;

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
];
const DNS_PORT: u16 = 53;
/// How long a record may take; a guest without hardware help is slow.
const DEADLINE: Duration = Duration::from_secs(20);
const TICK: Duration = Duration::from_millis(200);
/// Equal questions of one process.
const REPEATED: u16 = 500;
/// Different questions of one process, many more than are recorded in that time.
const FLOOD: u32 = 40_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("payload::questions_and_answers_have_names_and_processes", questions),
        trial("payload::equal_questions_are_counted_exactly", repeated),
        trial("payload::a_flood_of_names_is_counted_and_leaves_room", flood),
        trial("payload::a_greeting_has_its_name_and_fingerprint", greeting),
    ]
}

fn missing() -> Option<&'static str> {
    unavailable().or_else(netns::unavailable)
}

const SIGNALS: [Signal; 5] = [Signal::Flow, Signal::Dns, Signal::Tls, Signal::Socket, Signal::Use];

/// A whole sensor but for the brain: what it hands on counts as delivered.
struct Sensor {
    collector: Collector,
    ledger: RefCell<Ledger>,
    seen: Vec<Observation>,
}

impl Sensor {
    fn start(pair: &Pair) -> Result<Self> {
        let scope = Scope { cgroup: None, netns: Some(pair.a.path()) };
        let settings = Settings { scope, ..only(&SIGNALS) };
        let collector = Collector::start(&settings, Vec::new())?;
        Ok(Self { collector, ledger: RefCell::default(), seen: Vec::new() })
    }

    fn tick(&mut self) {
        let Self { collector, ledger, seen } = self;
        collector.tick(ledger, &mut |observation| keep(ledger, seen, observation));
    }

    fn finish(&mut self) {
        let Self { collector, ledger, seen } = self;
        collector.finish(ledger, &mut |observation| keep(ledger, seen, observation));
    }

    /// Ticks until something is found among all that was seen.
    fn find<T>(&mut self, what: &str, find: impl Fn(&[Observation]) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        loop {
            self.tick();
            if let Some(found) = find(&self.seen) {
                return Ok(found);
            }
            if start.elapsed() > DEADLINE {
                let messages: Vec<_> = messages(&self.seen).collect();
                bail!("no {what}; {:?}; DNS: {messages:?}", self.ledger.borrow_mut().report());
            }
            thread::sleep(TICK);
        }
    }

    /// Returns what became of a signal's events, by outcome.
    fn account(&self, signal: Signal) -> BTreeMap<&'static str, u64> {
        let report = self.ledger.borrow_mut().report();
        let lines = report.into_iter().filter(|(name, _, _)| *name == signal.name());
        lines.map(|(_, outcome, events)| (outcome, events)).collect()
    }
}

fn keep(ledger: &RefCell<Ledger>, seen: &mut Vec<Observation>, observation: Observation) {
    ledger.borrow_mut().used(observation.signal, observation.events);
    if matches!(observation.record, Record::Dns(_) | Record::Tls(_)) {
        seen.push(observation);
    }
}

fn messages(seen: &[Observation]) -> impl Iterator<Item = (&Observation, &Dns<Text>)> {
    seen.iter().filter_map(|observation| match &observation.record {
        Record::Dns(record) => Some((observation, record)),
        _ => None,
    })
}

/// Returns the messages about a name in one direction.
fn about<'a>(
    seen: &'a [Observation],
    name: &'a str,
    response: bool,
) -> impl Iterator<Item = (&'a Observation, &'a Dns<Text>)> {
    messages(seen).filter(move |(_, dns)| {
        (dns.flags & dns_flag::RESPONSE != 0) == response
            && dns.name.eq_ignore_ascii_case(name.as_bytes())
    })
}

fn questions() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let _resolver = Resolver::start(&pair.b, &ADDRESSES)?;
    let mut sensor = Sensor::start(&pair)?;
    for (at, address) in ADDRESSES.into_iter().enumerate() {
        for (way, ask) in [(transport::UDP, ask_udp as Ask), (transport::TCP, ask_tcp as Ask)] {
            let name = format!("host-{at}-{way}.example.test");
            let missing = format!("nx-{at}-{way}.example.test");
            let server = SocketAddr::new(address, DNS_PORT);
            let packets = [resolver::query(1, &name, 1), resolver::query(2, &missing, 28)];
            let work = || child::run(|| packets.iter().map(|query| ask(server, query)).sum());
            let (pid, status) = pair.a.inside(work)??;
            ensure!(status == 0, "the client ended with {status}");
            answered(&mut sensor, &name, way, pid, 0).with_context(|| name.clone())?;
            answered(&mut sensor, &missing, way, pid, 3).with_context(|| missing.clone())?;
        }
    }
    sensor.finish();
    balanced(&sensor, Signal::Dns)?;
    Ok(Completion::Completed)
}

/// Sends a query and waits for the answer; 0 when it came.
type Ask = fn(SocketAddr, &[u8]) -> i32;

fn ask_udp(server: SocketAddr, query: &[u8]) -> i32 {
    let asked = || -> std::io::Result<()> {
        let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.send_to(query, server)?;
        socket.recv_from(&mut [0; 1500]).map(drop)
    };
    i32::from(asked().is_err())
}

fn ask_tcp(server: SocketAddr, query: &[u8]) -> i32 {
    use std::io::{Read as _, Write as _};
    let asked = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect(server)?;
        let mut segment = [0; 514];
        segment[..2].copy_from_slice(&(query.len() as u16).to_be_bytes());
        segment[2..2 + query.len()].copy_from_slice(query);
        stream.write_all(&segment[..2 + query.len()])?;
        stream.read(&mut [0; 1500]).map(drop)
    };
    i32::from(asked().is_err())
}

/// The question left with its process, and its answer came back.
fn answered(sensor: &mut Sensor, name: &str, way: u8, pid: u32, code: u8) -> Result<()> {
    let kind = if code == 0 { 1 } else { 28 };
    let (question, owner) = sensor.find("question", |seen| {
        let (observation, dns) = about(seen, name, false).next()?;
        Some((dns.clone(), observation.lineage.first().map(|process| process.key.pid)))
    })?;
    ensure!((question.transport, question.query_type) == (way, kind), "{question:?}");
    ensure!(question.flags == 0 && question.remote_port == DNS_PORT, "{question:?}");
    ensure!(owner == Some(pid), "the question belongs to {owner:?}, not to {pid}");
    let (answer, owner) = sensor.find("answer", |seen| {
        let (observation, dns) = about(seen, name, true).next()?;
        Some((dns.clone(), observation.lineage.first().map(|process| process.key.pid)))
    })?;
    ensure!(answer.flags == dns_flag::RESPONSE | dns_flag::INCOMING, "{answer:?}");
    ensure!((answer.response_code, answer.id) == (code, question.id), "{answer:?}");
    ensure!(owner == Some(pid), "the answer belongs to {owner:?}, not to {pid}");
    let data: Vec<&[u8]> = answer.answers.iter().map(|answer| &answer.data[..]).collect();
    match code {
        0 => ensure!(data == [&b"alias.example.test"[..], &resolver::ADDRESS], "{answer:?}"),
        _ => ensure!(data.is_empty(), "{answer:?}"),
    }
    Ok(())
}

fn repeated() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let _resolver = Resolver::start(&pair.b, &ADDRESSES)?;
    let mut sensor = Sensor::start(&pair)?;
    let server = SocketAddr::new(ADDRESSES[0], DNS_PORT);
    // Same question, other id and other case each time.
    let queries: Vec<Vec<u8>> = (0..REPEATED)
        .map(|id| {
            let name = if id % 2 == 0 { "again.example.test" } else { "AGAIN.exaMPle.test" };
            resolver::query(id, name, 1)
        })
        .collect();
    let work = || child::run(|| queries.iter().map(|query| ask_udp(server, query)).sum());
    let (_, status) = pair.a.inside(work)??;
    ensure!(status == 0, "the client ended with {status}");
    thread::sleep(TICK);
    sensor.finish();
    for response in [false, true] {
        let records: Vec<u64> =
            about(&sensor.seen, "again.example.test", response).map(|(_, dns)| dns.count).collect();
        let sum: u64 = records.iter().sum();
        ensure!(sum == u64::from(REPEATED), "{sum} counted, response: {response}");
        ensure!(records.len() < 20, "{} records for equal messages", records.len());
    }
    balanced(&sensor, Signal::Dns)?;
    Ok(Completion::Completed)
}

/// Everything that was seen is delivered or lost, to the last event.
fn balanced(sensor: &Sensor, signal: Signal) -> Result<BTreeMap<&'static str, u64>> {
    let account = sensor.account(signal);
    let of = |outcome| account.get(outcome).copied().unwrap_or(0);
    let rest: u64 =
        account.iter().filter(|(outcome, _)| **outcome != "seen").map(|(_, events)| events).sum();
    ensure!(of("seen") == rest && rest > 0, "{account:?}");
    Ok(account)
}

fn flood() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    // Nobody answers, so what is sent is all there is.
    let server = SocketAddr::new(ADDRESSES[0], DNS_PORT);
    let deaf = pair.b.inside(|| UdpSocket::bind(server))??;
    let mut sensor = Sensor::start(&pair)?;
    let sent = thread::scope(|scope| -> Result<u32> {
        let flooding = scope.spawn(|| pair.a.inside(|| child::run(|| send_flood(server))));
        // Others ask meanwhile, each from a process of its own. Two may share a budget by chance,
        // hence three.
        for asker in 0..3 {
            sensor.tick();
            let query = resolver::query(asker, &format!("calm-{asker}.test"), 1);
            let ask = || child::run(|| i32::from(send(server, &query).is_err()));
            ensure!(pair.a.inside(ask)??.1 == 0, "the quiet process could not send");
        }
        let (_, status) = flooding.join().expect("the flood does not panic")??;
        ensure!(status == 0, "the flood ended with {status}");
        Ok(FLOOD + 3)
    })?;
    drop(deaf);
    thread::sleep(TICK);
    sensor.finish();
    let calm = messages(&sensor.seen).filter(|(_, dns)| dns.name.starts_with(b"calm-")).count();
    let account = balanced(&sensor, Signal::Dns)?;
    figure::tell("S-05", format_args!("{sent} different DNS questions: {account:?}"));
    ensure!(account["seen"] == u64::from(sent), "{sent} were sent: {account:?}");
    ensure!(account.get("throttled").is_some_and(|lost| *lost > 0), "{account:?}");
    ensure!(calm >= 2, "only {calm} of 3 quiet questions came through");
    Ok(Completion::Completed)
}

fn send(server: SocketAddr, query: &[u8]) -> std::io::Result<()> {
    UdpSocket::bind("0.0.0.0:0")?.send_to(query, server).map(drop)
}

/// Sends questions for names that differ in their first label.
fn send_flood(server: SocketAddr) -> i32 {
    let Ok(socket) = UdpSocket::bind("0.0.0.0:0") else { return 1 };
    let mut query = *b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x0800000000\x05flood\x04test\0\0\x01\0\x01";
    for number in 0..FLOOD {
        for (at, digit) in query[13..21].iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(number >> (28 - 4 * at) & 0xf) as usize];
        }
        if socket.send_to(&query, server).is_err() {
            return 1;
        }
    }
    0
}

fn greeting() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let mut sensor = Sensor::start(&pair)?;
    for (address, port) in ADDRESSES.into_iter().zip([443, 8443]) {
        let name = format!("port-{port}.example.test");
        let hello = greeting::hello(&name)?;
        let server = SocketAddr::new(address, port);
        let listener = pair.b.inside(|| TcpListener::bind(server))??;
        let (pid, status) = pair.a.inside(|| child::run(|| greet(server, &hello)))??;
        ensure!(status == 0, "the client ended with {status}");
        drop(listener);
        let (tls, owner) = sensor.find("greeting", |seen| {
            seen.iter().find_map(|observation| match &observation.record {
                Record::Tls(tls) if &tls.server_name[..] == name.as_bytes() => {
                    let pid = observation.lineage.first().map(|process| process.key.pid);
                    Some((tls.clone(), pid))
                }
                _ => None,
            })
        })?;
        check_greeting(&tls, &hello, port)?;
        ensure!(owner == Some(pid), "the greeting belongs to {owner:?}, not to {pid}");
    }
    sensor.finish();
    balanced(&sensor, Signal::Tls)?;
    Ok(Completion::Completed)
}

fn check_greeting(tls: &Tls<Text>, hello: &[u8], port: u16) -> Result<()> {
    let expected = greeting::fingerprint(hello)?;
    let found = String::from_utf8_lossy(&tls.ja4).into_owned();
    ensure!(found == expected, "fingerprint {found}, expected {expected}");
    ensure!(tls.version == 0x0304 && &tls.alpn[..] == b"h2", "{tls:?}");
    ensure!((tls.direction, tls.remote_port) == (direction::OUTGOING, port), "{tls:?}");
    Ok(())
}

fn greet(server: SocketAddr, hello: &[u8]) -> i32 {
    use std::io::Write as _;
    let greeted = || TcpStream::connect(server)?.write_all(hello);
    i32::from(greeted().is_err())
}
