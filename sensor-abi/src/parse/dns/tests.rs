//! Known messages, and that no bytes at all can do harm.

use proptest::prelude::*;

use super::*;

/// Puts a message together: header fields, then what follows it.
fn message(flags: u16, counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34];
    bytes.extend(flags.to_be_bytes());
    counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
    bytes.extend(body);
    bytes
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

/// A question for `example.com`, whose name starts at offset 12.
fn asked(kind: u16) -> Vec<u8> {
    [wire_name("example.com"), kind.to_be_bytes().to_vec(), vec![0, 1]].concat()
}

/// A record whose name is a pointer to the question's.
fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0xc0, 12];
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1, 0, 0, 1, 0x2c]);
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

fn one_answer(kind: u16, data: &[u8]) -> Vec<u8> {
    message(0x8180, [1, 1, 0, 0], &[asked(kind), record(kind, data)].concat())
}

fn only(bytes: &[u8]) -> Result<Answer<'_>, Problem> {
    let message = Message::parse(bytes)?;
    let mut answers = message.answers();
    let answer = answers.next().expect("there is one");
    assert!(answers.next().is_none());
    answer
}

fn name(text: &str) -> Name {
    Name::read(&wire_name(text), 0).expect("a name").0
}

#[test]
fn a_query_says_what_is_asked() {
    let bytes = message(0x0100, [1, 0, 0, 1], &[asked(kind::AAAA), vec![0; 11]].concat());
    let message = Message::parse(&bytes).expect("a query");
    let question = message.question.expect("a question");
    assert_eq!(question.name.as_bytes(), b"example.com");
    assert_eq!((question.kind, question.class), (kind::AAAA, 1));
    assert_eq!((message.header.id, message.header.is_response()), (0x1234, false));
    assert_eq!(message.answers().count(), 0);
}

#[test]
fn a_response_says_code_and_answers() {
    let body = [
        asked(kind::A),
        record(kind::CNAME, &[3, b'w', b'w', b'w', 0xc0, 12]),
        record(kind::A, &[192, 0, 2, 7]),
    ];
    let bytes = message(0x8183, [1, 2, 0, 0], &body.concat());
    let message = Message::parse(&bytes).expect("a response");
    assert!(message.header.is_response());
    assert_eq!(message.header.rcode(), 3);
    let answers: Vec<_> = message.answers().map(|answer| answer.expect("readable")).collect();
    assert_eq!(answers[0].data, Data::Name(name("www.example.com")));
    assert_eq!(answers[1].data, Data::A([192, 0, 2, 7]));
    assert_eq!((answers[1].name, answers[1].ttl), (name("example.com"), 300));
}

#[test]
fn each_type_has_its_form() {
    let mx = [&[0, 10][..], &wire_name("mail.test")].concat();
    let srv = [&[0, 1, 0, 2, 0x1f, 0x90][..], &wire_name("srv.test")].concat();
    let https = [&[0, 1, 0][..], &[0, 1, 0, 3, 2, b'h', b'2']].concat();
    let aaaa: [u8; 16] = core::array::from_fn(|at| at as u8);
    assert_eq!(only(&one_answer(kind::AAAA, &aaaa)).expect("aaaa").data, Data::Aaaa(aaaa));
    let expected = Data::Mx { preference: 10, exchange: name("mail.test") };
    assert_eq!(only(&one_answer(kind::MX, &mx)).expect("mx").data, expected);
    let expected = Data::Srv { priority: 1, weight: 2, port: 8080, target: name("srv.test") };
    assert_eq!(only(&one_answer(kind::SRV, &srv)).expect("srv").data, expected);
    let expected = Data::Service { priority: 1, target: Name::ROOT, parameters: &https[3..] };
    assert_eq!(only(&one_answer(kind::HTTPS, &https)).expect("https").data, expected);
    let ptr = one_answer(kind::PTR, &wire_name("host.test"));
    assert_eq!(only(&ptr).expect("ptr").data, Data::Name(name("host.test")));
    assert_eq!(only(&one_answer(99, b"odd")).expect("other").data, Data::Other(b"odd"));
}

#[test]
fn a_text_has_its_strings() {
    let bytes = one_answer(kind::TXT, b"\x03abc\x00\x02\xff.");
    let Data::Txt(texts) = only(&bytes).expect("text").data else { panic!("no text") };
    assert_eq!(texts.iter().collect::<Vec<_>>(), [&b"abc"[..], b"", b"\xff."]);
    assert_eq!(only(&one_answer(kind::TXT, b"\x04abc")), Err(Problem::BadData));
}

#[test]
fn data_of_the_wrong_length_is_refused() {
    assert_eq!(only(&one_answer(kind::A, &[1, 2, 3])), Err(Problem::BadData));
    assert_eq!(only(&one_answer(kind::MX, &[0])), Err(Problem::BadData));
    assert_eq!(only(&one_answer(kind::NS, &[5, b'x'])), Err(Problem::BadData));
    let mut cut = one_answer(kind::A, &[192, 0, 2, 7]);
    cut.pop();
    assert_eq!(only(&cut), Err(Problem::Truncated));
}

#[test]
fn an_unreadable_answer_is_the_last() {
    let body = [asked(kind::A), record(kind::A, &[1]), record(kind::A, &[1, 2, 3, 4])].concat();
    let bytes = message(0x8180, [1, 2, 0, 0], &body);
    let answers: Vec<_> = Message::parse(&bytes).expect("a response").answers().collect();
    assert_eq!(answers, [Err(Problem::BadData)]);
}

#[test]
fn pointers_only_lead_backwards() {
    // To itself, to what follows, and to the start of the part that it ends.
    assert_eq!(Name::read(&[0xc0, 0], 0), Err(Problem::BadName));
    assert_eq!(Name::read(&[0xc0, 2, 0], 0), Err(Problem::BadName));
    assert_eq!(Name::read(&[1, b'a', 0xc0, 0], 0), Err(Problem::BadName));
    let chain = [1, b'a', 0, 1, b'b', 0xc0, 0, 1, b'c', 0xc0, 3, 9];
    let (found, after) = Name::read(&chain, 7).expect("a chain of pointers");
    assert_eq!((found.as_bytes(), after), (&b"c.b.a"[..], 11));
}

#[test]
fn names_have_a_longest_length() {
    let label = [&[63][..], &[b'x'; 63]].concat();
    let longest = [label.repeat(3), [&[61][..], &[b'y'; 61], &[0]].concat()].concat();
    assert_eq!(longest.len(), NAME_MAX);
    assert_eq!(Name::read(&longest, 0).expect("a name").0.as_bytes().len(), 253);
    let longer = [label.repeat(3), [&[62][..], &[b'y'; 62], &[0]].concat()].concat();
    assert_eq!(Name::read(&longer, 0), Err(Problem::BadName));
    assert_eq!(Name::read(&[0x40, 0], 0), Err(Problem::BadName));
}

#[test]
fn a_dot_within_a_label_is_told() {
    let (found, _) = Name::read(b"\x03a.b\x00", 0).expect("a name");
    assert_eq!((found.as_bytes(), found.is_ambiguous()), (&b"a.b"[..], true));
    assert!(!name("a.b").is_ambiguous());
}

#[test]
fn a_segment_holds_a_message_or_a_part_of_one() {
    let query = message(0x0100, [1, 0, 0, 0], &asked(kind::A));
    let prefixed = [(query.len() as u16).to_be_bytes().to_vec(), query.clone()].concat();
    let whole = framed(&prefixed).expect("a message");
    assert_eq!(whole, Framed { message: &query, cut: false, more: false });
    let two = prefixed.repeat(2);
    assert!(framed(&two).is_some_and(|framed| framed.more && framed.message == query));
    let cut = framed(&prefixed[..20]).expect("the start of a message");
    assert!(cut.cut && cut.message == &query[..18]);
    assert_eq!(framed(&prefixed[..13]), None);
    assert_eq!(framed(&[0, 5, 0, 0, 0, 0, 0]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.answers().count() <= ANSWERS_MAX);
        }
    }

    /// Mostly pointers and short labels, which random bytes seldom are.
    #[test]
    fn pointers_never_loop(
        bytes in proptest::collection::vec(prop_oneof![Just(0xc0), 0u8..40], 1..300),
        at in 0usize..300,
    ) {
        if let Ok((name, after)) = Name::read(&bytes, at) {
            prop_assert!(name.as_bytes().len() <= 253 && after <= bytes.len() && after > at);
        }
    }

    #[test]
    fn a_name_comes_back(labels in proptest::collection::vec("[a-zA-Z0-9_-]{1,20}", 0..10)) {
        let text = labels.join(".");
        let found = name(&text);
        prop_assert_eq!(found.as_bytes(), text.as_bytes());
    }

    #[test]
    fn a_damaged_response_is_read_to_an_end(at in 0usize..80, value: u8, cut in 0usize..80) {
        let body = [asked(kind::A), record(kind::A, &[1, 2, 3, 4]), record(kind::TXT, b"\x02ab")];
        let mut bytes = message(0x8180, [1, 2, 0, 0], &body.concat());
        let length = bytes.len();
        bytes[at % length] = value;
        bytes.truncate(length - cut % length);
        if let Ok(message) = Message::parse(&bytes) {
            prop_assert!(message.answers().count() <= ANSWERS_MAX);
        }
    }
}
