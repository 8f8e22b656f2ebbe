//! Both formats in both byte orders, whole, cut and damaged in every place.

use proptest::prelude::*;

use super::*;

/// Numbers in a byte order, put one behind the other.
struct Writer {
    big: bool,
    bytes: Vec<u8>,
}

impl Writer {
    fn u32(&mut self, value: u32) -> &mut Self {
        let bytes = if self.big { value.to_be_bytes() } else { value.to_le_bytes() };
        self.bytes.extend(bytes);
        self
    }

    fn block(&mut self, kind: u32, words: &[u32], data: &[u8]) -> &mut Self {
        let length = (12 + 4 * words.len() + data.len().next_multiple_of(4)) as u32;
        self.u32(kind).u32(length);
        for word in words {
            self.u32(*word);
        }
        self.bytes.extend(data);
        let padded = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(padded, 0);
        self.u32(length)
    }
}

fn classic(big: bool, magic: u32) -> Vec<u8> {
    let mut file = Writer { big, bytes: Vec::new() };
    file.u32(magic).u32(0x0004_0002).u32(0).u32(0).u32(65_535).u32(1);
    file.u32(7).u32(5).u32(3).u32(60);
    file.bytes.extend([1, 2, 3]);
    file.u32(8).u32(0).u32(0).u32(42);
    file.bytes
}

/// Two interfaces, the second with nanoseconds, then another section.
fn ng(big: bool) -> Vec<u8> {
    let mut file = Writer { big, bytes: Vec::new() };
    let half = |a: u32, b: u32| if big { a << 16 | b } else { b << 16 | a };
    file.block(SECTION, &[0x1a2b_3c4d, half(1, 0), u32::MAX, u32::MAX], &[]);
    file.block(1, &[half(1, 0), 0], &[]);
    file.block(1, &[half(101, 0), 0, half(9, 1)], &[9, 0, 0, 0, 0, 0, 0, 0]);
    file.block(6, &[1, 1, 5, 3, 60], &[1, 2, 3]);
    file.block(6, &[0, 0, 2_000_000, 2, 2], &[4, 5]);
    file.block(5, &[0, 0, 0], &[]);
    file.block(SECTION, &[0x1a2b_3c4d, half(1, 0), u32::MAX, u32::MAX], &[]);
    file.block(1, &[half(113, 0), 4], &[]);
    file.block(3, &[9], &[6, 7, 8, 9]);
    file.bytes
}

type Owned = (u64, u32, u32, u32, Vec<u8>);

fn all(bytes: &[u8]) -> (Vec<Owned>, Option<CaptureError>) {
    let mut frames = Vec::new();
    let mut capture = match Capture::read(bytes) {
        Ok(capture) => capture,
        Err(error) => return (frames, Some(error)),
    };
    loop {
        match capture.next_frame() {
            Ok(Some(f)) => {
                frames.push((f.time_ns, f.link, f.interface, f.length, f.bytes.to_vec()));
            }
            Ok(None) => return (frames, None),
            Err(error) => return (frames, Some(error)),
        }
    }
}

#[test]
fn classic_captures_are_read_in_both_byte_orders_and_resolutions() {
    for big in [false, true] {
        for (magic, fraction) in [(MICROSECONDS, 5_000), (NANOSECONDS, 5)] {
            let (frames, error) = all(&classic(big, magic));
            assert!(error.is_none(), "{error:?}");
            let first = (7 * SECOND + fraction, 1, 1, 60, vec![1, 2, 3]);
            assert_eq!(frames, [first, (8 * SECOND, 1, 1, 42, vec![])]);
        }
    }
}

#[test]
fn sections_and_interfaces_have_their_own_time_and_layer() {
    for big in [false, true] {
        let (frames, error) = all(&ng(big));
        assert!(error.is_none(), "{error:?}");
        let expected = [
            ((1 << 32) + 5, 101, 2, 60, vec![1, 2, 3]),
            (2 * SECOND, 1, 1, 2, vec![4, 5]),
            (0, 113, 3, 9, vec![6, 7, 8, 9]),
        ];
        assert_eq!(frames, expected);
    }
}

#[test]
fn what_is_whole_is_read_before_the_error_says_where() {
    let bytes = classic(false, MICROSECONDS);
    let (frames, error) = all(&bytes[..bytes.len() - 1]);
    assert_eq!(frames.len(), 1);
    assert_eq!(
        error.expect("it is cut").to_string(),
        "it is cut: the block that starts at byte 43 is not all there"
    );
    for length in 4..24 {
        assert!(matches!(all(&bytes[..length]).1, Some(CaptureError::Cut { offset: 0 })));
    }
    let mut damaged = ng(false);
    let end = damaged.len() - 4;
    damaged[end] ^= 4;
    let (frames, error) = all(&damaged);
    assert_eq!(frames.len(), 2);
    assert!(error.expect("it is damaged").to_string().contains("another length"));
}

#[test]
fn other_files_are_refused() {
    for other in [&b""[..], b"\x7fELF....", b"abc"] {
        assert!(matches!(all(other).1, Some(CaptureError::Unknown)), "{other:?}");
    }
}

#[test]
fn a_length_allocates_nothing_before_it_is_believed() {
    let mut file = Writer { big: false, bytes: classic(false, MICROSECONDS)[..24].to_vec() };
    file.u32(0).u32(0).u32(u32::MAX).u32(u32::MAX);
    assert!(matches!(all(&file.bytes).1, Some(CaptureError::Damaged { offset: 24, .. })));
}

proptest! {
    #[test]
    fn damage_is_an_error_or_another_frame(
        big: bool,
        at in 0usize..300,
        value: u8,
        cut in 0usize..300,
    ) {
        for mut bytes in [ng(big), classic(big, NANOSECONDS)] {
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(length - cut % length);
            prop_assert!(all(&bytes).0.len() <= 3);
        }
    }
}
