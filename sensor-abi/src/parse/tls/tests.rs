//! A message put together by hand, cut and damaged in every place.

use proptest::prelude::*;

use super::*;

fn prefixed(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

fn numbers(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

fn extension_bytes(number: u16, data: &[u8]) -> Vec<u8> {
    [&number.to_be_bytes()[..], &prefixed(data)].concat()
}

/// Names `a.test`, offers `h2` and `http/1.1`, speaks TLS 1.3 and 1.2.
fn hello() -> Vec<u8> {
    let name = [&[0][..], &prefixed(b"a.test")].concat();
    let versions = numbers(&[0x7a7a, 0x0304, 0x0303]);
    let extensions = [
        extension_bytes(0x3a3a, &[]),
        extension_bytes(extension::SERVER_NAME, &prefixed(&name)),
        extension_bytes(extension::ALPN, &prefixed(b"\x02h2\x08http/1.1")),
        extension_bytes(extension::SIGNATURE_ALGORITHMS, &prefixed(&numbers(&[0x0403, 0x0804]))),
        extension_bytes(extension::SUPPORTED_VERSIONS, &[&[6][..], &versions].concat()),
    ];
    let body = [
        numbers(&[0x0303]),
        vec![7; 32],
        [&[32][..], &[9; 32]].concat(),
        prefixed(&numbers(&[0x0a0a, 0x1301, 0xc02b])),
        vec![1, 0],
        prefixed(&extensions.concat()),
    ];
    wrap(&body.concat())
}

fn wrap(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    let message = [&[CLIENT_HELLO][..], &length[1..], body].concat();
    [&[HANDSHAKE, 3, 1][..], &prefixed(&message)].concat()
}

#[test]
fn every_part_is_found() {
    let bytes = hello();
    let hello = ClientHello::parse(&bytes).expect("a hello");
    assert!(!hello.cut);
    assert_eq!(hello.version, 0x0303);
    assert_eq!(hello.newest_version(), 0x0304);
    assert_eq!(hello.ciphers.iter().collect::<Vec<_>>(), [0x0a0a, 0x1301, 0xc02b]);
    assert_eq!(hello.server_name(), Some(&b"a.test"[..]));
    assert_eq!(hello.protocols().collect::<Vec<_>>(), [&b"h2"[..], b"http/1.1"]);
    let algorithms = hello.signature_algorithms();
    assert_eq!(algorithms.iter().collect::<Vec<_>>(), [0x0403, 0x0804]);
    let extensions: Vec<u16> = hello.extensions.map(|each| each.number).collect();
    assert_eq!(extensions, [0x3a3a, 0, 16, 13, 43]);
}

#[test]
fn an_old_client_has_no_extensions() {
    let body = [numbers(&[0x0301]), vec![7; 32], vec![0], prefixed(&[0, 5]), vec![1, 0]];
    let bytes = wrap(&body.concat());
    let hello = ClientHello::parse(&bytes).expect("a hello");
    assert_eq!((hello.newest_version(), hello.cut), (0x0301, false));
    assert_eq!((hello.extensions.count(), hello.server_name()), (0, None));
}

#[test]
fn a_part_of_a_message_says_so() {
    let bytes = hello();
    for length in 0..bytes.len() {
        let Some(hello) = ClientHello::parse(&bytes[..length]) else {
            assert!(length <= HEADERS_LEN + FIXED_LEN + 1 + 32 + 2, "{length}");
            continue;
        };
        assert!(hello.cut, "{length}");
        assert!(hello.server_name().is_none_or(|name| name == b"a.test"), "{length}");
    }
    let mut split = bytes.clone();
    // The record ends within the message, which goes on in another record.
    split[3..5].copy_from_slice(&100_u16.to_be_bytes());
    assert!(ClientHello::parse(&split).is_some_and(|hello| hello.cut));
}

#[test]
fn other_segments_start_no_hello() {
    for other in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01\x00\x05\x02\0\0\x01\0", b"", b"\x16"] {
        assert_eq!(ClientHello::parse(other), None);
    }
}

#[test]
fn grease_is_told_from_numbers_in_use() {
    assert!([0x0a0a, 0x1a1a, 0xfafa].into_iter().all(is_grease));
    assert!(![0x0a1a, 0x1301, 0x0a0b, 0x0000, 0xc02b].into_iter().any(is_grease));
}

/// Looks at everything that there is.
fn walk(bytes: &[u8]) -> usize {
    let Some(hello) = ClientHello::parse(bytes) else { return 0 };
    let name = hello.server_name().map_or(0, <[u8]>::len);
    let numbers = hello.ciphers.iter().count() + hello.signature_algorithms().iter().count();
    let _any = hello.newest_version();
    name + numbers + hello.extensions.count() + hello.protocols().count()
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_an_end(
        tail in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let bytes = [&[HANDSHAKE, 3, 1, 1, 0, CLIENT_HELLO, 0][..], &tail].concat();
        prop_assert!(walk(&bytes) <= 4 * bytes.len());
    }

    #[test]
    fn a_damaged_hello_is_read_to_an_end(
        damage in proptest::collection::vec((0usize..200, any::<u8>()), 1..6),
    ) {
        let mut bytes = hello();
        let length = bytes.len();
        damage.iter().for_each(|(at, value)| bytes[at % length] = *value);
        prop_assert!(walk(&bytes) <= 4 * bytes.len());
    }
}
