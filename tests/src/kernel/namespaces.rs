//! Real traffic between namespaces: the flow table's sums equal the interface's own counters.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::probe::{Scope, Settings, XdpMode};
use sensor_abi::{
    fault::Fault,
    flow::{FlowKey, FlowStats},
    record::socket_event,
    seen::Signal,
};

use super::{
    child,
    netns::{self, Counters, Namespace, Pair},
    traffic::{self, Ip},
    watch::{Event, Sums, Watch, only, sums, unavailable},
};
use crate::skip::trial;

const PORT: u16 = 8_080;
/// Bytes that one connection carries each way.
const PAYLOAD: usize = 300_000;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("namespaces::sums_equal_the_counters_with_native_xdp", || exact(XdpMode::Native)),
        trial("namespaces::sums_equal_the_counters_with_generic_xdp", || exact(XdpMode::Generic)),
        trial("namespaces::nothing_is_lost_while_draining_under_load", under_load),
        trial("namespaces::a_large_mtu_keeps_native_xdp", large_mtu),
        trial("namespaces::sockets_of_other_namespaces_are_left_out", scope),
        trial("namespaces::everything_is_detached_when_dropped", detached),
    ]
}

pub(in crate::kernel) fn missing() -> Option<&'static str> {
    unavailable().or_else(netns::unavailable)
}

pub(in crate::kernel) fn settings(namespace: &Namespace, xdp: XdpMode) -> Settings {
    let scope = Scope { cgroup: None, netns: Some(namespace.path()) };
    Settings { scope, xdp, ..only(&[Signal::Flow, Signal::Socket, Signal::Use]) }
}

/// Starts watching `a` and returns what its interface had counted by then.
///
/// Attaching takes a moment in which neighbours may speak, so counters are read until they stand
/// still and the table is empty.
pub(in crate::kernel) fn begin(pair: &Pair, xdp: XdpMode) -> Result<(Watch, Counters)> {
    let mut watch = Watch::start(&settings(&pair.a, xdp))?;
    let before = still(pair, &mut watch)?.0;
    Ok((watch, before))
}

/// Waits until nothing is under way; returns the counters, and the flows that were counted
/// meanwhile.
fn still(pair: &Pair, watch: &mut Watch) -> Result<(Counters, Vec<(FlowKey, FlowStats)>)> {
    let mut last = pair.a.counters()?;
    let mut all = Vec::new();
    for _ in 0..100 {
        thread::sleep(Duration::from_millis(100));
        let flows = watch.drain.flows();
        let now = pair.a.counters()?;
        if now == last && flows.is_empty() {
            return Ok((now, all));
        }
        all.extend(flows);
        last = now;
    }
    bail!("the interface does not come to rest")
}

/// Ends a trial: the flows counted since `before` come to what the interface counted since then.
pub(in crate::kernel) fn compare(
    pair: &Pair,
    watch: &mut Watch,
    before: Counters,
    mut flows: Vec<(FlowKey, FlowStats)>,
) -> Result<Vec<(FlowKey, FlowStats)>> {
    let (after, rest) = still(pair, watch)?;
    flows.extend(rest);
    let dropped = after.tx_dropped - before.tx_dropped;
    let (after, before) = (after.sums, before.sums);
    let interface = Sums {
        rx_packets: after.rx_packets - before.rx_packets,
        rx_bytes: after.rx_bytes - before.rx_bytes,
        tx_packets: after.tx_packets - before.tx_packets,
        tx_bytes: after.tx_bytes - before.tx_bytes,
    };
    let mut table = sums(&flows);
    // The table has what is given to the driver; a flood finds the far end's queue full at times.
    table.tx_packets -= dropped;
    table.tx_bytes -= dropped * FLOOD_FRAME;
    let ingress = watch.probes.report().iter().find(|hook| hook.name == "ingress");
    let native = ingress.and_then(|hook| hook.attached.as_deref()).is_some_and(is_native);
    if native {
        // With XDP in the driver, veth counts what arrives without the Ethernet header
        // (drivers/net/veth.c, veth_xdp_rcv_skb); other drivers and generic XDP count it.
        table.rx_bytes -= 14 * table.rx_packets;
    }
    ensure!(table == interface, "the table has {table:?}, the interface {interface:?}");
    Ok(flows)
}

fn is_native(attached: &str) -> bool {
    attached.contains("native")
}

fn exact(xdp: XdpMode) -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let (mut watch, before) = begin(&pair, xdp)?;
    let how = watch.probes.report().iter().find(|hook| hook.name == "ingress");
    let how = how.and_then(|hook| hook.attached.clone()).context("XDP is not attached")?;
    ensure!(is_native(&how) == (xdp == XdpMode::Native), "{how}");
    for address in ["192.0.2.2", "2001:db8::2"] {
        tcp_both_ways(&pair, address.parse()?)?;
        udp_both_ways(&pair, address.parse()?, 200)?;
    }
    let flows = compare(&pair, &mut watch, before, Vec::new())?;
    connection_is_whole(&flows)?;
    Ok(Completion::Completed)
}

/// The flow of the TCP connection, added up over all drains, has both initial numbers.
fn connection_is_whole(flows: &[(FlowKey, FlowStats)]) -> Result<()> {
    for version in [4, 6] {
        let is_ours =
            |key: &FlowKey| key.protocol == 6 && key.family == version && key.remote_port == PORT;
        let stats: Vec<&FlowStats> =
            flows.iter().filter(|(key, _)| is_ours(key)).map(|(_, stats)| stats).collect();
        ensure!(!stats.is_empty(), "no flow of the IPv{version} connection");
        let numbers =
            stats.iter().any(|s| s.ingress.state & s.egress.state & FlowStats::HAS_ISN != 0);
        ensure!(numbers, "IPv{version}: initial numbers are missing");
        let bytes: u64 = stats.iter().map(|s| s.egress.bytes).sum();
        ensure!(bytes > PAYLOAD as u64, "IPv{version}: {bytes} bytes left");
    }
    Ok(())
}

/// One connection from `a` to `b` that carries data each way.
pub(in crate::kernel) fn tcp_both_ways(pair: &Pair, address: IpAddr) -> Result<()> {
    let listener = pair.b.inside(|| TcpListener::bind((address, PORT)))??;
    thread::scope(|scope| -> Result<()> {
        let server = scope.spawn(|| -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            let mut received = vec![0; PAYLOAD];
            stream.read_exact(&mut received)?;
            stream.write_all(&received)?;
            Ok(())
        });
        let mut stream = pair.a.inside(|| TcpStream::connect((address, PORT)))??;
        stream.write_all(&vec![7; PAYLOAD])?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        ensure!(received.len() == PAYLOAD, "{} bytes came back", received.len());
        server.join().expect("the server does not panic")
    })
}

/// Datagrams from `a` to `b` and one answer each.
pub(in crate::kernel) fn udp_both_ways(pair: &Pair, address: IpAddr, count: usize) -> Result<()> {
    let any: IpAddr = if address.is_ipv4() { "0.0.0.0".parse()? } else { "::".parse()? };
    let server = pair.b.inside(|| UdpSocket::bind((address, PORT)))??;
    let client = pair.a.inside(|| UdpSocket::bind((any, 0)))??;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    }
    let mut buffer = [0; 2_000];
    for number in 0..count {
        let datagram = vec![1; 1 + number % 1_200];
        client.send_to(&datagram, SocketAddr::new(address, PORT))?;
        let (length, from) = server.recv_from(&mut buffer)?;
        server.send_to(&buffer[..length], from)?;
        client.recv_from(&mut buffer)?;
    }
    Ok(())
}

/// Datagrams of the flood, each way, over as many flows.
const DATAGRAMS: usize = 60_000;
const FLOWS: usize = 64;
const DATAGRAM: [u8; 64] = [0; 64];
/// One of them with its UDP, IPv4 and Ethernet headers. Nothing else comes so fast that a driver
/// drops it.
const FLOOD_FRAME: u64 = DATAGRAM.len() as u64 + 8 + 20 + 14;

fn flood(sockets: &[UdpSocket], to: &str) {
    for number in 0..DATAGRAMS {
        // A full queue drops what the interface then does not count either.
        let _dropped = sockets[number % FLOWS].send_to(&DATAGRAM, to);
    }
}

fn flooders(namespace: &Namespace) -> Result<Vec<UdpSocket>> {
    let bind = || (0..FLOWS).map(|_| UdpSocket::bind("0.0.0.0:0")).collect::<Result<_, _>>();
    Ok(namespace.inside(bind)??)
}

/// A flood with the table read and emptied all the time.
fn under_load() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let (mut watch, before) = begin(&pair, XdpMode::Native)?;
    let (out, back) = (flooders(&pair.a)?, flooders(&pair.b)?);
    let (mut flows, mut drains) = (Vec::new(), 0);
    thread::scope(|scope| {
        let out = scope.spawn(|| flood(&out, "192.0.2.2:9"));
        let back = scope.spawn(|| flood(&back, "192.0.2.1:9"));
        while !(out.is_finished() && back.is_finished()) {
            flows.extend(watch.drain.flows());
            drains += 1;
        }
    });
    ensure!(drains >= 3, "only {drains} drains during the flood");
    let flows = compare(&pair, &mut watch, before, flows)?;
    let left = sums(&flows).tx_packets;
    ensure!(left as usize >= DATAGRAMS / 2, "only {left} packets left");
    ensure!(watch.drain.faults()[Fault::FlowTableFull as usize] == 0, "the table overflowed");
    Ok(Completion::Completed)
}

fn large_mtu() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    for end in [&pair.a, &pair.b] {
        end.ip(&["link", "set", netns::INTERFACE, "mtu", "9000"])?;
    }
    let (mut watch, before) = begin(&pair, XdpMode::Native)?;
    tcp_both_ways(&pair, "192.0.2.2".parse()?)?;
    compare(&pair, &mut watch, before, Vec::new())?;
    Ok(Completion::Completed)
}

fn scope() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    const HERE: u16 = 47_401;
    const ELSEWHERE: u16 = 47_402;
    let pair = Pair::new()?;
    let mut watch = Watch::start(&settings(&pair.a, XdpMode::Auto))?;
    let run = |namespace: &Namespace, port| {
        namespace.inside(|| child::run(|| traffic::connect_to_self(Ip::V4([127, 0, 0, 1]), port)))
    };
    let (_, elsewhere) = run(&pair.b, ELSEWHERE)??;
    let (child, here) = run(&pair.a, HERE)??;
    ensure!((here, elsewhere) == (0, 0), "the children's traffic failed");
    let of = |event: &Event, port: u16| match event {
        Event::Socket(socket) => socket.local_port == port || socket.remote_port == port,
        _ => false,
    };
    let events = watch.until("connection inside the scope", |events| {
        events.iter().any(|event| match event {
            Event::Socket(socket) => {
                socket.event == socket_event::CONNECTED && socket.header.tgid == child
            }
            _ => false,
        })
    })?;
    ensure!(!events.iter().any(|event| of(event, ELSEWHERE)), "a socket of another namespace");
    Ok(Completion::Completed)
}

fn detached() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let first = Watch::start(&settings(&pair.a, XdpMode::Native))?;
    drop(first);
    // A second one can only attach in the driver when the first one is gone.
    let (mut watch, before) = begin(&pair, XdpMode::Native)?;
    udp_both_ways(&pair, "192.0.2.2".parse()?, 20)?;
    compare(&pair, &mut watch, before, Vec::new())?;
    Ok(Completion::Completed)
}
