//! Copied payloads → DNS and TLS records.

use sensor_abi::parse::dns::{self, Answer, Data, Message, Problem};
use sensor_abi::parse::payload::form;
use sensor_abi::parse::tls::ClientHello;
use sensor_abi::record::payload as abi;
use wire::limits::ANSWERS_MAX;
use wire::record::{Address, Dns, DnsAnswer, Tls, direction, dns_flag, transport};

use super::Event;
use crate::clock::ClockPair;
use crate::convert::{Head, What};
use crate::ledger::Signal;
use crate::observation::{Record, Text};
use crate::owner::Tuple;
use crate::payload::{Payload, ja4};

/// Converts a payload; `None` for a form that this build does not know.
pub(super) fn event(fixed: &abi::Payload, bytes: &[u8], clock: ClockPair) -> Option<Event> {
    let head = Head { time_ns: fixed.header.time_ns, ..Head::default() };
    let payload = payload(fixed, bytes, clock)?;
    let signal = payload.signal();
    Some(Event { head, signal, what: What::Payload(Box::new(payload)) })
}

/// Reads what was copied of a payload.
pub fn payload(fixed: &abi::Payload, bytes: &[u8], clock: ClockPair) -> Option<Payload> {
    let record = match fixed.form {
        form::DNS_UDP => Record::Dns(datagram(fixed, bytes, clock)),
        form::DNS_TCP => Record::Dns(segment(fixed, bytes, clock)),
        form::TLS => Record::Tls(tls(fixed, bytes, clock)),
        _ => return None,
    };
    let tuple = Tuple {
        protocol: if fixed.form == form::DNS_UDP { transport::UDP } else { transport::TCP },
        local: fixed.local_addr,
        local_port: fixed.local_port,
        remote: fixed.remote_addr,
        remote_port: fixed.remote_port,
    };
    Some(Payload { tuple, fingerprint: fixed.fingerprint, record })
}

fn datagram(fixed: &abi::Payload, bytes: &[u8], clock: ClockPair) -> Dns<Text> {
    let mut record = Dns { transport: transport::UDP, ..ends(fixed, clock) };
    record.size = size(fixed.length as usize);
    message(&mut record, bytes, bytes.len() < fixed.length as usize);
    record
}

fn segment(fixed: &abi::Payload, bytes: &[u8], clock: ClockPair) -> Dns<Text> {
    let mut record = Dns { transport: transport::TCP, ..ends(fixed, clock) };
    let Some(framed) = dns::framed(bytes) else {
        record.flags |= dns_flag::MALFORMED;
        return record;
    };
    // What follows in the segment is another message, which is not looked at.
    if framed.more || (fixed.length as usize > bytes.len() && !framed.cut) {
        record.flags |= dns_flag::PARTIAL;
    }
    record.size = size(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
    message(&mut record, framed.message, framed.cut);
    record
}

fn ends(fixed: &abi::Payload, clock: ClockPair) -> Dns<Text> {
    Dns {
        time_ns: clock.unix(fixed.header.time_ns),
        flags: if fixed.egress == 0 { dns_flag::INCOMING } else { 0 },
        count: 1,
        ifindex: fixed.ifindex,
        local: Address(fixed.local_addr),
        remote: Address(fixed.remote_addr),
        local_port: fixed.local_port,
        remote_port: fixed.remote_port,
        ..Dns::default()
    }
}

/// Fills in what the message says. What lies behind the end of a part is no mistake of the sender.
fn message(record: &mut Dns<Text>, bytes: &[u8], part: bool) {
    if part {
        record.flags |= dns_flag::PARTIAL;
    }
    let flag = |problem| match (part, problem) {
        (true, Problem::Truncated) => dns_flag::PARTIAL,
        _ => dns_flag::MALFORMED,
    };
    // A question that cannot be read does not hide whether somebody asks or answers.
    if let Ok(header) = dns::Header::read(bytes) {
        header_of(record, &header);
    }
    let message = match Message::parse(bytes) {
        Ok(message) => message,
        Err(problem) => {
            record.flags |= flag(problem);
            return;
        }
    };
    if let Some(question) = message.question {
        record.name = Text::from(question.name.as_bytes());
        record.query_type = question.kind;
    }
    for answer in message.answers().take(ANSWERS_MAX) {
        match answer {
            Ok(answer) => record.answers.push(self::answer(&answer)),
            Err(problem) => record.flags |= flag(problem),
        }
    }
    if usize::from(message.header.answers) > record.answers.len() {
        record.flags |= dns_flag::MORE_ANSWERS;
    }
}

fn header_of(record: &mut Dns<Text>, header: &dns::Header) {
    record.id = header.id;
    record.response_code = header.rcode();
    if header.is_response() {
        record.flags |= dns_flag::RESPONSE;
    }
    if header.flags & dns::flag::TRUNCATED != 0 {
        record.flags |= dns_flag::TRUNCATED;
    }
}

fn answer(answer: &Answer<'_>) -> DnsAnswer<Text> {
    let data = match &answer.data {
        Data::A(address) => Text::from(&address[..]),
        Data::Aaaa(address) => Text::from(&address[..]),
        Data::Name(name) | Data::Mx { exchange: name, .. } | Data::Srv { target: name, .. } => {
            Text::from(name.as_bytes())
        }
        Data::Service { target, parameters: [], .. } => Text::from(target.as_bytes()),
        Data::Service { parameters, .. } => Text::from(*parameters),
        Data::Txt(texts) => texts.iter().flatten().copied().collect(),
        Data::Other(data) => Text::from(*data),
    };
    DnsAnswer { kind: answer.kind, ttl: answer.ttl, data }
}

fn tls(fixed: &abi::Payload, bytes: &[u8], clock: ClockPair) -> Tls<Text> {
    let mut record = Tls {
        time_ns: clock.unix(fixed.header.time_ns),
        direction: if fixed.egress == 0 { direction::INCOMING } else { direction::OUTGOING },
        ifindex: fixed.ifindex,
        local: Address(fixed.local_addr),
        remote: Address(fixed.remote_addr),
        local_port: fixed.local_port,
        remote_port: fixed.remote_port,
        count: 1,
        ..Tls::default()
    };
    let Some(hello) = ClientHello::parse(bytes) else { return record };
    record.version = hello.newest_version();
    record.server_name = hello.server_name().map(Text::from).unwrap_or_default();
    record.alpn = hello.protocols().next().map(Text::from).unwrap_or_default();
    if !hello.cut {
        record.ja4 = ja4::of(&hello).as_bytes().into();
    }
    record
}

fn size(bytes: usize) -> u16 {
    u16::try_from(bytes).unwrap_or(u16::MAX)
}

impl Payload {
    /// Returns in whose ledger it counts.
    pub fn signal(&self) -> Signal {
        if matches!(self.record, Record::Tls(_)) { Signal::Tls } else { Signal::Dns }
    }
}

#[cfg(test)]
mod tests;
