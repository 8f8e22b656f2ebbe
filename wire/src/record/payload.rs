//! What packets say: DNS messages and TLS greetings.

use serde::{Deserialize, Serialize};

use super::{Address, ProcessRef, with_texts};
use crate::text::StrId;

/// A DNS message, or several that say the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns<S = StrId> {
    /// When the first was seen.
    pub time_ns: u64,
    /// The local process.
    pub process: ProcessRef,
    /// See [`transport`].
    pub transport: u8,
    /// Bits of [`dns_flag`].
    pub flags: u16,
    /// Message id.
    pub id: u16,
    /// Type asked for (1 A, 28 AAAA, …).
    pub query_type: u16,
    /// Response code (0 no error, 3 no such name, …).
    pub response_code: u8,
    /// How many messages said this.
    pub count: u64,
    /// Bytes of the message.
    pub size: u16,
    /// Interface index on the host.
    pub ifindex: u32,
    /// The host's address.
    pub local: Address,
    /// The peer's address.
    pub remote: Address,
    /// The host's port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// The name asked for, labels joined by dots, without the last dot.
    pub name: S,
    /// Answers, at most [`crate::limits::ANSWERS_MAX`].
    pub answers: Vec<DnsAnswer<S>>,
}

/// One resource record of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsAnswer<S = StrId> {
    /// Its type.
    pub kind: u16,
    /// How long it may be kept, seconds.
    pub ttl: u32,
    /// The address (4 or 16 bytes), the name, or the raw data.
    pub data: S,
}

/// Bits of [`Dns::flags`].
pub mod dns_flag {
    /// A response, not a query.
    pub const RESPONSE: u16 = 1 << 0;
    /// It was received, not sent.
    pub const INCOMING: u16 = 1 << 1;
    /// The sender said that it is cut (TC).
    pub const TRUNCATED: u16 = 1 << 2;
    /// The sensor saw only a part of it.
    pub const PARTIAL: u16 = 1 << 3;
    /// It breaks the rules of RFC 1035; what could be read is there.
    pub const MALFORMED: u16 = 1 << 4;
    /// More answers were there than are reported.
    pub const MORE_ANSWERS: u16 = 1 << 5;
}

/// Values of [`Dns::transport`].
pub mod transport {
    /// Datagrams.
    pub const UDP: u8 = 17;
    /// A stream.
    pub const TCP: u8 = 6;
}

impl<S> Dns<S> {
    /// Returns the same with every string replaced by what `map` makes of it.
    pub fn map_texts<T>(&self, mut map: impl FnMut(&S) -> T) -> Dns<T> {
        Dns {
            time_ns: self.time_ns,
            process: self.process,
            transport: self.transport,
            flags: self.flags,
            id: self.id,
            query_type: self.query_type,
            response_code: self.response_code,
            count: self.count,
            size: self.size,
            ifindex: self.ifindex,
            local: self.local,
            remote: self.remote,
            local_port: self.local_port,
            remote_port: self.remote_port,
            name: map(&self.name),
            answers: (self.answers.iter())
                .map(|a| DnsAnswer { kind: a.kind, ttl: a.ttl, data: map(&a.data) })
                .collect(),
        }
    }

    /// Shows every string to `see`.
    pub fn each_text<'a>(&'a self, mut see: impl FnMut(&'a S)) {
        see(&self.name);
        self.answers.iter().for_each(|answer| see(&answer.data));
    }
}

with_texts! {
    /// A TLS ClientHello.
    pub struct Tls {
        /// When.
        time_ns: u64,
        /// The local process.
        process: ProcessRef,
        /// See [`super::direction`]: whether the host is the client.
        direction: u8,
        /// Highest version offered (0x0304 is TLS 1.3).
        version: u16,
        /// Interface index on the host.
        ifindex: u32,
        /// The host's address.
        local: Address,
        /// The peer's address.
        remote: Address,
        /// The host's port.
        local_port: u16,
        /// The peer's port.
        remote_port: u16,
        /// How many greetings said this.
        count: u64,
    }
    texts {
        /// Server name asked for; empty when none was.
        server_name,
        /// JA4 fingerprint; empty when the greeting was seen only in part.
        ja4,
        /// First protocol offered by ALPN, such as `h2`.
        alpn,
    }
}
