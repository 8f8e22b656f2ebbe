//! What tshark says of a capture, each packet by itself: without reassembly, as the sensor sees it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Kind, Said, ends};

/// Why one thing is left out.
pub(super) const VERSION_NOTE: &str = "tshark has had it since 4.2";

/// What is asked of each frame, in this order.
const FIELDS: [&str; 25] = [
    "frame.len",
    "frame.protocols",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "sctp.srcport",
    "sctp.dstport",
    "dns.flags.response",
    "dns.qry.name",
    "tls.handshake.type",
    "tls.handshake.extensions_server_name",
    "tls.record.version",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.fraghdr.nxt",
    "ah.next_header",
    "ipv6.dstopts.nxt",
    "udp.length",
];
/// Parts values of one field.
const AGGREGATOR: char = ';';
/// Nothing is put together from several packets, and nothing is looked up.
const OPTIONS: [&str; 8] = [
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tls.desegment_ssl_records:FALSE",
    "tls.desegment_ssl_application_data:FALSE",
    "dns.desegment_dns_messages:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
    // TLS is known by its form, not by its port.
    "tcp.try_heuristic_first:TRUE",
];
/// Layers below IP that the sensor reads.
const BELOW: [&str; 9] =
    ["eth", "ethertype", "vlan", "ieee8021ad", "sll", "null", "raw", "chdlc", "frame"];
/// IPv6's extension headers: layer, number, and where the number of the next one is.
const EXTENSIONS: [(&str, u8, usize); 5] = [
    ("ipv6.hopopts", 0, 19),
    ("ipv6.routing", 43, 20),
    ("ipv6.fraghdr", 44, 21),
    ("ah", 51, 22),
    ("ipv6.dstopts", 60, 23),
];
/// A length that tshark shows for all that are longer.
const LENGTH_MAX: u64 = i32::MAX as u64;
/// Bytes of a datagram with DNS: two headers.
const DNS_LENGTH_MIN: u64 = 8 + 12;
/// A version of records that only SSL 2.0 has.
const SSL2: &str = "0x0002";
/// Numbers of protocols with ports, and where theirs are.
const PORTS: [(&str, u8, usize); 4] =
    [("tcp", 6, 8), ("udp", 17, 10), ("udplite", 136, 10), ("sctp", 132, 12)];

/// Has tshark dissect a capture.
pub(super) fn read(file: &Path) -> Result<Said> {
    let mut tshark = Command::new("tshark");
    tshark.args([
        "--enable-heuristic",
        "tls_tcp",
        "-n",
        "-T",
        "fields",
        "-E",
        "separator=/t",
        "-E",
    ]);
    tshark.arg(format!("aggregator={AGGREGATOR}")).arg("-r").arg(file);
    tshark.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    tshark.args(OPTIONS.iter().flat_map(|option| ["-o", option]));
    let output = tshark.output().context("cannot run tshark")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if text.is_empty() && !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut said = Said::default();
    for line in text.lines() {
        Frame(line.split('\t').collect()).tell(&mut said);
    }
    Ok(said)
}

/// The fields of a frame.
struct Frame<'a>(Vec<&'a str>);

impl<'a> Frame<'a> {
    fn all(&self, at: usize) -> impl Iterator<Item = &'a str> {
        let field = self.0.get(at).copied().unwrap_or_default();
        field.split(AGGREGATOR).filter(|value| !value.is_empty())
    }

    fn first(&self, at: usize) -> &'a str {
        self.all(at).next().unwrap_or_default()
    }

    fn tell(&self, said: &mut Said) {
        let bytes = self.first(0).parse().unwrap_or_default();
        if bytes == LENGTH_MAX {
            *said.reasons.entry(super::TOO_LONG).or_default() += 1;
        }
        let layers: Vec<&str> = self.first(1).split(':').collect();
        let Some(at) = layers.iter().position(|layer| ["ip", "ipv6"].contains(layer)) else {
            said.others.entry(String::new()).or_default().add(1, bytes);
            return;
        };
        let (below, above) = (&layers[..at], &layers[at + 1..]);
        let tags = below.iter().filter(|layer| ["vlan", "ieee8021ad"].contains(layer)).count();
        let unknown = below.iter().find(|layer| !BELOW.contains(layer)).copied();
        if let Some(what) = unknown.or((tags > 2).then_some("three VLAN tags")) {
            said.others.entry(what.to_owned()).or_default().add(1, bytes);
            return;
        }
        let is_extension = |layer: &str| EXTENSIONS.iter().any(|(name, ..)| *name == layer);
        let above: Vec<&str> = above.iter().filter(|layer| !is_extension(layer)).copied().collect();
        let ends = self.ends(layers[at] == "ipv6", &above);
        said.conversations.entry(ends).or_default().add(1, bytes);
        self.messages(&above, said);
    }

    fn ends(&self, v6: bool, above: &[&str]) -> super::Ends {
        let (from, to) = if v6 { (5, 6) } else { (2, 3) };
        let (from, to) = (self.first(from), self.first(to));
        let with_ports = PORTS.iter().find(|(name, ..)| above.first() == Some(name));
        match with_ports {
            Some((_, number, at)) => {
                let end = |address: &str, port: &str| format!("{address} {port}");
                ends(*number, end(from, self.first(*at)), end(to, self.first(*at + 1)))
            }
            None => ends(self.protocol(v6), from.to_owned(), to.to_owned()),
        }
    }

    /// The number of what is carried: in IPv6, the one behind all extension headers.
    fn protocol(&self, v6: bool) -> u8 {
        let number = |value: &str| value.parse().unwrap_or_default();
        if !v6 {
            return number(self.first(4));
        }
        let mut protocol = number(self.first(7));
        let mut passed = [0; EXTENSIONS.len()];
        while let Some(place) = EXTENSIONS.iter().position(|(_, known, _)| *known == protocol) {
            let Some(next) = self.all(EXTENSIONS[place].2).nth(passed[place]) else { break };
            passed[place] += 1;
            protocol = number(next);
        }
        protocol
    }

    fn messages(&self, above: &[&str], said: &mut Said) {
        let carried = above.first().copied().unwrap_or_default();
        let within = above.get(1).copied().unwrap_or_default();
        let ports = |at: usize| self.first(at) == "53" || self.first(at + 1) == "53";
        let on_53 = (carried == "udp" && ports(10)) || (carried == "tcp" && ports(8));
        if on_53 && within == "dns" {
            self.dns(said);
        }
        if carried == "tcp" && within == "tls" && self.first(16) == "1" {
            if self.first(18) == SSL2 {
                *said.reasons.entry("greetings of SSL 2.0").or_default() += 1;
                return;
            }
            *said.messages.entry((Kind::Greeting, super::plain(self.first(17)))).or_default() += 1;
        }
    }

    fn dns(&self, said: &mut Said) {
        let mut kinds = self.all(14).peekable();
        let mut names = self.all(15);
        if kinds.peek().is_none() {
            if self.first(24).parse().is_ok_and(|length: u64| length < DNS_LENGTH_MIN) {
                *said.reasons.entry("datagrams too short for DNS").or_default() += 1;
                return;
            }
            // It was not captured as far as where it says what it is.
            *said.messages.entry((Kind::Query, String::new())).or_default() += 1;
        }
        for kind in kinds {
            let is_answer = ["1", "True"].contains(&kind);
            let kind = if is_answer { Kind::Answer } else { Kind::Query };
            let name = names.next().filter(|name| *name != "<Root>").unwrap_or_default();
            *said.messages.entry((kind, super::plain(name))).or_default() += 1;
        }
    }
}
