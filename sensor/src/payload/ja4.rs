//! JA4, the fingerprint of a TLS client (FoxIO's specification of the TLS client method).

use std::fmt::Write as _;

use ring::digest;
use sensor_abi::parse::tls::{ClientHello, extension, is_grease};

/// Characters of each hash that are kept.
const HASH_LEN: usize = 12;
/// Stands for the hash of an empty list.
const NO_HASH: &str = "000000000000";
/// Counts have two digits.
const COUNT_MAX: usize = 99;

/// Returns the fingerprint. Of a greeting that was seen in part it would be another's.
pub fn of(hello: &ClientHello<'_>) -> String {
    let mut ciphers: Vec<u16> = hello.ciphers.iter().filter(|c| !is_grease(*c)).collect();
    let mut extensions: Vec<u16> =
        hello.extensions.map(|each| each.number).filter(|number| !is_grease(*number)).collect();
    let mut text = format!(
        "t{}{}{:02}{:02}{}",
        version(hello.newest_version()),
        if extensions.contains(&extension::SERVER_NAME) { 'd' } else { 'i' },
        ciphers.len().min(COUNT_MAX),
        extensions.len().min(COUNT_MAX),
        protocol(hello.protocols().next()),
    );
    ciphers.sort_unstable();
    extensions.sort_unstable();
    // These two depend on the server, and were counted above.
    extensions.retain(|number| ![extension::SERVER_NAME, extension::ALPN].contains(number));
    let algorithms: Vec<u16> =
        hello.signature_algorithms().iter().filter(|number| !is_grease(*number)).collect();
    let mut list = hexadecimal(&extensions);
    if !algorithms.is_empty() {
        let _ = write!(list, "_{}", hexadecimal(&algorithms));
    }
    // Without extensions there are no algorithms either.
    let _ = write!(text, "_{}_{}", hash(&hexadecimal(&ciphers)), hash(&list));
    text
}

fn version(version: u16) -> &'static str {
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of the first protocol; of one with other characters, of its
/// hexadecimal form.
fn protocol(first: Option<&[u8]>) -> String {
    let Some((first, last)) = first.and_then(|name| Some((*name.first()?, *name.last()?))) else {
        return "00".to_owned();
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return String::from_iter([first as char, last as char]);
    }
    format!("{:x}{:x}", first >> 4, last & 0x0f)
}

fn hexadecimal(numbers: &[u16]) -> String {
    let each: Vec<String> = numbers.iter().map(|number| format!("{number:04x}")).collect();
    each.join(",")
}

fn hash(list: &str) -> String {
    if list.is_empty() {
        return NO_HASH.to_owned();
    }
    let digest = digest::digest(&digest::SHA256, list.as_bytes());
    let bytes = &digest.as_ref()[..HASH_LEN / 2];
    bytes.iter().fold(String::with_capacity(HASH_LEN), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixed(data: &[u8]) -> Vec<u8> {
        [&(data.len() as u16).to_be_bytes()[..], data].concat()
    }

    fn numbers(numbers: &[u16]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn hello(ciphers: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(number, data)| [numbers(&[*number]), prefixed(data)].concat())
            .collect();
        let body = [
            numbers(&[0x0303]),
            vec![0; 33],
            prefixed(&numbers(ciphers)),
            vec![1, 0],
            prefixed(&extensions),
        ]
        .concat();
        let message = [&[1, 0][..], &prefixed(&body)].concat();
        [&[0x16, 3, 1][..], &prefixed(&message)].concat()
    }

    fn fingerprint(bytes: &[u8]) -> String {
        of(&ClientHello::parse(bytes).expect("a hello"))
    }

    /// The browser of the specification's own example, with its published fingerprint.
    #[test]
    fn the_published_example_has_its_published_fingerprint() {
        let ciphers = [
            0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
            0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let algorithms =
            [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601].as_slice();
        let versions = [&[6][..], &numbers(&[0x8a8a, 0x0304, 0x0303])].concat();
        let plain = |number: u16| (number, Vec::new());
        let extensions = [
            plain(0x5a5a),
            plain(0x001b),
            (0x0000, prefixed(&[&[0][..], &prefixed(b"example.test")].concat())),
            plain(0x0033),
            (0x0010, prefixed(b"\x02h2\x08http/1.1")),
            plain(0x4469),
            plain(0x0017),
            (0x002b, versions),
            (0x000d, prefixed(&numbers(algorithms))),
            plain(0x0005),
            plain(0x0023),
            plain(0x0012),
            plain(0x002d),
            plain(0xff01),
            plain(0x000b),
            plain(0x000a),
            plain(0x0015),
            plain(0xaaaa),
        ];
        let found = fingerprint(&hello(&ciphers, &extensions));
        assert_eq!(found, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn an_empty_list_has_no_hash() {
        assert_eq!(fingerprint(&hello(&[], &[])), "t12i000000_000000000000_000000000000");
    }

    #[test]
    fn a_protocol_that_is_no_text_is_shown_by_its_digits() {
        let shown = |name: &[u8]| protocol(Some(name));
        assert_eq!([shown(b"http/1.1"), shown(b"h")], ["h1", "hh"]);
        assert_eq!([shown(b"\xab"), shown(b"\xab\xcd"), shown(b"h2\xff")], ["ab", "ad", "6f"]);
        assert_eq!(protocol(None), "00");
    }
}
