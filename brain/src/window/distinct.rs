//! Counts distinct values: exactly while they are few, by a sketch once they are many.
//!
//! The sketch is HyperLogLog (Flajolet, Fusy, Gandouet, Meunier, 2007) over a 64-bit hash, with
//! linear counting at its low end. With 2^10 registers its standard error is 1.04 / sqrt(1024),
//! about 3.3 %.

/// Values held exactly: 512 bytes, half the size of the sketch that follows.
const EXACT_MAX: usize = 64;

/// Bits of the hash that choose a register.
const INDEX_BITS: u32 = 10;

const REGISTERS: usize = 1 << INDEX_BITS;

/// A count of distinct values in at most about 1 KiB.
#[derive(Clone, Debug)]
pub struct Distinct(State);

#[derive(Clone, Debug)]
enum State {
    /// Hashes of all values.
    Exact(Vec<u64>),
    /// Per register, the longest run of leading zeros plus one.
    Sketch(Box<[u8; REGISTERS]>),
}

impl Default for Distinct {
    fn default() -> Self {
        Self(State::Exact(Vec::new()))
    }
}

impl Distinct {
    /// Counts `value` unless it was counted before.
    pub fn insert(&mut self, value: u128) {
        self.insert_hash(hash(value));
    }

    /// Returns the number of distinct values.
    pub fn count(&self) -> u64 {
        match &self.0 {
            State::Exact(hashes) => hashes.len() as u64,
            State::Sketch(registers) => estimate(registers),
        }
    }

    /// Returns whether [`Distinct::count`] is exact.
    pub fn is_exact(&self) -> bool {
        matches!(self.0, State::Exact(_))
    }

    /// Counts all values of `other` as well.
    pub fn merge(&mut self, other: &Self) {
        match &other.0 {
            State::Exact(hashes) => hashes.iter().for_each(|&hash| self.insert_hash(hash)),
            State::Sketch(theirs) => {
                let ours = self.sketch();
                for (our, their) in ours.iter_mut().zip(theirs.iter()) {
                    *our = (*our).max(*their);
                }
            }
        }
    }

    fn insert_hash(&mut self, hash: u64) {
        match &mut self.0 {
            State::Exact(hashes) if hashes.contains(&hash) => {}
            State::Exact(hashes) if hashes.len() < EXACT_MAX => hashes.push(hash),
            State::Exact(_) | State::Sketch(_) => note(self.sketch(), hash),
        }
    }

    fn sketch(&mut self) -> &mut [u8; REGISTERS] {
        if let State::Exact(hashes) = &self.0 {
            let mut registers = Box::new([0; REGISTERS]);
            hashes.iter().for_each(|&hash| note(&mut registers, hash));
            self.0 = State::Sketch(registers);
        }
        match &mut self.0 {
            State::Sketch(registers) => registers,
            State::Exact(_) => unreachable!("became a sketch above"),
        }
    }
}

fn note(registers: &mut [u8; REGISTERS], hash: u64) {
    let register = (hash >> (64 - INDEX_BITS)) as usize;
    // The bit below the hash keeps the run of zeros within the bits that are left.
    let rest = (hash << INDEX_BITS) | (1 << (INDEX_BITS - 1));
    registers[register] = registers[register].max(rest.leading_zeros() as u8 + 1);
}

fn estimate(registers: &[u8; REGISTERS]) -> u64 {
    let count = REGISTERS as f64;
    let sum: f64 = registers.iter().map(|&rank| (-f64::from(rank)).exp2()).sum();
    let alpha = 0.7213 / (1.0 + 1.079 / count);
    let raw = alpha * count * count / sum;
    let zeros = registers.iter().filter(|&&rank| rank == 0).count();
    let estimate =
        if raw <= 2.5 * count && zeros > 0 { count * (count / zeros as f64).ln() } else { raw };
    estimate.round() as u64
}

/// Mixes all bits of `value` (the finaliser of SplitMix64, applied to both halves). It is fixed,
/// since the same records must give the same counts; someone who makes values collide lowers an
/// estimate that no decision rests on alone.
fn hash(value: u128) -> u64 {
    mix(mix(value as u64).wrapping_add(0x9e37_79b9_7f4a_7c15) ^ (value >> 64) as u64)
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_values_are_counted_exactly() {
        let mut distinct = Distinct::default();
        for value in (0..64).chain(0..64) {
            distinct.insert(value);
        }
        assert_eq!((distinct.count(), distinct.is_exact()), (64, true));
        distinct.insert(64);
        assert!(!distinct.is_exact());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Five standard errors: one honest estimate in two million would be off by more.
        #[test]
        fn many_values_are_counted_within_the_error_bound(
            seed in any::<u128>(),
            step in 1u128..1 << 90,
            count in 65u64..100_000,
        ) {
            let mut distinct = Distinct::default();
            for at in 0..count {
                distinct.insert(seed.wrapping_add(step * u128::from(at)));
            }
            let error = (distinct.count() as f64 - count as f64).abs() / count as f64;
            prop_assert!(error < 5.0 * 1.04 / (REGISTERS as f64).sqrt(), "{error}");
        }

        #[test]
        fn merging_counts_the_union(a in 0u128..400, b in 0u128..400, shift in 0u128..400) {
            let fill = |range: std::ops::Range<u128>| {
                let mut distinct = Distinct::default();
                range.for_each(|value| distinct.insert(value));
                distinct
            };
            let (mut merged, mut both) = (fill(0..a), fill(0..a));
            merged.merge(&fill(shift..shift + b));
            (shift..shift + b).for_each(|value| both.insert(value));
            prop_assert_eq!(merged.count(), both.count());
        }
    }
}
