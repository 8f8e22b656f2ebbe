//! Packets in memory: what is found in them, and which messages are one.

use proptest::prelude::*;

use super::*;
use crate::parse::{cursor::Bytes, headers::Way};

const PORTS: [u16; DNS_PORTS] = [53, 0, 0, 0];

/// An IPv4 packet in an Ethernet frame.
fn packet(protocol: u8, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 12];
    bytes.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
    bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    match protocol {
        protocol::TCP => {
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x60, 0x18, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0])
        }
        _ => bytes.extend([0; 4]),
    }
    bytes.extend(payload);
    bytes
}

fn look(bytes: &[u8]) -> Option<Found> {
    let headers = Headers::ethernet(&Bytes(bytes), 1, Way::Egress);
    find(&Bytes(bytes), &headers, bytes.len() as u64, PORTS)
}

fn query(name: &str, kind: u8) -> Vec<u8> {
    let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

fn print(message: &[u8]) -> u64 {
    fingerprint(&Copied(message), message.len(), 5)
}

#[test]
fn messages_are_found_at_their_ports() {
    let query = query("a.test", 1);
    let found = Found { form: form::DNS_UDP, offset: 42, length: query.len() as u32 };
    assert_eq!(look(&packet(protocol::UDP, (40_000, 53), &query)), Some(found));
    assert_eq!(look(&packet(protocol::UDP, (53, 40_000), &query)), Some(found));
    assert_eq!(look(&packet(protocol::UDP, (40_000, 54), &query)), None);
    assert_eq!(look(&packet(protocol::UDP, (0, 54), &query)), None, "no port is port 0");
    assert_eq!(look(&packet(protocol::UDP, (40_000, 53), &query[..11])), None);
}

#[test]
fn a_segment_must_start_a_message() {
    let query = query("a.test", 1);
    let prefixed = [&[0, query.len() as u8][..], &query].concat();
    let found = Found { form: form::DNS_TCP, offset: 58, length: prefixed.len() as u32 };
    assert_eq!(look(&packet(protocol::TCP, (40_000, 53), &prefixed)), Some(found));
    assert_eq!(look(&packet(protocol::TCP, (40_000, 53), &query)), None);
    assert_eq!(look(&packet(protocol::TCP, (40_000, 53), b"")), None);
}

#[test]
fn a_hello_is_found_on_any_port() {
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc];
    let found = look(&packet(protocol::TCP, (40_000, 8443), &hello));
    assert_eq!(found, Some(Found { form: form::TLS, offset: 58, length: 9 }));
    assert_eq!(look(&packet(protocol::TCP, (40_000, 443), &[0x17, 3, 3, 2, 0, 1])), None);
    assert_eq!(look(&packet(protocol::UDP, (40_000, 443), &hello)), None);
}

#[test]
fn a_copy_has_a_limit_by_its_form() {
    let found = |form, length| Found { form, offset: 42, length }.copied();
    assert_eq!((found(form::DNS_UDP, 90), found(form::DNS_UDP, 9000)), (90, 1232));
    assert_eq!((found(form::TLS, 1500), found(form::TLS, 65_000)), (1500, 2047));
}

#[test]
fn equal_questions_are_one_whatever_id_and_case() {
    let mut other = query("WWW.Example.test", 1);
    other[..2].copy_from_slice(&[9, 9]);
    assert_eq!(print(&query("www.example.test", 1)), print(&other));
    // An option at the end, such as a cookie, makes it another.
    other.extend([1, 2, 3, 4, 5, 6, 7, 8]);
    assert_ne!(print(&query("www.example.test", 1)), print(&other));
    assert_ne!(print(&query("www.example.test", 1)), print(&query("www.example.test", 28)));
    assert_ne!(print(&query("www.example.test", 1)), print(&query("ww.wexample.test", 1)));
}

#[test]
fn responses_differ_by_what_they_say() {
    let mut response = query("a.test", 1);
    response[2] = 0x81;
    let missing = {
        let mut other = response.clone();
        other[3] = 3;
        other
    };
    assert_ne!(print(&response), print(&missing));
    let [one, two] = [7, 8].map(|last| [&response[..], &[192, 0, 2, last]].concat());
    assert_ne!(print(&one), print(&two));
    assert_eq!(print(&one), print(&one.clone()));
}

proptest! {
    #[test]
    fn a_changed_question_changes_the_number(at in 12usize..30, bit in 0u32..8) {
        let message = query("some.example.test", 1);
        let mut other = message.clone();
        let at = at.min(message.len() - 1);
        other[at] ^= 1 << bit;
        let same_letter = other[at].eq_ignore_ascii_case(&message[at]);
        prop_assert_eq!(print(&message) == print(&other), same_letter);
    }

    #[test]
    fn capitals_are_told_byte_by_byte(bytes: [u8; 8]) {
        let lower = bytes.map(|byte| byte.to_ascii_lowercase());
        let word = u64::from_le_bytes(bytes);
        prop_assert_eq!((word | capitals(word)).to_le_bytes(), lower);
    }

    #[test]
    fn any_bytes_have_a_number(bytes in proptest::collection::vec(any::<u8>(), 0..1400)) {
        print(&bytes);
    }

    #[test]
    fn any_packet_is_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Some(found) = look(&bytes) {
            prop_assert!((found.offset + found.length) as usize == bytes.len());
        }
    }
}
