//! Valid packets, messages and captures, put together by hand.

/// An Ethernet frame with tags.
pub fn ethernet(tags: &[[u8; 4]], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(tags.iter().flatten());
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 packet between a private and a documentation address.
pub fn v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 5, 192, 0, 2, 53]);
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64, 0xfd]);
    packet.extend([0; 14]);
    packet.extend([5, 0x20, 1, 0x0d, 0xb8]);
    packet.extend([0; 11]);
    packet.push(0x53);
    packet.extend(payload);
    packet
}

/// A UDP datagram.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let words = [source, destination, (8 + payload.len()) as u16, 0];
    [&words.map(u16::to_be_bytes).concat(), payload].concat()
}

/// A TCP segment.
pub fn tcp(destination: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40];
    segment.extend(destination.to_be_bytes());
    segment.extend([0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// A DNS query.
pub fn query() -> Vec<u8> {
    b"\x01\x02\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01".to_vec()
}

/// Its answer, with a record of each form that is looked into, and names that point.
pub fn answer() -> Vec<u8> {
    let mut message = query();
    (message[2], message[3], message[7]) = (0x81, 0x80, 9);
    let records: [(u16, &[u8]); 9] = [
        (5, b"\x04host\xc0\x10"),
        (1, &[192, 0, 2, 7]),
        (28, &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]),
        (15, b"\0\x0a\x02mx\xc0\x10"),
        (33, b"\0\x01\0\x02\x01\xbb\x03srv\xc0\x10"),
        (16, b"\x05hello\x02hi"),
        (65, b"\0\x01\0\0\x01\0\x03\x02h2"),
        (12, b"\xc0\x0c"),
        (99, b"raw"),
    ];
    for (kind, data) in records {
        message.extend([0xc0, 0x0c]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 1, 0x2c]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    message
}

fn prefixed(data: &[u8]) -> Vec<u8> {
    [&(data.len() as u16).to_be_bytes()[..], data].concat()
}

/// A TLS greeting.
pub fn hello() -> Vec<u8> {
    let mut extensions = Vec::new();
    for (number, data) in [
        (0x0a0a_u16, vec![]),
        (0, prefixed(&[&[0][..], &prefixed(b"www.example.test")].concat())),
        (16, prefixed(b"\x02h2\x08http/1.1")),
        (43, b"\x04\x03\x04\x03\x03".to_vec()),
        (13, prefixed(b"\x04\x03\x08\x04")),
        (51, vec![7; 32]),
    ] {
        extensions.extend(number.to_be_bytes());
        extensions.extend(prefixed(&data));
    }
    let body = [
        &[3, 3][..],
        &[9; 32],
        &[4, 1, 2, 3, 4],
        &prefixed(&[0x13, 1, 0xc0, 0x2b]),
        &[1, 0],
        &prefixed(&extensions),
    ]
    .concat();
    let message = [&[1, 0][..], &prefixed(&body)].concat();
    [&[0x16, 3, 1][..], &prefixed(&message)].concat()
}

/// Ethernet frames of every shape that the parser knows.
pub fn frames() -> Vec<Vec<u8>> {
    const V4: u16 = 0x0800;
    const V6: u16 = 0x86dd;
    let (query, answer, hello) = (query(), answer(), hello());
    let asked = v4(17, &udp(40_000, 53, &query));
    let greeted = v6(6, &tcp(443, 0x18, &hello));
    let over_tcp = tcp(53, 0x18, &prefixed(&query));
    let chain = [&[43, 0][..], &[0; 6], &[44, 0], &[0; 6], &[6, 0, 0, 1, 0, 0, 0, 9]].concat();
    let gre = [&[0x20, 0, 8, 0, 0, 0, 0, 7][..], &asked].concat();
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet(&[], V6, &greeted)].concat();
    let lost = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &asked].concat();
    let mut fragment = v4(17, &[7; 24]);
    fragment[7] = 3;
    vec![
        ethernet(&[], V4, &asked),
        ethernet(&[], V4, &v4(17, &udp(53, 40_000, &answer))),
        ethernet(&[[0x81, 0, 0, 5]], V6, &greeted),
        ethernet(&[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 5]], V4, &v4(6, &over_tcp)),
        ethernet(&[], V6, &v6(0, &[&chain[..], &tcp(22, 2, &[])].concat())),
        ethernet(&[], V4, &v4(47, &gre)),
        ethernet(&[], V4, &v4(17, &udp(9, 4789, &vxlan))),
        ethernet(&[], V4, &v4(4, &asked)),
        ethernet(&[], V4, &v4(41, &greeted)),
        ethernet(&[], V4, &v4(1, &lost)),
        ethernet(&[], V4, &fragment),
        ethernet(&[], 0x0806, &[0; 28]),
    ]
}

/// Numbers in a byte order.
struct Words(bool);

impl Words {
    fn put(&self, file: &mut Vec<u8>, words: &[u32]) {
        for word in words {
            file.extend(if self.0 { word.to_be_bytes() } else { word.to_le_bytes() });
        }
    }

    /// Two halves that lie behind each other.
    fn halves(&self, first: u32, second: u32) -> u32 {
        if self.0 { first << 16 | second } else { second << 16 | first }
    }

    fn block(&self, file: &mut Vec<u8>, kind: u32, words: &[u32], data: &[u8]) {
        let length = (12 + 4 * words.len() + data.len().next_multiple_of(4)) as u32;
        self.put(file, &[kind, length]);
        self.put(file, words);
        file.extend(data);
        file.resize(file.len().next_multiple_of(4), 0);
        self.put(file, &[length]);
    }
}

/// A classic capture, a frame every 400 milliseconds.
pub fn pcap(big: bool, magic: u32, frames: &[Vec<u8>]) -> Vec<u8> {
    let (words, mut file) = (Words(big), Vec::new());
    words.put(&mut file, &[magic, words.halves(2, 4), 0, 0, 65_535, 1]);
    for (number, frame) in (0..).zip(frames) {
        let (ms, length) = (400 * number, frame.len() as u32);
        words.put(&mut file, &[ms / 1000, ms % 1000 * 1000, length, length]);
        file.extend(frame);
    }
    file
}

/// A capture of two interfaces, one of which has no link layer, in two sections.
pub fn pcapng(big: bool, frames: &[Vec<u8>]) -> Vec<u8> {
    const SECTION: u32 = 0x0a0d_0d0a;
    let (words, mut file) = (Words(big), Vec::new());
    let section = [0x1a2b_3c4d, words.halves(1, 0), u32::MAX, u32::MAX];
    words.block(&mut file, SECTION, &section, &[]);
    words.block(&mut file, 1, &[words.halves(1, 0), 0], &[]);
    let nanoseconds = [words.halves(101, 0), 0, words.halves(9, 1)];
    words.block(&mut file, 1, &nanoseconds, &[9, 0, 0, 0, 0, 0, 0, 0]);
    for (number, frame) in (0..).zip(frames) {
        let length = frame.len() as u32;
        words.block(&mut file, 6, &[0, 0, 400_000 * number, length, length], frame);
        let packet = &frame[14..];
        let length = packet.len() as u32;
        words.block(&mut file, 6, &[1, 0, number, length, length + 9], packet);
    }
    words.block(&mut file, SECTION, &section, &[]);
    words.block(&mut file, 1, &[words.halves(1, 0), 64], &[]);
    if let Some(frame) = frames.first() {
        words.block(&mut file, 3, &[frame.len() as u32], &frame[..frame.len().min(64)]);
    }
    file
}
