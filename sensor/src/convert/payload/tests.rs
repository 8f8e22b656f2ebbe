//! Payloads as the kernel copies them → records.

use zerocopy::FromZeros as _;

use super::*;

const CLOCK: ClockPair = ClockPair { boot_ns: 0, unix_ns: 1_000 };

fn fixed(form: u8, length: usize) -> abi::Payload {
    let mut fixed = abi::Payload::new_zeroed();
    fixed.header.time_ns = 5;
    (fixed.form, fixed.length, fixed.egress, fixed.fingerprint) = (form, length as u32, 1, 77);
    (fixed.local_port, fixed.remote_port, fixed.ifindex) = (40_000, 53, 3);
    fixed
}

/// A response about `a.test` with an address and a text.
fn response() -> Vec<u8> {
    let mut bytes = vec![1, 2, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0];
    bytes.extend(b"\x01a\x04test\0\0\x01\0\x01");
    bytes.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x07");
    bytes.extend(b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x05\x01x\x02yz");
    bytes
}

fn dns(form: u8, bytes: &[u8], length: usize) -> Dns<Text> {
    match payload(&fixed(form, length), bytes, CLOCK).expect("a known form").record {
        Record::Dns(record) => record,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_response_says_who_what_and_when() {
    let bytes = response();
    let record = dns(form::DNS_UDP, &bytes, bytes.len());
    assert_eq!((record.time_ns, record.id, record.count, record.ifindex), (1_005, 0x0102, 1, 3));
    assert_eq!((record.transport, record.flags), (transport::UDP, dns_flag::RESPONSE));
    assert_eq!((&record.name[..], record.query_type), (&b"a.test"[..], 1));
    assert_eq!((record.local_port, record.remote_port), (40_000, 53));
    assert_eq!(usize::from(record.size), bytes.len());
    let answers: Vec<_> = record.answers.iter().map(|a| (a.kind, a.ttl, &a.data[..])).collect();
    assert_eq!(answers, [(1, 60, &[192, 0, 2, 7][..]), (16, 60, b"xyz")]);
}

#[test]
fn a_segment_is_read_behind_its_length() {
    let bytes = response();
    let prefixed = [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
    let record = dns(form::DNS_TCP, &prefixed, prefixed.len());
    assert_eq!((record.transport, record.flags), (transport::TCP, dns_flag::RESPONSE));
    assert_eq!((record.answers.len(), usize::from(record.size)), (2, bytes.len()));
    let two = dns(form::DNS_TCP, &prefixed.repeat(2), 2 * prefixed.len());
    assert_eq!(two.flags, dns_flag::RESPONSE | dns_flag::PARTIAL);
}

#[test]
fn a_part_is_no_mistake_of_the_sender() {
    let bytes = response();
    let part = dns(form::DNS_UDP, &bytes[..40], bytes.len());
    let flags = dns_flag::RESPONSE | dns_flag::PARTIAL | dns_flag::MORE_ANSWERS;
    assert_eq!((part.flags, part.answers.len()), (flags, 1));
    let short = dns(form::DNS_UDP, &bytes[..40], 40);
    let flags = dns_flag::RESPONSE | dns_flag::MALFORMED | dns_flag::MORE_ANSWERS;
    assert_eq!(short.flags, flags);
    assert_eq!(dns(form::DNS_UDP, &[1, 2, 3], 3).flags, dns_flag::MALFORMED);
}

#[test]
fn a_response_whose_question_cannot_be_read_is_still_one() {
    let bytes = response();
    let cut = dns(form::DNS_UDP, &bytes[..14], 14);
    assert_eq!((cut.id, cut.flags), (0x0102, dns_flag::RESPONSE | dns_flag::MALFORMED));
    let part = dns(form::DNS_UDP, &bytes[..4], bytes.len());
    assert_eq!((part.id, part.flags), (0x0102, dns_flag::RESPONSE | dns_flag::PARTIAL));
}

#[test]
fn a_greeting_in_parts_has_no_fingerprint() {
    let mut hello = vec![0x16, 3, 1, 0, 47, 1, 0, 0, 43, 3, 3];
    hello.extend([0; 33]);
    hello.extend([0, 2, 0x13, 1, 1, 0, 0, 0]);
    let tls = |bytes: &[u8]| match payload(&fixed(form::TLS, 52), bytes, CLOCK) {
        Some(Payload { record: Record::Tls(record), .. }) => record,
        other => panic!("{other:?}"),
    };
    assert_eq!(&tls(&hello).ja4[..], b"t12i010000_0f2cb44170f4_000000000000");
    assert_eq!((tls(&hello).version, tls(&hello).direction), (0x0303, direction::OUTGOING));
    assert!(tls(&hello[..48]).ja4.is_empty());
}

#[test]
fn an_unknown_form_is_refused() {
    assert!(payload(&fixed(9, 4), &[0; 4], CLOCK).is_none());
}
