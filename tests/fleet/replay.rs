//! A capture, sent to a brain as a host of its own: every record arrives, and raises what it would
//! have raised live.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::fleet::Hosts;
use tests::fleet::brain::{Brain, Settings};
use tests::{binaries, interrupt, web};

/// Ports that the capture's scanner tries, each of which is refused.
const PORTS: std::ops::Range<u16> = 1_000..1_200;
/// Seconds that the capture began before now: a brain takes what is that late.
const AGE_S: u64 = 30;
const SCANNER: [u8; 4] = [10, 99, 0, 5];
const VICTIM: [u8; 4] = [10, 99, 0, 6];
const RESOLVER: [u8; 4] = [192, 0, 2, 53];
const SYN: u8 = 0x02;
const RST_ACK: u8 = 0x14;
/// Name under which the capture is shown.
const HOST: &str = "capture-1";
/// Records in new batches, as the brain counts them.
const RECORDS: &str = "sakuramori_ingest_records_total";
const LIMIT: Duration = Duration::from_secs(60);

/// A scan and a DNS query, made here, replayed to the terminal and to a brain.
pub fn capture_reaches_the_brain() -> Result<()> {
    let hosts = Hosts::new("test-replay")?;
    let folder = hosts.subfolder("replay")?;
    let file = folder.join("scan.pcap");
    fs::write(&file, capture()?).context("failed to write the capture")?;
    let told = told(&replay(&hosts, &file, &["--json"])?)?;
    let brain = Brain::start(Settings {
        folder: hosts.subfolder("brain")?,
        place: hosts.control(),
        webhook: None,
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
    })?;
    let (address, token) = (brain.quic().to_string(), brain.token("web")?);
    let state = folder.join("state");
    let state = state.to_str().context("a folder's name is no text")?;
    let join = ["--brain", &address, "--join", &token, "--state-dir", state, "--hostname", HOST];
    replay(&hosts, &file, &join)?;
    let arrived = web::metric(&brain.metrics()?, RECORDS, "");
    ensure!(arrived == told as f64, "{arrived} records arrived of {told}");
    let hosts_shown = brain.hosts()?;
    let is_shown = |host: &Value| host.to_string().contains(HOST);
    ensure!(hosts_shown.iter().any(is_shown), "{HOST} is not among {hosts_shown:?}");
    interrupt::eventually("a finding of the replayed scan", LIMIT, || {
        let findings = brain.findings()?;
        let is_scan = |f: &&Value| f.to_string().contains("Discovery:Host/PortScan");
        Ok(findings.iter().find(is_scan).map(|_| ()))
    })
}

/// Replays a capture to its end.
fn replay(hosts: &Hosts, file: &Path, options: &[&str]) -> Result<Output> {
    let mut sensor = hosts.control().command(binaries::find(binaries::SENSOR)?)?;
    let output = sensor.arg("replay").arg(file).args(options).output();
    let output = output.context("failed to start the sensor")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the replay failed: {said}");
    Ok(output)
}

/// Counts the records that were printed: both directions of each port's flow, and both messages.
fn told(output: &Output) -> Result<usize> {
    let text = String::from_utf8_lossy(&output.stdout);
    let kinds: Vec<String> = (text.lines())
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["kind"].as_str().unwrap_or("").into()))
        .collect::<Result<_>>()?;
    let count = |kind: &str| kinds.iter().filter(|told| *told == kind).count();
    ensure!(count("flow") == PORTS.len() + 1, "{} flows were told", count("flow"));
    ensure!((count("dns"), count("capture")) == (2, 1), "messages and end: {kinds:?}");
    Ok(kinds.len() - 1)
}

/// A classic capture of Ethernet frames, all within half a second.
fn capture() -> Result<Vec<u8>> {
    let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - AGE_S;
    let mut frames = Vec::new();
    for port in PORTS {
        frames.push(ipv4(6, SCANNER, VICTIM, &segment(40_000, port, SYN)));
        frames.push(ipv4(6, VICTIM, SCANNER, &segment(port, 40_000, RST_ACK)));
    }
    let query = b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x01a\x04test\0\0\x01\0\x01";
    let mut answer = query.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x83]);
    frames.push(ipv4(17, SCANNER, RESOLVER, &datagram(40_001, 53, query)));
    frames.push(ipv4(17, RESOLVER, SCANNER, &datagram(53, 40_001, &answer)));
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (number, frame) in (0_u32..).zip(&frames) {
        let length = frame.len() as u32;
        for word in [began as u32, 1_000 * number, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    Ok(file)
}

fn ipv4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0], &length.to_be_bytes()].concat();
    frame.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    [&frame[..], &from, &to, payload].concat()
}

fn segment(source: u16, destination: u16, flags: u8) -> Vec<u8> {
    let mut segment = [source, destination].map(u16::to_be_bytes).concat();
    segment.extend([0, 0, 0, 0, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    segment
}

fn datagram(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let words = [source, destination, (8 + payload.len()) as u16, 0];
    [&words.map(u16::to_be_bytes).concat(), payload].concat()
}
