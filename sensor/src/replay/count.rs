//! What the kernel programs do to their maps, done to a capture: the same parser, keys, counters
//! and comparison of messages. Pure.

use std::collections::HashMap;

use sensor_abi::flow::{FlowKey, FlowStats};
use sensor_abi::parse::cursor::Bytes;
use sensor_abi::parse::headers::{Headers, Problem, Reading, Way};
use sensor_abi::parse::payload::{self, Copied, DNS_PORTS, Found, form};
use sensor_abi::record::payload::{Payload, Repeats};
use sensor_ebpf::tally::{self, Sample};
use zerocopy::FromZeros as _;

use super::capture::Frame;
use super::frame;
use super::side::Sides;

/// Flows of one tick; more are told before the tick is over.
const FLOWS_MAX: usize = 65_536;
/// Different messages of one tick.
const MESSAGES_MAX: usize = 16_384;
/// A capture has no secrets, and the same capture shall give the same records.
const SEED: u64 = 0;

/// What was read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets.
    pub packets: u64,
    /// Their bytes on the wire.
    pub bytes: u64,
    /// Packets that ended before their headers did.
    pub truncated: u64,
    /// Packets that are neither IPv4 nor IPv6.
    pub not_ip: u64,
    /// Packets of a link layer that is not known.
    pub unknown_link: u64,
    /// Messages of DNS and TLS.
    pub messages: u64,
}

impl Totals {
    /// Returns the totals as a record of their own.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "kind": "capture", "packets": self.packets, "bytes": self.bytes,
            "truncated": self.truncated, "not_ip": self.not_ip,
            "unknown_link": self.unknown_link, "messages": self.messages,
        })
    }
}

/// Counters of one tick.
#[derive(Debug)]
pub struct Counter {
    sides: Sides,
    dns_ports: [u16; DNS_PORTS],
    tunnels: bool,
    flows: HashMap<FlowKey, FlowStats>,
    repeats: HashMap<u64, Repeats>,
    scratch: Vec<u8>,
    /// Of the whole capture.
    pub totals: Totals,
}

/// A message that was seen for the first time in a tick.
#[derive(Debug)]
pub struct Message<'a> {
    /// As the kernel would have put it into its ring.
    pub fixed: Payload,
    /// The copied bytes.
    pub bytes: &'a [u8],
}

impl Counter {
    /// Starts with nothing counted.
    pub fn new(sides: Sides, dns_ports: [u16; DNS_PORTS], tunnels: bool) -> Self {
        let (flows, repeats) = (HashMap::new(), HashMap::new());
        let (scratch, totals) = (Vec::new(), Totals::default());
        Self { sides, dns_ports, tunnels, flows, repeats, scratch, totals }
    }

    /// Returns whether the tick should end before another frame is taken.
    pub fn is_full(&self) -> bool {
        self.flows.len() >= FLOWS_MAX || self.repeats.len() >= MESSAGES_MAX
    }

    /// Counts a frame at a moment; returns the message that it carries, unless it came before.
    pub fn frame(&mut self, frame: &Frame<'_>, time_ns: u64) -> Option<Message<'_>> {
        let inner = frame::inner(frame.link, frame.bytes);
        let mut scratch = std::mem::take(&mut self.scratch);
        let (bytes, length) = match inner {
            None => {
                scratch.clear();
                scratch.extend(frame.bytes);
                (&scratch[..], u64::from(frame.length))
            }
            Some(inner) => {
                frame::as_ethernet(inner, frame.bytes, &mut scratch);
                (&scratch[..], frame::ethernet_length(inner, frame.length))
            }
        };
        let (headers, way) = self.read(bytes, frame.interface, inner.and_then(|inner| inner.way));
        let unknown = inner.is_some_and(|inner| inner.ethertype.is_none());
        self.count(&headers, way, frame.length, unknown, time_ns);
        let found = payload::find(&Bytes(bytes), &headers, length, self.dns_ports);
        let fixed = found.and_then(|found| self.message(bytes, &headers, way, &found, time_ns));
        self.scratch = scratch;
        let fixed = fixed?;
        let start = found?.offset as usize;
        // A frame that was captured in part may end before its payload.
        let bytes = self.scratch.get(start..).unwrap_or_default();
        Some(Message { fixed, bytes: &bytes[..usize::from(fixed.captured)] })
    }

    /// Reads the headers, seen from the side that is the host.
    fn read(&mut self, bytes: &[u8], interface: u32, told: Option<Way>) -> (Headers, Way) {
        let tunnels = self.tunnels;
        let seen = |way| {
            let mut headers = Headers::default();
            let reading = Reading { ifindex: interface, way, tunnels };
            headers.read_ethernet(&Bytes(bytes), reading);
            headers
        };
        let arrived = seen(Way::Ingress);
        let way = told.unwrap_or_else(|| self.sides.way(&arrived.key, arrived.tcp));
        match way {
            Way::Ingress => (arrived, way),
            Way::Egress => (seen(way), way),
        }
    }

    fn count(&mut self, headers: &Headers, way: Way, length: u32, unknown: bool, time_ns: u64) {
        self.totals.packets += 1;
        self.totals.bytes += u64::from(length);
        match headers.problem {
            _ if unknown => self.totals.unknown_link += 1,
            Some(Problem::Truncated) => self.totals.truncated += 1,
            Some(Problem::NotIp) => self.totals.not_ip += 1,
            _ => {}
        }
        let stats = self.flows.entry(headers.key).or_default();
        let sample =
            Sample { packets: 1, bytes: u64::from(length), last_ns: time_ns, tcp: headers.tcp };
        tally::packet(stats, way, sample, || time_ns);
    }

    /// Builds the record of a message; `None` when only its repetition was counted.
    fn message(
        &mut self,
        bytes: &[u8],
        headers: &Headers,
        way: Way,
        found: &Found,
        time_ns: u64,
    ) -> Option<Payload> {
        self.totals.messages += 1;
        let key = &headers.key;
        let start = found.offset as usize;
        let there = bytes.len().saturating_sub(start);
        let mut fixed = Payload::new_zeroed();
        fixed.header.time_ns = time_ns;
        (fixed.local_addr, fixed.remote_addr) = (key.local_addr, key.remote_addr);
        (fixed.local_port, fixed.remote_port) = (key.local_port, key.remote_port);
        (fixed.ifindex, fixed.length) = (key.ifindex, found.length);
        (fixed.form, fixed.egress) = (found.form, u8::from(way == Way::Egress));
        fixed.captured = there.min(found.copied() as usize) as u16;
        if found.form == form::TLS {
            return Some(fixed);
        }
        let copied = bytes.get(start..).unwrap_or_default();
        let copied = &copied[..usize::from(fixed.captured)];
        let message = copied.get(found.prefix()..).unwrap_or_default();
        let seed = payload::seed(SEED, &fixed, 0);
        fixed.fingerprint = payload::fingerprint(&Copied(message), message.len(), seed);
        if let Some(repeats) = self.repeats.get_mut(&fixed.fingerprint) {
            repeats.count += 1;
            repeats.last_ns = time_ns;
            return None;
        }
        self.repeats.insert(fixed.fingerprint, Repeats::ZERO);
        Some(fixed)
    }

    /// Ends a tick: hands out the flows in a fixed order, and which messages came again.
    pub fn tick(&mut self) -> (Vec<crate::convert::FlowCount>, Vec<(u64, Repeats)>) {
        let mut flows: Vec<_> = self.flows.drain().collect();
        flows.sort_by_key(|(key, stats)| {
            let first = [stats.ingress.first_ns, stats.egress.first_ns];
            (
                first.into_iter().filter(|ns| *ns > 0).min(),
                zerocopy::IntoBytes::as_bytes(key).to_vec(),
            )
        });
        let repeats = self.repeats.drain().filter(|(_, repeats)| repeats.count > 0).collect();
        (flows, repeats)
    }
}

#[cfg(test)]
mod tests;
