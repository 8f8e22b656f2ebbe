//! Columns of numbers. Each begins with a byte that says how it is written; the shortest way wins.

use super::{EndsTable, Fault};

/// Every number is 0, which needs nothing more.
const ZEROS: u8 = 0;
/// Every number is the one that follows.
const SAME: u8 = 1;
/// Each in 7 bits per byte, the lowest first.
const PLAIN: u8 = 2;
/// Differences to the one before, the sign in the lowest bit.
const STEPS: u8 = 3;
/// What each is above the least one, all in as many bytes as the largest needs: first the lowest
/// bytes of all, then the next.
const ABOVE: u8 = 4;

/// Entries of all lists within records of a batch, such as answers and buckets. A sensor counts 320
/// bytes for a record that has at most 64 of them, and cuts at 960 KiB: 196 608.
const NESTED_MAX: usize = 1 << 18;

/// Numbers of a column that a usual host's batches rarely exceed.
const USUAL_LEN: usize = 128;

/// Takes columns in.
#[derive(Debug, Default)]
pub(super) struct Packer {
    out: Vec<u8>,
    pub(super) ends: EndsTable,
    column: Vec<u64>,
}

impl Packer {
    /// Adds one number.
    pub(super) fn number(&mut self, number: u64) {
        put_varint(&mut self.out, number);
    }

    /// Adds bytes as they are; their count is told before.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// Adds a column; its length is told before.
    pub(super) fn numbers(&mut self, numbers: impl Iterator<Item = u64>) {
        let mut column = std::mem::take(&mut self.column);
        column.clear();
        column.extend(numbers);
        put_column(&mut self.out, &column);
        self.column = column;
    }

    /// Returns everything, the table of ends first.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let records = std::mem::take(&mut self.out);
        let ends = std::mem::take(&mut self.ends);
        ends.put(&mut self);
        self.out.extend_from_slice(&records);
        self.out
    }
}

fn put_column(out: &mut Vec<u8>, column: &[u64]) {
    let Some(&first) = column.first() else { return };
    let (mut least, mut most, mut plain, mut steps, mut before) = (first, first, 0, 0, 0);
    for &number in column {
        least = least.min(number);
        most = most.max(number);
        plain += varint_len(number);
        steps += varint_len(step(before, number));
        before = number;
    }
    if most == 0 {
        return out.push(ZEROS);
    }
    if least == most {
        out.push(SAME);
        return put_varint(out, first);
    }
    let width = 8 - (most - least).leading_zeros() as usize / 8;
    let above = varint_len(least) + 1 + width * column.len();
    if above < plain.min(steps) {
        out.push(ABOVE);
        put_varint(out, least);
        out.push(width as u8);
        for byte in 0..width {
            out.extend(column.iter().map(|number| ((number - least) >> (8 * byte)) as u8));
        }
    } else if steps < plain {
        out.push(STEPS);
        let mut before = 0;
        for &number in column {
            put_varint(out, step(before, number));
            before = number;
        }
    } else {
        out.push(PLAIN);
        column.iter().for_each(|&number| put_varint(out, number));
    }
}

/// Gives columns out.
#[derive(Debug)]
pub(super) struct Unpacker<'a> {
    bytes: &'a [u8],
    pub(super) ends: EndsTable,
    nested: usize,
    /// Columns that have been used up: a batch has hundreds, and room for each would cost more than
    /// to read it.
    spare: Vec<Vec<u64>>,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut from =
            Self { bytes, ends: EndsTable::default(), nested: NESTED_MAX, spare: Vec::new() };
        from.ends = EndsTable::take(&mut from)?;
        Ok(from)
    }

    /// Takes one number.
    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, Fault> {
        match self.bytes {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.bytes = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, Fault> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number is too large")
    }

    /// Takes a count of things of which there may be so many.
    pub(super) fn count(&mut self, max: usize) -> Result<usize, Fault> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count <= max { Ok(count) } else { Err("there is more of something than may be") }
    }

    /// Takes a column of so many numbers, which [`Self::used_up`] takes back.
    pub(super) fn numbers(&mut self, count: usize) -> Result<Vec<u64>, Fault> {
        let mut column = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(USUAL_LEN));
        if count > 0 {
            self.fill(&mut column, count)?;
        }
        Ok(column)
    }

    /// Takes a column back whose numbers have found their places.
    pub(super) fn used_up(&mut self, mut column: Vec<u64>) {
        column.clear();
        self.spare.push(column);
    }

    fn fill(&mut self, column: &mut Vec<u64>, count: usize) -> Result<(), Fault> {
        match self.byte()? {
            ZEROS => column.resize(count, 0),
            SAME => column.resize(count, self.number()?),
            PLAIN => {
                column.reserve(self.at_least(count, 1)?);
                for _ in 0..count {
                    column.push(self.number()?);
                }
            }
            STEPS => self.steps(column, count)?,
            ABOVE => self.above(column, count)?,
            _ => return Err("there is no such way to write a column"),
        }
        Ok(())
    }

    fn steps(&mut self, column: &mut Vec<u64>, count: usize) -> Result<(), Fault> {
        column.reserve(self.at_least(count, 1)?);
        let mut before = 0_u64;
        for _ in 0..count {
            let step = self.number()?;
            let change = (step >> 1) ^ (step & 1).wrapping_neg();
            before = before.wrapping_add(change);
            column.push(before);
        }
        Ok(())
    }

    fn above(&mut self, column: &mut Vec<u64>, count: usize) -> Result<(), Fault> {
        let least = self.number()?;
        let width = usize::from(self.byte()?);
        if !(1..=8).contains(&width) {
            return Err("numbers have at most 8 bytes");
        }
        let planes = self.bytes(count * width)?;
        column.resize(count, 0);
        for (byte, plane) in planes.chunks_exact(count).enumerate() {
            for (number, &bits) in column.iter_mut().zip(plane) {
                *number |= u64::from(bits) << (8 * byte);
            }
        }
        column.iter_mut().for_each(|number| *number = number.wrapping_add(least));
        Ok(())
    }

    /// Takes the lengths of lists within so many records, and returns their sum as well.
    pub(super) fn lengths(&mut self, records: usize) -> Result<(Vec<u64>, usize), Fault> {
        let lengths = self.numbers(records)?;
        let sum = lengths.iter().try_fold(0_u64, |sum, length| sum.checked_add(*length));
        let sum = sum.and_then(|sum| usize::try_from(sum).ok()).unwrap_or(usize::MAX);
        self.nested = self.nested.checked_sub(sum).ok_or("lists are too long")?;
        Ok((lengths, sum))
    }

    /// Takes so many bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(taken)
    }

    /// Fails when something is left.
    pub(super) fn end(&self) -> Result<(), Fault> {
        if self.bytes.is_empty() { Ok(()) } else { Err("bytes are left over") }
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let (&byte, rest) = self.bytes.split_first().ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(byte)
    }

    /// Fails early when there cannot be so many numbers.
    fn at_least(&self, count: usize, bytes: usize) -> Result<usize, Fault> {
        if self.bytes.len() / bytes >= count { Ok(count) } else { Err("it ends too early") }
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn varint_len(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// The difference with its sign in the lowest bit; it wraps, and unpacking wraps back.
fn step(before: u64, number: u64) -> u64 {
    let change = number.wrapping_sub(before).cast_signed();
    ((change << 1) ^ (change >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(column: &[u64]) -> (usize, Vec<u64>) {
        let mut packer = Packer::default();
        packer.numbers(column.iter().copied());
        let bytes = packer.finish();
        let mut unpacker = Unpacker::new(&bytes).unwrap();
        let back = unpacker.numbers(column.len()).unwrap();
        unpacker.end().unwrap();
        // The empty table of ends takes one byte.
        (bytes.len() - 1, back)
    }

    #[test]
    fn every_way_to_write_a_column_reads_back_and_is_taken_where_it_is_short() {
        let times = |step: u64| (0..100).map(|n| (1 << 60) + n * n * step).collect::<Vec<_>>();
        let cases: [(Vec<u64>, usize); 7] = [
            (vec![0; 100], 1),
            (vec![77; 100], 2),
            (vec![1, 2, 1, 0, 5], 6),
            (times(3), 220),
            (times(100_003), 412),
            (vec![u64::MAX, 0, u64::MAX, 1 << 63], 34),
            (Vec::new(), 0),
        ];
        for (column, most) in cases {
            let (bytes, back) = through(&column);
            assert_eq!(back, column);
            assert!(bytes <= most, "{bytes} bytes of at most {most} for {column:?}");
        }
    }

    #[test]
    fn what_is_cut_or_too_much_is_refused() {
        let unpack = |bytes: &[u8]| {
            Unpacker::new(bytes).and_then(|mut from| from.numbers(100).map(|column| column.len()))
        };
        assert_eq!(unpack(&[0, ZEROS]), Ok(100));
        assert!(unpack(&[0, PLAIN, 1, 2, 3]).is_err());
        assert!(unpack(&[0, STEPS, 1, 2, 3]).is_err());
        assert!(unpack(&[0, ABOVE, 1, 8, 3]).is_err());
        assert!(unpack(&[0, ABOVE, 1, 9, 3]).is_err());
        assert!(unpack(&[0, 5]).is_err());
        let mut eleven = vec![0xff; 11];
        eleven[0] = 0;
        assert!(Unpacker::new(&eleven).and_then(|mut from| from.number()).is_err());
        // A hundred records that say to have 2^62 answers each.
        let lie = [0, SAME, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f];
        assert!(Unpacker::new(&lie).and_then(|mut from| from.lengths(100)).is_err());
    }
}
