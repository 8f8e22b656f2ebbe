//! A DNS message or a TLS greeting by itself, whole or cut.

use sensor::clock::ClockPair;
use sensor::convert::payload;
use sensor::payload::ja4;
use sensor_abi::parse::dns::{self, ANSWERS_MAX, Data, Message, NAME_MAX, Name};
use sensor_abi::parse::payload::{self as carried, Copied, form};
use sensor_abi::parse::tls::ClientHello;
use sensor_abi::record::payload::Payload;
use zerocopy::FromZeros as _;

use super::{MIB, Target, choice};
use crate::{delivery, seed};

pub(super) const TARGET: Target = Target {
    name: "message",
    what: "a DNS message over UDP or TCP, or a TLS greeting, whole or cut",
    input_max: 4096,
    memory_max: 2 * MIB,
    control: false,
    check,
    seeds,
};

const FORMS: [u8; 3] = [form::DNS_UDP, form::DNS_TCP, form::TLS];

fn check(input: &[u8]) {
    // The second byte says how much more was sent than copied.
    let Some((choice, [more, bytes @ ..])) = choice(input, 3) else { return };
    match choice {
        0 => dns_message(bytes),
        1 => {
            if let Some(framed) = dns::framed(bytes) {
                assert!(framed.message.len() >= dns::HEADER_LEN);
                dns_message(framed.message);
            }
        }
        _ => greeting(bytes),
    }
    let mut fixed = Payload::new_zeroed();
    fixed.form = FORMS[usize::from(choice)];
    fixed.length = bytes.len() as u32 + u32::from(*more);
    let record = payload::payload(&fixed, bytes, ClockPair::default()).expect("a known form");
    delivery::check(&[delivery::alone(record.signal(), record.record)]);
}

fn dns_message(bytes: &[u8]) {
    let [one, two] = [1, 2].map(|seed| carried::fingerprint(&Copied(bytes), bytes.len(), seed));
    assert_ne!(one, two, "a fingerprint has the seed in it");
    let Ok(message) = Message::parse(bytes) else { return };
    assert_eq!(message.header.questions == 0, message.question.is_none());
    if let Some(question) = &message.question {
        name(&question.name);
    }
    let answers: Vec<_> = message.answers().collect();
    assert!(answers.len() <= ANSWERS_MAX.min(usize::from(message.header.answers)));
    for (at, answer) in answers.iter().enumerate() {
        let Ok(answer) = answer else {
            assert_eq!(at + 1, answers.len(), "nothing follows what cannot be read");
            break;
        };
        name(&answer.name);
        match &answer.data {
            Data::Name(of) | Data::Mx { exchange: of, .. } | Data::Srv { target: of, .. } => {
                name(of);
            }
            Data::Txt(texts) => {
                let held: usize = texts.iter().map(|text| text.len() + 1).sum();
                assert!(held <= bytes.len());
            }
            _ => {}
        }
    }
    // What lies behind a message that could be read does not change what it says.
    let padded = [bytes, &[0xc0; 32]].concat();
    let again = Message::parse(&padded).expect("it could be read without more");
    assert_eq!((again.header, again.question), (message.header, message.question));
}

/// A name comes back from a message that is made of it.
fn name(name: &Name) {
    assert!(name.as_bytes().len() < NAME_MAX);
    if name.is_ambiguous() || name.as_bytes().is_empty() {
        return;
    }
    let mut wire = Vec::new();
    for label in name.as_bytes().split(|byte| *byte == b'.') {
        assert!((1..64).contains(&label.len()), "a label has 1 to 63 bytes");
        wire.push(label.len() as u8);
        wire.extend(label);
    }
    wire.push(0);
    let (again, after) = Name::read(&wire, 0).expect("it was a name before");
    assert_eq!((again, after), (*name, wire.len()));
}

fn greeting(bytes: &[u8]) {
    let Some(hello) = ClientHello::parse(bytes) else { return };
    assert!(hello.extensions.count() * 4 <= bytes.len());
    assert!(hello.ciphers.iter().count() * 2 <= bytes.len());
    assert!(hello.server_name().is_none_or(|name| name.len() <= bytes.len()));
    assert!(hello.protocols().map(|name| name.len() + 1).sum::<usize>() <= bytes.len());
    let fingerprint = ja4::of(&hello);
    let shape: Vec<usize> = fingerprint.split('_').map(str::len).collect();
    assert_eq!(shape, [10, 12, 12], "{fingerprint:?}");
    assert!(fingerprint.is_ascii() && !fingerprint.contains(|c: char| c.is_ascii_control()));
    if !hello.cut {
        let padded = [bytes, &[0x16; 32]].concat();
        assert_eq!(ClientHello::parse(&padded), Some(hello), "a whole one ends where it says");
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let (query, answer, hello) = (seed::query(), seed::answer(), seed::hello());
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let with = |choice: u8, bytes: &[u8]| [&[choice, 0][..], bytes].concat();
    vec![
        with(0, &query),
        with(0, &answer),
        with(1, &framed(&query)),
        with(1, &framed(&answer)),
        with(2, &hello),
    ]
}
