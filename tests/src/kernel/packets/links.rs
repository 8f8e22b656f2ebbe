//! Interfaces that come and go, interfaces whose XDP is taken, and sums against what the interface
//! itself counts.

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::{Completion, Trial};
use sensor::probe::{HookReport, Settings, XdpMode};
use sensor_abi::flow::{FlowKey, FlowStats, detail};

use crate::{
    kernel::{
        namespaces::{begin, compare, missing, settings, tcp_both_ways, udp_both_ways},
        netns::Pair,
        watch::{Watch, sums},
    },
    skip::trial,
};

/// How long a new interface may take to be watched.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);
/// How often a sensor looks.
const LOOK: Duration = Duration::from_millis(50);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("packets::an_interface_that_comes_is_watched_within_a_second", comes_and_goes),
        trial("packets::other_interfaces_can_be_chosen_live", chosen_live),
        trial("packets::a_classifier_stands_in_where_xdp_is_taken", taken),
        trial("packets::sums_equal_the_counters_with_fragments", fragments),
        trial("packets::sums_equal_the_counters_with_very_many_flows", many_flows),
    ]
}

fn hook<'a>(watch: &'a Watch, name: &str) -> Result<&'a HookReport> {
    watch.probes.report().iter().find(|hook| hook.name == name).context("the hook is not reported")
}

fn is_on(watch: &Watch, interface: &str) -> Result<bool> {
    let on = |name| -> Result<bool> {
        let attached = hook(watch, name)?.attached.as_deref().unwrap_or_default();
        Ok(attached.split([' ', ',', ';']).any(|word| word == interface))
    };
    Ok(on("ingress")? && on("egress")?)
}

/// Looks as a sensor does until the interface is watched, or is not any more.
fn until(watch: &mut Watch, interface: &str, wanted: bool) -> Result<Duration> {
    let start = Instant::now();
    while is_on(watch, interface)? != wanted {
        ensure!(start.elapsed() < FOLLOWED_WITHIN, "{interface} is still not as wanted");
        thread::sleep(LOOK);
        watch.probes.follow_interfaces();
    }
    Ok(start.elapsed())
}

fn comes_and_goes() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let mut settings = settings(&pair.a, XdpMode::Auto);
    settings.interfaces = vec!["new*".to_owned(), "!newer1".to_owned()];
    let mut watch = Watch::start(&settings)?;
    ensure!(!is_on(&watch, "veth0")?, "an interface that is not chosen is watched");
    for round in 0..2 {
        let ends = ["type", "veth", "peer", "name", "newer1"];
        pair.a.ip(&[&["link", "add", "newer0"][..], &ends].concat())?;
        let took = until(&mut watch, "newer0", true)?;
        eprintln!("round {round}: watched after {took:?}");
        ensure!(!is_on(&watch, "newer1")?, "an interface that is left out is watched");
        for end in ["newer0", "newer1"] {
            pair.a.ip(&["link", "set", end, "up"])?;
        }
        pair.a.ip(&["addr", "add", "198.51.100.1/24", "dev", "newer0"])?;
        watch.drain.flows();
        let send = || -> Result<()> {
            let socket = UdpSocket::bind("198.51.100.1:0")?;
            // Nobody answers, but it is asked who has the address.
            let _unreachable = socket.send_to(b"hello", "198.51.100.2:9");
            Ok(())
        };
        pair.a.inside(send)??;
        thread::sleep(LOOK);
        let counted = sums(&watch.drain.flows());
        ensure!(counted.tx_packets > 0, "nothing left newer0 in round {round}");
        pair.a.ip(&["link", "del", "newer0"])?;
        until(&mut watch, "newer0", false)?;
    }
    Ok(Completion::Completed)
}

/// Watches other interfaces of the pair from now on.
fn choose(watch: &mut Watch, pair: &Pair, pattern: &str) -> Result<()> {
    let interfaces = vec![pattern.to_owned()];
    let settings = Settings { interfaces, ..settings(&pair.a, XdpMode::Native) };
    Ok(watch.probes.change(&settings)?)
}

fn chosen_live() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let (mut watch, before) = begin(&pair, XdpMode::Native)?;
    udp_both_ways(&pair, "192.0.2.2".parse()?, 20)?;
    choose(&mut watch, &pair, "!lo")?;
    ensure!(is_on(&watch, "veth0")? && !is_on(&watch, "lo")?, "veth0 is still chosen");
    udp_both_ways(&pair, "192.0.2.2".parse()?, 20)?;
    compare(&pair, &mut watch, before, Vec::new())?;
    choose(&mut watch, &pair, "lo")?;
    ensure!(is_on(&watch, "lo")? && !is_on(&watch, "veth0")?, "lo is chosen");
    choose(&mut watch, &pair, "none0")?;
    let error = hook(&watch, "ingress")?.error.clone().unwrap_or_default();
    ensure!(error.contains("none0: no such interface"), "{error}");
    Ok(Completion::Completed)
}

/// A second sensor beside the first: both count all there is.
fn taken() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let (mut first, before) = begin(&pair, XdpMode::Native)?;
    let mut beside = settings(&pair.a, XdpMode::Auto);
    beside.beside = true;
    let mut second = Watch::start(&beside)?;
    let ingress = hook(&second, "ingress")?;
    ensure!(ingress.attached.as_deref().is_some_and(|how| !how.contains("xdp")), "{ingress:?}");
    let why = ingress.stands_in.as_deref().unwrap_or_default();
    ensure!(why.contains("another program holds it"), "{why}");
    let earlier = first.drain.flows();
    second.drain.flows();
    udp_both_ways(&pair, "192.0.2.2".parse()?, 100)?;
    udp_both_ways(&pair, "2001:db8::2".parse()?, 100)?;
    thread::sleep(Duration::from_millis(200));
    let (one, other) = (first.drain.flows(), second.drain.flows());
    let (a, b) = (sums(&one), sums(&other));
    ensure!(a.rx_packets >= 200 && a == b, "the first has {a:?}, the second {b:?}");
    drop(second);
    let flows = earlier.into_iter().chain(one).collect();
    compare(&pair, &mut first, before, flows)?;
    Ok(Completion::Completed)
}

/// Datagrams of several fragments each way, and a bulk of TCP segments in aggregates.
fn fragments() -> Result<Completion> {
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    for mode in [XdpMode::Native, XdpMode::Generic] {
        let pair = Pair::new()?;
        let (mut watch, before) = begin(&pair, mode)?;
        for (any, address) in [("0.0.0.0:0", "192.0.2.2:9"), ("[::]:0", "[2001:db8::2]:9")] {
            let socket = pair.a.inside(|| UdpSocket::bind(any))??;
            for _ in 0..50 {
                let _refused = socket.send_to(&[7; 5_000], address);
            }
        }
        tcp_both_ways(&pair, "192.0.2.2".parse()?)?;
        tcp_both_ways(&pair, "2001:db8::2".parse()?)?;
        let flows = compare(&pair, &mut watch, before, Vec::new())?;
        let later = |key: &FlowKey| key.protocol == 17 && key.detail == detail::NO_PORTS;
        let first = |key: &FlowKey| key.protocol == 17 && key.remote_port == 9;
        let packets = |fits: &dyn Fn(&FlowKey) -> bool| -> u64 {
            flows.iter().filter(|(key, _)| fits(key)).map(|(_, s)| s.egress.packets).sum()
        };
        // Four fragments each, of which one has the ports.
        let (first, later) = (packets(&first), packets(&later));
        ensure!((first, later) == (100, 300), "{mode:?}: {first} first, {later} later fragments");
    }
    Ok(Completion::Completed)
}

/// More flows in one interval than the exact table holds, as fast as they can be sent.
fn many_flows() -> Result<Completion> {
    const PORTS: u16 = 40_000;
    const SOCKETS: u64 = 3;
    if let Some(reason) = missing() {
        return Ok(Completion::ignored_with(reason));
    }
    let pair = Pair::new()?;
    let (mut watch, before) = begin(&pair, XdpMode::Native)?;
    for _ in 0..SOCKETS {
        let socket = pair.a.inside(|| UdpSocket::bind("0.0.0.0:0"))??;
        for port in 1..=PORTS {
            let _refused = socket.send_to(&[1; 30], ("192.0.2.2", port));
        }
    }
    let flows = compare(&pair, &mut watch, before, Vec::new())?;
    let of = |wanted: u8| -> u64 {
        let ours = |(key, _): &&(FlowKey, FlowStats)| key.protocol == 17 && key.detail == wanted;
        flows.iter().filter(ours).map(|(_, stats)| stats.egress.packets).sum()
    };
    let (exact, pairs) = (of(detail::EXACT), of(detail::NO_PORTS));
    eprintln!("{exact} packets by flow, {pairs} by address");
    ensure!(exact > 0 && pairs > 0, "{exact} packets by flow, {pairs} by address");
    ensure!(exact + pairs == SOCKETS * u64::from(PORTS), "{exact} + {pairs} packets");
    Ok(Completion::Completed)
}
