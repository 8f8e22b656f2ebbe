//! Targets that are broken on purpose. A search that does not find these finds nothing.

use std::hint::black_box;

use super::{KIB, MIB, Target};

/// Panics for one input in 2^56: only a search that is led by coverage and comparisons gets there.
pub(super) const PANIC: Target = Target {
    name: "control-panic",
    what: "a panic behind four bytes and a number",
    input_max: 64,
    memory_max: MIB,
    control: true,
    check: panics,
    seeds: || vec![b"seed".to_vec()],
};

/// Takes memory as the input says.
pub(super) const MEMORY: Target = Target {
    name: "control-memory",
    what: "an allocation that believes a length",
    input_max: 64,
    memory_max: 64 * KIB,
    control: true,
    check: allocates,
    seeds: || vec![b"seed".to_vec()],
};

/// What breaks each.
#[cfg(test)]
pub(super) const BREAKING: [(&str, &[u8]); 2] =
    [("control-panic", b"bug!\x0d\xd0\x0b\xac"), ("control-memory", b"len:\xff\xff")];

/// Takes a word off byte by byte, so that each byte is progress that a search can see.
fn behind<'a>(word: &[u8], input: &'a [u8]) -> Option<&'a [u8]> {
    let mut left = input.iter();
    for wanted in word {
        if left.next() != Some(wanted) {
            return None;
        }
    }
    Some(left.as_slice())
}

fn panics(input: &[u8]) {
    if let Some(number) = behind(b"bug!", input).and_then(|rest| rest.first_chunk()) {
        assert_ne!(u32::from_be_bytes(*number), 0x0dd0_0bac, "found, as it should be");
    }
}

fn allocates(input: &[u8]) {
    let Some(number) = behind(b"len:", input).and_then(|rest| rest.first_chunk()) else {
        return;
    };
    let length = usize::from(u16::from_be_bytes(*number)) * 16;
    black_box(Vec::<u8>::with_capacity(length));
}
