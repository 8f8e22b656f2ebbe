//! Which packets carry a message worth copying, and when two DNS messages say the same.
//!
//! Shared by the kernel programs and the capture replayer, so that both count alike.

use crate::{
    parse::{
        cursor::{OFFSET_MAX, Packet},
        dns,
        headers::{Headers, protocol},
        tls,
    },
    record::payload::Payload,
};

/// Most bytes of a DNS message that are copied: what a datagram holds that is not to be cut on its
/// way. Longer messages are cut and say so.
pub const DNS_MAX: usize = 1232;
/// Most bytes of a TLS message that are copied. One with a post-quantum key share has some 1800,
/// and leaves in one piece when the device cuts it into segments.
pub const TLS_MAX: usize = 2047;
/// Ports on which DNS may be spoken.
pub const DNS_PORTS: usize = 4;
/// Bytes of the length before a DNS message over TCP.
const PREFIX_LEN: usize = 2;
/// Words of a message that are compared.
const WORDS: usize = DNS_MAX / 8;

/// What a payload holds.
pub mod form {
    /// A DNS message in a datagram.
    pub const DNS_UDP: u8 = 1;
    /// A DNS message after its length, at the start of a segment.
    pub const DNS_TCP: u8 = 2;
    /// The start of a TLS `ClientHello`.
    pub const TLS: u8 = 3;
}

/// A payload that is worth copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// See [`form`].
    pub form: u8,
    /// Where it starts in the packet.
    pub offset: u32,
    /// Its bytes in the packet.
    pub length: u32,
}

impl Found {
    /// Returns how much of it is copied, at least one byte.
    #[inline(always)]
    pub const fn copied(&self) -> u32 {
        let most = if self.form == form::TLS { TLS_MAX as u32 } else { DNS_MAX as u32 };
        if self.length < most { self.length } else { most }
    }

    /// Returns how many bytes of it come before the message itself.
    #[inline(always)]
    pub const fn prefix(&self) -> usize {
        if self.form == form::DNS_TCP { PREFIX_LEN } else { 0 }
    }
}

/// Looks at the payload of a packet of `length` bytes, all of which need not be readable.
#[inline(always)]
pub fn find<P: Packet>(
    packet: &P,
    headers: &Headers,
    length: u64,
    dns_ports: [u16; DNS_PORTS],
) -> Option<Found> {
    let offset = usize::from(headers.payload);
    // The last read below ends 12 bytes after the offset.
    if offset == 0 || offset + 12 > OFFSET_MAX || length <= offset as u64 {
        return None;
    }
    let length = length as u32 - offset as u32;
    let found = |form| Some(Found { form, offset: offset as u32, length });
    let key = &headers.key;
    let dns = dns_ports
        .into_iter()
        .any(|port| port != 0 && (port == key.local_port || port == key.remote_port));
    match key.protocol {
        protocol::UDP if dns && length >= dns::HEADER_LEN as u32 => found(form::DNS_UDP),
        protocol::TCP if dns => {
            let whole = length >= (PREFIX_LEN + dns::HEADER_LEN) as u32;
            (whole && starts_dns(packet.read(offset)?)).then_some(())?;
            found(form::DNS_TCP)
        }
        protocol::TCP => {
            tls::starts(packet.read(offset)?).then_some(())?;
            found(form::TLS)
        }
        _ => None,
    }
}

/// Returns whether a segment starts a DNS message, and does not carry on one: a length that a
/// message can have, an ordinary kind of query, one question. In the middle of a zone transfer
/// fewer than one segment in 65 000 looks so.
#[inline(always)]
fn starts_dns(bytes: [u8; 8]) -> bool {
    let length = u16::from_be_bytes([bytes[0], bytes[1]]);
    let flags = u16::from_be_bytes([bytes[4], bytes[5]]);
    let questions = u16::from_be_bytes([bytes[6], bytes[7]]);
    length >= dns::HEADER_LEN as u16 && flags & dns::flag::OPCODE <= 5 << 11 && questions == 1
}

/// The copied bytes of a DNS message.
pub trait Message {
    /// Returns the eight bytes at an offset, zero beyond the copied ones.
    fn word(&self, at: usize) -> u64;
}

/// Returns a number that two messages share when they say the same: all that follows the id, and
/// of a query without regard to case. `seed` stands for who says it to whom, and for a secret, so
/// that nobody can make a message that is taken for another.
///
/// The loop has one way through, whatever the bytes: a walk from label to label has so many that
/// the verifier gives up on it.
#[inline(always)]
pub fn fingerprint<M: Message>(message: &M, length: usize, seed: u64) -> u64 {
    let head = message.word(2);
    // The first flag byte is the lowest of the word; a set bit 7 makes a response.
    let fold = if head & 0x80 == 0 { u64::MAX } else { 0 };
    let mut state = mix(seed, head);
    for step in 0..WORDS {
        let at = dns::HEADER_LEN + step * 8;
        if at >= length {
            break;
        }
        let word = message.word(at);
        state = mix(state, word | (capitals(word) & fold));
    }
    state
}

/// Returns the bit that tells lower case from upper, set in each byte that is a capital letter.
#[inline(always)]
const fn capitals(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x80 * ONES;
    let low = word & !TOPS;
    // Sums that reach the top bit of their byte, and no further, from `A` on and from behind `Z`
    // on.
    let from_a = low + (0x80 - b'A' as u64) * ONES;
    let behind_z = low + (0x7f - b'Z' as u64) * ONES;
    ((from_a ^ behind_z) & !word & TOPS) >> 2
}

/// Stirs a value into a state.
#[inline(always)]
pub const fn mix(state: u64, value: u64) -> u64 {
    let product = (state ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

/// Returns the seed of [`fingerprint`] for a message that travels between the two ends of a record.
/// `sender` is the process that sends it, 0 when that is not known.
#[inline(always)]
pub fn seed(secret: u64, record: &Payload, sender: u32) -> u64 {
    let mut state = mix(secret, u64::from(record.ifindex) << 32 | u64::from(sender));
    for address in [&record.local_addr, &record.remote_addr] {
        let [low, high] = halves(address);
        state = mix(mix(state, low), high);
    }
    // The ports do not count: a client picks another one for each query.
    mix(state, u64::from(record.form) << 8 | u64::from(record.egress))
}

#[inline(always)]
fn halves(a: &[u8; 16]) -> [u64; 2] {
    [
        u64::from_ne_bytes([a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]]),
        u64::from_ne_bytes([a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15]]),
    ]
}

/// A message in memory, for the host.
#[derive(Clone, Copy, Debug)]
pub struct Copied<'a>(pub &'a [u8]);

impl Message for Copied<'_> {
    fn word(&self, at: usize) -> u64 {
        let byte = |step| self.0.get(at + step).copied().unwrap_or(0);
        u64::from_le_bytes(core::array::from_fn(byte))
    }
}

#[cfg(test)]
mod tests;
