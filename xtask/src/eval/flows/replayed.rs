//! What the sensor says of a capture.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Kind, Said, ends, plain};

/// Details of a flow's key: both ports, none, no addresses either.
const EXACT: u64 = 0;
const PROTOCOL_ONLY: u64 = 2;
/// Protocols whose ports are shown as ports.
const WITH_PORTS: [u64; 5] = [6, 17, 33, 132, 136];
/// Flags of DNS messages: a response; only a part was there; it cannot be read.
const RESPONSE: u64 = 1;

/// Replays a capture.
pub(super) fn read(sensor: &Path, file: &Path) -> Result<Said> {
    let output = Command::new(sensor).arg("replay").arg(file).arg("--json").output();
    let output = output.context("cannot run the sensor")?;
    let mut said = Said::default();
    let mut ended = false;
    for line in String::from_utf8(output.stdout)?.lines() {
        let object: Value = serde_json::from_str(line)?;
        match object["kind"].as_str() {
            Some("flow") => flow(&mut said, &object),
            Some("dns") => dns(&mut said, &object),
            Some("tls") => {
                let name = object["server_name"].as_str().unwrap_or_default();
                *said.messages.entry((Kind::Greeting, plain(name))).or_default() += 1;
            }
            Some("capture") => {
                ended = true;
                let number = |name: &str| object[name].as_u64().unwrap_or_default();
                said.total.add(number("packets"), number("bytes"));
                let cut = number("truncated");
                if cut > 0 {
                    said.reasons.insert("headers cut or damaged", cut);
                }
            }
            _ => {}
        }
    }
    if !ended {
        bail!("it has no end: {}", String::from_utf8_lossy(&output.stderr));
    }
    if !output.status.success() {
        said.reasons.insert("end of a damaged file", 1);
    }
    Ok(said)
}

fn flow(said: &mut Said, flow: &Value) {
    let number = |name: &str| flow[name].as_u64().unwrap_or_default();
    let both = |name: &str| {
        let of = |way: &str| flow[way][name].as_u64().unwrap_or_default();
        of("ingress") + of("egress")
    };
    let (packets, bytes) = (both("packets"), both("bytes"));
    if number("family") == 0 {
        let kind = format!("{:#06x}", number("remote_port"));
        said.others.entry(kind).or_default().add(packets, bytes);
        return;
    }
    let with_ports = number("detail") == EXACT && WITH_PORTS.contains(&number("protocol"));
    let end = |side: &str| {
        let address = flow[format!("{side}_address")].as_str().unwrap_or_default();
        let port = number(&format!("{side}_port"));
        if with_ports { format!("{address} {port}") } else { address.to_owned() }
    };
    let (local, remote) = match number("detail") {
        PROTOCOL_ONLY => (String::new(), String::new()),
        _ => (end("local"), end("remote")),
    };
    let protocol = u8::try_from(number("protocol")).unwrap_or_default();
    said.conversations.entry(ends(protocol, local, remote)).or_default().add(packets, bytes);
}

fn dns(said: &mut Said, dns: &Value) {
    let number = |name: &str| dns[name].as_u64().unwrap_or_default();
    let kind = if number("flags") & RESPONSE != 0 { Kind::Answer } else { Kind::Query };
    let name = plain(dns["name"].as_str().unwrap_or_default());
    *said.messages.entry((kind, name)).or_default() += number("count");
}
