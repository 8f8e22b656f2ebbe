//! All fixed texts that rules look for in one field, found in one pass over the value.
//!
//! Each text is filed under a few of its own bytes: one that may stand anywhere under its rarest
//! eight (or four, three, two, one, if it is shorter), one that begins or ends the value under its
//! first or last ones, a whole one under a fingerprint. A look at a value asks at each place
//! whether anything is filed under the bytes there (Wu and Manber's idea, 1994, without the
//! shifts: a bit in a small filter answers nearly always). What is, is compared in full. The work
//! grows with the value, and with the number of texts only through the processor's caches; the
//! memory is that of the texts and some dozen bytes for each.

use std::collections::HashMap;

use super::super::modifier::Place;
use super::super::pattern::Literal;

/// Bits of the filter for each key: one question in sixteen that need not be asked is asked.
const FILTER_BITS: usize = 16;

/// Widths of keys, the widest first.
const WIDTHS: [usize; 5] = [8, 4, 3, 2, 1];

/// Texts of one field, each with the atoms that are true when it is found.
#[derive(Debug, Default)]
pub(super) struct Index {
    texts: Vec<Text>,
    bytes: Vec<u8>,
    atoms: Vec<u32>,
    whole: Option<Table>,
    heads: Vec<(usize, Table)>,
    tails: Vec<(usize, Table)>,
    within: Vec<(usize, Table)>,
}

#[derive(Debug)]
struct Text {
    start: u32,
    length: u32,
    atoms: (u32, u32),
    /// How far behind the text's beginning its key stands.
    offset: u32,
    place: Place,
    cased: bool,
}

impl Index {
    /// Builds the index over texts that are not empty.
    pub(super) fn new(literals: Vec<(Literal, u32)>) -> Self {
        let mut by_text: HashMap<Literal, Vec<u32>> = HashMap::new();
        for (literal, atom) in literals {
            by_text.entry(literal).or_default().push(atom);
        }
        let mut all: Vec<(Literal, Vec<u32>)> = by_text.into_iter().collect();
        // In an order of its own, so that every run of the program does the same.
        all.sort_by(|a, b| (&a.0.bytes, a.0.cased, a.1[0]).cmp(&(&b.0.bytes, b.0.cased, b.1[0])));
        let mut index = Self::default();
        for (literal, mut atoms) in all {
            atoms.sort_unstable();
            atoms.dedup();
            index.add(&literal, &atoms);
        }
        index.file();
        index
    }

    fn add(&mut self, literal: &Literal, atoms: &[u32]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(&literal.bytes);
        let first = self.atoms.len() as u32;
        self.atoms.extend_from_slice(atoms);
        self.texts.push(Text {
            start,
            length: literal.bytes.len() as u32,
            atoms: (first, self.atoms.len() as u32),
            offset: 0,
            place: literal.place,
            cased: literal.cased,
        });
    }

    /// Files each text under its key.
    fn file(&mut self) {
        let mut tables: HashMap<(Kind, usize), Vec<(u64, u32)>> = HashMap::new();
        let common = self.common();
        for number in 0..self.texts.len() {
            let lower = self.text(number).to_ascii_lowercase();
            let text = &mut self.texts[number];
            let width = width(lower.len());
            let (kind, key) = match (text.place.before, text.place.behind) {
                (false, false) => (Kind::Whole, fingerprint(&lower)),
                (false, true) => (Kind::Head, key(&lower[..width])),
                (true, false) => (Kind::Tail, key(&lower[lower.len() - width..])),
                (true, true) => {
                    let offset = rarest(&lower, width, &common);
                    text.offset = offset as u32;
                    (Kind::Within, key(&lower[offset..offset + width]))
                }
            };
            let width = if kind == Kind::Whole { 0 } else { width };
            tables.entry((kind, width)).or_default().push((key, number as u32));
        }
        let mut take = |kind, width| tables.remove(&(kind, width)).map(Table::new);
        self.whole = take(Kind::Whole, 0);
        for width in WIDTHS {
            self.heads.extend(take(Kind::Head, width).map(|table| (width, table)));
            self.tails.extend(take(Kind::Tail, width).map(|table| (width, table)));
            self.within.extend(take(Kind::Within, width).map(|table| (width, table)));
        }
    }

    /// Counts how often each key could be chosen by texts that may stand anywhere.
    fn common(&self) -> HashMap<(usize, u64), u32> {
        let mut counts = HashMap::new();
        for (number, text) in self.texts.iter().enumerate() {
            if text.place == Place::WITHIN {
                let lower = self.text(number).to_ascii_lowercase();
                let width = width(lower.len());
                for window in lower.windows(width) {
                    *counts.entry((width, key(window))).or_default() += 1;
                }
            }
        }
        counts
    }

    fn text(&self, number: usize) -> &[u8] {
        let text = &self.texts[number];
        &self.bytes[text.start as usize..][..text.length as usize]
    }

    /// Calls `found` with the atoms of each text that the value has at its place. A text that may
    /// stand anywhere can be found more than once.
    pub(super) fn scan(&self, plain: &[u8], lower: &[u8], found: &mut impl FnMut(&[u32])) {
        if let Some(table) = &self.whole {
            for number in table.get(fingerprint(lower)) {
                self.check(*number, 0, plain, lower, found);
            }
        }
        for (width, table) in &self.heads {
            let Some(head) = lower.get(..*width) else { continue };
            for number in table.get(key(head)) {
                self.check(*number, 0, plain, lower, found);
            }
        }
        for (width, table) in &self.tails {
            let Some(start) = lower.len().checked_sub(*width) else { continue };
            for number in table.get(key(&lower[start..])) {
                let length = self.texts[*number as usize].length as usize;
                if let Some(start) = lower.len().checked_sub(length) {
                    self.check(*number, start, plain, lower, found);
                }
            }
        }
        for (width, table) in &self.within {
            match width {
                8 => self.pass::<8>(table, plain, lower, found),
                4 => self.pass::<4>(table, plain, lower, found),
                3 => self.pass::<3>(table, plain, lower, found),
                2 => self.pass::<2>(table, plain, lower, found),
                _ => self.pass::<1>(table, plain, lower, found),
            }
        }
    }

    fn pass<const WIDTH: usize>(
        &self,
        table: &Table,
        plain: &[u8],
        lower: &[u8],
        found: &mut impl FnMut(&[u32]),
    ) {
        for (at, window) in lower.windows(WIDTH).enumerate() {
            let key = key_of::<WIDTH>(window);
            if !table.may_have(key) {
                continue;
            }
            for number in table.find(key) {
                let offset = self.texts[*number as usize].offset as usize;
                if let Some(start) = at.checked_sub(offset) {
                    self.check(*number, start, plain, lower, found);
                }
            }
        }
    }

    /// Compares a text in full where it would have to stand.
    fn check(
        &self,
        number: u32,
        start: usize,
        plain: &[u8],
        lower: &[u8],
        found: &mut impl FnMut(&[u32]),
    ) {
        let text = &self.texts[number as usize];
        let wanted = self.text(number as usize);
        let value = if text.cased { plain } else { lower };
        let here = value.get(start..start + wanted.len()) == Some(wanted);
        let ends = text.place.behind || start + wanted.len() == value.len();
        if here && ends {
            found(&self.atoms[text.atoms.0 as usize..text.atoms.1 as usize]);
        }
    }

    /// Returns about how many bytes the index takes.
    pub(super) fn size(&self) -> usize {
        let tables = [&self.heads, &self.tails, &self.within];
        let tables = tables.into_iter().flatten().map(|(_, table)| table).chain(&self.whole);
        self.texts.len() * size_of::<Text>()
            + self.bytes.len()
            + 4 * self.atoms.len()
            + tables.map(Table::size).sum::<usize>()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Whole,
    Head,
    Tail,
    Within,
}

/// Returns the widest key that a text of this length has.
fn width(length: usize) -> usize {
    WIDTHS.into_iter().find(|width| *width <= length).unwrap_or(1)
}

/// Returns where the key of a text stands that the fewest others could have.
fn rarest(text: &[u8], width: usize, common: &HashMap<(usize, u64), u32>) -> usize {
    let count = |window: &[u8]| common.get(&(width, key(window))).copied().unwrap_or(0);
    let windows = text.windows(width).enumerate();
    windows.min_by_key(|(_, window)| count(window)).map_or(0, |(at, _)| at)
}

fn key(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |key, byte| key << 8 | u64::from(*byte))
}

/// Does what [`key`] does, for a width that the compiler knows.
fn key_of<const WIDTH: usize>(window: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..WIDTH].copy_from_slice(&window[..WIDTH]);
    u64::from_le_bytes(bytes)
}

/// A number that two texts rarely share.
fn fingerprint(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        sum = (sum.rotate_left(23) ^ key(chunk)).wrapping_mul(MIX);
    }
    sum
}

/// An odd number without a pattern: 2^64 divided by the golden ratio.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Texts by their key, behind a filter that fits the processor's cache.
#[derive(Debug)]
struct Table {
    filter: Box<[u64]>,
    filter_shift: u32,
    slots: Box<[Slot]>,
    slot_shift: u32,
    numbers: Box<[u32]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    key: u64,
    start: u32,
    /// 0 in a free slot.
    end: u32,
}

impl Table {
    fn new(mut entries: Vec<(u64, u32)>) -> Self {
        entries.sort_unstable();
        let keys = entries.chunk_by(|a, b| a.0 == b.0).count();
        let bits = (keys * FILTER_BITS).next_power_of_two().max(512);
        let count = (keys * 2).next_power_of_two().max(2);
        let mut table = Self {
            filter: vec![0; bits / 64].into(),
            filter_shift: 64 - bits.trailing_zeros(),
            slots: vec![Slot::default(); count].into(),
            slot_shift: 64 - count.trailing_zeros(),
            numbers: entries.iter().map(|(_, number)| *number).collect(),
        };
        let mut start = 0;
        for same in entries.chunk_by(|a, b| a.0 == b.0) {
            let end = start + same.len() as u32;
            table.insert(Slot { key: same[0].0, start, end });
            start = end;
        }
        table
    }

    fn insert(&mut self, slot: Slot) {
        let bit = self.bit(slot.key);
        self.filter[bit / 64] |= 1 << (bit % 64);
        let mut at = self.home(slot.key);
        while self.slots[at].end != 0 {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = slot;
    }

    fn bit(&self, key: u64) -> usize {
        (key.wrapping_mul(MIX) >> self.filter_shift) as usize
    }

    fn home(&self, key: u64) -> usize {
        (key.wrapping_mul(MIX.rotate_left(32) | 1) >> self.slot_shift) as usize
    }

    fn may_have(&self, key: u64) -> bool {
        let bit = self.bit(key);
        self.filter[bit / 64] >> (bit % 64) & 1 != 0
    }

    fn get(&self, key: u64) -> &[u32] {
        if self.may_have(key) { self.find(key) } else { &[] }
    }

    fn find(&self, key: u64) -> &[u32] {
        let mut at = self.home(key);
        loop {
            let slot = self.slots[at];
            if slot.end == 0 {
                return &[];
            }
            if slot.key == key {
                return &self.numbers[slot.start as usize..slot.end as usize];
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn size(&self) -> usize {
        8 * self.filter.len() + size_of::<Slot>() * self.slots.len() + 4 * self.numbers.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::pattern::lies;
    use super::*;

    fn literal(text: &str, before: bool, behind: bool, cased: bool) -> Literal {
        let text = if cased { text.to_owned() } else { text.to_ascii_lowercase() };
        Literal { bytes: text.into_bytes().into(), place: Place { before, behind }, cased }
    }

    fn found(index: &Index, value: &str) -> Vec<u32> {
        let mut atoms = Vec::new();
        let lower = value.to_ascii_lowercase();
        index.scan(value.as_bytes(), lower.as_bytes(), &mut |found| atoms.extend(found));
        atoms.sort_unstable();
        atoms.dedup();
        atoms
    }

    #[test]
    fn texts_are_found_at_their_place() {
        let index = Index::new(vec![
            (literal("/bash", true, false, false), 0),
            (literal("/usr/bin/", false, true, false), 1),
            (literal("/usr/bin/bash", false, false, false), 2),
            (literal("usr/bin/b", true, true, false), 3),
            (literal("Bash", true, true, true), 4),
            (literal("b", true, true, false), 5),
            (literal("/usr/bin/bash", false, false, false), 6),
        ]);
        assert_eq!(found(&index, "/usr/bin/bash"), [0, 1, 2, 3, 5, 6]);
        assert_eq!(found(&index, "/USR/bin/Bash"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(found(&index, "x/usr/bin/bashx"), [3, 5]);
        assert_eq!(found(&index, ""), Vec::<u32>::new());
        assert!(index.size() > 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]

        #[test]
        fn finds_what_a_look_at_each_text_finds(
            texts in proptest::collection::vec(
                ("[abA]{1,12}", any::<bool>(), any::<bool>(), any::<bool>()), 0..30),
            value in "[abAB]{0,24}",
        ) {
            let literals: Vec<Literal> = (texts.iter())
                .map(|(text, before, behind, cased)| literal(text, *before, *behind, *cased))
                .collect();
            let numbered = literals.iter().cloned().zip(0..).collect();
            let lower = value.to_ascii_lowercase();
            let expected: Vec<u32> = (literals.iter().zip(0..))
                .filter(|(l, _)| {
                    lies(l.place, if l.cased { &value } else { &lower }.as_bytes(), &l.bytes)
                })
                .map(|(_, number)| number)
                .collect();
            prop_assert_eq!(found(&Index::new(numbered), &value), expected);
        }
    }
}
