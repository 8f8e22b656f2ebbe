//! Packets, connections, names that are asked for, and greetings.

use std::net::IpAddr;

use wire::record::{
    Connection, Counters, Dns, DnsAnswer, Flow, ProcessRef, Tls, direction, dns_flag,
};

use super::{Builder, end};
use crate::policy::sample::scenario::Step;
use crate::record::{protocol, tcp_flag};

/// Where samples send their questions when they do not say so.
const RESOLVER: &str = "10.0.0.53:53";
const CLIENT: &str = "10.0.0.2:40000";

/// Types of questions and answers by name (RFC 1035, RFC 3596).
const TYPES: [(&str, u16); 8] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("HTTPS", 65),
];
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// How long answers may be kept; no detector looks at it.
const TTL_S: u32 = 60;

impl Builder {
    pub(super) fn connection(
        &mut self,
        step: &Step,
        process: ProcessRef,
        event: u8,
    ) -> Result<(), String> {
        let (local, local_port) = end(&step.local)?;
        // Whoever listens has no peer.
        let nobody = if local.to_ip().is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let remote = if step.remote.is_empty() { nobody } else { &step.remote };
        let (remote, remote_port) = end(remote)?;
        self.batch.connections.push(Connection {
            time_ns: self.now_ns,
            process,
            event,
            protocol: protocol::TCP,
            local,
            remote,
            local_port,
            remote_port,
        });
        Ok(())
    }

    pub(super) fn flow(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let ((local, local_port), (remote, remote_port)) = (end(&step.local)?, end(&step.remote)?);
        let protocol = match (step.protocol.as_deref().unwrap_or("tcp"), remote.to_ip()) {
            ("tcp", _) => protocol::TCP,
            ("udp", _) => protocol::UDP,
            ("icmp", ip) if ip.is_ipv4() => protocol::ICMP,
            ("icmp", _) => protocol::ICMPV6,
            (other, _) => return Err(format!("protocol `{other}` is not tcp, udp or icmp")),
        };
        self.batch.flows.push(Flow {
            first_ns: self.now_ns,
            last_ns: self.now_ns,
            process,
            local,
            remote,
            local_port,
            remote_port,
            protocol,
            family: if remote.to_ip().is_ipv4() { 4 } else { 6 },
            direction: direction_of(step, direction::UNKNOWN)?,
            ingress: counters(step.received.as_deref(), step.packets)?,
            egress: counters(step.sent.as_deref(), step.packets)?,
            ..Flow::default()
        });
        Ok(())
    }

    pub(super) fn dns(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let or = |text: &str, default: &str| match text {
            "" => end(default),
            text => end(text),
        };
        let ((local, local_port), (remote, remote_port)) =
            (or(&step.local, CLIENT)?, or(&step.remote, RESOLVER)?);
        let wanted = step.query_type.as_deref().unwrap_or("A");
        let query_type = TYPES.iter().find(|(name, _)| *name == wanted);
        let (_, query_type) = query_type.ok_or_else(|| format!("type `{wanted}` is not known"))?;
        let is_answer = !step.answers.is_empty() || step.rcode.is_some();
        let answers = step.answers.iter().map(|answer| self.answer(answer));
        let answers = answers.collect::<Result<Vec<_>, _>>()?;
        let name = self.string(&step.query)?;
        self.batch.dns.push(Dns {
            time_ns: self.now_ns,
            process,
            transport: protocol::UDP,
            flags: if is_answer { dns_flag::RESPONSE | dns_flag::INCOMING } else { 0 },
            query_type: *query_type,
            response_code: step.rcode.unwrap_or(0),
            count: step.count.unwrap_or(1),
            local,
            remote,
            local_port,
            remote_port,
            name,
            answers,
            ..Dns::default()
        });
        Ok(())
    }

    /// An address, or a name that the asked one is an alias of.
    fn answer(&mut self, text: &str) -> Result<DnsAnswer, String> {
        let (kind, data) = match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => (A, v4.octets().to_vec()),
            Ok(IpAddr::V6(v6)) => (AAAA, v6.octets().to_vec()),
            Err(_) => (CNAME, text.as_bytes().to_vec()),
        };
        let data = self.strings.add(&data).ok_or("too much text")?;
        Ok(DnsAnswer { kind, ttl: TTL_S, data })
    }

    pub(super) fn tls(&mut self, step: &Step, process: ProcessRef) -> Result<(), String> {
        let ((local, local_port), (remote, remote_port)) = (end(&step.local)?, end(&step.remote)?);
        let server_name = self.string(&step.server_name)?;
        self.batch.tls.push(Tls {
            time_ns: self.now_ns,
            process,
            direction: direction_of(step, direction::OUTGOING)?,
            local,
            remote,
            local_port,
            remote_port,
            count: step.count.unwrap_or(1),
            server_name,
            ..Tls::default()
        });
        Ok(())
    }
}

fn direction_of(step: &Step, default: u8) -> Result<u8, String> {
    match step.direction.as_deref() {
        None => Ok(default),
        Some("outgoing") => Ok(direction::OUTGOING),
        Some("incoming") => Ok(direction::INCOMING),
        Some("unknown") => Ok(direction::UNKNOWN),
        Some(other) => Err(format!("direction `{other}` is not known")),
    }
}

fn counters(flags: Option<&str>, packets: Option<u64>) -> Result<Counters, String> {
    let flags = flags.unwrap_or("-");
    if flags == "-" {
        return Ok(Counters::default());
    }
    let mut tcp_flags = 0;
    for flag in flags.split_whitespace() {
        tcp_flags |= match flag {
            "FIN" => tcp_flag::FIN,
            "SYN" => tcp_flag::SYN,
            "RST" => tcp_flag::RST,
            "ACK" => tcp_flag::ACK,
            "any" => 0,
            other => return Err(format!("`{other}` is not FIN, SYN, RST, ACK, any or -")),
        };
    }
    let packets = packets.unwrap_or(1);
    let syns = u32::from(tcp_flags & tcp_flag::SYN != 0);
    Ok(Counters { packets, bytes: packets * 60, syns, tcp_flags, isn: None })
}
