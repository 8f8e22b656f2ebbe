//! What packets say: DNS messages and TLS greetings.

use std::net::SocketAddr;

use bytes::Bytes;
use wire::record as wired;

use super::Direction;
use super::network::{direction, end};

/// A DNS message, or several that say the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// IP protocol number of what it travelled in.
    pub transport: u8,
    /// Bits of [`wired::dns_flag`].
    pub flags: u16,
    /// Message id.
    pub id: u16,
    /// Type asked for.
    pub query_type: u16,
    /// Response code.
    pub response_code: u8,
    /// How many messages said this.
    pub count: u64,
    /// Bytes of the message.
    pub size: u16,
    /// The host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The name asked for, without the last dot.
    pub name: Bytes,
    /// Answers.
    pub answers: Vec<DnsAnswer>,
}

impl Dns {
    /// Returns whether it is a response, not a query.
    pub fn is_response(&self) -> bool {
        self.flags & wired::dns_flag::RESPONSE != 0
    }
}

/// One resource record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsAnswer {
    /// Its type.
    pub kind: u16,
    /// How long it may be kept, seconds.
    pub ttl: u32,
    /// The address (4 or 16 bytes), the name, or the raw data.
    pub data: Bytes,
}

pub(super) fn dns(r: wired::Dns<Bytes>) -> Dns {
    let answer = |a: wired::DnsAnswer<Bytes>| DnsAnswer { kind: a.kind, ttl: a.ttl, data: a.data };
    Dns {
        transport: r.transport,
        flags: r.flags,
        id: r.id,
        query_type: r.query_type,
        response_code: r.response_code,
        count: r.count,
        size: r.size,
        local: end(r.local, r.local_port),
        remote: end(r.remote, r.remote_port),
        name: r.name,
        answers: r.answers.into_iter().map(answer).collect(),
    }
}

/// A TLS ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Whether the host is the client.
    pub direction: Direction,
    /// Highest version offered.
    pub version: u16,
    /// The host's end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// How many greetings said this.
    pub count: u64,
    /// Server name asked for; empty when none was.
    pub server_name: Bytes,
    /// JA4 fingerprint; empty when the greeting was seen only in part.
    pub ja4: Bytes,
    /// First protocol offered by ALPN.
    pub alpn: Bytes,
}

pub(super) fn tls(r: wired::Tls<Bytes>) -> Tls {
    Tls {
        direction: direction(r.direction),
        version: r.version,
        local: end(r.local, r.local_port),
        remote: end(r.remote, r.remote_port),
        count: r.count,
        server_name: r.server_name,
        ja4: r.ja4,
        alpn: r.alpn,
    }
}
